//! Selectors that no labels can satisfy.

use crate::model::{Requirement, Selector};

/// The label about which two requirements contradict each other, if there are such.
///
/// Pairs are enough for what people write; the decoder bounds their number.
pub(super) fn contradiction(selector: &Selector) -> Option<&str> {
    let requirements = &selector.requirements;
    requirements.iter().enumerate().find_map(|(index, one)| {
        requirements[index + 1..].iter().find_map(|other| clash(one, other).or_else(|| clash(other, one)))
    })
}

fn clash<'r>(one: &'r Requirement, other: &Requirement) -> Option<&'r str> {
    let (key, is_clash) = match (one, other) {
        (Requirement::In(key, values), Requirement::In(same, others)) if key == same => {
            (key, !values.iter().any(|value| others.binary_search(value).is_ok()))
        }
        (Requirement::In(key, values), Requirement::NotIn(same, others)) if key == same => {
            (key, values.iter().all(|value| others.binary_search(value).is_ok()))
        }
        (Requirement::In(key, _) | Requirement::Exists(key), Requirement::DoesNotExist(same)) => {
            (key, key == same)
        }
        _ => return None,
    };
    is_clash.then_some(key)
}
