//! YAML text to nodes: an event parser's events, with bounds, and without what policies do not
//! need (anchors, aliases, tags, merge keys, directives).

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::node::{DEPTH, Entry, Mark, NODES, Node, Scalar, Value, refuse_duplicates};
use super::reader::Reader;

/// More of `[`, `{` and `,` in one document are refused. The parser holds all tokens of a flow
/// collection until it ends (measured: 1.1 s and 300 MB for two million).
const FLOW_MARKS: usize = 500_000;

/// A collection that has begun and not ended.
enum Open<'a> {
    List(Mark, Vec<Node<'a>>),
    /// Last, a key that has no value yet; without a scalar it is refused and its value dropped.
    Map(Mark, Vec<Entry<'a>>, Option<(Mark, Option<Scalar<'a>>)>),
}

/// Cuts a text before each `---` line: the first line of each part, from 1, and the part; no
/// more than the first `most` parts.
///
/// A line that begins with `---` and a space (or ends there) is a document's start wherever it
/// stands, in a block or quoted scalar too (YAML 1.2.2, rule 206, c-forbidden). So the parts can
/// be read apart: a syntax error in one hides no other, and two cores can share a file.
pub(super) fn cut(text: &str, most: usize) -> Vec<(u32, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let (mut position, mut line) = (0, 1);
    while position < text.len() && parts.len() < most {
        let rest = &text.as_bytes()[position..];
        let is_start = rest.starts_with(b"---")
            && rest.get(3).is_none_or(|after| matches!(after, b' ' | b'\t' | b'\r' | b'\n'));
        if is_start && position > start {
            parts.push((start_line, &text[start..position]));
            (start, start_line) = (position, line);
        }
        let length = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |end| end + 1);
        position += length;
        line += 1;
    }
    if start < text.len() && parts.len() < most {
        parts.push((start_line, &text[start..]));
    }
    parts
}

/// Reads every document of a text and calls `each` with those that are not empty.
pub(super) fn read<'a, 'f>(
    text: &'a str,
    first_line: u32,
    reader: &mut Reader<'f>,
    mut each: impl FnMut(&mut Reader<'f>, &Node<'a>),
) {
    let start = Mark { line: first_line, column: 1 };
    if text.bytes().filter(|byte| matches!(byte, b'[' | b'{' | b',')).count() > FLOW_MARKS {
        reader.error(start, format!("a document with more than {FLOW_MARKS} of `[`, `{{` and `,`: split it"));
        return;
    }
    let mut builder = Builder { first_line, open: Vec::new(), root: None, nodes: 0 };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        if reader.is_full() {
            return;
        }
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let mark = builder.mark(*error.marker());
                reader.error(mark, explain(text, error.info()));
                return;
            }
        };
        let mark = builder.mark(span.start);
        match event {
            Event::DocumentStart(_) => builder.root = None,
            Event::DocumentEnd => {
                if let Some(root) = builder.root.take()
                    && !root.is_null()
                {
                    each(reader, &root);
                }
                builder.nodes = 0;
            }
            Event::StreamEnd => return,
            event => {
                if let Err(message) = builder.take(event, mark, reader) {
                    reader.error(mark, message);
                    return;
                }
            }
        }
    }
}

/// The nodes of one document as far as they are read.
struct Builder<'a> {
    first_line: u32,
    open: Vec<Open<'a>>,
    root: Option<Node<'a>>,
    nodes: usize,
}

impl<'a> Builder<'a> {
    fn mark(&self, marker: Marker) -> Mark {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX - 1);
        Mark {
            line: self.first_line + number(marker.line()).saturating_sub(1),
            column: number(marker.col()) + 1,
        }
    }

    /// Takes one event. An error ends the text: the document is beyond its bounds.
    fn take(&mut self, event: Event<'a>, mark: Mark, reader: &mut Reader<'_>) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > NODES {
            return Err(format!("a document of more than {NODES} values: split it"));
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse(anchor, tag.is_some(), mark, reader);
                let scalar = Scalar { text, is_plain: style == ScalarStyle::Plain };
                self.put(mark, Value::Scalar(scalar), reader);
            }
            Event::Alias(_) => {
                reader.error(mark, "aliases are not supported: write the value out");
                let nothing = Scalar { text: "".into(), is_plain: true };
                self.put(mark, Value::Scalar(nothing), reader);
            }
            Event::SequenceStart(anchor, tag) => {
                refuse(anchor, tag.is_some(), mark, reader);
                self.begin(Open::List(mark, Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                refuse(anchor, tag.is_some(), mark, reader);
                self.begin(Open::Map(mark, Vec::new(), None))?;
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(mark, items)) => self.put(mark, Value::List(items), reader),
                Some(Open::Map(mark, mut entries, _)) => {
                    refuse_duplicates(&mut entries, reader);
                    self.put(mark, Value::Map(entries), reader);
                }
                None => {}
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn begin(&mut self, open: Open<'a>) -> Result<(), String> {
        if self.open.len() >= DEPTH {
            return Err(format!("nested more than {DEPTH} deep"));
        }
        self.open.push(open);
        Ok(())
    }

    /// Puts a complete value where it belongs: as the document, an item, a key or a value.
    fn put(&mut self, mark: Mark, value: Value<'a>, reader: &mut Reader<'_>) {
        let node = Node { mark, value };
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, entries, key)) => match (key.take(), node.value) {
                (Some((mark, Some(key))), value) => {
                    entries.push(Entry { mark, key, value: Node { mark: node.mark, value } });
                }
                (Some((_, None)), _) => {}
                (None, Value::Scalar(scalar)) if scalar.is_plain && scalar.text == "<<" => {
                    reader.error(mark, "merge keys (`<<`) are not supported: write the fields out");
                    *key = Some((mark, None));
                }
                (None, Value::Scalar(scalar)) => *key = Some((mark, Some(scalar))),
                (None, Value::List(_) | Value::Map(_)) => {
                    reader.error(mark, "a mapping's key must be text, not a list or mapping");
                    *key = Some((mark, None));
                }
            },
        }
    }
}

fn refuse(anchor: usize, has_tag: bool, mark: Mark, reader: &mut Reader<'_>) {
    if anchor != 0 {
        reader.error(mark, "anchors are not supported: write the value out where it is used");
    }
    if has_tag {
        reader.error(mark, "tags are not supported: quote a text, leave a number unquoted");
    }
}

/// The parser's message, or a better one where the cause is known.
fn explain(text: &str, message: &str) -> String {
    let is_directive = text
        .lines()
        .find(|line| !line.trim_start().is_empty() && !line.starts_with('#'))
        .is_some_and(|line| line.starts_with('%'));
    if is_directive {
        return "YAML directives are not supported: remove the line that begins with `%`".to_owned();
    }
    if message.contains("recursion limit") {
        return format!("nested more than {DEPTH} deep");
    }
    format!("not valid YAML: {message}")
}
