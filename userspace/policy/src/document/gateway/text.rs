//! Texts that gateway kinds share: hostnames, header names and values, durations, paths.

use std::time::Duration;

use super::super::name::{check_label, check_subdomain};
use super::super::node::{Mark, Node};
use super::super::reader::Reader;
use crate::fault::quoted;
use crate::model::Hostname;
use crate::routing::path;

/// Upstream's bound of header names.
const HEADER_NAME: usize = 256;

/// Upstream's bound of header values.
const HEADER_VALUE: usize = 4096;

/// Upstream's bound of paths.
const PATH: usize = 1024;

/// A hostname, perhaps with `*.` before it.
pub(super) fn decode_hostname(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Hostname> {
    let text = reader.text(node, "hostname")?;
    let (name, is_wildcard) = match text.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (text, false),
    };
    check_hostname(reader, node.mark, text, name).then(|| Hostname::new(name, is_wildcard))
}

/// A hostname without `*.`.
pub(super) fn decode_precise_hostname(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Box<str>> {
    let text = reader.text(node, "hostname")?;
    check_hostname(reader, node.mark, text, text).then(|| text.into())
}

fn check_hostname(reader: &mut Reader<'_>, mark: Mark, text: &str, name: &str) -> bool {
    let message = if name.parse::<std::net::IpAddr>().is_ok() {
        "is an address: a hostname is a name".to_owned()
    } else if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        format!("has upper-case letters; did you mean `{}`?", text.to_ascii_lowercase())
    } else if let Err(why) = check_subdomain(name) {
        why
    } else {
        return true;
    };
    reader.error(mark, format!("hostname {} {message}", quoted(text)));
    false
}

/// A name of a listener or of a rule.
pub(super) fn decode_section(reader: &mut Reader<'_>, node: &Node<'_>, what: &str) -> Option<String> {
    let text = reader.text(node, what)?;
    if let Err(why) = check_subdomain(text) {
        reader.error(node.mark, format!("{what} {} {why}", quoted(text)));
        return None;
    }
    Some(text.to_owned())
}

/// A name of an object.
pub(super) fn decode_object_name(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<String> {
    decode_section(reader, node, "name")
}

/// A namespace.
pub(super) fn decode_namespace(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<String> {
    let text = reader.text(node, "namespace")?;
    if let Err(why) = check_label(text) {
        reader.error(node.mark, format!("namespace {} {why}", quoted(text)));
        return None;
    }
    Some(text.to_owned())
}

/// Whether it is a token (RFC 9110, section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// A header's name, in lower case; `what` is `name` or says which.
pub(super) fn decode_header_name(reader: &mut Reader<'_>, node: &Node<'_>, what: &str) -> Option<Box<str>> {
    let text = reader.text(node, what)?;
    if text.len() > HEADER_NAME || !is_token(text) {
        let message = format!(
            "{what} {} must be 1 to {HEADER_NAME} letters, digits and `!#$%&'*+-.^_`|~` \
             (a token of RFC 9110)",
            quoted(text)
        );
        reader.error(node.mark, message);
        return None;
    }
    Some(text.to_ascii_lowercase().into())
}

/// A header's value: printable ASCII, without spaces at its ends.
pub(super) fn decode_header_value(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Box<str>> {
    let text = reader.text(node, "value")?;
    let is_inside = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
    let is_valid = (1..=HEADER_VALUE).contains(&text.len())
        && text.bytes().all(is_inside)
        && text.trim_matches([' ', '\t']).len() == text.len();
    if !is_valid {
        let message = format!(
            "value {} must be 1 to {HEADER_VALUE} printable ASCII characters without spaces at its ends",
            quoted(text)
        );
        reader.error(node.mark, message);
        return None;
    }
    Some(text.into())
}

/// A duration as Gateway API writes it (GEP-2257): `1h30m`, `500ms`; `0s` is none.
pub(super) fn decode_duration(reader: &mut Reader<'_>, node: &Node<'_>, what: &str) -> Option<Duration> {
    let text = reader.text(node, what)?;
    let duration = parse_duration(text);
    if duration.is_none() {
        let message = format!(
            "{what} {} must be 1 to 4 whole numbers of at most 5 digits, each with `h`, `m`, `s` or `ms`, \
             such as `1m30s`",
            quoted(text)
        );
        reader.error(node.mark, message);
    }
    duration
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    for part in 0..=4 {
        if rest.is_empty() {
            return (part > 0).then_some(total);
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if part == 4 || !(1..=5).contains(&digits) {
            return None;
        }
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (milliseconds, length) = match rest.as_bytes() {
            [b'm', b's', ..] => (1, 2),
            [b'h', ..] => (3_600_000, 1),
            [b'm', ..] => (60_000, 1),
            [b's', ..] => (1_000, 1),
            _ => return None,
        };
        total += Duration::from_millis(number * milliseconds);
        rest = &rest[length..];
    }
    None
}

/// A path as requests are compared with it: absolute and normalised.
pub(super) fn decode_path(reader: &mut Reader<'_>, node: &Node<'_>, what: &str) -> Option<Box<str>> {
    let text = reader.text(node, what)?;
    if text.len() > PATH {
        reader.error(node.mark, format!("{what} has {} bytes; at most {PATH} are allowed", text.len()));
        return None;
    }
    if text.contains('?') {
        reader.error(node.mark, format!("{what} {} has a query: match it by `queryParams`", quoted(text)));
        return None;
    }
    match path::normalise(text) {
        Ok(normal) => {
            if *normal != *text {
                let message = format!("{what} {} must be written `{normal}`", quoted(text));
                // The same path in other words; upstream refuses some of these and allows others.
                if text.contains("//") || text.contains("/.") {
                    reader.error(node.mark, message);
                    return None;
                }
                reader.warn(node.mark, format!("{what} {} is taken as `{normal}`", quoted(text)));
            }
            Some(normal.into())
        }
        Err(why) => {
            reader.error(node.mark, format!("{what} {} {why}", quoted(text)));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_gep_2257() {
        let ms = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(ms("1h30m"), Some(5_400_000));
        assert_eq!(ms("500ms"), Some(500));
        assert_eq!(ms("1h2m3s4ms"), Some(3_723_004));
        assert_eq!(ms("0s"), Some(0));
        for wrong in ["", "1", "1.5s", "-1s", "123456s", "1d", "s", "1s1s1s1s1s", "1 s"] {
            assert_eq!(ms(wrong), None, "{wrong}");
        }
    }
}
