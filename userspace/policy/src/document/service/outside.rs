//! What of a Service concerns traffic from outside: its type, addresses, node ports and who may ask.

use std::net::IpAddr;

use super::super::address::{decode_address, decode_cidr};
use super::super::node::{Entry, Mark, Node};
use super::super::reader::Reader;
use super::PortObject;
use crate::model::{Cidr, Forwarding};
use crate::place::Place;

/// So many addresses of each sort are enough; each costs a row for each port.
const ADDRESSES: usize = 16;

/// A Service's `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    #[default]
    ClusterIp,
    NodePort,
    LoadBalancer,
    /// `ExternalName`: a name and no address.
    Alias,
}

impl Kind {
    pub(super) const WORDS: [(&'static str, Self); 4] = [
        ("ClusterIP", Self::ClusterIp),
        ("NodePort", Self::NodePort),
        ("LoadBalancer", Self::LoadBalancer),
        ("ExternalName", Self::Alias),
    ];
}

/// What the outside may ask a service for.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// Each once, in the order of writing; node ports are at the ports.
    pub(crate) addresses: Vec<OutsideAddress>,
    /// `externalTrafficPolicy: Local`.
    pub(crate) is_local: bool,
    /// `loadBalancerSourceRanges`, of addresses of load balancers; empty is everybody.
    pub(crate) source_ranges: Vec<Cidr>,
    /// Annotation `windrose.dev/forwarding`.
    pub(crate) forwarding: Forwarding,
}

/// One address.
#[derive(Debug)]
pub(crate) struct OutsideAddress {
    pub(crate) place: Place,
    pub(crate) address: IpAddr,
    /// A load balancer's, to which source ranges apply; otherwise it is of `externalIPs`.
    pub(crate) is_balancer: bool,
}

/// The fields as they are written.
#[derive(Default)]
pub(super) struct Written {
    external: Vec<(Mark, IpAddr)>,
    /// `loadBalancerIP`.
    asked: Option<(Mark, IpAddr)>,
    /// `status.loadBalancer.ingress`.
    ingress: Vec<(Mark, IpAddr)>,
    /// A load balancer has a name, or brings connections to node ports and endpoints itself.
    is_elsewhere: bool,
    is_local: bool,
    ranges: Option<(Mark, Vec<Cidr>)>,
}

impl Written {
    /// Takes a field of `spec` if it is one of these.
    pub(super) fn field(&mut self, reader: &mut Reader<'_>, key: &str, entry: &Entry<'_>) {
        let value = &entry.value;
        match key {
            "externalIPs" => {
                for item in reader.bounded_items(value, key, 0..=ADDRESSES) {
                    self.external.extend(decode_address(reader, item).map(|address| (item.mark, address)));
                }
            }
            // Kubernetes writes "" where there is none.
            "loadBalancerIP" if reader.text(value, key) == Some("") => {}
            "loadBalancerIP" => {
                self.asked = decode_address(reader, value).map(|address| (value.mark, address));
            }
            "externalTrafficPolicy" => {
                let words = [("Cluster", false), ("Local", true)];
                self.is_local = reader.word(value, key, &words).unwrap_or_default();
            }
            "loadBalancerSourceRanges" => {
                let mut ranges = Vec::new();
                for item in reader.items(value, key) {
                    ranges.extend(decode_cidr(reader, item, "a source range"));
                }
                ranges.sort_unstable();
                ranges.dedup();
                self.ranges = (!ranges.is_empty()).then_some((entry.mark, ranges));
            }
            _ => {}
        }
    }

    /// Takes `status`, where a load balancer says what it announces.
    pub(super) fn status(&mut self, reader: &mut Reader<'_>, status: &Node<'_>) {
        let mut balancer = None;
        reader.fields(status, "status", &["loadBalancer", "conditions"], |_, key, entry| {
            if key == "loadBalancer" {
                balancer = Some(&entry.value);
            }
        });
        let Some(balancer) = balancer else { return };
        reader.fields(balancer, "loadBalancer", &["ingress"], |reader, key, entry| {
            for item in reader.bounded_items(&entry.value, key, 0..=ADDRESSES) {
                self.ingress(reader, item);
            }
        });
    }

    fn ingress(&mut self, reader: &mut Reader<'_>, node: &Node<'_>) {
        let (mut address, mut hostname) = (None, None);
        let mut is_proxy = false;
        let fields = ["ip", "hostname", "ipMode", "ports"];
        reader.fields(node, "ingress", &fields, |reader, key, entry| match key {
            "ip" if reader.text(&entry.value, key) == Some("") => {}
            "ip" => {
                let mark = entry.value.mark;
                address = decode_address(reader, &entry.value).map(|address| (mark, address));
            }
            "hostname" => {
                hostname = reader.text(&entry.value, key).filter(|name| !name.is_empty()).map(|_| entry.mark);
            }
            // KEP-1860: with Proxy what arrives here is for a node port or an endpoint, and the address
            // is the proxy's own.
            "ipMode" => {
                let words = [("VIP", false), ("Proxy", true)];
                is_proxy = reader.word(&entry.value, key, &words).unwrap_or_default();
            }
            _ => {}
        });
        if let Some(mark) = hostname {
            reader
                .warn(mark, "a load balancer's hostname is no address and not resolved here: it is ignored");
        }
        self.is_elsewhere |= is_proxy || hostname.is_some();
        self.ingress.extend(address.filter(|_| !is_proxy));
    }

    /// Whether the outside has an address to ask for.
    pub(super) fn has_address(&self, kind: Kind) -> bool {
        let is_balancer = kind == Kind::LoadBalancer;
        !self.external.is_empty() || (is_balancer && (self.asked.is_some() || !self.ingress.is_empty()))
    }

    /// What it means for a service of this type. `mark` is that of its name.
    pub(super) fn close(
        self,
        reader: &mut Reader<'_>,
        mark: Mark,
        kind: Kind,
        is_headless: bool,
        ports: &[PortObject],
        forwarding: Option<(Place, Forwarding)>,
    ) -> Outside {
        if kind == Kind::Alias {
            return Outside::default();
        }
        let is_balancer = kind == Kind::LoadBalancer;
        if is_headless {
            if kind != Kind::ClusterIp {
                reader.error(mark, "a Service of type NodePort or LoadBalancer cannot be headless");
            } else if let Some((mark, _)) = self.external.first() {
                reader.warn(*mark, "a headless Service is not balanced: `externalIPs` are ignored");
            }
            return Outside::default();
        }
        match &self.ranges {
            Some((mark, _)) if !is_balancer => {
                reader.error(*mark, "`loadBalancerSourceRanges` belongs to type LoadBalancer: remove it");
            }
            Some(_) => {
                // As in upstream's proxies.
                let open = ports.iter().find_map(|port| port.node_port.as_ref());
                if let Some((place, _)) = open {
                    let message =
                        "`loadBalancerSourceRanges` does not restrict node ports: everybody may ask here";
                    reader.warn_at(place, message);
                }
            }
            None => {}
        }
        check_node_ports(reader, kind, ports);
        if is_balancer && !self.has_address(kind) && !self.is_elsewhere {
            let message = "nothing announces an address of this Service of type LoadBalancer: write \
                 `loadBalancerIP` or `externalIPs`, or have `status.loadBalancer.ingress` written";
            reader.warn(mark, message);
        }
        let has_node_port = ports.iter().any(|port| port.node_port.is_some());
        if let Some((place, _)) = &forwarding
            && !self.has_address(kind)
            && !has_node_port
        {
            reader.warn_at(
                place,
                "nothing of this Service is exposed: `windrose.dev/forwarding` has no effect",
            );
        }
        let mut outside = Outside {
            addresses: Vec::new(),
            is_local: self.is_local,
            source_ranges: self.ranges.map(|(_, ranges)| ranges).unwrap_or_default(),
            forwarding: forwarding.map(|(_, forwarding)| forwarding).unwrap_or_default(),
        };
        let balancers = self.ingress.into_iter().chain(self.asked).filter(|_| is_balancer);
        let all =
            balancers.map(|this| (this, true)).chain(self.external.into_iter().map(|this| (this, false)));
        // An address of both sorts is a load balancer's: the narrower.
        for ((mark, address), is_balancer) in all {
            if !outside.addresses.iter().any(|other| other.address == address) {
                let is_of_family = |range: &Cidr| range.address.is_ipv4() == address.is_ipv4();
                let ranges = &outside.source_ranges;
                if is_balancer && !ranges.is_empty() && !ranges.iter().any(is_of_family) {
                    let message =
                        format!("no source range is of the family of `{address}`: nobody may ask for it");
                    reader.warn(mark, message);
                }
                outside.addresses.push(OutsideAddress { place: reader.place(mark), address, is_balancer });
            }
        }
        outside
    }
}

fn check_node_ports(reader: &mut Reader<'_>, kind: Kind, ports: &[PortObject]) {
    for port in ports {
        match (&port.node_port, kind) {
            (None, Kind::NodePort) => {
                let message = "this port has no `nodePort`, and nobody allocates one here: write one";
                reader.error_at(&port.place, message);
            }
            (Some((place, _)), Kind::ClusterIp | Kind::Alias) => {
                reader.error_at(place, "`nodePort` belongs to types NodePort and LoadBalancer: remove it");
            }
            (None | Some(_), _) => {}
        }
    }
}
