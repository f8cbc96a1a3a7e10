//! Which of several listeners of one address and port keep it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::status::Reason;
use crate::model::{Gateway, Listener, ListenerProtocol};

/// What one socket listens on: addresses (none is every one) and a port.
pub(super) type Point = (Vec<IpAddr>, u16);

/// One listener: the index of its gateway, and its own in there.
pub(super) type Id = (usize, usize);

/// What a byte stream begins with. Protocols of one sort can share a port.
#[derive(PartialEq, Eq)]
enum Sort {
    Clear,
    Tls,
    Tcp,
    Udp,
}

const fn sort(protocol: ListenerProtocol) -> Sort {
    match protocol {
        ListenerProtocol::Http => Sort::Clear,
        ListenerProtocol::Https | ListenerProtocol::TlsTerminate | ListenerProtocol::TlsPassthrough => {
            Sort::Tls
        }
        ListenerProtocol::Tcp => Sort::Tcp,
        ListenerProtocol::Udp => Sort::Udp,
    }
}

/// Listeners that lose, each with the reason. `gateways` are in the order of precedence: of two
/// that want the same, the one of the older gateway wins, then the one that is written first.
pub(super) fn conflicts(gateways: &[&Arc<Gateway>]) -> BTreeMap<Id, (Reason, String)> {
    let mut lost = BTreeMap::new();
    let mut taken: BTreeMap<Point, Vec<(Id, &Listener)>> = BTreeMap::new();
    for (of, gateway) in gateways.iter().enumerate() {
        for (index, listener) in gateway.listeners.iter().enumerate() {
            let holders = taken.entry((gateway.addresses.clone(), listener.port)).or_default();
            let is_udp = |listener: &Listener| listener.protocol == ListenerProtocol::Udp;
            let against = holders.iter().find_map(|(holder, other)| {
                // Ports of UDP are others than those of TCP.
                if is_udp(other) != is_udp(listener) {
                    None
                } else if sort(other.protocol) != sort(listener.protocol) {
                    Some((*holder, Reason::ProtocolConflict))
                } else if other.hostname == listener.hostname {
                    Some((*holder, Reason::HostnameConflict))
                } else {
                    None
                }
            });
            match against {
                Some(((holder, at), reason)) => {
                    let gateway = gateways[holder];
                    let message = format!(
                        "listener {} of Gateway {}/{} has this port",
                        gateway.listeners[at].name, gateway.name.namespace, gateway.name.name
                    );
                    lost.insert((of, index), (reason, message));
                }
                None => holders.push(((of, index), listener)),
            }
        }
    }
    lost
}
