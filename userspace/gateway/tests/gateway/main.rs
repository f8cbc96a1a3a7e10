//! The gateway on loopback, spoken to over raw sockets.

mod desync;
mod hyper_alone;
mod routes;
mod upstreams;
mod world;
