//! `v1` Service.

use std::net::IpAddr;

use super::address::decode_address;
use super::meta::{self, LABEL, Shape, pairs};
use super::name::{check_label_key, check_label_value};
use super::node::{Mark, Node};
use super::reader::Reader;
use crate::fault::quoted;
use crate::model::{Balancing, ObjectName, Requirement, Selector};
use crate::place::Place;

mod annotations;
mod outside;
mod ports;

pub(crate) use annotations::Weighed;
use annotations::Weight;
pub(super) use annotations::{KEYS, ROUTE_KEYS, decode_forwarding};
pub(crate) use outside::Outside;
use outside::{Kind, Written};
pub(super) use ports::decode_port_name;
pub(crate) use ports::{PortObject, Target};

/// Upstream's bounds of `timeoutSeconds`, and what it is when it is not written.
const LONGEST_AFFINITY: u32 = 86_400;
const DEFAULT_AFFINITY: u32 = 10_800;

const SPEC: [&str; 20] = [
    "ports",
    "selector",
    "clusterIP",
    "clusterIPs",
    "type",
    "externalIPs",
    "sessionAffinity",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "externalName",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "publishNotReadyAddresses",
    "sessionAffinityConfig",
    "ipFamilies",
    "ipFamilyPolicy",
    "allocateLoadBalancerNodePorts",
    "loadBalancerClass",
    "internalTrafficPolicy",
    "trafficDistribution",
];

/// A service as written.
#[derive(Debug)]
pub(crate) struct ServiceObject {
    /// Namespace and name.
    pub(crate) name: ObjectName,
    /// Its `clusterIPs`; none if it is headless or an alias, and then it is not balanced.
    pub(crate) addresses: Vec<(Place, IpAddr)>,
    /// Its ports of TCP and UDP.
    pub(crate) ports: Vec<PortObject>,
    /// Which workloads of its namespace are its endpoints; `None`: it does not select.
    pub(crate) selector: Option<Selector>,
    /// Annotation `windrose.dev/endpoints`.
    pub(crate) endpoints: Option<(Place, Vec<(IpAddr, u8)>)>,
    /// Annotation `windrose.dev/weights`.
    pub(crate) weights: Vec<Weight>,
    /// Annotation `windrose.dev/balancing`.
    pub(crate) balancing: Balancing,
    /// Annotation `windrose.dev/on-endpoint-removed` is `end`.
    pub(crate) ends_removed: bool,
    /// `sessionAffinity: ClientIP`, in seconds.
    pub(crate) affinity_seconds: Option<u32>,
    /// `internalTrafficPolicy: Local`.
    pub(crate) is_local: bool,
    /// What the outside may ask for.
    pub(crate) outside: Outside,
    /// `publishNotReadyAddresses`.
    pub(crate) takes_unready: bool,
    /// Where its name is.
    pub(crate) place: Place,
}

/// An item of `clusterIPs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClusterIp {
    /// `None`: there is no address, DNS names the endpoints.
    Headless,
    Address(IpAddr),
}

/// What a `spec` says.
#[derive(Default)]
struct Spec {
    kind: Kind,
    address: Option<(Mark, ClusterIp)>,
    addresses: Vec<(Mark, ClusterIp)>,
    ports: Vec<PortObject>,
    selector: Option<Selector>,
    is_by_client: bool,
    timeout: Option<u32>,
    is_local: bool,
    takes_unready: bool,
    outside: Written,
}

impl ServiceObject {
    /// Every address at which it is balanced, each once.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (&Place, IpAddr)> {
        let is_own = |address: IpAddr| self.addresses.iter().any(|(_, own)| *own == address);
        let outside = self.outside.addresses.iter().map(|this| (&this.place, this.address));
        let own = self.addresses.iter().map(|(place, address)| (place, *address));
        own.chain(outside.filter(move |(_, address)| !is_own(*address)))
    }

    /// Whether it has an address.
    pub(crate) fn is_balanced(&self) -> bool {
        self.addresses().next().is_some()
    }
}

impl Spec {
    /// The first of its cluster addresses as it is written, `None` too.
    fn address(&self) -> Option<&(Mark, ClusterIp)> {
        self.addresses.first().or(self.address.as_ref())
    }
}

/// Decodes a Service.
pub(super) fn decode(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<ServiceObject> {
    let before = reader.errors();
    let mut metadata = None;
    let mut spec = None;
    let mut status = None;
    reader.fields(
        node,
        "Service",
        &["apiVersion", "kind", "metadata", "spec", "status"],
        |reader, key, entry| match key {
            "metadata" => metadata = Some(&entry.value),
            "spec" => spec = Some((entry.value.mark, decode_spec(reader, &entry.value))),
            "status" => status = Some(&entry.value),
            _ => {}
        },
    );
    if spec.is_none() && reader.errors() == before {
        reader.missing(node.mark, "Service", "spec");
    }
    let meta = meta::decode(reader, node.mark, metadata, Shape::Service)?;
    let (spec_mark, mut spec) = spec?;
    if let Some(status) = status {
        spec.outside.status(reader, status);
    }
    let is_sound = reader.errors() == before;
    let addresses = if is_sound { addresses(reader, spec_mark, &spec) } else { Vec::new() };
    let said = annotations::decode(reader, &meta.annotations);
    let is_headless = addresses.is_empty() && spec.address().is_some();
    let written = std::mem::take(&mut spec.outside);
    let outside = if is_sound {
        written.close(reader, meta.mark, spec.kind, is_headless, &spec.ports, said.forwarding)
    } else {
        Outside::default()
    };
    if reader.errors() != before {
        return None;
    }
    if spec.kind == Kind::Alias {
        reader.warn(meta.mark, "a Service of type ExternalName is a name and no address: it is ignored");
    } else if !(addresses.is_empty() && outside.addresses.is_empty()) && spec.ports.is_empty() {
        reader.warn(meta.mark, "this Service has no port of TCP or UDP: nothing is balanced");
    }
    let is_balanced = !(addresses.is_empty() && outside.addresses.is_empty());
    Some(ServiceObject {
        name: ObjectName { namespace: meta.namespace, name: meta.name },
        addresses: addresses.into_iter().map(|(mark, address)| (reader.place(mark), address)).collect(),
        ports: spec.ports,
        selector: spec.selector.filter(|_| is_balanced),
        endpoints: said.endpoints,
        weights: said.weights,
        balancing: said.balancing,
        ends_removed: said.ends_removed,
        affinity_seconds: spec.is_by_client.then(|| spec.timeout.unwrap_or(DEFAULT_AFFINITY)),
        is_local: spec.is_local,
        outside,
        takes_unready: spec.takes_unready,
        place: reader.place(meta.mark),
    })
}

fn decode_spec(reader: &mut Reader<'_>, node: &Node<'_>) -> Spec {
    let mut spec = Spec::default();
    reader.fields(node, "spec", &SPEC, |reader, key, entry| {
        let value = &entry.value;
        match key {
            "ports" => spec.ports = ports::decode_ports(reader, value),
            "selector" => spec.selector = decode_selector(reader, value),
            // Kubernetes writes "" where there is none.
            "clusterIP" => spec.address = decode_cluster_ip(reader, value).map(|ip| (value.mark, ip)),
            "clusterIPs" => {
                for item in reader.items(value, key) {
                    spec.addresses.extend(decode_cluster_ip(reader, item).map(|ip| (item.mark, ip)));
                }
            }
            "type" => spec.kind = reader.word(value, "type", &Kind::WORDS).unwrap_or_default(),
            "sessionAffinity" => {
                let words = [("None", false), ("ClientIP", true)];
                spec.is_by_client = reader.word(value, key, &words).unwrap_or_default();
            }
            "sessionAffinityConfig" => spec.timeout = decode_timeout(reader, value),
            "internalTrafficPolicy" => {
                let words = [("Cluster", false), ("Local", true)];
                spec.is_local = reader.word(value, key, &words).unwrap_or_default();
            }
            "publishNotReadyAddresses" => spec.takes_unready = reader.boolean(value, key).unwrap_or_default(),
            _ => spec.outside.field(reader, key, entry),
        }
    });
    spec
}

/// `None`: not written.
fn decode_cluster_ip(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<ClusterIp> {
    match reader.text(node, "clusterIP")? {
        "" => None,
        "None" => Some(ClusterIp::Headless),
        _ => decode_address(reader, node).map(ClusterIp::Address),
    }
}

/// The service's addresses; none if it is headless or an alias.
fn addresses(reader: &mut Reader<'_>, mark: Mark, spec: &Spec) -> Vec<(Mark, IpAddr)> {
    if spec.kind == Kind::Alias {
        return Vec::new();
    }
    let all: Vec<(Mark, ClusterIp)> =
        if spec.addresses.is_empty() { spec.address.into_iter().collect() } else { spec.addresses.clone() };
    // Who asks from outside is enough.
    if all.is_empty() && spec.outside.has_address(spec.kind) {
        return Vec::new();
    }
    if let (Some((mark, one)), Some((_, first))) = (spec.address, all.first())
        && one != *first
    {
        reader.error(mark, "clusterIP must be the first of clusterIPs");
    }
    if all.is_empty() {
        let message =
            "the Service has no `clusterIP`, and nobody allocates one here: write an address, or None";
        reader.error(mark, message);
    }
    if all.len() > 2 {
        reader.error(all[2].0, "clusterIPs has more than 2 items: one of each family");
    }
    if let [(_, first), (mark, second)] = all[..] {
        match (first, second) {
            (ClusterIp::Address(first), ClusterIp::Address(second))
                if first.is_ipv4() != second.is_ipv4() => {}
            (ClusterIp::Address(_), ClusterIp::Address(_)) => {
                reader.error(mark, "two clusterIPs must be of different families");
            }
            _ => reader.error(mark, "clusterIPs is [None], or addresses"),
        }
    }
    let mut addresses = Vec::new();
    for (mark, address) in all {
        if let ClusterIp::Address(address) = address {
            addresses.push((mark, address));
        }
    }
    addresses
}

fn decode_selector(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Selector> {
    let mut requirements = Vec::new();
    for (mark, key, value_mark, value) in pairs(reader, node, "selector", LABEL) {
        if let Err(why) = check_label_key(key) {
            reader.error(mark, format!("label {} {why}", quoted(key)));
        }
        if let Err(why) = check_label_value(value) {
            reader.error(value_mark, format!("label value {} {why}", quoted(value)));
        }
        requirements.push(Requirement::In(key.to_owned(), vec![value.to_owned()]));
    }
    requirements.sort();
    // An empty selector selects nothing, as if there were none.
    (!requirements.is_empty()).then_some(Selector { requirements })
}

fn decode_timeout(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<u32> {
    let mut timeout = None;
    reader.fields(node, "sessionAffinityConfig", &["clientIP"], |reader, _, entry| {
        reader.fields(&entry.value, "clientIP", &["timeoutSeconds"], |reader, key, entry| {
            timeout = reader.integer_up_to(&entry.value, key, 1..=LONGEST_AFFINITY);
        });
    });
    timeout
}
