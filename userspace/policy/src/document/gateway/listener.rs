//! `gateway.networking.k8s.io/v1` `GatewayClass` and `Gateway`.

use std::net::IpAddr;

use super::super::meta::{self, Shape};
use super::super::node::{Entry, Mark, Node};
use super::super::port::decode_number;
use super::super::reader::Reader;
use super::super::{address, selector};
use super::reference::{GROUP, decode_kind, decode_secret};
use super::text::{decode_hostname, decode_section};
use crate::fault::quoted;
use crate::model::{
    CONTROLLER, Gateway, GatewayClass, Hostname, Listener, ListenerProtocol, ObjectName, RouteNamespaces,
    SecretRef, Selector,
};

/// Decodes a `GatewayClass`.
pub(in crate::document) fn decode_class(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<GatewayClass> {
    let before = reader.errors();
    let mut metadata = None;
    let mut controller = None;
    let mut has_parameters = false;
    let mut spec = node.mark;
    let fields = ["apiVersion", "kind", "metadata", "spec", "status"];
    reader.fields(node, "GatewayClass", &fields, |reader, key, entry| match key {
        "metadata" => metadata = Some(&entry.value),
        "spec" => {
            spec = entry.value.mark;
            let fields = ["controllerName", "parametersRef", "description"];
            reader.fields(&entry.value, key, &fields, |reader, key, entry| match key {
                "controllerName" => {
                    controller = decode_controller(reader, &entry.value);
                }
                "parametersRef" => has_parameters = true,
                _ => {}
            });
        }
        _ => {}
    });
    if controller.is_none() && reader.errors() == before {
        reader.missing(spec, "GatewayClass", "spec.controllerName");
    }
    let meta = meta::decode(reader, node.mark, metadata, Shape::ClusterObject)?;
    if reader.errors() != before {
        return None;
    }
    Some(GatewayClass {
        name: meta.name,
        controller: controller?,
        has_parameters,
        place: reader.place(meta.mark),
    })
}

fn decode_controller(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<String> {
    let text = reader.text(node, "controllerName")?;
    let is_valid = text
        .split_once('/')
        .is_some_and(|(domain, path)| domain.contains('.') && !path.is_empty() && text.len() <= 253);
    if !is_valid {
        let message = format!(
            "controllerName {} must be a domain, `/` and a path; ours is `{CONTROLLER}`",
            quoted(text)
        );
        reader.error(node.mark, message);
        return None;
    }
    if text != CONTROLLER && text.starts_with("windrose.dev/") {
        reader.unknown(node.mark, "controllerName", text, "", &[CONTROLLER]);
        return None;
    }
    Some(text.to_owned())
}

/// What a gateway's `spec` says.
#[derive(Default)]
struct Spec {
    class: Option<String>,
    listeners: Option<Vec<(Mark, Listener)>>,
    addresses: Vec<IpAddr>,
    has_named_address: bool,
}

/// Decodes a `Gateway`.
pub(in crate::document) fn decode(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Gateway> {
    let before = reader.errors();
    let mut metadata = None;
    let mut spec = None;
    let fields = ["apiVersion", "kind", "metadata", "spec", "status"];
    reader.fields(node, "Gateway", &fields, |_, key, entry| match key {
        "metadata" => metadata = Some(&entry.value),
        "spec" => spec = Some(&entry.value),
        _ => {}
    });
    let meta = meta::decode(reader, node.mark, metadata, Shape::Workload);
    // Without a name the rest is read all the same: all faults in one run.
    let namespace = meta.as_ref().map_or("default", |meta| &meta.namespace);
    let Some(spec) = spec.map(|spec| decode_spec(reader, spec, namespace)) else {
        if reader.errors() == before {
            reader.missing(node.mark, "Gateway", "spec");
        }
        return None;
    };
    let meta = meta?;
    if reader.errors() != before {
        return None;
    }
    let mut addresses = spec.addresses;
    addresses.sort_unstable();
    addresses.dedup();
    Some(Gateway {
        name: ObjectName { namespace: meta.namespace, name: meta.name },
        class: spec.class?,
        created: meta.created,
        listeners: spec.listeners?.into_iter().map(|(_, listener)| listener).collect(),
        addresses,
        has_named_address: spec.has_named_address,
        place: reader.place(meta.mark),
    })
}

fn decode_spec(reader: &mut Reader<'_>, node: &Node<'_>, namespace: &str) -> Spec {
    const FIELDS: [&str; 6] =
        ["gatewayClassName", "listeners", "addresses", "infrastructure", "allowedListeners", "tls"];
    let before = reader.errors();
    let mut spec = Spec::default();
    reader.fields(node, "spec", &FIELDS, |reader, key, entry| match key {
        "gatewayClassName" => spec.class = decode_section(reader, &entry.value, key),
        "listeners" => {
            let mut listeners = Vec::new();
            for item in reader.bounded_items(&entry.value, key, 1..=64) {
                listeners.extend(decode_listener(reader, item, namespace).map(|found| (item.mark, found)));
            }
            refuse_twins(reader, &listeners);
            spec.listeners = Some(listeners);
        }
        "addresses" => decode_addresses(reader, &entry.value, &mut spec),
        // Labels and annotations for what a cluster makes for a gateway: here nothing is made.
        "infrastructure" => {}
        _ => {
            let message = format!("`{key}` of a Gateway is not served by this version: remove it");
            reader.error(entry.mark, message);
        }
    });
    if reader.errors() == before {
        if spec.class.is_none() {
            reader.missing(node.mark, "spec", "gatewayClassName");
        }
        if spec.listeners.is_none() {
            reader.missing(node.mark, "spec", "listeners");
        }
    }
    spec
}

fn decode_addresses(reader: &mut Reader<'_>, node: &Node<'_>, spec: &mut Spec) {
    const TYPES: [(&str, bool); 3] = [("IPAddress", true), ("Hostname", false), ("NamedAddress", false)];
    for item in reader.bounded_items(node, "addresses", 0..=16) {
        let mut is_address = true;
        let mut value = None;
        reader.fields(item, "an address", &["type", "value"], |reader, key, entry| match key {
            "type" => is_address = reader.word(&entry.value, key, &TYPES).unwrap_or(is_address),
            _ => value = Some(&entry.value),
        });
        match value {
            Some(value) if is_address => {
                spec.addresses.extend(address::decode_address(reader, value));
            }
            Some(_) => spec.has_named_address = true,
            // Upstream: an address of no value is any address of the type.
            None => {}
        }
    }
}

/// Names, and (port, protocol, hostname), are unique in a gateway.
fn refuse_twins(reader: &mut Reader<'_>, listeners: &[(Mark, Listener)]) {
    for (index, (mark, listener)) in listeners.iter().enumerate() {
        let mut before = listeners[..index].iter();
        if let Some((first, _)) = before.clone().find(|(_, other)| other.name == listener.name) {
            let first = reader.place(*first);
            reader
                .error(*mark, format!("listener {} is here twice, first at {first}", quoted(&listener.name)));
        } else if let Some((first, other)) = before.find(|(_, other)| {
            (other.port, other.protocol.name(), &other.hostname)
                == (listener.port, listener.protocol.name(), &listener.hostname)
        }) {
            let first = reader.place(*first);
            let message = format!(
                "this listener has the port, protocol and hostname of listener {}, at {first}",
                quoted(&other.name)
            );
            reader.error(*mark, message);
        }
    }
}

/// What upstream calls protocols; TLS is one of two by its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Http,
    Https,
    Tls,
    Tcp,
    Udp,
}

/// A listener's `tls`.
#[derive(Default)]
struct Tls {
    passes: Option<bool>,
    certificates: Vec<SecretRef>,
}

fn decode_listener(reader: &mut Reader<'_>, node: &Node<'_>, namespace: &str) -> Option<Listener> {
    const FIELDS: [&str; 6] = ["name", "hostname", "port", "protocol", "tls", "allowedRoutes"];
    const PROTOCOLS: [(&str, Spoken); 5] = [
        ("HTTP", Spoken::Http),
        ("HTTPS", Spoken::Https),
        ("TLS", Spoken::Tls),
        ("TCP", Spoken::Tcp),
        ("UDP", Spoken::Udp),
    ];
    let before = reader.errors();
    let (mut name, mut port, mut spoken) = (None, None, None);
    let mut hostname: Option<(Mark, Hostname)> = None;
    let mut tls: Option<(&Entry<'_>, Tls)> = None;
    let mut namespaces = RouteNamespaces::Same;
    let mut kinds = None;
    reader.fields(node, "a listener", &FIELDS, |reader, key, entry| match key {
        "name" => name = decode_section(reader, &entry.value, key),
        // Kubernetes writes "" where there is none.
        "hostname" if reader.text(&entry.value, key) == Some("") => {}
        "hostname" => hostname = decode_hostname(reader, &entry.value).map(|found| (entry.mark, found)),
        "port" => port = decode_number(reader, &entry.value, key),
        "protocol" => spoken = reader.word(&entry.value, key, &PROTOCOLS),
        "tls" => tls = Some((entry, decode_tls(reader, &entry.value, namespace))),
        _ => (namespaces, kinds) = decode_allowed(reader, &entry.value),
    });
    if reader.errors() != before {
        return None;
    }
    for (is_missing, field) in
        [(name.is_none(), "name"), (port.is_none(), "port"), (spoken.is_none(), "protocol")]
    {
        if is_missing {
            reader.missing(node.mark, "a listener", field);
        }
    }
    let spoken = spoken?;
    let protocol = protocol(reader, node, spoken, tls.as_ref())?;
    if let (Spoken::Tcp | Spoken::Udp, Some((mark, _))) = (spoken, &hostname) {
        reader.error(*mark, "a listener of TCP or UDP has no `hostname`: nothing in the bytes says one");
    }
    Some(Listener {
        name: name?,
        hostname: hostname.map(|(_, hostname)| hostname),
        port: port?,
        protocol,
        certificates: tls.map(|(_, tls)| tls.certificates).unwrap_or_default(),
        namespaces,
        kinds,
        place: reader.place(node.mark),
    })
}

fn protocol(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    spoken: Spoken,
    tls: Option<&(&Entry<'_>, Tls)>,
) -> Option<ListenerProtocol> {
    match (spoken, tls) {
        (Spoken::Http, None) => Some(ListenerProtocol::Http),
        (Spoken::Tcp, None) => Some(ListenerProtocol::Tcp),
        (Spoken::Udp, None) => Some(ListenerProtocol::Udp),
        (Spoken::Http | Spoken::Tcp | Spoken::Udp, Some((entry, _))) => {
            reader.error(entry.mark, "`tls` belongs to listeners of HTTPS and TLS");
            None
        }
        (Spoken::Https | Spoken::Tls, None) => {
            reader.missing(node.mark, "a listener of HTTPS or TLS", "tls");
            None
        }
        (Spoken::Https, Some((entry, tls))) => {
            if tls.passes == Some(true) {
                reader.error(entry.mark, "HTTPS ends here: mode `Passthrough` belongs to a listener of TLS");
                return None;
            }
            needs_certificates(reader, entry, tls).then_some(ListenerProtocol::Https)
        }
        (Spoken::Tls, Some((entry, tls))) => match tls.passes {
            None => {
                reader.missing(entry.mark, "the `tls` of a listener of TLS", "mode");
                None
            }
            Some(true) => Some(ListenerProtocol::TlsPassthrough),
            Some(false) => needs_certificates(reader, entry, tls).then_some(ListenerProtocol::TlsTerminate),
        },
    }
}

fn needs_certificates(reader: &mut Reader<'_>, entry: &Entry<'_>, tls: &Tls) -> bool {
    if tls.certificates.is_empty() {
        reader.missing(entry.mark, "`tls` of mode Terminate", "certificateRefs");
    }
    !tls.certificates.is_empty()
}

fn decode_tls(reader: &mut Reader<'_>, node: &Node<'_>, namespace: &str) -> Tls {
    let mut tls = Tls::default();
    reader.fields(node, "tls", &["mode", "certificateRefs", "options"], |reader, key, entry| match key {
        "mode" => {
            tls.passes = reader.word(&entry.value, key, &[("Terminate", false), ("Passthrough", true)]);
        }
        "certificateRefs" => {
            for item in reader.bounded_items(&entry.value, key, 0..=64) {
                tls.certificates.extend(decode_secret(reader, item, namespace));
            }
        }
        _ => {
            for option in reader.entries(&entry.value, key) {
                let message = format!("unknown TLS option {}: we have none", quoted(&option.key.text));
                reader.error(option.mark, message);
            }
        }
    });
    tls
}

type Kinds = Option<Vec<(String, String)>>;

fn decode_allowed(reader: &mut Reader<'_>, node: &Node<'_>) -> (RouteNamespaces, Kinds) {
    let mut namespaces = RouteNamespaces::Same;
    let mut kinds = None;
    reader.fields(node, "allowedRoutes", &["namespaces", "kinds"], |reader, key, entry| {
        if key == "namespaces" {
            namespaces = decode_namespaces(reader, &entry.value).unwrap_or(RouteNamespaces::Same);
            return;
        }
        let mut found = Vec::new();
        for item in reader.bounded_items(&entry.value, key, 0..=8) {
            let (mut group, mut kind) = (GROUP.to_owned(), None);
            reader.fields(item, "a kind", &["group", "kind"], |reader, key, entry| {
                if key == "group" {
                    reader.text(&entry.value, key).unwrap_or(GROUP).clone_into(&mut group);
                } else {
                    kind = decode_kind(reader, &entry.value);
                }
            });
            match kind {
                Some(kind) => found.push((group, kind)),
                None => reader.missing(item.mark, "a kind", "kind"),
            }
        }
        kinds = (!found.is_empty()).then_some(found);
    });
    (namespaces, kinds)
}

fn decode_namespaces(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<RouteNamespaces> {
    #[derive(Clone, Copy, PartialEq)]
    enum From {
        All,
        Same,
        Selector,
    }
    const WORDS: [(&str, From); 3] = [("All", From::All), ("Same", From::Same), ("Selector", From::Selector)];
    let mut from = From::Same;
    let mut selector: Option<(Mark, Selector)> = None;
    let before = reader.errors();
    reader.fields(node, "namespaces", &["from", "selector"], |reader, key, entry| {
        if key == "from" {
            from = reader.word(&entry.value, key, &WORDS).unwrap_or(from);
        } else {
            selector = Some((entry.mark, selector::decode(reader, &entry.value, key)));
        }
    });
    if reader.errors() != before {
        return None;
    }
    match (from, selector) {
        (From::All, None) => Some(RouteNamespaces::All),
        (From::Same, None) => Some(RouteNamespaces::Same),
        (From::Selector, Some((_, selector))) => Some(RouteNamespaces::Selector(selector)),
        (From::Selector, None) => {
            reader.missing(node.mark, "namespaces with `from: Selector`", "selector");
            None
        }
        (From::All | From::Same, Some((mark, _))) => {
            reader.error(mark, "`selector` means something only with `from: Selector`");
            None
        }
    }
}
