//! The query of a request's target.

use std::fmt::Write as _;

/// Most fields that are read.
const FIELDS: usize = 32;

/// Fields and values, percent-decoded.
///
/// # Errors
///
/// What is not understood.
pub(super) fn parse(query: &str) -> Result<Vec<(String, String)>, String> {
    let fields: Vec<&str> = query.split('&').filter(|field| !field.is_empty()).collect();
    if fields.len() > FIELDS {
        return Err(format!("{} fields in the query, the most is {FIELDS}", fields.len()));
    }
    fields
        .into_iter()
        .map(|field| {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Result<String, String> {
    let bad = || format!("`{text}` is not percent-encoded UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
                u8::try_from(high << 4 | low).map_err(|_| bad())?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

/// A query of these fields and values.
pub(crate) fn encode(fields: &[(&str, String)]) -> String {
    let mut query = String::new();
    for (name, value) in fields {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str(name);
        query.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
                query.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(query, "%{byte:02X}");
            }
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_it_was_written() {
        let fields = [("from", "shop/web".to_owned()), ("peer", "fd77::1 &=%+".to_owned())];
        let query = encode(&fields);
        assert_eq!(query, "?from=shop/web&peer=fd77::1%20%26%3D%25%2B");
        let read = parse(query.trim_start_matches('?')).unwrap();
        assert_eq!(read, fields.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn a_query_that_is_not_encoded_is_refused() {
        for query in ["a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert!(parse(query).is_err(), "{query}");
        }
        assert!(parse(&"a&".repeat(33)).is_err());
    }
}
