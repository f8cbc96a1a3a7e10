//! Our annotations of a Service: `windrose.dev/...`.

use std::net::IpAddr;

use super::super::meta::Annotation;
use super::super::reader::Reader;
use crate::fault::quoted;
use crate::model::{Balancing, MAX_WEIGHT};
use crate::place::Place;

const ENDPOINTS: &str = "windrose.dev/endpoints";
const WEIGHTS: &str = "windrose.dev/weights";
const BALANCING: &str = "windrose.dev/balancing";
const ON_REMOVED: &str = "windrose.dev/on-endpoint-removed";

/// Every one of them.
pub(in super::super) const KEYS: [&str; 4] = [BALANCING, WEIGHTS, ENDPOINTS, ON_REMOVED];

/// One item of `windrose.dev/weights`.
#[derive(Debug)]
pub(crate) struct Weight {
    pub(crate) of: Weighed,
    /// 0: nothing new.
    pub(crate) share: u8,
    pub(crate) place: Place,
}

/// Whose weight it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Weighed {
    /// A workload of the service's namespace.
    Workload(String),
    /// An endpoint's address.
    Address(IpAddr),
}

/// What our annotations say.
#[derive(Default)]
pub(super) struct Said {
    pub(super) endpoints: Option<(Place, Vec<(IpAddr, u8)>)>,
    pub(super) weights: Vec<Weight>,
    pub(super) balancing: Balancing,
    pub(super) ends_removed: bool,
}

/// Decodes them.
pub(super) fn decode(reader: &mut Reader<'_>, annotations: &[Annotation]) -> Said {
    let mut said = Said::default();
    for annotation in annotations {
        let Annotation { mark, name, value_mark, value } = annotation;
        match *name {
            BALANCING => {
                let words = [("least-loaded", Balancing::LeastLoaded), ("maglev", Balancing::Maglev)];
                said.balancing = reader.word_of(*value_mark, name, value, &words).unwrap_or_default();
            }
            ON_REMOVED => {
                let words = [("keep", false), ("end", true)];
                said.ends_removed = reader.word_of(*value_mark, name, value, &words).unwrap_or_default();
            }
            ENDPOINTS => {
                let mut endpoints: Vec<(IpAddr, u8)> = Vec::new();
                for (text, weight) in items(reader, annotation) {
                    let weight = weight.unwrap_or(1);
                    match endpoint_address(text) {
                        Some(address) if endpoints.iter().any(|(other, _)| *other == address) => {
                            let message = format!("annotation `{name}` has {} twice", quoted(text));
                            reader.error(*value_mark, message);
                        }
                        Some(address) => endpoints.push((address, weight)),
                        None => {
                            let message =
                                format!("annotation `{name}`: {} is no address of an endpoint", quoted(text));
                            reader.error(*value_mark, message);
                        }
                    }
                }
                said.endpoints = Some((reader.place(*mark), endpoints));
            }
            _ => {
                for (text, weight) in items(reader, annotation) {
                    let Some(weight) = weight else {
                        let message =
                            format!("annotation `{name}`: {} has no weight: write `{text}=1`", quoted(text));
                        reader.error(*value_mark, message);
                        continue;
                    };
                    let of = match endpoint_address(text) {
                        Some(address) => Weighed::Address(address),
                        None => Weighed::Workload(text.to_owned()),
                    };
                    said.weights.push(Weight { of, share: weight, place: reader.place(*value_mark) });
                }
            }
        }
    }
    said
}

/// `a, b=2` as (`a`, none), (`b`, 2).
fn items<'a>(reader: &mut Reader<'_>, annotation: &'a Annotation) -> Vec<(&'a str, Option<u8>)> {
    let mut items = Vec::new();
    for item in annotation.value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let Some((name, weight)) = item.split_once('=') else {
            items.push((item, None));
            continue;
        };
        match weight.trim().parse::<u8>() {
            Ok(weight) if weight <= MAX_WEIGHT => items.push((name.trim(), Some(weight))),
            _ => {
                let message = format!(
                    "annotation `{}`: the weight in {} must be a number from 0 to {MAX_WEIGHT}",
                    annotation.name,
                    quoted(item)
                );
                reader.error(annotation.value_mark, message);
            }
        }
    }
    items
}

fn endpoint_address(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok()?.to_canonical();
    (!address.is_unspecified() && !address.is_multicast()).then_some(address)
}
