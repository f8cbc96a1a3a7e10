//! Ports of rules, in the shape of a `NetworkPolicy` and of a `ClusterNetworkPolicy`.

use super::name::check_port_name;
use super::node::{Node, ScalarKind, Value};
use super::reader::Reader;
use crate::fault::quoted;
use crate::model::{PortMatch, Protocol};

/// The protocols by the names that Kubernetes gives them.
pub(super) const PROTOCOLS: [(&str, Protocol); 3] =
    [("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)];

/// A port number.
pub(super) fn decode_number(reader: &mut Reader<'_>, node: &Node<'_>, what: &str) -> Option<u16> {
    reader.integer(node, what, 1..=u16::MAX)
}

/// A port name.
pub(super) fn decode_name<'n>(reader: &mut Reader<'_>, node: &'n Node<'_>, what: &str) -> Option<&'n str> {
    let name = reader.text(node, what)?;
    if let Err(why) = check_port_name(name) {
        reader.error(node.mark, format!("{what} {} {why}", quoted(name)));
        return None;
    }
    Some(name)
}

/// A port as written.
enum Port<'n> {
    Number(u16),
    Name(&'n str),
}

/// One item of a `NetworkPolicy` rule's `ports`.
pub(super) fn decode_network(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<PortMatch> {
    let before = reader.errors();
    let mut protocol = Protocol::Tcp;
    let mut port = None;
    let mut end = None;
    reader.fields(node, "a port", &["protocol", "port", "endPort"], |reader, key, entry| match key {
        "protocol" => {
            protocol = reader.word(&entry.value, "protocol", &PROTOCOLS).unwrap_or(protocol);
        }
        "port" => port = decode_number_or_name(reader, &entry.value),
        _ => end = decode_number(reader, &entry.value, "endPort").map(|end| (entry.mark, end)),
    });
    if reader.errors() != before {
        return None;
    }
    match (port, end) {
        (None, None) => Some(PortMatch::Any { protocol }),
        (Some(Port::Number(first)), None) => Some(PortMatch::Range { protocol, first, last: first }),
        (Some(Port::Number(first)), Some((_, last))) if last >= first => {
            Some(PortMatch::Range { protocol, first, last })
        }
        (Some(Port::Number(first)), Some((mark, last))) => {
            reader.error(mark, format!("endPort {last} is less than port {first}"));
            None
        }
        (Some(Port::Name(name)), None) => {
            Some(PortMatch::Named { protocol: Some(protocol), name: name.to_owned() })
        }
        (Some(Port::Name(_)), Some((mark, _))) => {
            reader.error(mark, "endPort needs a numeric `port`, not a named one");
            None
        }
        (None, Some((mark, _))) => {
            reader.error(mark, "endPort needs a `port` to begin with");
            None
        }
    }
}

fn decode_number_or_name<'n>(reader: &mut Reader<'_>, node: &'n Node<'_>) -> Option<Port<'n>> {
    match &node.value {
        Value::Scalar(scalar) if scalar.kind() == ScalarKind::Integer => {
            decode_number(reader, node, "port").map(Port::Number)
        }
        Value::Scalar(scalar) if !scalar.is_plain && scalar.text.parse::<u16>().is_ok() => {
            let text = quoted(&scalar.text);
            reader.error(node.mark, format!("port {text} in quotes is a name: take the quotes away"));
            None
        }
        Value::Scalar(scalar) if scalar.kind() == ScalarKind::Text => {
            decode_name(reader, node, "port").map(Port::Name)
        }
        _ => {
            let message = format!("port must be a number or the name of a port, not {}", node.describe());
            reader.error(node.mark, message);
            None
        }
    }
}

/// One item of a `ClusterNetworkPolicy` rule's `protocols`.
pub(super) fn decode_cluster(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<PortMatch> {
    const FIELDS: [&str; 4] = ["tcp", "udp", "sctp", "destinationNamedPort"];
    let before = reader.errors();
    let mut count = 0;
    let mut port = None;
    reader.fields(node, "a protocol", &FIELDS, |reader, key, entry| {
        count += 1;
        port = match key {
            "tcp" => decode_destination(reader, &entry.value, key, Protocol::Tcp),
            "udp" => decode_destination(reader, &entry.value, key, Protocol::Udp),
            "sctp" => decode_destination(reader, &entry.value, key, Protocol::Sctp),
            _ => decode_name(reader, &entry.value, key)
                .map(|name| PortMatch::Named { protocol: None, name: name.to_owned() }),
        };
    });
    if reader.errors() != before {
        return None;
    }
    exactly_one(reader, node, count, "a protocol", &FIELDS)?;
    port
}

/// `{destinationPort: {number: N}}` or `{destinationPort: {range: {start: N, end: N}}}`.
fn decode_destination(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    what: &str,
    protocol: Protocol,
) -> Option<PortMatch> {
    let before = reader.errors();
    let mut ports = None;
    let mut is_there = false;
    reader.fields(node, what, &["destinationPort"], |reader, _, entry| {
        is_there = true;
        let mut count = 0;
        reader.fields(&entry.value, "destinationPort", &["number", "range"], |reader, key, entry| {
            count += 1;
            ports = if key == "number" {
                decode_number(reader, &entry.value, "number").map(|port| (port, port))
            } else {
                decode_range(reader, &entry.value)
            };
        });
        if ports.is_some() || count == 0 {
            exactly_one(reader, &entry.value, count, "destinationPort", &["number", "range"]);
        }
    });
    if !is_there && reader.errors() == before {
        reader.missing(node.mark, what, "destinationPort");
    }
    let (first, last) = ports?;
    Some(PortMatch::Range { protocol, first, last })
}

fn decode_range(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<(u16, u16)> {
    let before = reader.errors();
    let (mut start, mut end) = (None, None);
    reader.fields(node, "range", &["start", "end"], |reader, key, entry| {
        let bound = if key == "start" { &mut start } else { &mut end };
        *bound = decode_number(reader, &entry.value, key);
    });
    if reader.errors() != before {
        return None;
    }
    match (start, end) {
        (Some(start), Some(end)) if start < end => Some((start, end)),
        (Some(start), Some(end)) => {
            reader.error(node.mark, format!("range start {start} must be less than its end {end}"));
            None
        }
        (None, _) => {
            reader.missing(node.mark, "range", "start");
            None
        }
        (_, None) => {
            reader.missing(node.mark, "range", "end");
            None
        }
    }
}

/// Records a fault unless exactly one of `fields` was there.
pub(super) fn exactly_one(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    count: usize,
    what: &str,
    fields: &[&str],
) -> Option<()> {
    if count == 1 {
        return Some(());
    }
    let message = format!(
        "{what} must have exactly one of {}, not {count}",
        super::reader::one_of(fields).replace(" or ", " and ")
    );
    reader.error(node.mark, message);
    None
}
