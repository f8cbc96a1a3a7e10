//! `windrose.dev/v1alpha1` Workload.

use std::net::IpAddr;
use std::sync::Arc;

use super::meta::{self, Shape};
use super::node::{Mark, Node};
use super::port::{PROTOCOLS, decode_name, decode_number};
use super::reader::Reader;
use crate::fault::quoted;
use crate::model::{NamedPort, ObjectName, Protocol, Workload};
use crate::place::Place;

/// A workload, with the places of what must be unique over all workloads.
#[derive(Debug)]
pub(crate) struct WorkloadObject {
    /// The workload.
    pub(crate) workload: Arc<Workload>,
    /// Where its cgroup is, if it has one.
    pub(crate) cgroup_place: Option<Place>,
    /// Where each of its addresses is.
    pub(crate) address_places: Vec<Place>,
}

/// What a `spec` says.
#[derive(Default)]
struct Spec {
    cgroup: Option<(Mark, String)>,
    addresses: Vec<(Mark, IpAddr)>,
    ports: Vec<NamedPort>,
}

/// Decodes a Workload.
pub(super) fn decode(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<WorkloadObject> {
    let before = reader.errors();
    let mut metadata = None;
    let mut spec = None;
    reader.fields(node, "Workload", &["apiVersion", "kind", "metadata", "spec"], |reader, key, entry| {
        match key {
            "metadata" => metadata = Some(&entry.value),
            "spec" => spec = Some(decode_spec(reader, &entry.value)),
            _ => {}
        }
    });
    if spec.is_none() && reader.errors() == before {
        reader.missing(node.mark, "Workload", "spec");
    }
    let meta = meta::decode(reader, node.mark, metadata, Shape::Workload);
    let (meta, spec) = (meta?, spec?);
    if reader.errors() != before {
        return None;
    }
    if spec.cgroup.is_none() && spec.addresses.is_empty() {
        reader.warn(meta.mark, "this workload has no cgroup and no address: nothing can be known to be it");
    }
    let (cgroup_place, cgroup) = match spec.cgroup {
        Some((mark, cgroup)) => (Some(reader.place(mark)), Some(cgroup)),
        None => (None, None),
    };
    let workload = Workload {
        name: ObjectName { namespace: meta.namespace, name: meta.name },
        labels: meta.labels,
        cgroup,
        addresses: spec.addresses.iter().map(|&(_, address)| address).collect(),
        ports: spec.ports,
        place: reader.place(meta.mark),
    };
    let address_places = spec.addresses.iter().map(|&(mark, _)| reader.place(mark)).collect();
    Some(WorkloadObject { workload: Arc::new(workload), cgroup_place, address_places })
}

fn decode_spec(reader: &mut Reader<'_>, node: &Node<'_>) -> Spec {
    let mut spec = Spec::default();
    reader.fields(node, "spec", &["cgroup", "addresses", "ports"], |reader, key, entry| match key {
        "cgroup" => {
            spec.cgroup =
                decode_cgroup(reader, &entry.value).map(|cgroup| (entry.value.mark, cgroup.to_owned()));
        }
        "addresses" => {
            for item in reader.items(&entry.value, "addresses") {
                let address = super::address::decode_address(reader, item);
                spec.addresses.extend(address.map(|address| (item.mark, address)));
            }
        }
        _ => {
            let mut places: Vec<(String, Mark)> = Vec::new();
            for item in reader.items(&entry.value, "ports") {
                let Some(port) = decode_port(reader, item) else { continue };
                places.push((port.name.clone(), item.mark));
                spec.ports.push(port);
            }
            refuse_duplicates(reader, places);
        }
    });
    spec
}

fn decode_port(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<NamedPort> {
    let before = reader.errors();
    let mut name = None;
    let mut port = None;
    let mut protocol = Protocol::Tcp;
    reader.fields(node, "a port", &["name", "port", "protocol"], |reader, key, entry| match key {
        "name" => name = decode_name(reader, &entry.value, "name"),
        "port" => port = decode_number(reader, &entry.value, "port"),
        _ => protocol = reader.word(&entry.value, "protocol", &PROTOCOLS).unwrap_or(protocol),
    });
    if reader.errors() == before {
        if name.is_none() {
            reader.missing(node.mark, "a port", "name");
        }
        if port.is_none() {
            reader.missing(node.mark, "a port", "port");
        }
    }
    Some(NamedPort { name: name?.to_owned(), port: port?, protocol })
}

fn refuse_duplicates(reader: &mut Reader<'_>, mut places: Vec<(String, Mark)>) {
    // Stable: of equal names the first as written comes first.
    places.sort_by(|a, b| a.0.cmp(&b.0));
    for group in places.chunk_by(|a, b| a.0 == b.0) {
        for (name, mark) in &group[1..] {
            let first = reader.place(group[0].1);
            reader.error(*mark, format!("port name {} is here twice, first at {first}", quoted(name)));
        }
    }
}

fn decode_cgroup<'n>(reader: &mut Reader<'_>, node: &'n Node<'_>) -> Option<&'n str> {
    let path = reader.text(node, "cgroup")?;
    let below = path.strip_prefix("/sys/fs/cgroup").unwrap_or(path).trim_matches('/');
    let why = if below.is_empty() {
        "names no cgroup below the root".to_owned()
    } else if path != below {
        format!("must be relative to the cgroup root; did you mean {}?", quoted(below))
    } else if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        "must not have empty parts, `.` or `..`".to_owned()
    } else if path.len() > 4_000 || path.split('/').any(|part| part.len() > 255) {
        "is longer than a path can be".to_owned()
    } else if path.chars().any(char::is_control) {
        "must not have control characters".to_owned()
    } else {
        return Some(path);
    };
    reader.error(node.mark, format!("cgroup {} {why}", quoted(path)));
    None
}
