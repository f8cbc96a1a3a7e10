//! Ports of a Service.

use super::super::name::check_label;
use super::super::node::{Mark, Node, ScalarKind, Value};
use super::super::port::{PROTOCOLS, decode_name, decode_number};
use super::super::reader::Reader;
use crate::fault::quoted;
use crate::model::Protocol;
use crate::place::Place;

const PORT: [&str; 6] = ["name", "protocol", "appProtocol", "port", "targetPort", "nodePort"];

/// A port as written.
#[derive(Debug)]
pub(crate) struct PortObject {
    /// Possibly empty.
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) target: Target,
    /// `nodePort`.
    pub(crate) node_port: Option<(Place, u16)>,
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

/// Those of TCP and UDP.
pub(super) fn decode_ports(reader: &mut Reader<'_>, node: &Node<'_>) -> Vec<PortObject> {
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
    let (mut target, mut node_port) = (None, None);
    reader.fields(node, "a port", &PORT, |reader, key, entry| match key {
        "name" => name = decode_port_name(reader, &entry.value).unwrap_or_default(),
        "protocol" => protocol = reader.word(&entry.value, key, &PROTOCOLS).unwrap_or(protocol),
        "port" => port = decode_number(reader, &entry.value, key),
        "nodePort" => {
            let place = reader.place(entry.value.mark);
            node_port = decode_number(reader, &entry.value, key).map(|number| (place, number));
        }
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
        node_port,
        place: reader.place(node.mark),
        target_place: reader.place(mark),
    };
    Some((protocol != Protocol::Sctp, port))
}

/// The name of a service's port: a DNS label, or nothing.
pub(in super::super) fn decode_port_name(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<String> {
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
