//! `gateway.networking.k8s.io`: `GatewayClass`, `Gateway`, `HTTPRoute`, `TCPRoute`, `UDPRoute` and
//! `ReferenceGrant`; and the `v1` Secret that they name.

mod cors;
mod filter;
mod grant;
mod listener;
mod matching;
mod reference;
mod route;
mod secret;
mod text;
mod transport;

pub(super) use grant::decode as decode_grant;
pub(super) use listener::{decode as decode_gateway, decode_class};
pub(super) use route::decode as decode_route;
pub(super) use secret::decode as decode_secret;
pub(super) use transport::decode as decode_transport;

#[cfg(test)]
mod tests;
