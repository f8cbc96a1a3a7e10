//! Label selectors.

use super::meta::{LABEL, pairs};
use super::name::{check_label_key, check_label_value};
use super::node::Node;
use super::reader::Reader;
use crate::fault::quoted;
use crate::model::{NamespacedSelector, Requirement, Selector};

/// More requirements in one selector are refused: each is asked of many workloads.
const REQUIREMENTS: usize = 256;

/// The operator of a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

const OPERATORS: [(&str, Operator); 4] = [
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Exists", Operator::Exists),
    ("DoesNotExist", Operator::DoesNotExist),
];

/// A label selector; `what` names it in faults. Empty selects everything.
pub(super) fn decode(reader: &mut Reader<'_>, node: &Node<'_>, what: &str) -> Selector {
    let mut requirements = Vec::new();
    reader.fields(node, what, &["matchLabels", "matchExpressions"], |reader, key, entry| {
        if key == "matchLabels" {
            for (mark, key, value_mark, value) in pairs(reader, &entry.value, "matchLabels", LABEL) {
                if let Err(why) = check_label_key(key) {
                    reader.error(mark, format!("label {} {why}", quoted(key)));
                }
                if let Err(why) = check_label_value(value) {
                    reader.error(value_mark, format!("label value {} {why}", quoted(value)));
                }
                requirements.push(Requirement::In(key.to_owned(), vec![value.to_owned()]));
            }
        } else {
            for item in reader.items(&entry.value, "matchExpressions") {
                requirements.extend(decode_expression(reader, item));
            }
        }
    });
    requirements.sort();
    requirements.dedup();
    if requirements.len() > REQUIREMENTS {
        let message =
            format!("{what} has {} requirements; at most {REQUIREMENTS} are allowed", requirements.len());
        reader.error(node.mark, message);
    }
    Selector { requirements }
}

fn decode_expression(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Requirement> {
    let before = reader.errors();
    let what = "a match expression";
    let mut key = None;
    let mut operator = None;
    let mut values: Vec<String> = Vec::new();
    let mut values_mark = None;
    reader.fields(node, what, &["key", "operator", "values"], |reader, field, entry| match field {
        "key" => {
            key = reader.text(&entry.value, "key");
            if let Some(Err(why)) = key.map(check_label_key) {
                reader.error(entry.value.mark, format!("label {} {why}", quoted(key.unwrap_or_default())));
            }
        }
        "operator" => operator = reader.word(&entry.value, "operator", &OPERATORS),
        _ => {
            values_mark = Some(entry.mark);
            for item in reader.items(&entry.value, "values") {
                let Some(value) = reader.text(item, "a label's value") else { continue };
                if let Err(why) = check_label_value(value) {
                    reader.error(item.mark, format!("label value {} {why}", quoted(value)));
                }
                values.push(value.to_owned());
            }
        }
    });
    if reader.errors() != before {
        return None;
    }
    if key.is_none() {
        reader.missing(node.mark, what, "key");
    }
    if operator.is_none() {
        reader.missing(node.mark, what, "operator");
    }
    let (key, operator) = (key?.to_owned(), operator?);
    values.sort();
    values.dedup();
    match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            let mark = values_mark.unwrap_or(node.mark);
            reader.error(mark, "operators `In` and `NotIn` need at least one item in `values`");
            None
        }
        Operator::In => Some(Requirement::In(key, values)),
        Operator::NotIn => Some(Requirement::NotIn(key, values)),
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            let mark = values_mark.unwrap_or(node.mark);
            reader.error(mark, "operators `Exists` and `DoesNotExist` have no `values`");
            None
        }
        Operator::Exists => Some(Requirement::Exists(key)),
        Operator::DoesNotExist => Some(Requirement::DoesNotExist(key)),
    }
}

/// A `pods` of a `ClusterNetworkPolicy`: `namespaceSelector` and `podSelector`.
pub(super) fn decode_namespaced(reader: &mut Reader<'_>, node: &Node<'_>) -> NamespacedSelector {
    let before = reader.errors();
    let mut namespaces = Selector::default();
    let mut pods = None;
    reader.fields(node, "pods", &["namespaceSelector", "podSelector"], |reader, key, entry| {
        if key == "namespaceSelector" {
            namespaces = decode(reader, &entry.value, "namespaceSelector");
        } else {
            pods = Some(decode(reader, &entry.value, "podSelector"));
        }
    });
    if pods.is_none() && reader.errors() == before {
        reader.error(
            node.mark,
            "pods has no `podSelector`, which is required: write `podSelector: {}` for every workload",
        );
    }
    NamespacedSelector { namespaces, pods: pods.unwrap_or_default() }
}
