//! The CORS filter of an `HTTPRoute`.

use super::super::node::Node;
use super::super::reader::Reader;
use super::text::decode_header_name;
use crate::fault::quoted;
use crate::model::{Cors, Method, Names, Origin};

/// Decodes `cors`.
pub(super) fn decode(reader: &mut Reader<'_>, node: &Node<'_>) -> Cors {
    const FIELDS: [&str; 6] =
        ["allowOrigins", "allowCredentials", "allowMethods", "allowHeaders", "exposeHeaders", "maxAge"];
    let mut this = Cors {
        origins: Vec::new(),
        allows_credentials: false,
        methods: Names::Some(Vec::new()),
        headers: Names::Some(Vec::new()),
        expose: Names::Some(Vec::new()),
        max_age_seconds: 5,
    };
    reader.fields(node, "cors", &FIELDS, |reader, key, entry| match key {
        "allowOrigins" => {
            let items = reader.bounded_items(&entry.value, key, 0..=64);
            for item in items {
                this.origins.extend(decode_origin(reader, item));
            }
            if items.len() > 1 && this.origins.contains(&Origin::Any) {
                reader.error(entry.mark, "allowOrigins has `*` alone, or other origins");
            }
        }
        "allowCredentials" => {
            this.allows_credentials = reader.boolean(&entry.value, key).unwrap_or_default();
        }
        "allowMethods" => this.methods = decode_names(reader, &entry.value, key, 9),
        "allowHeaders" => this.headers = decode_names(reader, &entry.value, key, 64),
        "exposeHeaders" => this.expose = decode_names(reader, &entry.value, key, 64),
        _ => {
            let most = i32::MAX.cast_unsigned();
            this.max_age_seconds = reader.integer_up_to(&entry.value, key, 1..=most).unwrap_or(5);
        }
    });
    this
}

fn decode_names(reader: &mut Reader<'_>, node: &Node<'_>, key: &str, most: usize) -> Names {
    let words: Vec<(&str, &str)> = Method::ALL.iter().map(|method| (method.name(), method.name())).collect();
    let items = reader.bounded_items(node, key, 0..=most);
    let mut names: Vec<Box<str>> = Vec::new();
    for item in items {
        if reader.text(item, key) == Some("*") {
            if items.len() > 1 {
                reader.error(item.mark, format!("{key} has `*` alone, or other names"));
            }
            return Names::Any;
        }
        if key == "allowMethods" {
            names.extend(reader.word(item, "method", &words).map(Into::into));
        } else {
            names.extend(decode_header_name(reader, item, "a header's name"));
        }
    }
    Names::Some(names)
}

/// `*`, or scheme, host and perhaps a port; the host may be `*` or begin with `*.`.
fn decode_origin(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Origin> {
    let text = reader.text(node, "an origin")?;
    if text == "*" {
        return Some(Origin::Any);
    }
    let origin = parse(&text.to_ascii_lowercase());
    if origin.is_none() {
        let message = format!(
            "origin {} must be `*`, or `http://` or `https://`, a host (which may be `*` or begin with `*.`) \
             and perhaps a port, such as `https://*.example.com:8443`",
            quoted(text)
        );
        reader.error(node.mark, message);
    }
    origin
}

fn parse(text: &str) -> Option<Origin> {
    let scheme = ["http://", "https://"].into_iter().find(|scheme| text.starts_with(scheme))?;
    let rest = text.strip_prefix(scheme)?;
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().ok().filter(|&port| port != 0)?)),
        None => (rest, None),
    };
    // Browsers leave a scheme's own port out.
    let port = port.filter(|&port| port != if scheme == "https://" { 443 } else { 80 });
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    let is_host = |host: &str| {
        host.len() <= 253
            && host.split('.').all(|label| {
                !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            })
    };
    let wildcard = |suffix: &str| Origin::Wildcard {
        scheme: scheme.into(),
        suffix: suffix.into(),
        port: port.as_str().into(),
    };
    match host.strip_prefix('*') {
        Some("") => Some(wildcard("")),
        Some(suffix) => suffix.strip_prefix('.').is_some_and(is_host).then(|| wildcard(suffix)),
        None => is_host(host).then(|| Origin::Exact(format!("{scheme}{host}{port}").into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        assert_eq!(parse("https://example.com:443"), Some(Origin::Exact("https://example.com".into())));
        assert_eq!(parse("http://example.com:443"), Some(Origin::Exact("http://example.com:443".into())));
        for wrong in [
            "example.com",
            "https://",
            "https://a b",
            "ftp://a",
            "https://a.*.b",
            "https://a/b",
            "https://*a",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
