//! `discovery.k8s.io/v1` `EndpointSlice`.

use std::net::IpAddr;

use super::address::decode_address;
use super::meta::{self, Shape};
use super::node::Node;
use super::port::{PROTOCOLS, decode_number};
use super::reader::Reader;
use super::service::decode_port_name;
use crate::model::{ObjectName, Protocol};
use crate::place::Place;

/// The label that names the service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

const ENDPOINT: [&str; 8] =
    ["addresses", "conditions", "hostname", "targetRef", "deprecatedTopology", "nodeName", "zone", "hints"];

/// A slice as written.
#[derive(Debug)]
pub(crate) struct SliceObject {
    /// Namespace and name.
    pub(crate) name: ObjectName,
    /// The service of its namespace whose endpoints it has; `None`: nobody's.
    pub(crate) service: Option<String>,
    /// Its endpoints.
    pub(crate) endpoints: Vec<SliceEndpoint>,
    /// Its ports.
    pub(crate) ports: Vec<SlicePort>,
    /// Where its name is.
    pub(crate) place: Place,
}

/// One endpoint.
#[derive(Debug)]
pub(crate) struct SliceEndpoint {
    /// The first of `addresses`.
    pub(crate) address: IpAddr,
    /// `conditions.ready`.
    pub(crate) is_ready: bool,
    /// `conditions.terminating`.
    pub(crate) is_terminating: bool,
    /// `targetRef.name`, of the slice's namespace.
    pub(crate) target: Option<String>,
}

/// One port of every endpoint of a slice.
#[derive(Debug)]
pub(crate) struct SlicePort {
    /// That of the service's port; possibly empty.
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
}

/// The family that `addressType` says; `None` is FQDN.
type Family = Option<bool>;

/// Decodes an `EndpointSlice`.
pub(super) fn decode(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<SliceObject> {
    const TYPES: [(&str, Family); 3] = [("IPv4", Some(false)), ("IPv6", Some(true)), ("FQDN", None)];
    let before = reader.errors();
    let mut metadata = None;
    let mut family = None;
    let mut endpoints = None;
    let mut ports = Vec::new();
    reader.fields(
        node,
        "EndpointSlice",
        &["apiVersion", "kind", "metadata", "addressType", "endpoints", "ports"],
        |reader, key, entry| match key {
            "metadata" => metadata = Some(&entry.value),
            "addressType" => family = reader.word(&entry.value, key, &TYPES),
            "endpoints" => endpoints = Some(&entry.value),
            "ports" => ports = decode_ports(reader, &entry.value),
            _ => {}
        },
    );
    if family.is_none() && reader.errors() == before {
        reader.missing(node.mark, "EndpointSlice", "addressType");
    }
    let meta = meta::decode(reader, node.mark, metadata, Shape::Workload)?;
    let mut found = Vec::new();
    match (family?, endpoints) {
        (Some(is_v6), Some(list)) => {
            for item in reader.items(list, "endpoints") {
                found.extend(decode_endpoint(reader, item, is_v6));
            }
        }
        (Some(_), None) => {}
        (None, _) => {
            reader.warn(meta.mark, "endpoints of addressType FQDN are names and no addresses: ignored");
        }
    }
    if reader.errors() != before {
        return None;
    }
    let service = meta.labels.get(SERVICE_LABEL).cloned();
    if service.is_none() {
        let message = format!("this EndpointSlice has no label `{SERVICE_LABEL}`: it is nobody's");
        reader.warn(meta.mark, message);
    }
    Some(SliceObject {
        name: ObjectName { namespace: meta.namespace, name: meta.name },
        service,
        endpoints: found,
        ports,
        place: reader.place(meta.mark),
    })
}

fn decode_endpoint(reader: &mut Reader<'_>, node: &Node<'_>, is_v6: bool) -> Option<SliceEndpoint> {
    const CONDITIONS: [&str; 3] = ["ready", "serving", "terminating"];
    const TARGET: [&str; 7] =
        ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];
    let before = reader.errors();
    let mut address = None;
    let mut target = None;
    // What is not said is meant well (EndpointConditions in the API's reference).
    let (mut is_ready, mut is_terminating) = (true, false);
    reader.fields(node, "an endpoint", &ENDPOINT, |reader, key, entry| match key {
        "addresses" => {
            let items = reader.bounded_items(&entry.value, key, 1..=100);
            address = items.first().and_then(|first| {
                let address = decode_address(reader, first)?;
                if address.is_ipv6() == is_v6 {
                    return Some(address);
                }
                let message = format!("`{address}` is not of the slice's addressType");
                reader.error(first.mark, message);
                None
            });
            if let Some(second) = items.get(1) {
                reader.warn(second.mark, "only the first address of an endpoint means something");
            }
        }
        "conditions" => {
            reader.fields(&entry.value, key, &CONDITIONS, |reader, key, entry| {
                let is = reader.boolean(&entry.value, key);
                match (key, is) {
                    ("ready", Some(is)) => is_ready = is,
                    ("terminating", Some(is)) => is_terminating = is,
                    _ => {}
                }
            });
        }
        "targetRef" => {
            reader.fields(&entry.value, key, &TARGET, |reader, key, entry| {
                if key == "name" {
                    target = reader.text(&entry.value, key).map(ToOwned::to_owned);
                }
            });
        }
        _ => {}
    });
    if address.is_none() && reader.errors() == before {
        reader.missing(node.mark, "an endpoint", "addresses");
    }
    Some(SliceEndpoint { address: address?, is_ready, is_terminating, target })
}

fn decode_ports(reader: &mut Reader<'_>, node: &Node<'_>) -> Vec<SlicePort> {
    let mut ports = Vec::new();
    for item in reader.items(node, "ports") {
        let mut name = String::new();
        let mut protocol = Protocol::Tcp;
        let mut port = None;
        let before = reader.errors();
        reader.fields(item, "a port", &["name", "protocol", "port", "appProtocol"], |reader, key, entry| {
            match key {
                "name" => name = decode_port_name(reader, &entry.value).unwrap_or_default(),
                "protocol" => protocol = reader.word(&entry.value, key, &PROTOCOLS).unwrap_or(protocol),
                "port" => port = decode_number(reader, &entry.value, key),
                _ => {}
            }
        });
        match port {
            Some(port) => ports.push(SlicePort { name, port, protocol }),
            // To upstream's proxies, too, a port without a number means nothing.
            None if reader.errors() == before => {
                reader.warn(item.mark, "a port of an EndpointSlice without `port` is ignored");
            }
            None => {}
        }
    }
    ports
}
