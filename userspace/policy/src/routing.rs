//! Which request goes where: gateways, listeners and routes put together.

pub mod path;
