//! The gateway on loopback, spoken to over raw sockets.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test, outside of its function")]

mod desync;
mod door;
mod http2;
mod hyper_alone;
mod routes;
mod secure;
mod upstreams;
mod workers;
mod world;
