//! Peer groups: what a rule can name as a peer, and what a policy can name as its subject.

use crate::model::{Labels, Requirement, Selector};

use super::number::{Content, Digest};
use super::prefix::Prefix;

/// A set of peers. Equal ones are one group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Group {
    /// Workloads by labels.
    Workloads {
        /// Of which namespaces.
        namespaces: NamespaceMatch,
        /// Which of those.
        pods: Selector,
    },
    /// Addresses.
    Prefix(Prefix),
}

/// Which namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum NamespaceMatch {
    /// The one of this name.
    Own(String),
    /// Those with these labels.
    Labels(Selector),
}

/// Who is asked whether it is a member.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'a> {
    pub(super) namespace: &'a str,
    /// `None` when the model does not know the namespace.
    pub(super) namespace_labels: Option<&'a Labels>,
    pub(super) labels: &'a Labels,
}

impl Group {
    pub(super) fn has(&self, member: Member<'_>) -> bool {
        match self {
            Self::Workloads { namespaces, pods } => {
                let is_in_namespace = match namespaces {
                    NamespaceMatch::Own(name) => name == member.namespace,
                    NamespaceMatch::Labels(selector) => {
                        member.namespace_labels.is_some_and(|labels| selector.matches(labels))
                    }
                };
                is_in_namespace && pods.matches(member.labels)
            }
            Self::Prefix(_) => false,
        }
    }

    /// The ways to find the group by what a member must have; each is a list of pivots of which
    /// every member has one. The last is the broadest.
    pub(super) fn ways(&self) -> Vec<Vec<u64>> {
        let Self::Workloads { namespaces, pods } = self else { return Vec::new() };
        let mut ways = Vec::new();
        match namespaces {
            NamespaceMatch::Own(namespace) => {
                ways.extend(choices(pods, |key, value| pivot(Some(namespace), Some((key, value)))));
                ways.push(vec![pivot(Some(namespace), None)]);
            }
            NamespaceMatch::Labels(selector) => {
                ways.extend(choices(pods, |key, value| pivot(None, Some((key, value)))));
                ways.extend(choices(selector, namespace_pivot));
                ways.push(vec![pivot(None, None)]);
            }
        }
        ways
    }
}

impl Member<'_> {
    /// Every pivot by which a group could look for it.
    pub(super) fn pivots(self) -> Vec<u64> {
        let mut pivots = vec![pivot(None, None), pivot(Some(self.namespace), None)];
        for (key, value) in self.labels {
            pivots.push(pivot(Some(self.namespace), Some((key, value))));
            pivots.push(pivot(None, Some((key, value))));
        }
        for (key, value) in self.namespace_labels.into_iter().flatten() {
            pivots.push(namespace_pivot(key, value));
        }
        pivots
    }
}

fn choices(selector: &Selector, pivot: impl Fn(&str, &str) -> u64) -> impl Iterator<Item = Vec<u64>> {
    selector.requirements.iter().filter_map(move |requirement| match requirement {
        Requirement::In(key, values) => Some(values.iter().map(|value| pivot(key, value)).collect()),
        Requirement::NotIn(..) | Requirement::Exists(_) | Requirement::DoesNotExist(_) => None,
    })
}

/// A hash of what a member must have. A clash costs time only: every candidate is asked.
fn pivot(namespace: Option<&str>, label: Option<(&str, &str)>) -> u64 {
    let mut digest = Digest::new();
    if let Some(namespace) = namespace {
        digest.bytes(b"n");
        digest.text(namespace);
    }
    if let Some((key, value)) = label {
        digest.bytes(b"l");
        digest.text(key);
        digest.text(value);
    }
    digest.finish()
}

fn namespace_pivot(key: &str, value: &str) -> u64 {
    let mut digest = Digest::new();
    digest.bytes(b"N");
    digest.text(key);
    digest.text(value);
    digest.finish()
}

impl Content for Group {
    fn digest(&self, digest: &mut Digest) {
        match self {
            Self::Workloads { namespaces, pods } => {
                match namespaces {
                    NamespaceMatch::Own(name) => {
                        digest.bytes(b"o");
                        digest.text(name);
                    }
                    NamespaceMatch::Labels(selector) => {
                        digest.bytes(b"l");
                        digest_selector(selector, digest);
                    }
                }
                digest_selector(pods, digest);
            }
            Self::Prefix(prefix) => {
                digest.bytes(b"p");
                digest.bytes(&[prefix.length]);
                digest.bytes(&prefix.bits.to_be_bytes());
            }
        }
    }
}

fn digest_selector(selector: &Selector, digest: &mut Digest) {
    for requirement in &selector.requirements {
        let (operator, key, values): (&[u8], _, &[String]) = match requirement {
            Requirement::In(key, values) => (b"i", key, values),
            Requirement::NotIn(key, values) => (b"n", key, values),
            Requirement::Exists(key) => (b"e", key, &[]),
            Requirement::DoesNotExist(key) => (b"d", key, &[]),
        };
        digest.bytes(operator);
        digest.text(key);
        for value in values {
            digest.bytes(b"v");
            digest.text(value);
        }
    }
    digest.bytes(b".");
}
