//! `v1` Service.

use std::net::IpAddr;

use super::address::decode_address;
use super::meta::{self, LABEL, Shape, pairs};
use super::name::{check_label, check_label_key, check_label_value};
use super::node::{Mark, Node, ScalarKind, Value};
use super::port::{PROTOCOLS, decode_name, decode_number};
use super::reader::Reader;
use crate::fault::quoted;
use crate::model::{Balancing, ObjectName, Protocol, Requirement, Selector};
use crate::place::Place;

mod annotations;

pub(super) use annotations::KEYS;
pub(crate) use annotations::Weighed;
use annotations::Weight;

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

const PORT: [&str; 6] = ["name", "protocol", "appProtocol", "port", "targetPort", "nodePort"];

/// A service as written.
#[derive(Debug)]
pub(crate) struct ServiceObject {
    /// Namespace and name.
    pub(crate) name: ObjectName,
    /// Its addresses; none if it is headless or an alias, and then it is not balanced.
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
    /// `publishNotReadyAddresses`.
    pub(crate) takes_unready: bool,
    /// Where its name is.
    pub(crate) place: Place,
}

/// A port as written.
#[derive(Debug)]
pub(crate) struct PortObject {
    /// Possibly empty.
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) target: Target,
    /// Where it begins.
    pub(crate) place: Place,
    /// Where its target is.
    pub(crate) target_place: Place,
}

/// A `targetPort`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The same port at each endpoint.
    Number(u16),
    /// What each workload calls so.
    Name(String),
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
#[expect(clippy::struct_excessive_bools, reason = "independent fields of upstream's, not a state")]
struct Spec {
    is_alias: bool,
    address: Option<(Mark, ClusterIp)>,
    addresses: Vec<(Mark, ClusterIp)>,
    ports: Vec<PortObject>,
    selector: Option<Selector>,
    is_by_client: bool,
    timeout: Option<u32>,
    is_local: bool,
    takes_unready: bool,
}

/// Decodes a Service. `status` and what concerns traffic from outside mean nothing here.
pub(super) fn decode(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<ServiceObject> {
    let before = reader.errors();
    let mut metadata = None;
    let mut spec = None;
    reader.fields(
        node,
        "Service",
        &["apiVersion", "kind", "metadata", "spec", "status"],
        |reader, key, entry| match key {
            "metadata" => metadata = Some(&entry.value),
            "spec" => spec = Some((entry.value.mark, decode_spec(reader, &entry.value))),
            _ => {}
        },
    );
    if spec.is_none() && reader.errors() == before {
        reader.missing(node.mark, "Service", "spec");
    }
    let meta = meta::decode(reader, node.mark, metadata, Shape::Service)?;
    let (spec_mark, spec) = spec?;
    let addresses = if reader.errors() == before { addresses(reader, spec_mark, &spec) } else { Vec::new() };
    let said = annotations::decode(reader, &meta.annotations);
    if reader.errors() != before {
        return None;
    }
    if spec.is_alias {
        reader.warn(meta.mark, "a Service of type ExternalName is a name and no address: it is ignored");
    } else if !addresses.is_empty() && spec.ports.is_empty() {
        reader.warn(meta.mark, "this Service has no port of TCP or UDP: nothing is balanced");
    }
    let is_balanced = !addresses.is_empty();
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
        takes_unready: spec.takes_unready,
        place: reader.place(meta.mark),
    })
}

fn decode_spec(reader: &mut Reader<'_>, node: &Node<'_>) -> Spec {
    const TYPES: [(&str, bool); 4] =
        [("ClusterIP", false), ("NodePort", false), ("LoadBalancer", false), ("ExternalName", true)];
    let mut spec = Spec::default();
    reader.fields(node, "spec", &SPEC, |reader, key, entry| {
        let value = &entry.value;
        match key {
            "ports" => spec.ports = decode_ports(reader, value),
            "selector" => spec.selector = decode_selector(reader, value),
            // Kubernetes writes "" where there is none.
            "clusterIP" => spec.address = decode_cluster_ip(reader, value).map(|ip| (value.mark, ip)),
            "clusterIPs" => {
                for item in reader.items(value, key) {
                    spec.addresses.extend(decode_cluster_ip(reader, item).map(|ip| (item.mark, ip)));
                }
            }
            "type" => spec.is_alias = reader.word(value, "type", &TYPES).unwrap_or_default(),
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
            _ => {}
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
    if spec.is_alias {
        return Vec::new();
    }
    let all: Vec<(Mark, ClusterIp)> =
        if spec.addresses.is_empty() { spec.address.into_iter().collect() } else { spec.addresses.clone() };
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

fn decode_ports(reader: &mut Reader<'_>, node: &Node<'_>) -> Vec<PortObject> {
    let items = reader.items(node, "ports");
    let mut ports: Vec<(Mark, PortObject)> = Vec::new();
    for item in items {
        let Some((is_balanced, port)) = decode_port(reader, item, items.len() > 1) else { continue };
        let twice = ports.iter().find_map(|(mark, other)| {
            let is_same = other.port == port.port && other.protocol == port.protocol;
            let of_name = !port.name.is_empty() && other.name == port.name;
            (is_same || of_name).then(|| {
                let what = if of_name {
                    format!("port name {}", quoted(&port.name))
                } else {
                    format!("port {} of the same protocol", port.port)
                };
                (what, *mark)
            })
        });
        if let Some((what, first)) = twice {
            let first = reader.place(first);
            reader.error(item.mark, format!("{what} is here twice, first at {first}"));
        } else if is_balanced {
            ports.push((item.mark, port));
        } else {
            reader.warn(item.mark, "SCTP is not balanced: this port is ignored");
        }
    }
    ports.into_iter().map(|(_, port)| port).collect()
}

fn decode_port(reader: &mut Reader<'_>, node: &Node<'_>, is_one_of_many: bool) -> Option<(bool, PortObject)> {
    let before = reader.errors();
    let mut name = String::new();
    let mut protocol = Protocol::Tcp;
    let mut port = None;
    let mut target = None;
    reader.fields(node, "a port", &PORT, |reader, key, entry| match key {
        "name" => name = decode_port_name(reader, &entry.value).unwrap_or_default(),
        "protocol" => protocol = reader.word(&entry.value, key, &PROTOCOLS).unwrap_or(protocol),
        "port" => port = decode_number(reader, &entry.value, key),
        "targetPort" => {
            target = decode_target(reader, &entry.value).map(|target| (entry.value.mark, target));
        }
        _ => {}
    });
    if reader.errors() == before {
        if port.is_none() {
            reader.missing(node.mark, "a port", "port");
        }
        if name.is_empty() && is_one_of_many {
            reader.error(node.mark, "a port has no `name`, which is required where there are several");
        }
    }
    let port = port?;
    let (mark, target) = target.unwrap_or((node.mark, Target::Number(port)));
    let port = PortObject {
        name,
        port,
        protocol,
        target,
        place: reader.place(node.mark),
        target_place: reader.place(mark),
    };
    Some((protocol != Protocol::Sctp, port))
}

/// The name of a service's port: a DNS label, or nothing.
pub(super) fn decode_port_name(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<String> {
    let name = reader.text(node, "name")?;
    if !name.is_empty()
        && let Err(why) = check_label(name)
    {
        reader.error(node.mark, format!("name {} {why}", quoted(name)));
        return None;
    }
    Some(name.to_owned())
}

fn decode_target(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Target> {
    match &node.value {
        Value::Scalar(scalar) if scalar.kind() == ScalarKind::Integer => {
            decode_number(reader, node, "targetPort").map(Target::Number)
        }
        Value::Scalar(scalar) if !scalar.is_plain && scalar.text.parse::<u16>().is_ok() => {
            let text = quoted(&scalar.text);
            reader.error(node.mark, format!("targetPort {text} in quotes is a name: take the quotes away"));
            None
        }
        _ => decode_name(reader, node, "targetPort").map(|name| Target::Name(name.to_owned())),
    }
}
