//! What every decoder needs: typed access to nodes that records a fault where the type is wrong.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::node::{Entry, Mark, Node, Scalar, ScalarKind, Value};
use crate::fault::{Faults, nearest, quoted};
use crate::place::Place;

/// The file that is being decoded and where its faults go.
#[derive(Debug)]
pub(super) struct Reader<'f> {
    file: Arc<str>,
    faults: &'f mut Faults,
    /// How many errors this reader has recorded.
    errors: usize,
}

impl<'f> Reader<'f> {
    /// A reader of this file.
    pub(super) fn new(file: Arc<str>, faults: &'f mut Faults) -> Self {
        Self { file, faults, errors: 0 }
    }

    /// The mark as a place in the file.
    pub(super) fn place(&self, mark: Mark) -> Place {
        Place { file: self.file.clone(), line: mark.line, column: mark.column }
    }

    /// Records an error.
    pub(super) fn error(&mut self, mark: Mark, message: impl Into<String>) {
        self.errors += 1;
        self.faults.error(self.place(mark), message);
    }

    /// Records a warning.
    pub(super) fn warn(&mut self, mark: Mark, message: impl Into<String>) {
        self.faults.warn(self.place(mark), message);
    }

    /// How many errors have been recorded: a decoder compares before and after.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    /// Whether so many errors are recorded that reading on would only count more.
    pub(super) fn is_full(&self) -> bool {
        self.faults.is_full_of_errors()
    }

    /// Records that `wrong` is none of `known`, with the nearest of them. `of` says where, and
    /// begins with a space, or is empty.
    pub(super) fn unknown(&mut self, mark: Mark, what: &str, wrong: &str, of: impl Display, known: &[&str]) {
        if self.faults.is_full_of_errors() {
            // A million wrong names are not worth a million searches for better ones.
            return self.error(mark, "");
        }
        let hint = match nearest(wrong, known.iter().copied()) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => format!(": expected {}", one_of(known)),
        };
        self.error(mark, format!("unknown {what} {}{of}{hint}", quoted(wrong)));
    }

    /// Calls `visit` for each field of a mapping that is known and not null. Unknown fields are
    /// faults. `what` names the mapping in faults.
    pub(super) fn fields<'n, 'a>(
        &mut self,
        node: &'n Node<'a>,
        what: &str,
        known: &[&str],
        mut visit: impl FnMut(&mut Self, &'n str, &'n Entry<'a>),
    ) {
        for entry in self.entries(node, what) {
            let key: &'n str = &entry.key.text;
            if !known.contains(&key) {
                self.unknown(entry.mark, "field", key, format_args!(" of {what}"), known);
            } else if !entry.value.is_null() {
                visit(self, key, entry);
            }
        }
    }

    /// The entries of a mapping; of anything else none, and a fault.
    pub(super) fn entries<'n, 'a>(&mut self, node: &'n Node<'a>, what: &str) -> &'n [Entry<'a>] {
        if let Value::Map(entries) = &node.value {
            return entries;
        }
        self.error(node.mark, format!("{what} must be a mapping, not {}", node.describe()));
        &[]
    }

    /// The items of a list; of anything else none, and a fault.
    pub(super) fn items<'n, 'a>(&mut self, node: &'n Node<'a>, what: &str) -> &'n [Node<'a>] {
        if let Value::List(items) = &node.value {
            return items;
        }
        self.error(node.mark, format!("{what} must be a list, not {}", node.describe()));
        &[]
    }

    /// The items of a list of at least one and at most `most` items.
    pub(super) fn bounded_items<'n, 'a>(
        &mut self,
        node: &'n Node<'a>,
        what: &str,
        bounds: RangeInclusive<usize>,
    ) -> &'n [Node<'a>] {
        let before = self.errors;
        let items = self.items(node, what);
        if self.errors == before && items.len() < *bounds.start() {
            self.error(node.mark, format!("{what} must have at least one item"));
        }
        if items.len() > *bounds.end() {
            let message = format!("{what} has {} items; at most {} are allowed", items.len(), bounds.end());
            self.error(node.mark, message);
        }
        items
    }

    /// Text; of anything else none, and a fault that says to quote it where that helps.
    pub(super) fn text<'n>(&mut self, node: &'n Node<'_>, what: &str) -> Option<&'n str> {
        match &node.value {
            Value::Scalar(scalar) => self.scalar_text(node.mark, scalar, what),
            Value::List(_) | Value::Map(_) => {
                self.error(node.mark, format!("{what} must be text, not {}", node.describe()));
                None
            }
        }
    }

    /// As [`Self::text`], of a scalar (a mapping's key, for one).
    pub(super) fn scalar_text<'n>(
        &mut self,
        mark: Mark,
        scalar: &'n Scalar<'_>,
        what: &str,
    ) -> Option<&'n str> {
        let kind = scalar.kind();
        if kind == ScalarKind::Text {
            return Some(&scalar.text);
        }
        let text = quoted(&scalar.text);
        let is = match kind {
            ScalarKind::Text | ScalarKind::Null => {
                self.error(mark, format!("{what} must be text, not nothing"));
                return None;
            }
            ScalarKind::Boolean(_) => format!("{text} is a boolean"),
            ScalarKind::OldBoolean => format!("{text} is a boolean to Kubernetes (YAML 1.1)"),
            ScalarKind::Integer | ScalarKind::Float => format!("{text} is a number"),
        };
        self.error(mark, format!("{what} must be text, but {is}: quote it"));
        None
    }

    /// A whole number within bounds.
    pub(super) fn integer(
        &mut self,
        node: &Node<'_>,
        what: &str,
        bounds: RangeInclusive<u16>,
    ) -> Option<u16> {
        let bounds = u32::from(*bounds.start())..=u32::from(*bounds.end());
        self.integer_up_to(node, what, bounds).and_then(|value| u16::try_from(value).ok())
    }

    /// As [`Self::integer`], of larger bounds.
    pub(super) fn integer_up_to(
        &mut self,
        node: &Node<'_>,
        what: &str,
        bounds: RangeInclusive<u32>,
    ) -> Option<u32> {
        let value = match &node.value {
            Value::Scalar(scalar) if scalar.kind() == ScalarKind::Integer => parse(&scalar.text),
            Value::Scalar(scalar) if !scalar.is_plain && scalar.text.parse::<i64>().is_ok() => {
                let text = quoted(&scalar.text);
                self.error(
                    node.mark,
                    format!("{what} must be a number, but {text} is text: take the quotes away"),
                );
                return None;
            }
            _ => {
                self.error(node.mark, format!("{what} must be a number, not {}", node.describe()));
                return None;
            }
        };
        match value {
            Ok(value) if bounds.contains(&value) => Some(value),
            Err(Bad::Zero) => {
                self.error(
                    node.mark,
                    format!("{what} begins with a zero, which some readers take for octal"),
                );
                None
            }
            Ok(_) | Err(Bad::Range) => {
                let message = format!(
                    "{what} must be between {} and {}, not {}",
                    bounds.start(),
                    bounds.end(),
                    node_text(node)
                );
                self.error(node.mark, message);
                None
            }
        }
    }

    /// True or false.
    pub(super) fn boolean(&mut self, node: &Node<'_>, what: &str) -> Option<bool> {
        match &node.value {
            Value::Scalar(scalar) if let ScalarKind::Boolean(is) = scalar.kind() => Some(is),
            _ => {
                self.error(node.mark, format!("{what} must be true or false, not {}", node.describe()));
                None
            }
        }
    }

    /// One of a closed set of words.
    pub(super) fn word<T: Copy>(&mut self, node: &Node<'_>, what: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(node, what)?;
        self.word_of(node.mark, what, text, words)
    }

    /// As [`Self::word`], of a text.
    pub(super) fn word_of<T: Copy>(
        &mut self,
        mark: Mark,
        what: &str,
        text: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.unknown(mark, what, text, "", &known);
        None
    }

    /// Records that a required field is missing.
    pub(super) fn missing(&mut self, mark: Mark, what: &str, field: &str) {
        self.error(mark, format!("{what} has no `{field}`, which is required"));
    }
}

/// Why an integer is not taken.
enum Bad {
    /// A leading zero: 010 is 8 to YAML 1.1, 10 to YAML 1.2.
    Zero,
    /// Out of `u32`, so out of every range.
    Range,
}

fn parse(text: &str) -> Result<u32, Bad> {
    let (digits, radix) = match text.get(..2) {
        Some("0x") => (&text[2..], 16),
        Some("0o") => (&text[2..], 8),
        _ => (text, 10),
    };
    if radix == 10 && digits.len() > 1 && digits.trim_start_matches(['+', '-']).starts_with('0') {
        return Err(Bad::Zero);
    }
    u32::from_str_radix(digits, radix).map_err(|_| Bad::Range)
}

fn node_text(node: &Node<'_>) -> String {
    match &node.value {
        Value::Scalar(scalar) => quoted(&scalar.text),
        Value::List(_) | Value::Map(_) => node.describe(),
    }
}

/// `a, b or c`, in backticks.
pub(super) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}
