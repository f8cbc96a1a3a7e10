//! Names, label keys, label values and port names, as Kubernetes validates them.

#[cfg(test)]
mod tests;

/// A DNS label (RFC 1123): namespaces.
pub(super) fn check_label(name: &str) -> Result<(), String> {
    if name.len() <= 63 && is_dns_label(name) {
        return Ok(());
    }
    Err("must be 1 to 63 lower-case letters, digits and `-`, and begin and end with a letter or digit"
        .to_owned())
}

/// A DNS subdomain (RFC 1123): policies and workloads.
pub(super) fn check_subdomain(name: &str) -> Result<(), String> {
    if name.len() <= 253 && name.split('.').all(is_dns_label) {
        return Ok(());
    }
    Err("must be 1 to 253 lower-case letters, digits, `-` and `.`, each part beginning and ending with a letter or digit".to_owned())
}

/// The key of a label: a name of at most 63 characters, perhaps behind a DNS subdomain and `/`.
pub(super) fn check_label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix {
        check_subdomain(prefix).map_err(|why| format!("its part before `/` {why}"))?;
    }
    if is_qualified(name) {
        return Ok(());
    }
    Err("must be 1 to 63 letters, digits, `-`, `_` and `.`, and begin and end with a letter or digit"
        .to_owned())
}

/// The value of a label: as a key's name, or empty.
pub(super) fn check_label_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_qualified(value) {
        return Ok(());
    }
    Err("must be at most 63 letters, digits, `-`, `_` and `.`, and begin and end with a letter or digit"
        .to_owned())
}

/// The name of a port: an IANA service name (RFC 6335, section 5.1) in lower case.
pub(super) fn check_port_name(name: &str) -> Result<(), String> {
    let is_valid = (1..=15).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if is_valid {
        return Ok(());
    }
    Err("must be 1 to 15 lower-case letters, digits and single `-` inside, with at least one letter"
        .to_owned())
}

fn is_dns_label(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.len() <= 253
}

fn is_qualified(name: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    name.len() <= 63
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && ends(name.bytes().next())
        && ends(name.bytes().last())
}
