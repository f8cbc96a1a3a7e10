//! Flows as policies see them, and what is decided about them.

use std::net::IpAddr;

use crate::model::{Direction, Model, ObjectName};
use crate::place::Place;

/// One connection attempt, after service translation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Who opens it.
    pub source: Endpoint,
    /// Who accepts it.
    pub destination: Endpoint,
    /// IANA protocol number.
    pub protocol: u8,
    /// Destination port of TCP, UDP and SCTP; 0 for every other protocol.
    pub destination_port: u16,
}

/// One end of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The address on the wire, canonical (never v4-mapped).
    pub address: IpAddr,
    /// The workload that speaks, if one is known.
    pub workload: Option<ObjectName>,
    /// It is the subject's own host (an address of the host, or a loopback address of no workload).
    pub is_host: bool,
}

/// Whether traffic passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It passes.
    Allow,
    /// It does not.
    Deny,
}

/// What decided.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleRef {
    /// No policy is concerned: the default is to allow.
    Open,
    /// Source and destination are the same workload, or the destination is a loopback address
    /// of no workload.
    Itself,
    /// Ingress from the workload's own host.
    Host,
    /// An allow of a `NetworkPolicy`: `index` counts from 0 in its direction's list.
    Network {
        /// The policy.
        policy: ObjectName,
        /// Which of its lists.
        direction: Direction,
        /// Position in the list.
        index: u32,
    },
    /// This `NetworkPolicy` isolates the workload and no rule of any policy allows.
    Isolated {
        /// Of several, the one that is first by [`crate::rank::network_policy`].
        policy: ObjectName,
        /// The isolated direction.
        direction: Direction,
    },
    /// A rule of a `ClusterNetworkPolicy`.
    Cluster {
        /// The policy.
        policy: String,
        /// Which of its lists.
        direction: Direction,
        /// Position in the list.
        index: u32,
    },
    /// The verdict would be a denial, and the subject's namespace (or the agent) is in audit.
    Audit,
}

impl RuleRef {
    /// Where the rule, or the policy of an isolation, is written; `None` for what is no rule.
    pub fn place<'m>(&self, model: &'m Model) -> Option<&'m Place> {
        match self {
            Self::Open | Self::Itself | Self::Host | Self::Audit => None,
            Self::Isolated { policy, .. } => model.network_policies.get(policy).map(|policy| &policy.place),
            Self::Network { policy, direction, index } => {
                let policy = model.network_policies.get(policy)?;
                let rules = match direction {
                    Direction::Ingress => policy.ingress.as_ref(),
                    Direction::Egress => policy.egress.as_ref(),
                };
                rules?.get(usize::try_from(*index).ok()?).map(|rule| &rule.place)
            }
            Self::Cluster { policy, direction, index } => {
                let policy = model.cluster_policies.get(policy)?;
                let rules = match direction {
                    Direction::Ingress => &policy.ingress,
                    Direction::Egress => &policy.egress,
                };
                rules.get(usize::try_from(*index).ok()?).map(|rule| &rule.place)
            }
        }
    }
}

/// The decision of one direction for one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The verdict in force: policies in audit are left out, and a subject in audit is allowed.
    pub verdict: Verdict,
    /// What decided the verdict in force.
    pub rule: RuleRef,
    /// What would be decided if nothing were in audit, where that verdict differs.
    pub would_be: Option<(Verdict, RuleRef)>,
}

/// Both directions of one flow. A side whose end is no workload is [`RuleRef::Open`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowDecision {
    /// The source workload's egress.
    pub egress: Decision,
    /// The destination workload's ingress.
    pub ingress: Decision,
}

impl FlowDecision {
    /// A connection needs both directions.
    pub fn verdict(&self) -> Verdict {
        self.egress.verdict.max(self.ingress.verdict)
    }
}
