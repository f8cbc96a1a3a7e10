//! Text to objects: each document of a file is read into located nodes and decoded by its kind.

use std::sync::Arc;

use crate::fault::Faults;
use crate::model::{ClusterPolicy, NetworkPolicy};

mod address;
mod cluster_policy;
mod cluster_rule;
mod json;
mod kind;
mod meta;
mod name;
mod namespace;
mod network_policy;
mod node;
mod port;
mod reader;
mod selector;
mod service;
pub mod settings;
mod slice;
mod workload;
mod yaml;

pub(crate) use meta::NAMESPACE_LABEL;
pub(crate) use namespace::NamespaceObject;
pub(crate) use service::{PortObject, ServiceObject, Target, Weighed};
pub(crate) use slice::SliceObject;
pub(crate) use workload::WorkloadObject;

#[cfg(test)]
mod tests;

/// One valid object of a policy file.
#[derive(Debug)]
pub(crate) enum Object {
    /// A `v1` Namespace.
    Namespace(NamespaceObject),
    /// A `windrose.dev/v1alpha1` Workload.
    Workload(WorkloadObject),
    /// A `v1` Service.
    Service(ServiceObject),
    /// A `discovery.k8s.io/v1` `EndpointSlice`.
    Slice(SliceObject),
    /// A `networking.k8s.io/v1` `NetworkPolicy`.
    NetworkPolicy(Arc<NetworkPolicy>),
    /// A `policy.networking.k8s.io/v1alpha2` `ClusterNetworkPolicy`.
    ClusterPolicy(Arc<ClusterPolicy>),
}

/// A piece of a file that can be read without the rest of it.
#[derive(Debug, Clone)]
pub(crate) struct Piece<'a> {
    /// The file.
    pub(crate) file: Arc<str>,
    /// Its text.
    pub(crate) text: &'a str,
    /// The line on which the text begins, from 1.
    pub(crate) first_line: u32,
    /// How to read it.
    pub(crate) format: Format,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// YAML 1.2.
    Yaml,
    /// JSON (RFC 8259); several values may follow each other.
    Json,
}

/// More documents in one file are refused.
const DOCUMENTS: usize = 200_000;

/// A file as pieces, in order: a YAML file is cut at its `---` lines. The error is a fault of
/// the file as a whole.
pub(crate) fn pieces<'a>(file: &Arc<str>, text: &'a str) -> Result<Vec<Piece<'a>>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_json = file.rsplit_once('.').is_some_and(|(_, end)| end.eq_ignore_ascii_case("json"));
    if is_json {
        return Ok(vec![Piece { file: file.clone(), text, first_line: 1, format: Format::Json }]);
    }
    let cut = yaml::cut(text, DOCUMENTS + 1);
    if cut.len() > DOCUMENTS {
        return Err(format!("more than {DOCUMENTS} documents: split it"));
    }
    let pieces = cut.into_iter().map(|(first_line, text)| Piece {
        file: file.clone(),
        text,
        first_line,
        format: Format::Yaml,
    });
    Ok(pieces.collect())
}

/// Reads the objects of a piece. An object with a fault is left out and the fault recorded.
pub(crate) fn read(piece: &Piece<'_>, faults: &mut Faults, objects: &mut Vec<Object>) {
    let mut reader = reader::Reader::new(piece.file.clone(), faults);
    match piece.format {
        Format::Yaml => yaml::read(piece.text, piece.first_line, &mut reader, |reader, node| {
            kind::decode(reader, node, objects);
        }),
        Format::Json => {
            json::read(piece.text, &mut reader, |reader, node| kind::decode(reader, node, objects));
        }
    }
}
