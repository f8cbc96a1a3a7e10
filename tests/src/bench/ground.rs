//! Where the ends stand: two network namespaces over a veth pair, one for both, or two with a third
//! between them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::netns::Namespace;

/// How the ends are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    /// Each in its own network namespace, with a veth pair between.
    Veth,
    /// Both in one, over its loopback device, each with an address of its own.
    Host,
    /// Each in its own, with another between that forwards.
    Routed,
}

impl Place {
    /// Every one.
    pub(crate) const ALL: [Self; 3] = [Self::Veth, Self::Host, Self::Routed];

    /// Where nothing is between the ends.
    pub(crate) const DIRECT: [Self; 2] = [Self::Veth, Self::Host];

    pub(crate) const fn client(self) -> Ipv4Addr {
        match self {
            Self::Veth => Ipv4Addr::new(10, 77, 0, 2),
            Self::Host => Ipv4Addr::new(10, 78, 0, 2),
            Self::Routed => Ipv4Addr::new(10, 79, 0, 2),
        }
    }

    pub(crate) const fn server(self) -> Ipv4Addr {
        match self {
            Self::Veth => Ipv4Addr::new(10, 77, 0, 3),
            Self::Host => Ipv4Addr::new(10, 78, 0, 3),
            Self::Routed => Ipv4Addr::new(10, 80, 0, 3),
        }
    }

    /// A second address of the server's end.
    pub(crate) const fn second(self) -> Ipv4Addr {
        match self {
            Self::Veth => Ipv4Addr::new(10, 77, 0, 4),
            Self::Host => Ipv4Addr::new(10, 78, 0, 4),
            Self::Routed => Ipv4Addr::new(10, 80, 0, 4),
        }
    }

    /// For headings.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Veth => "two network namespaces over a veth pair",
            Self::Host => "two workloads of one host",
            Self::Routed => "client, edge and endpoints in three network namespaces",
        }
    }

    /// For columns.
    pub(crate) const fn short(self) -> &'static str {
        match self {
            Self::Veth => "over veth",
            Self::Host => "on one host",
            Self::Routed => "through the edge",
        }
    }
}

/// A place made.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) place: Place,
    pub(crate) client: Arc<Namespace>,
    pub(crate) server: Arc<Namespace>,
    /// What forwards, where something does.
    pub(crate) edge: Option<Arc<Namespace>>,
}

/// The interface of what forwards on the client's side, and that on the server's.
pub(crate) const OUTER: &str = "outer";
const INNER: &str = "inner";

impl Ground {
    pub(crate) fn new(place: Place) -> Result<Self> {
        let client = Arc::new(namespace()?);
        let (from, to, second) = (place.client(), place.server(), place.second());
        let mut edge = None;
        let server = match place {
            Place::Veth => {
                let server = Arc::new(namespace()?);
                client.ip(&format!("link add eth0 type veth peer name eth0 netns {}\n", server.path()))?;
                client.ip(&format!("addr add {from}/24 dev eth0\nlink set eth0 up\n"))?;
                server.ip(&format!("addr add {to}/24 dev eth0\naddr add {second}/24 dev eth0\n"))?;
                server.ip("link set eth0 up\n")?;
                server
            }
            Place::Host => {
                // Without a preferred source, traffic to an own address comes from that very address.
                for own in [from, to, second] {
                    client.ip(&format!("addr add {own}/32 dev lo\n"))?;
                }
                for own in [to, second] {
                    client.ip(&format!("route replace table local local {own} dev lo src {from}\n"))?;
                }
                Arc::clone(&client)
            }
            Place::Routed => {
                let (server, between) = (Arc::new(namespace()?), Arc::new(namespace()?));
                let join = |end: &Namespace, name: &str, addresses: &[Ipv4Addr]| {
                    let gateway = gateway(addresses[0]);
                    end.ip(&format!("link add eth0 type veth peer name {name} netns {}\n", between.path()))?;
                    between.ip(&format!("addr add {gateway}/24 dev {name}\nlink set {name} up\n"))?;
                    for address in addresses {
                        end.ip(&format!("addr add {address}/24 dev eth0\n"))?;
                    }
                    end.ip(&format!("link set eth0 up\nroute add default via {gateway}\n"))
                };
                join(&client, OUTER, &[from])?;
                join(&server, INNER, &[to, second])?;
                between.set("ipv4/ip_forward", "1")?;
                edge = Some(between);
                server
            }
        };
        Ok(Self { place, client, server, edge })
    }

    /// A route of the client's to addresses that nobody has, as if they were beyond the server.
    pub(crate) fn route(&self, block: &str) -> Result<()> {
        let way = match self.place {
            Place::Veth => "dev eth0".to_owned(),
            // By default already.
            Place::Routed => return Ok(()),
            Place::Host => format!("dev lo src {}", self.place.client()),
        };
        self.client.ip(&format!("route add {block} {way}\n"))
    }
}

/// Of the network of an end's address.
fn gateway(address: Ipv4Addr) -> Ipv4Addr {
    let [a, b, c, _] = address.octets();
    Ipv4Addr::new(a, b, c, 1)
}

/// With room for as many short connections as a round makes.
fn namespace() -> Result<Namespace> {
    let namespace = Namespace::new()?;
    namespace.set("ipv4/ip_local_port_range", "10000 65000")?;
    namespace.set("ipv4/tcp_tw_reuse", "1")?;
    Ok(namespace)
}
