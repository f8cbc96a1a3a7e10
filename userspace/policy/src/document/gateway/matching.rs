//! The matches of an `HTTPRoute`'s rules.

use super::super::node::Node;
use super::super::reader::Reader;
use super::text::{decode_header_name, decode_header_value, decode_path, is_token};
use crate::fault::quoted;
use crate::model::{Method, PathMatch, Pattern, RouteMatch, Value, ValueMatch};

/// Upstream's bound of a path match's value, and of a query match's.
const VALUE: usize = 1024;

/// What every request matches, and what a match without a path has.
pub(super) fn everything() -> RouteMatch {
    RouteMatch { path: PathMatch::Prefix("".into()), method: None, headers: Vec::new(), queries: Vec::new() }
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Exact,
    Prefix,
    Regex,
}

/// An item of `matches`.
pub(super) fn decode(reader: &mut Reader<'_>, node: &Node<'_>) -> RouteMatch {
    let mut this = everything();
    let fields = ["path", "headers", "queryParams", "method"];
    reader.fields(node, "a match", &fields, |reader, key, entry| match key {
        "path" => {
            if let Some(path) = decode_path_match(reader, &entry.value) {
                this.path = path;
            }
        }
        "headers" => this.headers = decode_values(reader, &entry.value, true),
        "queryParams" => this.queries = decode_values(reader, &entry.value, false),
        _ => {
            let words = Method::ALL.map(|method| (method.name(), method));
            this.method = reader.word(&entry.value, key, &words);
        }
    });
    this
}

fn decode_path_match(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<PathMatch> {
    const TYPES: [(&str, How); 3] =
        [("Exact", How::Exact), ("PathPrefix", How::Prefix), ("RegularExpression", How::Regex)];
    let before = reader.errors();
    let mut how = How::Prefix;
    let mut value = None;
    reader.fields(node, "path", &["type", "value"], |reader, key, entry| {
        if key == "type" {
            how = reader.word(&entry.value, key, &TYPES).unwrap_or(how);
        } else {
            value = Some(&entry.value);
        }
    });
    if reader.errors() != before {
        return None;
    }
    let Some(value) = value else {
        return match how {
            How::Exact => Some(PathMatch::Exact("/".into())),
            How::Prefix => Some(PathMatch::Prefix("".into())),
            How::Regex => {
                reader.missing(node.mark, "a path of type RegularExpression", "value");
                None
            }
        };
    };
    match how {
        How::Exact => decode_path(reader, value, "value").map(PathMatch::Exact),
        How::Prefix => {
            let path = decode_path(reader, value, "value")?;
            Some(PathMatch::Prefix(path.strip_suffix('/').unwrap_or(&path).into()))
        }
        How::Regex => decode_pattern(reader, value, VALUE).map(PathMatch::Regex),
    }
}

fn decode_pattern(reader: &mut Reader<'_>, node: &Node<'_>, most: usize) -> Option<Pattern> {
    let text = reader.text(node, "value")?;
    if text.is_empty() || text.len() > most {
        let message = format!("value must be 1 to {most} characters, not {}", text.len());
        reader.error(node.mark, message);
        return None;
    }
    match Pattern::new(text) {
        Ok(pattern) => Some(pattern),
        Err(why) => {
            let message = format!("regular expression {} {}", quoted(text), explain(&why));
            reader.error(node.mark, message);
            None
        }
    }
}

fn explain(why: &str) -> String {
    if why.starts_with("compiles") { why.to_owned() } else { format!("is none: {why}") }
}

/// `headers` or `queryParams`. Of equal names the first is taken, as upstream says.
fn decode_values(reader: &mut Reader<'_>, node: &Node<'_>, is_header: bool) -> Vec<ValueMatch> {
    let what = if is_header { "headers" } else { "queryParams" };
    let mut found: Vec<ValueMatch> = Vec::new();
    for item in reader.bounded_items(node, what, 0..=16) {
        let Some(this) = decode_value(reader, item, is_header) else { continue };
        if found.iter().any(|other| other.name == this.name) {
            let message =
                format!("{} is matched twice: the first is taken, this one is ignored", quoted(&this.name));
            reader.warn(item.mark, message);
        } else {
            found.push(this);
        }
    }
    found
}

fn decode_value(reader: &mut Reader<'_>, node: &Node<'_>, is_header: bool) -> Option<ValueMatch> {
    const TYPES: [(&str, How); 2] = [("Exact", How::Exact), ("RegularExpression", How::Regex)];
    let what = if is_header { "a header match" } else { "a query match" };
    let before = reader.errors();
    let mut how = How::Exact;
    let mut name: Option<Box<str>> = None;
    let mut value = None;
    reader.fields(node, what, &["type", "name", "value"], |reader, key, entry| match key {
        "type" => how = reader.word(&entry.value, key, &TYPES).unwrap_or(how),
        "name" if is_header => name = decode_header_name(reader, &entry.value, key),
        "name" => name = decode_query_name(reader, &entry.value),
        _ => value = Some(&entry.value),
    });
    if reader.errors() != before {
        return None;
    }
    for (is_missing, field) in [(name.is_none(), "name"), (value.is_none(), "value")] {
        if is_missing {
            reader.missing(node.mark, what, field);
        }
    }
    let (name, node) = (name?, value?);
    let most = if is_header { 4 * VALUE } else { VALUE };
    let value = match how {
        How::Regex => Value::Regex(decode_pattern(reader, node, most)?),
        _ if is_header => Value::Exact(decode_header_value(reader, node)?),
        _ => {
            let text = reader.text(node, "value")?;
            if text.is_empty() || text.len() > most {
                reader.error(node.mark, format!("value must be 1 to {most} bytes, not {}", text.len()));
                return None;
            }
            Value::Exact(text.into())
        }
    };
    Some(ValueMatch { name, value })
}

/// Upstream gives parameters the alphabet of headers.
fn decode_query_name(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Box<str>> {
    let text = reader.text(node, "name")?;
    if text.len() > 256 || !is_token(text) {
        let message = format!("name {} must be 1 to 256 letters, digits and `!#$%&'*+-.^_`|~`", quoted(text));
        reader.error(node.mark, message);
        return None;
    }
    Some(text.into())
}
