//! A document as written: scalars, lists and maps, each with its place.

use std::borrow::Cow;

use super::reader::Reader;
use crate::fault::quoted;

#[cfg(test)]
mod tests;

/// Deeper nesting is refused: no kind needs a third of it, and later steps recurse.
pub(super) const DEPTH: usize = 64;

/// More nodes in one document are refused: this bounds the memory (measured: 300 bytes each at
/// worst, for the keys of a mapping). A list of 80,000 rules in one document still fits.
pub(super) const NODES: usize = 1_000_000;

/// Line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// From 1.
    pub(super) line: u32,
    /// From 1, in characters.
    pub(super) column: u32,
}

/// A located value.
#[derive(Debug)]
pub(super) struct Node<'a> {
    /// Where it begins.
    pub(super) mark: Mark,
    /// What it is.
    pub(super) value: Value<'a>,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Value<'a> {
    /// Text, number, boolean or null.
    Scalar(Scalar<'a>),
    /// A sequence.
    List(Vec<Node<'a>>),
    /// A mapping without duplicate keys.
    Map(Vec<Entry<'a>>),
}

/// One line of a mapping.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// Where the key is.
    pub(super) mark: Mark,
    /// The key.
    pub(super) key: Scalar<'a>,
    /// The value.
    pub(super) value: Node<'a>,
}

/// A scalar as written.
#[derive(Debug)]
pub(super) struct Scalar<'a> {
    /// Its text, without quotes and escapes.
    pub(super) text: Cow<'a, str>,
    /// Unquoted, so that its text may be a number, a boolean or null.
    pub(super) is_plain: bool,
}

/// What a scalar is by the YAML core schema (YAML 1.2.2, section 10.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScalarKind {
    /// Nothing.
    Null,
    /// A boolean.
    Boolean(bool),
    /// A whole number, perhaps too large for any integer.
    Integer,
    /// A number with a fraction or exponent, an infinity, or not a number.
    Float,
    /// A plain word that YAML 1.1, which Kubernetes reads, takes for a boolean.
    OldBoolean,
    /// Text.
    Text,
}

impl Scalar<'_> {
    /// What it is.
    pub(super) fn kind(&self) -> ScalarKind {
        if !self.is_plain {
            return ScalarKind::Text;
        }
        match &*self.text {
            "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
            "true" | "True" | "TRUE" => ScalarKind::Boolean(true),
            "false" | "False" | "FALSE" => ScalarKind::Boolean(false),
            "yes" | "Yes" | "YES" | "no" | "No" | "NO" | "on" | "On" | "ON" | "off" | "Off" | "OFF" => {
                ScalarKind::OldBoolean
            }
            text if is_integer(text) => ScalarKind::Integer,
            text if is_float(text) => ScalarKind::Float,
            _ => ScalarKind::Text,
        }
    }
}

impl Node<'_> {
    /// Whether it is an explicit or implied null.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.kind() == ScalarKind::Null)
    }

    /// What it is, as a fault says it.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
            Value::Scalar(scalar) => match scalar.kind() {
                ScalarKind::Null => "nothing".to_owned(),
                ScalarKind::Boolean(_) => format!("the boolean {}", quoted(&scalar.text)),
                ScalarKind::Integer | ScalarKind::Float => format!("the number {}", quoted(&scalar.text)),
                ScalarKind::OldBoolean | ScalarKind::Text => format!("the text {}", quoted(&scalar.text)),
            },
        }
    }
}

fn is_integer(text: &str) -> bool {
    let all = |digits: &str, is: fn(&u8) -> bool| !digits.is_empty() && digits.bytes().all(|b| is(&b));
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, u8::is_ascii_hexdigit);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return all(digits, |b| (b'0'..=b'7').contains(b));
    }
    all(text.strip_prefix(['-', '+']).unwrap_or(text), u8::is_ascii_digit)
}

fn is_float(text: &str) -> bool {
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(text, ".inf" | ".Inf" | ".INF") {
        return true;
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let is_exponent = |text: &str| {
        let text = text.strip_prefix(['-', '+']).unwrap_or(text);
        !text.is_empty() && digits(text)
    };
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(is_exponent)
}

/// Reports keys that a mapping has twice and keeps the first of each.
pub(super) fn refuse_duplicates(entries: &mut Vec<Entry<'_>>, reader: &mut Reader<'_>) {
    let mut order: Vec<usize>;
    let has_duplicates = if entries.len() <= 16 {
        // Short ones, nearly all, are compared pair by pair without an allocation.
        order = Vec::new();
        entries
            .iter()
            .enumerate()
            .any(|(i, entry)| entries[..i].iter().any(|earlier| earlier.key.text == entry.key.text))
    } else {
        order = sorted(entries);
        order.windows(2).any(|pair| entries[pair[0]].key.text == entries[pair[1]].key.text)
    };
    if !has_duplicates {
        return;
    }
    if order.is_empty() {
        order = sorted(entries);
    }
    let mut is_duplicate = vec![false; entries.len()];
    let mut first = order[0];
    for &index in &order[1..] {
        if entries[index].key.text == entries[first].key.text {
            is_duplicate[index] = true;
            reader.error(
                entries[index].mark,
                format!(
                    "{} is here twice, first on line {}",
                    quoted(&entries[index].key.text),
                    entries[first].mark.line
                ),
            );
        } else {
            first = index;
        }
    }
    let mut duplicates = is_duplicate.into_iter();
    entries.retain(|_| !duplicates.next().unwrap_or(false));
}

fn sorted(entries: &[Entry<'_>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    // Stable: of equal keys the first as written comes first.
    order.sort_by(|&a, &b| entries[a].key.text.cmp(&entries[b].key.text));
    order
}
