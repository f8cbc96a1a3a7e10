//! What the tests on real sockets stand on: worlds of network namespaces and cgroups, actors that
//! send and receive in them, and agents that enforce.
#![forbid(unsafe_code)]

pub mod acting;
pub mod actor;
pub mod admin;
pub mod agent;
pub mod bench;
pub mod cgroup;
pub mod http;
pub mod leftovers;
pub mod metrics;
pub mod netns;
pub mod offload;
pub mod policy;
pub mod probe;
pub mod programs;
pub mod script;
pub mod trial;
pub mod wait;
pub mod wire;
pub mod world;
