//! Which of several listeners of one address and port keep it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::status::Reason;
use crate::model::{Gateway, Hostname, ListenerProtocol};

/// What one socket listens on: addresses (none is every one) and a port.
pub(super) type Point = (Vec<IpAddr>, u16);

/// One listener: the index of its gateway, and its own in there.
pub(super) type Id = (usize, usize);

/// What a byte stream begins with. Protocols of one sort can share a port.
#[derive(Clone, Copy, PartialEq, Eq)]
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

/// Who holds a port: listeners of one sort, by their hostnames.
struct Held<'m> {
    sort: Sort,
    first: Id,
    by_hostname: HashMap<Option<&'m Hostname>, Id>,
}

/// Listeners that lose, each with the reason. `gateways` are in the order of precedence: of two
/// that want the same, the one of the older gateway wins, then the one that is written first.
pub(super) fn conflicts(gateways: &[&Arc<Gateway>]) -> BTreeMap<Id, (Reason, String)> {
    let mut lost = BTreeMap::new();
    // Ports of UDP are others than those of TCP.
    let mut taken: HashMap<(&[IpAddr], u16, bool), Held<'_>> = HashMap::new();
    for (of, gateway) in gateways.iter().enumerate() {
        for (index, listener) in gateway.listeners.iter().enumerate() {
            let (id, sort) = ((of, index), sort(listener.protocol));
            let is_udp = sort == Sort::Udp;
            let held = taken.entry((&gateway.addresses, listener.port, is_udp)).or_insert_with(|| Held {
                sort,
                first: id,
                by_hostname: HashMap::new(),
            });
            let against = if held.sort == sort {
                let hostname = listener.hostname.as_ref();
                let holder = *held.by_hostname.entry(hostname).or_insert(id);
                (holder != id).then_some((holder, Reason::HostnameConflict))
            } else {
                Some((held.first, Reason::ProtocolConflict))
            };
            if let Some(((holder, at), reason)) = against {
                let gateway = gateways[holder];
                let message = format!(
                    "listener {} of Gateway {}/{} has this port",
                    gateway.listeners[at].name, gateway.name.namespace, gateway.name.name
                );
                lost.insert(id, (reason, message));
            }
        }
    }
    lost
}
