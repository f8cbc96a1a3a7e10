//! Settings in YAML that are no policy: mappings and lists flattened to keys, each with its place.

use std::sync::Arc;

use super::node::{Node, Value};
use super::reader::Reader;
use super::yaml;
use crate::fault::{Fault, Faults};
use crate::place::Place;
use crate::source::Source;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its key below the keys of the mappings and lists around it, such as `log.level` or
    /// `edge.interfaces[0].name`.
    pub key: String,
    /// The scalar as written, without quotes; empty for a mapping that is an item of a list.
    pub text: String,
    /// Where the value is.
    pub place: Place,
}

/// Reads the one mapping of a text. `known` are the dotted keys that exist; one that ends in `.*`
/// takes every key in that place, and `[]` stands for the items of a list. An item that is a
/// mapping comes as a setting of its own before its fields.
///
/// # Errors
///
/// Every fault, by place: bad YAML, unknown and repeated keys, a mapping where a scalar must be.
pub fn read(source: &Source, known: &[&str]) -> Result<Vec<Setting>, Vec<Fault>> {
    let mut faults = Faults::default();
    let mut settings = Vec::new();
    let mut reader = Reader::new(Arc::from(source.name.as_str()), &mut faults);
    let mut count = 0;
    yaml::read(&source.text, 1, &mut reader, |reader, node| {
        count += 1;
        if count == 1 {
            let top = At { path: String::new(), pattern: String::new() };
            flatten(reader, node, &top, known, &mut settings);
        } else {
            reader.error(node.mark, "a second document: settings are one");
        }
    });
    if faults.is_refusal() { Err(faults.into_sorted()) } else { Ok(settings) }
}

/// Where a node is: its key, and its key as `known` has it.
struct At {
    path: String,
    pattern: String,
}

impl At {
    fn field(&self, key: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { path: format!("{}{dot}{key}", self.path), pattern: format!("{}{dot}{key}", self.pattern) }
    }

    fn item(&self, index: usize) -> Self {
        Self { path: format!("{}[{index}]", self.path), pattern: format!("{}[]", self.pattern) }
    }

    /// What `known` has behind this and a separator.
    fn below<'k>(&self, known: &[&'k str], separator: &str) -> Vec<&'k str> {
        let above =
            if self.pattern.is_empty() { String::new() } else { format!("{}{separator}", self.pattern) };
        known.iter().filter_map(|key| key.strip_prefix(&above)).collect()
    }
}

fn flatten(reader: &mut Reader<'_>, node: &Node<'_>, at: &At, known: &[&str], settings: &mut Vec<Setting>) {
    let mut here: Vec<&str> = at
        .below(known, ".")
        .iter()
        .map(|rest| &rest[..rest.find(['.', '[']).unwrap_or(rest.len())])
        .collect();
    here.dedup();
    let takes_any = here.contains(&"*");
    let what = if at.path.is_empty() { "the configuration".to_owned() } else { format!("`{}`", at.path) };
    for entry in reader.entries(node, &what) {
        let key: &str = &entry.key.text;
        if !takes_any && !here.contains(&key) {
            reader.unknown(entry.mark, "field", key, format_args!(" of {what}"), &here);
        } else if !entry.value.is_null() {
            value(reader, &entry.value, &at.field(key), known, settings);
        }
    }
}

fn value(reader: &mut Reader<'_>, node: &Node<'_>, at: &At, known: &[&str], settings: &mut Vec<Setting>) {
    if !at.below(known, "[]").is_empty() {
        let is_mapping = !at.below(known, "[].").is_empty();
        for (index, item) in reader.items(node, &format!("`{}`", at.path)).iter().enumerate() {
            let at = at.item(index);
            if is_mapping {
                let (key, place) = (at.path.clone(), reader.place(item.mark));
                settings.push(Setting { key, text: String::new(), place });
            }
            value(reader, item, &at, known, settings);
        }
        return;
    }
    if !at.below(known, ".").is_empty() {
        return flatten(reader, node, at, known, settings);
    }
    match &node.value {
        Value::Scalar(scalar) => settings.push(Setting {
            key: at.path.clone(),
            text: scalar.text.clone().into_owned(),
            place: reader.place(node.mark),
        }),
        Value::List(_) | Value::Map(_) => {
            reader.error(node.mark, format!("`{}` must be one value, not {}", at.path, node.describe()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &[
        "admin",
        "capacities.*",
        "log.level",
        "log.format",
        "edge.bogons",
        "edge.interfaces[].name",
        "edge.interfaces[].mode",
        "edge.allow[]",
    ];

    fn said(text: &str) -> Vec<String> {
        let source = Source { name: "c.yaml".to_owned(), text: text.to_owned() };
        match read(&source, KNOWN) {
            Ok(settings) => settings.iter().map(|s| format!("{} {}={}", s.place, s.key, s.text)).collect(),
            Err(faults) => faults.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn settings_are_flattened_with_their_places() {
        let text = "admin: 127.0.0.1:1\nlog:\n  level: debug\ncapacities: {rules: 5}\n";
        let expected =
            ["c.yaml:1:8 admin=127.0.0.1:1", "c.yaml:3:10 log.level=debug", "c.yaml:4:21 capacities.rules=5"];
        assert_eq!(said(text), expected);
    }

    #[test]
    fn an_unknown_setting_is_refused_with_the_one_that_was_meant() {
        assert_eq!(
            said("log: {levle: debug}\nadmn: x\n"),
            [
                "c.yaml:1:7: unknown field `levle` of `log`; did you mean `level`?",
                "c.yaml:2:1: unknown field `admn` of the configuration; did you mean `admin`?",
            ]
        );
    }

    #[test]
    fn a_list_where_one_value_must_be_is_refused() {
        assert_eq!(said("admin: [a]\n"), ["c.yaml:1:8: `admin` must be one value, not a list"]);
    }

    #[test]
    fn lists_are_flattened_with_their_indices() {
        let text = "edge:\n  allow: [a, b]\n  interfaces:\n    - name: eth0\n    - {name: eth1, mode: x}\n";
        let expected = [
            "c.yaml:2:11 edge.allow[0]=a",
            "c.yaml:2:14 edge.allow[1]=b",
            "c.yaml:4:7 edge.interfaces[0]=",
            "c.yaml:4:13 edge.interfaces[0].name=eth0",
            "c.yaml:5:7 edge.interfaces[1]=",
            "c.yaml:5:14 edge.interfaces[1].name=eth1",
            "c.yaml:5:26 edge.interfaces[1].mode=x",
        ];
        assert_eq!(said(text), expected);
    }

    #[test]
    fn a_list_of_another_shape_is_refused() {
        let text = "edge: {allow: x, interfaces: [eth0, {nmae: y}], bogons: [1]}\n";
        let expected = [
            "c.yaml:1:15: `edge.allow` must be a list, not the text `x`",
            "c.yaml:1:31: `edge.interfaces[0]` must be a mapping, not the text `eth0`",
            "c.yaml:1:38: unknown field `nmae` of `edge.interfaces[1]`; did you mean `name`?",
            "c.yaml:1:57: `edge.bogons` must be one value, not a list",
        ];
        assert_eq!(said(text), expected);
    }
}
