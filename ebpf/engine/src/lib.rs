//! The decisions of the data plane as pure functions, built for the kernel, the tests and the fuzzers.
#![no_std]
#![forbid(unsafe_code)]

pub mod balance;
pub mod cookie;
pub mod decide;
pub mod edge;
pub mod frame;
pub mod histogram;
pub mod packet;
pub mod peer;
pub mod tables;
mod walk;

pub use balance::Services;
pub use decide::{Decision, Outcome, Question, decide};
pub use packet::{Bytes, Kind, Packet, ParseError};
pub use peer::{Peer, resolve};
pub use tables::{Step, Tables};
