//! The model: what the policy files mean, with names bound and contradictions impossible.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::place::Place;

mod service;

pub use service::{Balancing, Endpoint, MAX_WEIGHT, Service, ServicePort};

/// Labels of a workload or namespace, ordered by key.
pub type Labels = BTreeMap<String, String>;

/// Everything the policy files of one load say.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Every namespace that is described or used, by name. Each carries the label
    /// `kubernetes.io/metadata.name`, whether it was written or not.
    pub namespaces: BTreeMap<String, Namespace>,
    /// Workloads by (namespace, name).
    pub workloads: BTreeMap<ObjectName, Arc<Workload>>,
    /// `NetworkPolicy` objects by (namespace, name).
    pub network_policies: BTreeMap<ObjectName, Arc<NetworkPolicy>>,
    /// `ClusterNetworkPolicy` objects by name.
    pub cluster_policies: BTreeMap<String, Arc<ClusterPolicy>>,
    /// Services with addresses, by (namespace, name).
    pub services: BTreeMap<ObjectName, Arc<Service>>,
}

/// The name of a namespaced object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: String,
    /// Its name in that namespace.
    pub name: String,
}

/// A namespace and its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Its labels, `kubernetes.io/metadata.name` among them.
    pub labels: Arc<Labels>,
    /// All decisions about its workloads are reported, none enforced
    /// (annotation `windrose.dev/audit: "true"`).
    pub audit: bool,
    /// Where it is described; `None` when it is only used.
    pub place: Option<Place>,
}

/// A set of processes in a cgroup, and the addresses by which peers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Namespace and name.
    pub name: ObjectName,
    /// Its labels.
    pub labels: Labels,
    /// The cgroup below the cgroup v2 root, without leading or trailing slash;
    /// `None` for a remote workload, which is a peer only.
    pub cgroup: Option<String>,
    /// Its addresses; v4-mapped v6 addresses are already v4. Unique over the model.
    pub addresses: Vec<IpAddr>,
    /// Its named ports; names are unique in one workload.
    pub ports: Vec<NamedPort>,
    /// Where it is written.
    pub place: Place,
}

/// A port of a workload that policies can name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPort {
    /// Its name.
    pub name: String,
    /// 1 to 65535.
    pub port: u16,
    /// Its protocol; a policy's named port matches only with the same one.
    pub protocol: Protocol,
}

/// A transport protocol that policies match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, IP protocol 6.
    Tcp,
    /// UDP, IP protocol 17.
    Udp,
    /// SCTP, IP protocol 132.
    Sctp,
}

impl Protocol {
    /// The IANA protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The name that Kubernetes gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// The direction of a rule, relative to the workload that the policy selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Connections that the workload accepts.
    Ingress,
    /// Connections that the workload opens.
    Egress,
}

/// A `networking.k8s.io/v1` `NetworkPolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Namespace and name.
    pub name: ObjectName,
    /// Which workloads of its own namespace it selects.
    pub pod_selector: Selector,
    /// The ingress rules, `None` when the policy does not apply to ingress.
    /// `Some` and empty isolates and allows nothing.
    pub ingress: Option<Vec<NetworkRule>>,
    /// The egress rules, as for `ingress`.
    pub egress: Option<Vec<NetworkRule>>,
    /// Reported, not enforced (annotation `windrose.dev/audit: "true"`).
    pub audit: bool,
    /// Where it is written (its `metadata.name`, or the document's start).
    pub place: Place,
}

/// One allow of a `NetworkPolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRule {
    /// `None`: every peer (`from`/`to` missing or empty).
    pub peers: Option<Vec<NetworkPeer>>,
    /// `None`: every port of TCP, UDP and SCTP (`ports` missing or empty).
    pub ports: Option<Vec<PortMatch>>,
    /// Where the rule begins.
    pub place: Place,
}

/// A peer of a `NetworkPolicy` rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkPeer {
    /// Workloads by labels. `namespaces: None` is the policy's own namespace.
    Workloads {
        /// Which namespaces; `None` is the policy's own, an empty selector is every one.
        namespaces: Option<Selector>,
        /// Which workloads of those; an absent `podSelector` is the empty selector.
        pods: Selector,
    },
    /// Addresses on the wire, workloads' addresses too.
    Block(IpBlock),
}

/// A CIDR with holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpBlock {
    /// The block.
    pub cidr: Cidr,
    /// Blocks inside `cidr` that do not match.
    pub except: Vec<Cidr>,
}

/// An address prefix in canonical form: host bits are zero, and a prefix inside
/// `::ffff:0:0/96` is the v4 prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    /// The network address.
    pub address: IpAddr,
    /// 0 to 32 for v4, 0 to 128 for v6.
    pub length: u8,
}

/// The ports of a rule: one protocol and what of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortMatch {
    /// Every port of the protocol.
    Any {
        /// The protocol.
        protocol: Protocol,
    },
    /// An inclusive range; a single port has `first == last`.
    Range {
        /// The protocol.
        protocol: Protocol,
        /// First port, 1 or more.
        first: u16,
        /// Last port, `first` or more.
        last: u16,
    },
    /// A named port, resolved at each destination workload. `protocol: None` (only in a
    /// `ClusterNetworkPolicy`'s `destinationNamedPort`) is whatever protocol the workload
    /// gives that name.
    Named {
        /// The protocol the workload's port must have.
        protocol: Option<Protocol>,
        /// The port's name.
        name: String,
    },
}

/// A `policy.networking.k8s.io/v1alpha2` `ClusterNetworkPolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPolicy {
    /// Its name (it has no namespace).
    pub name: String,
    /// Its tier.
    pub tier: Tier,
    /// 0 to 1000, lower first; equal ones are ordered by name.
    pub priority: u16,
    /// Which workloads it applies to.
    pub subject: NamespacedSelector,
    /// Its ingress rules in order; empty does not affect ingress.
    pub ingress: Vec<ClusterRule>,
    /// Its egress rules in order; empty does not affect egress.
    pub egress: Vec<ClusterRule>,
    /// Reported, not enforced (annotation `windrose.dev/audit: "true"`).
    pub audit: bool,
    /// Where it is written.
    pub place: Place,
}

/// The tier of a `ClusterNetworkPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Before every `NetworkPolicy`.
    Admin,
    /// After every `NetworkPolicy`, for workloads that none selects.
    Baseline,
}

/// Workloads by namespace labels and own labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespacedSelector {
    /// Which namespaces; empty is every one.
    pub namespaces: Selector,
    /// Which workloads of those; empty is every one.
    pub pods: Selector,
}

/// One statement of a `ClusterNetworkPolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRule {
    /// Its `name`, possibly empty.
    pub name: String,
    /// What happens to traffic that it matches.
    pub action: ClusterAction,
    /// The peers. [`ClusterPeers::Unknown`] is the fail-closed case of point 18.
    pub peers: ClusterPeers,
    /// `None`: all traffic with the peers, of every protocol, ICMP too.
    pub protocols: Option<Vec<PortMatch>>,
    /// Where the rule begins.
    pub place: Place,
}

/// The peers of a `ClusterNetworkPolicy` rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterPeers {
    /// Any of these.
    Known(Vec<ClusterPeer>),
    /// At least one peer is of a form this version cannot resolve (an empty peer, `nodes`,
    /// `domainNames`): an `Accept` rule matches nothing, a `Deny` or `Pass` rule denies all
    /// traffic of its direction, of every peer and protocol.
    Unknown,
}

/// A peer of a `ClusterNetworkPolicy` rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterPeer {
    /// Workloads by labels (`namespaces` or `pods`).
    Workloads(NamespacedSelector),
    /// Addresses on the wire (`networks`, egress only), workloads' addresses too.
    Networks(Vec<Cidr>),
}

/// What a `ClusterNetworkPolicy` rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterAction {
    /// Allow in this direction; nothing further is asked.
    Accept,
    /// Deny.
    Deny,
    /// Skip the rest of the tier.
    Pass,
}

/// A label selector: every requirement must hold. Requirements are sorted and without
/// duplicates, so that equal selectors compare equal. Empty selects everything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Selector {
    /// What must hold.
    pub requirements: Vec<Requirement>,
}

/// One requirement of a selector. `matchLabels` entries are `In` with one value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Requirement {
    /// The label is there with one of the values (sorted, not empty).
    In(String, Vec<String>),
    /// The label is absent or has none of the values (sorted, not empty).
    NotIn(String, Vec<String>),
    /// The label is there.
    Exists(String),
    /// The label is absent.
    DoesNotExist(String),
}

impl Selector {
    /// Whether these labels satisfy every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                labels.get(key).is_some_and(|value| values.binary_search(value).is_ok())
            }
            Requirement::NotIn(key, values) => {
                labels.get(key).is_none_or(|value| values.binary_search(value).is_err())
            }
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::DoesNotExist(key) => !labels.contains_key(key),
        })
    }
}

impl Cidr {
    /// Whether the address lies in the prefix. `address` is canonical (never v4-mapped).
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(host)) => {
                let shift = 32 - u32::from(self.length);
                (u32::from(network) ^ u32::from(host)).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(host)) => {
                let shift = 128 - u32::from(self.length);
                (u128::from(network) ^ u128::from(host)).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}
