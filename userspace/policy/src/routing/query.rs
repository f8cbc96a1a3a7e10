//! Query parameters, as routes compare them.
//!
//! Names and values are decoded as browsers encode forms (`+` is a space, `%41` is `A`); an escape
//! that is none stays as it is. Of a parameter that is there several times the first counts, as
//! upstream recommends. The query itself is forwarded as it was sent.

use std::borrow::Cow;

/// The value of the first parameter of this name.
pub fn first<'q>(query: &'q str, name: &str) -> Option<Cow<'q, [u8]>> {
    query.split('&').find_map(|pair| {
        let (this, value) = pair.split_once('=').unwrap_or((pair, ""));
        (!pair.is_empty() && *decode(this) == *name.as_bytes()).then(|| decode(value))
    })
}

fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    while let [first, rest @ ..] = bytes {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        match (first, rest) {
            (b'%', [high, low, rest @ ..]) if let (Some(high), Some(low)) = (digit(*high), digit(*low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                bytes = rest;
            }
            (b'+', _) => {
                out.push(b' ');
                bytes = rest;
            }
            (byte, _) => {
                out.push(*byte);
                bytes = rest;
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_name_counts() {
        let query = "a=1&b=x+y%21&a=2&c&%64=4&e=%zz&=5";
        let value = |name| first(query, name).map(|value| String::from_utf8(value.into_owned()).unwrap());
        assert_eq!(value("a").as_deref(), Some("1"));
        assert_eq!(value("b").as_deref(), Some("x y!"));
        assert_eq!(value("c").as_deref(), Some(""));
        assert_eq!(value("d").as_deref(), Some("4"));
        assert_eq!(value("e").as_deref(), Some("%zz"));
        assert_eq!(value("f"), None);
        assert_eq!(first("", ""), None);
    }
}
