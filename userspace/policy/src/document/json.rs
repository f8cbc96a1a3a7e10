//! JSON text (RFC 8259) to nodes: tabs indent here, which YAML forbids, and places are kept,
//! which a `serde` reader loses.

use std::borrow::Cow;

use super::node::{DEPTH, Entry, Mark, NODES, Node, Scalar, Value, refuse_duplicates};
use super::reader::Reader;

#[cfg(test)]
mod tests;

/// Reads every value of a text (they may follow each other) and calls `each` with those that
/// are not null.
pub(super) fn read<'a, 'f>(
    text: &'a str,
    reader: &mut Reader<'f>,
    mut each: impl FnMut(&mut Reader<'f>, &Node<'a>),
) {
    let mut cursor = Cursor { text, position: 0, counted: 0, mark: Mark { line: 1, column: 1 }, nodes: 0 };
    loop {
        cursor.skip_space();
        if cursor.peek().is_none() || reader.is_full() {
            return;
        }
        cursor.nodes = 0;
        match cursor.value(0, reader) {
            Ok(node) if node.is_null() => {}
            Ok(node) => each(reader, &node),
            Err(message) => {
                let mark = cursor.here();
                reader.error(mark, message);
                return;
            }
        }
    }
}

/// How far the text is read.
struct Cursor<'a> {
    text: &'a str,
    /// In bytes.
    position: usize,
    /// The position up to which lines and columns are counted. It only moves forward: counting
    /// each place from the start of its line is quadratic in a file that is one line.
    counted: usize,
    mark: Mark,
    nodes: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.position += 1;
        }
    }

    /// The current place.
    fn here(&mut self) -> Mark {
        for byte in &self.text.as_bytes()[self.counted..self.position] {
            if *byte == b'\n' {
                self.mark.line += 1;
                self.mark.column = 1;
            } else if byte & 0xc0 != 0x80 {
                // Continuation bytes of UTF-8 are no characters of their own.
                self.mark.column += 1;
            }
        }
        self.counted = self.position;
        self.mark
    }

    /// One value. Recursion ends at `DEPTH`.
    fn value(&mut self, depth: usize, reader: &mut Reader<'_>) -> Result<Node<'a>, String> {
        self.nodes += 1;
        if self.nodes > NODES {
            return Err(format!("a document of more than {NODES} values: split it"));
        }
        if depth > DEPTH {
            return Err(format!("nested more than {DEPTH} deep"));
        }
        self.skip_space();
        let mark = self.here();
        let value = match self.peek() {
            Some(b'{') => self.object(depth, reader)?,
            Some(b'[') => self.array(depth, reader)?,
            Some(b'"') => Value::Scalar(Scalar { text: self.string()?, is_plain: false }),
            Some(_) => Value::Scalar(Scalar { text: self.word()?.into(), is_plain: true }),
            None => return Err("not valid JSON: the text ends before the value".to_owned()),
        };
        Ok(Node { mark, value })
    }

    fn object(&mut self, depth: usize, reader: &mut Reader<'_>) -> Result<Value<'a>, String> {
        let mut entries = Vec::new();
        self.position += 1;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.position += 1;
            return Ok(Value::Map(entries));
        }
        loop {
            self.skip_space();
            let mark = self.here();
            if self.peek() != Some(b'"') {
                return Err("not valid JSON: expected a key in double quotes".to_owned());
            }
            let key = Scalar { text: self.string()?, is_plain: false };
            self.skip_space();
            self.expect(b':', "`:`")?;
            let value = self.value(depth + 1, reader)?;
            entries.push(Entry { mark, key, value });
            self.skip_space();
            if self.peek() != Some(b',') {
                break;
            }
            self.position += 1;
        }
        self.expect(b'}', "`,` or `}`")?;
        refuse_duplicates(&mut entries, reader);
        Ok(Value::Map(entries))
    }

    fn array(&mut self, depth: usize, reader: &mut Reader<'_>) -> Result<Value<'a>, String> {
        let mut items = Vec::new();
        self.position += 1;
        self.skip_space();
        if self.peek() == Some(b']') {
            self.position += 1;
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1, reader)?);
            self.skip_space();
            if self.peek() != Some(b',') {
                break;
            }
            self.position += 1;
        }
        self.expect(b']', "`,` or `]`")?;
        Ok(Value::List(items))
    }

    fn expect(&mut self, byte: u8, what: &str) -> Result<(), String> {
        if self.peek() == Some(byte) {
            self.position += 1;
            return Ok(());
        }
        Err(format!("not valid JSON: expected {what}"))
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Result<&'a str, String> {
        let rest = &self.text[self.position..];
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.' | b'_');
        let length = rest.bytes().position(|byte| !is_word(byte)).unwrap_or(rest.len());
        let word = &rest[..length];
        if !matches!(word, "true" | "false" | "null") && !is_number(word) {
            return Err("not valid JSON: expected a value (text needs double quotes)".to_owned());
        }
        self.position += length;
        Ok(word)
    }

    /// A string; the cursor is on its first quote.
    fn string(&mut self) -> Result<Cow<'a, str>, String> {
        let start = self.position + 1;
        let rest = &self.text.as_bytes()[start..];
        let length = rest
            .iter()
            .position(|&byte| byte == b'"' || byte == b'\\' || byte < b' ')
            .ok_or("not valid JSON: this text has no closing quote")?;
        if rest[length] == b'"' {
            self.position = start + length + 1;
            return Ok(Cow::Borrowed(&self.text[start..start + length]));
        }
        let mut text = self.text[start..start + length].to_owned();
        self.position = start + length;
        loop {
            let from = self.position;
            while self.peek().is_some_and(|byte| byte != b'"' && byte != b'\\' && byte >= b' ') {
                self.position += 1;
            }
            text.push_str(&self.text[from..self.position]);
            match self.peek() {
                Some(b'"') => {
                    self.position += 1;
                    return Ok(Cow::Owned(text));
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => return Err("not valid JSON: a control character in a text".to_owned()),
                None => return Err("not valid JSON: this text has no closing quote".to_owned()),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let letter = self.text.as_bytes().get(self.position + 1);
        let character = match letter {
            Some(&(b'"' | b'\\' | b'/')) => char::from(*letter.unwrap_or(&b'/')),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err("not valid JSON: unknown escape".to_owned()),
        };
        self.position += 2;
        Ok(character)
    }

    /// `\uXXXX`, or two of them for a character beyond the first plane (RFC 8259, section 7).
    fn unicode_escape(&mut self) -> Result<char, String> {
        let wrong = || "not valid JSON: `\\u` without the four digits of a character".to_owned();
        let first = self.hex().ok_or_else(wrong)?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or_else(wrong);
        }
        let second = self.hex().filter(|second| (0xdc00..0xe000).contains(second)).ok_or_else(wrong)?;
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or_else(wrong)
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.position..self.position + 6)?.strip_prefix("\\u")?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.position += 6;
        u32::from_str_radix(digits, 16).ok()
    }
}

/// RFC 8259, section 6.
fn is_number(word: &str) -> bool {
    let word = word.strip_prefix('-').unwrap_or(word);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match word.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (word, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|text| digits(text.strip_prefix(['-', '+']).unwrap_or(text)))
}
