//! What the numbers in the tables stand for.

use std::collections::HashMap;

use windrose_abi::identity::{IDENTITY_HOST, IDENTITY_WORLD};

use crate::decision::RuleRef;
use crate::model::{Direction, Labels, ObjectName};
use crate::place::Place;

use super::number::{Content, Digest, Numbers, Space};
use super::services::{EndpointRef, ServiceRef};

/// Who shares an identity: workloads of one namespace with the same labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdentityKey {
    /// The namespace.
    pub namespace: String,
    /// The labels.
    pub labels: Labels,
}

/// What an identity number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityName<'a> {
    /// An address that nothing names.
    World,
    /// The host that the agent runs on.
    Host,
    /// An address of no workload inside prefixes that policies name.
    Network,
    /// Workloads.
    Workloads(&'a IdentityKey),
}

/// The names behind the numbers of the tables in force, and the numbers behind the names.
#[derive(Debug)]
pub struct Names {
    pub(super) workloads: Numbers<ObjectName>,
    pub(super) identities: Numbers<IdentityKey>,
    pub(super) namespaces: Numbers<String>,
    pub(super) rules: Numbers<RuleRef>,
    pub(super) places: HashMap<u32, Place>,
    pub(super) ports: Numbers<String>,
    pub(super) services: Numbers<ServiceRef>,
    pub(super) endpoints: Numbers<EndpointRef>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            workloads: Numbers::new(Space::ALL),
            identities: Numbers::new(Space::IDENTITY),
            namespaces: Numbers::new(Space::ALL),
            rules: Numbers::new(Space::ALL),
            places: HashMap::new(),
            ports: Numbers::new(Space::PORT_NAME),
            services: Numbers::new(Space::ALL),
            endpoints: Numbers::new(Space::ALL),
        }
    }

    /// The workload with this number.
    pub fn workload(&self, number: u32) -> Option<&ObjectName> {
        self.workloads.content(number)
    }

    /// The number of a workload.
    pub fn workload_number(&self, name: &ObjectName) -> Option<u32> {
        self.workloads.number(name)
    }

    /// The rule or isolation with this id, and where it is written (an isolation: its policy).
    pub fn rule(&self, id: u32) -> Option<(&RuleRef, &Place)> {
        Some((self.rules.content(id)?, self.places.get(&id)?))
    }

    /// The id of a rule or isolation.
    pub fn rule_number(&self, rule: &RuleRef) -> Option<u32> {
        self.rules.number(rule)
    }

    /// What an identity stands for.
    pub fn identity(&self, number: u32) -> Option<IdentityName<'_>> {
        match number {
            IDENTITY_WORLD => Some(IdentityName::World),
            IDENTITY_HOST => Some(IdentityName::Host),
            0x0100_0000..=0x01ff_ffff => Some(IdentityName::Network),
            _ => self.identities.content(number).map(IdentityName::Workloads),
        }
    }

    /// The identity of workloads with these labels.
    pub fn identity_number(&self, key: &IdentityKey) -> Option<u32> {
        self.identities.number(key)
    }

    /// The namespace with this number.
    pub fn namespace(&self, number: u32) -> Option<&str> {
        self.namespaces.content(number).map(String::as_str)
    }

    /// The number of a namespace that has workloads.
    pub fn namespace_number(&self, name: &str) -> Option<u32> {
        self.namespaces.number(&name.to_owned())
    }

    /// The port name with this number.
    pub fn port_name(&self, number: u16) -> Option<&str> {
        self.ports.content(number.into()).map(String::as_str)
    }

    /// The address and port of a service with this number.
    pub fn service(&self, number: u32) -> Option<&ServiceRef> {
        self.services.content(number)
    }

    /// The number of an endpoint.
    pub fn endpoint_number(&self, endpoint: &EndpointRef) -> Option<u32> {
        self.endpoints.number(endpoint)
    }

    pub(super) fn sweep(&mut self) {
        self.workloads.sweep();
        self.identities.sweep();
        self.namespaces.sweep();
        self.ports.sweep();
        self.services.sweep();
        self.endpoints.sweep();
        for id in self.rules.sweep() {
            self.places.remove(&id);
        }
    }
}

impl Content for ObjectName {
    fn digest(&self, digest: &mut Digest) {
        digest.text(&self.namespace);
        digest.text(&self.name);
    }
}

impl Content for IdentityKey {
    fn digest(&self, digest: &mut Digest) {
        digest.text(&self.namespace);
        for (key, value) in &self.labels {
            digest.text(key);
            digest.text(value);
        }
    }
}

impl Content for RuleRef {
    fn digest(&self, digest: &mut Digest) {
        let code = |direction: &Direction| match direction {
            Direction::Ingress => 0,
            Direction::Egress => 1,
        };
        match self {
            Self::Open => digest.bytes(b"o"),
            Self::Itself => digest.bytes(b"i"),
            Self::Host => digest.bytes(b"h"),
            Self::Audit => digest.bytes(b"a"),
            Self::Network { policy, direction, index } => {
                digest.bytes(&[b'n', code(direction)]);
                policy.digest(digest);
                digest.word(*index);
            }
            Self::Isolated { policy, direction } => {
                digest.bytes(&[b's', code(direction)]);
                policy.digest(digest);
            }
            Self::Cluster { policy, direction, index } => {
                digest.bytes(&[b'c', code(direction)]);
                digest.text(policy);
                digest.word(*index);
            }
        }
    }
}
