//! The filters of an `HTTPRoute`'s rules and backends.

use super::super::node::{Entry, Mark, Node};
use super::super::port::decode_number;
use super::super::reader::Reader;
use super::cors;
use super::reference::Target;
use super::text::{decode_header_name, decode_header_value, decode_path, decode_precise_hostname};
use crate::fault::quoted;
use crate::model::{BackendRef, Filter, HeaderChange, Mirror, PathChange, Redirect, Rewrite};

/// A filter's `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    RequestHeaders,
    ResponseHeaders,
    Redirect,
    Rewrite,
    Mirror,
    Cors,
    Extension,
    ExternalAuth,
}

/// Each with the field that says more.
const TYPES: [(&str, Type, &str); 8] = [
    ("RequestHeaderModifier", Type::RequestHeaders, "requestHeaderModifier"),
    ("ResponseHeaderModifier", Type::ResponseHeaders, "responseHeaderModifier"),
    ("RequestRedirect", Type::Redirect, "requestRedirect"),
    ("URLRewrite", Type::Rewrite, "urlRewrite"),
    ("RequestMirror", Type::Mirror, "requestMirror"),
    ("CORS", Type::Cors, "cors"),
    ("ExtensionRef", Type::Extension, "extensionRef"),
    ("ExternalAuth", Type::ExternalAuth, "externalAuth"),
];

/// A filter and where it begins.
pub(super) type Found = (Mark, Filter);

/// `filters`. At most one of each type but mirrors, and no redirect beside a rewrite.
pub(super) fn decode_all(reader: &mut Reader<'_>, node: &Node<'_>, namespace: &str) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for item in reader.bounded_items(node, "filters", 0..=16) {
        let Some(filter) = decode(reader, item, namespace) else { continue };
        let is_twice = !matches!(filter, Filter::Mirror(_))
            && found
                .iter()
                .any(|(_, other)| std::mem::discriminant(other) == std::mem::discriminant(&filter));
        let excludes = |a: &Filter, b: &Filter| matches!((a, b), (Filter::Redirect(_), Filter::Rewrite(_)));
        if is_twice {
            reader.error(item.mark, "a rule has at most one filter of this type");
        } else if found.iter().any(|(_, other)| excludes(other, &filter) || excludes(&filter, other)) {
            reader.error(item.mark, "a redirect excludes a rewrite: keep one of them");
        } else {
            found.push((item.mark, filter));
        }
    }
    found
}

fn decode(reader: &mut Reader<'_>, node: &Node<'_>, namespace: &str) -> Option<Filter> {
    let before = reader.errors();
    let mut fields = vec!["type"];
    fields.extend(TYPES.map(|(.., field)| field));
    let mut kind: Option<usize> = None;
    let mut bodies: Vec<(&str, &Entry<'_>)> = Vec::new();
    reader.fields(node, "a filter", &fields, |reader, key, entry| {
        if key == "type" {
            let words: Vec<(&str, usize)> =
                TYPES.iter().enumerate().map(|(index, (word, ..))| (*word, index)).collect();
            kind = reader.word(&entry.value, "filter type", &words);
        } else {
            bodies.push((key, entry));
        }
    });
    if reader.errors() != before {
        return None;
    }
    let Some((word, kind, field)) = kind.and_then(|index| TYPES.get(index).copied()) else {
        reader.missing(node.mark, "a filter", "type");
        return None;
    };
    for (key, entry) in &bodies {
        if *key != field {
            reader.error(entry.mark, format!("a filter of type {word} has `{field}`, not `{key}`"));
        }
    }
    let body = bodies.iter().find(|(key, _)| *key == field).map(|(_, entry)| &entry.value);
    match kind {
        Type::Extension => {
            let message = "filters of type ExtensionRef are not served: no kind that they could name exists \
                           here. Requests must not pass without a filter that was asked for, so the route \
                           is refused";
            reader.error(node.mark, message);
            return None;
        }
        Type::ExternalAuth => {
            reader.error(node.mark, "filters of type ExternalAuth are not served by this version");
            return None;
        }
        _ => {}
    }
    let Some(body) = body else {
        if reader.errors() == before {
            reader.missing(node.mark, &format!("a filter of type {word}"), field);
        }
        return None;
    };
    match kind {
        Type::RequestHeaders => Some(Filter::RequestHeaders(decode_headers(reader, body, field))),
        Type::ResponseHeaders => Some(Filter::ResponseHeaders(decode_headers(reader, body, field))),
        Type::Redirect => Some(Filter::Redirect(decode_redirect(reader, body))),
        Type::Rewrite => Some(Filter::Rewrite(decode_rewrite(reader, body))),
        Type::Mirror => decode_mirror(reader, body, namespace).map(Filter::Mirror),
        Type::Cors => Some(Filter::Cors(cors::decode(reader, body))),
        Type::Extension | Type::ExternalAuth => None,
    }
}

/// Headers that are of one connection (RFC 9110, section 7.6.1) or frame the message (RFC 9112,
/// section 6): a filter that writes them would make two readers read differently.
const OURS: [&str; 10] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn decode_headers(reader: &mut Reader<'_>, node: &Node<'_>, what: &str) -> HeaderChange {
    let mut change = HeaderChange::default();
    let mut seen: Vec<(Box<str>, Mark)> = Vec::new();
    let mut take = |reader: &mut Reader<'_>, mark: Mark, name: &str| {
        if OURS.contains(&name) {
            let message = format!(
                "header {} is of the connection or frames the message: no filter may change it",
                quoted(name)
            );
            reader.error(mark, message);
            return false;
        }
        if let Some((_, first)) = seen.iter().find(|(other, _)| **other == *name) {
            let first = reader.place(*first);
            let message = format!("header {} is changed twice, first at {first}", quoted(name));
            reader.error(mark, message);
            return false;
        }
        seen.push((name.into(), mark));
        true
    };
    reader.fields(node, what, &["set", "add", "remove"], |reader, key, entry| {
        for item in reader.bounded_items(&entry.value, key, 0..=16) {
            if key == "remove" {
                if let Some(name) = decode_header_name(reader, item, "a header's name")
                    && take(reader, item.mark, &name)
                {
                    change.remove.push(name);
                }
                continue;
            }
            let Some((name, value)) = decode_header(reader, item) else { continue };
            if take(reader, item.mark, &name) {
                if key == "set" { &mut change.set } else { &mut change.add }.push((name, value));
            }
        }
    });
    change
}

fn decode_header(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<(Box<str>, Box<str>)> {
    let before = reader.errors();
    let (mut name, mut value) = (None, None);
    reader.fields(node, "a header", &["name", "value"], |reader, key, entry| {
        if key == "name" {
            name = decode_header_name(reader, &entry.value, key);
        } else {
            value = decode_header_value(reader, &entry.value);
        }
    });
    if reader.errors() == before {
        for (is_missing, field) in [(name.is_none(), "name"), (value.is_none(), "value")] {
            if is_missing {
                reader.missing(node.mark, "a header", field);
            }
        }
    }
    Some((name?, value?))
}

fn decode_redirect(reader: &mut Reader<'_>, node: &Node<'_>) -> Redirect {
    const FIELDS: [&str; 5] = ["scheme", "hostname", "path", "port", "statusCode"];
    const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
    let mut this = Redirect { is_https: None, hostname: None, port: None, path: None, status: 302 };
    reader.fields(node, "requestRedirect", &FIELDS, |reader, key, entry| match key {
        "scheme" => this.is_https = reader.word(&entry.value, key, &[("http", false), ("https", true)]),
        "hostname" => this.hostname = decode_precise_hostname(reader, &entry.value),
        "path" => this.path = decode_change(reader, &entry.value),
        "port" => this.port = decode_number(reader, &entry.value, key),
        _ => {
            let Some(status) = reader.integer(&entry.value, key, 100..=999) else { return };
            if STATUSES.contains(&status) {
                this.status = status;
            } else {
                let message = format!("statusCode {status} must be 301, 302, 303, 307 or 308");
                reader.error(entry.value.mark, message);
            }
        }
    });
    this
}

fn decode_rewrite(reader: &mut Reader<'_>, node: &Node<'_>) -> Rewrite {
    let mut this = Rewrite { hostname: None, path: None };
    reader.fields(node, "urlRewrite", &["hostname", "path"], |reader, key, entry| match key {
        "hostname" => this.hostname = decode_precise_hostname(reader, &entry.value),
        _ => this.path = decode_change(reader, &entry.value),
    });
    this
}

fn decode_change(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<PathChange> {
    const FIELDS: [&str; 3] = ["type", "replaceFullPath", "replacePrefixMatch"];
    const TYPES: [(&str, bool); 2] = [("ReplaceFullPath", true), ("ReplacePrefixMatch", false)];
    let before = reader.errors();
    let mut is_full = None;
    let (mut full, mut prefix) = (None, None);
    reader.fields(node, "path", &FIELDS, |reader, key, entry| match key {
        "type" => is_full = reader.word(&entry.value, key, &TYPES),
        "replaceFullPath" => full = Some(&entry.value),
        _ => prefix = Some(&entry.value),
    });
    if reader.errors() != before {
        return None;
    }
    match (is_full, full, prefix) {
        (None, ..) => {
            reader.missing(node.mark, "path", "type");
            None
        }
        (Some(true), Some(value), None) => {
            replacement(reader, value, "replaceFullPath").map(PathChange::Full)
        }
        (Some(false), None, Some(value)) => {
            replacement(reader, value, "replacePrefixMatch").map(PathChange::Prefix)
        }
        (Some(is_full), ..) => {
            let (word, field) = if is_full { (TYPES[0].0, FIELDS[1]) } else { (TYPES[1].0, FIELDS[2]) };
            reader.error(node.mark, format!("a path of type {word} has `{field}` and not the other"));
            None
        }
    }
}

/// Upstream lets a replacement be empty or begin without a slash; both mean with one.
fn replacement(reader: &mut Reader<'_>, node: &Node<'_>, what: &str) -> Option<Box<str>> {
    let text = reader.text(node, what)?;
    if text.is_empty() {
        return Some("/".into());
    }
    decode_path(reader, node, what)
}

fn decode_mirror(reader: &mut Reader<'_>, node: &Node<'_>, namespace: &str) -> Option<Mirror> {
    let before = reader.errors();
    let mut backend = None;
    let mut percent: Option<(Mark, u32)> = None;
    let mut fraction: Option<(u32, u32)> = None;
    reader.fields(node, "requestMirror", &["backendRef", "percent", "fraction"], |reader, key, entry| {
        match key {
            "backendRef" => {
                let fields = ["group", "kind", "namespace", "name", "port"];
                let mut target = Target::default();
                reader.fields(&entry.value, key, &fields, |reader, key, entry| {
                    target.field(reader, key, &entry.value);
                });
                backend = backend_of(reader, &entry.value, &target, namespace);
            }
            "percent" => {
                percent = reader.integer(&entry.value, key, 0..=100).map(|n| (entry.mark, n.into()));
            }
            _ => fraction = decode_fraction(reader, &entry.value),
        }
    });
    if reader.errors() != before {
        return None;
    }
    if backend.is_none() {
        reader.missing(node.mark, "requestMirror", "backendRef");
    }
    let (numerator, denominator) = match (percent, fraction) {
        (Some((mark, _)), Some(_)) => {
            reader.error(mark, "a mirror has `percent` or `fraction`, not both");
            return None;
        }
        (Some((_, percent)), None) => (percent, 100),
        (None, Some(fraction)) => fraction,
        (None, None) => (1, 1),
    };
    Some(Mirror { backend: backend?, numerator, denominator })
}

fn decode_fraction(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<(u32, u32)> {
    const MOST: u32 = i32::MAX.cast_unsigned();
    let before = reader.errors();
    let (mut numerator, mut denominator) = (None, 100);
    reader.fields(node, "fraction", &["numerator", "denominator"], |reader, key, entry| {
        if key == "numerator" {
            numerator = reader.integer_up_to(&entry.value, key, 0..=MOST);
        } else {
            denominator = reader.integer_up_to(&entry.value, key, 1..=MOST).unwrap_or(denominator);
        }
    });
    if numerator.is_none() && reader.errors() == before {
        reader.missing(node.mark, "fraction", "numerator");
    }
    if numerator.is_some_and(|numerator| numerator > denominator) {
        reader.error(node.mark, "numerator must not be greater than denominator");
        return None;
    }
    Some((numerator?, denominator))
}

/// A reference to a backend; `node` is where it is written.
pub(super) fn backend_of(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    target: &Target,
    namespace: &str,
) -> Option<BackendRef> {
    let Some(name) = target.object(namespace) else {
        reader.missing(node.mark, "a backendRef", "name");
        return None;
    };
    let foreign = target.foreign("", "Service");
    if foreign.is_none() && target.port.is_none() {
        reader.missing(node.mark, "a backendRef to a Service", "port");
        return None;
    }
    Some(BackendRef {
        foreign,
        name,
        port: target.port,
        weight: 1,
        filters: Vec::new(),
        place: reader.place(node.mark),
    })
}
