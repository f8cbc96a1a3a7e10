//! The L7 gateway: HTTP from outside, by the routes of the same policy files.
//!
//! `windrose-policy` says which request goes where; this crate moves the bytes. A request is one
//! [`Exchange`](exchange::Exchange) from its head to the last byte of its response.
#![forbid(unsafe_code)]

mod body;
mod conditions;
mod connection;
mod cors;
pub mod counters;
pub mod exchange;
mod filter;
mod forward;
mod headers;
mod http1;
mod http2;
mod lines;
mod patience;
mod pick;
mod pool;
mod preface;
pub mod refusal;
mod secured;
pub mod series;
pub mod server;
pub mod snapshot;
mod sockets;
mod stream;
mod tls;
mod tunnel;
mod upstream;
pub mod wire;
pub mod workers;

pub use lines::Lines;
pub use server::{Limits, Server};
pub use snapshot::{Published, Snapshot};
pub use sockets::Failure;
pub use tls::HandshakeFault;
pub use workers::Gateway;
