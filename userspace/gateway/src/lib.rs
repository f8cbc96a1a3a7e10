//! The L7 gateway: HTTP from outside, by the routes of the same policy files.
//!
//! `windrose-policy` says which request goes where; this crate moves the bytes. A request is one
//! [`Exchange`](exchange::Exchange) from its head to the last byte of its response.
#![forbid(unsafe_code)]

mod body;
mod cors;
pub mod counters;
pub mod exchange;
mod filter;
mod forward;
mod headers;
mod pick;
mod pool;
pub mod refusal;
pub mod server;
pub mod snapshot;
pub mod wire;

pub use server::{Limits, Server};
pub use snapshot::{Published, Snapshot};
