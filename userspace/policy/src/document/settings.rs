//! Settings in YAML that are no policy: a mapping flattened to dotted keys, each with its place.

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
    /// Its key below the keys of the mappings around it, such as `log.level`.
    pub key: String,
    /// The scalar as written, without quotes.
    pub text: String,
    /// Where the value is.
    pub place: Place,
}

/// Reads the one mapping of a text. `known` are the dotted keys that exist; one that ends in `.*`
/// takes every key in that place.
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
            flatten(reader, node, "", known, &mut settings);
        } else {
            reader.error(node.mark, "a second document: settings are one");
        }
    });
    if faults.is_refusal() { Err(faults.into_sorted()) } else { Ok(settings) }
}

fn flatten(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    above: &str,
    known: &[&str],
    settings: &mut Vec<Setting>,
) {
    let mut here: Vec<&str> = known
        .iter()
        .filter_map(|key| key.strip_prefix(above))
        .map(|rest| rest.split_once('.').map_or(rest, |(first, _)| first))
        .collect();
    here.dedup();
    let takes_any = here.contains(&"*");
    let what = if above.is_empty() {
        "the configuration".to_owned()
    } else {
        format!("`{}`", above.trim_end_matches('.'))
    };
    for entry in reader.entries(node, &what) {
        let key: &str = &entry.key.text;
        if !takes_any && !here.contains(&key) {
            reader.unknown(entry.mark, "field", key, format_args!(" of {what}"), &here);
            continue;
        }
        let path = format!("{above}{key}");
        let below = format!("{path}.");
        if known.iter().any(|key| key.starts_with(&below)) {
            if !entry.value.is_null() {
                flatten(reader, &entry.value, &below, known, settings);
            }
            continue;
        }
        match &entry.value.value {
            Value::Scalar(_) if entry.value.is_null() => {}
            Value::Scalar(scalar) => settings.push(Setting {
                key: path,
                text: scalar.text.clone().into_owned(),
                place: reader.place(entry.value.mark),
            }),
            Value::List(_) | Value::Map(_) => {
                reader.error(
                    entry.value.mark,
                    format!("`{path}` must be one value, not {}", entry.value.describe()),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["admin", "capacities.*", "log.level", "log.format"];

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
}
