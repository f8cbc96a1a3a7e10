//! One policy as rows.

use windrose_abi::identity::GROUP_ANY;
use windrose_abi::{Action, RuleKey, RuleSlot, Tier};

use crate::decision::RuleRef;
use crate::model::{
    self, ClusterAction, ClusterPeer, ClusterPeers, ClusterPolicy, ClusterRule, Direction, IpBlock,
    NamespacedSelector, NetworkPeer, NetworkPolicy, NetworkRule,
};
use crate::place::Place;
use crate::rank;

use super::error::CompileError;
use super::group::{Group, NamespaceMatch};
use super::names::Names;
use super::number::{Content, Digest, Numbers};
use super::ports::{Shape, shapes};
use super::prefix::pieces;

/// Policies with the same key share one rule set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RuleSetKey {
    pub(super) tier: Tier,
    pub(super) audit: bool,
    pub(super) direction: Direction,
    pub(super) subject: Group,
}

impl Content for RuleSetKey {
    fn digest(&self, digest: &mut Digest) {
        digest.bytes(&[self.tier as u8, u8::from(self.audit), u8::from(self.direction == Direction::Egress)]);
        self.subject.digest(digest);
    }
}

/// A policy's part in one rule set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) rule_set: u32,
    /// Rank and rule id of its isolation.
    pub(super) isolation: Option<(u64, u32)>,
}

/// A compiled policy. It holds one use of every number in it.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    /// One per direction at most.
    pub(super) shares: Vec<Share>,
    /// Sorted, without duplicates.
    pub(super) rows: Vec<(RuleKey, RuleSlot)>,
    /// Its peer groups. Sorted, without duplicates.
    pub(super) groups: Vec<u32>,
    /// Its port names, as often as they are named.
    pub(super) names: Vec<u32>,
    /// Its rules and isolations.
    pub(super) rules: Vec<u32>,
}

/// Where numbers come from.
pub(super) struct Numbering<'a> {
    pub(super) groups: &'a mut Numbers<Group>,
    pub(super) rule_sets: &'a mut Numbers<RuleSetKey>,
    pub(super) names: &'a mut Names,
    pub(super) errors: &'a mut Vec<CompileError>,
}

/// A policy on its way to rows.
struct Builder<'a, 'n> {
    numbering: &'a mut Numbering<'n>,
    compiled: Compiled,
    rule_set: u32,
    direction: Direction,
}

/// A rule and the slot that its rows have.
struct Statement<'a> {
    slot: RuleSlot,
    place: &'a Place,
    ports: Option<&'a [model::PortMatch]>,
}

/// Compiles a `NetworkPolicy`.
pub(super) fn network(policy: &NetworkPolicy, numbering: &mut Numbering<'_>) -> Compiled {
    let mut builder = Builder::new(numbering);
    let directions = [(Direction::Ingress, &policy.ingress), (Direction::Egress, &policy.egress)];
    for (direction, rules) in directions {
        let Some(rules) = rules else { continue };
        let isolated = RuleRef::Isolated { policy: policy.name.clone(), direction };
        let rule = builder.rule(&isolated, &policy.place);
        let subject = Group::Workloads {
            namespaces: NamespaceMatch::Own(policy.name.namespace.clone()),
            pods: policy.pod_selector.clone(),
        };
        let isolation = Some((rank::network_policy(&policy.name, 0), rule));
        builder
            .enter(&RuleSetKey { tier: Tier::Network, audit: policy.audit, direction, subject }, isolation);
        for (index, rule) in (0..).zip(rules) {
            builder.network_rule(policy, index, rule);
        }
    }
    builder.finish()
}

/// Compiles a `ClusterNetworkPolicy`. `tie`: see [`rank::cluster_policy`].
pub(super) fn cluster(policy: &ClusterPolicy, tie: u32, numbering: &mut Numbering<'_>) -> Compiled {
    let mut builder = Builder::new(numbering);
    let tier = match policy.tier {
        model::Tier::Admin => Tier::Admin,
        model::Tier::Baseline => Tier::Baseline,
    };
    for (direction, rules) in [(Direction::Ingress, &policy.ingress), (Direction::Egress, &policy.egress)] {
        if rules.is_empty() {
            continue;
        }
        let subject = workloads(&policy.subject);
        builder.enter(&RuleSetKey { tier, audit: policy.audit, direction, subject }, None);
        for (index, rule) in (0..).zip(rules) {
            builder.cluster_rule(policy, tie, index, rule);
        }
    }
    builder.finish()
}

impl<'a, 'n> Builder<'a, 'n> {
    fn new(numbering: &'a mut Numbering<'n>) -> Self {
        Self { numbering, compiled: Compiled::default(), rule_set: 0, direction: Direction::Ingress }
    }

    fn enter(&mut self, key: &RuleSetKey, isolation: Option<(u64, u32)>) {
        self.direction = key.direction;
        self.rule_set = self.numbering.rule_sets.acquire(key).unwrap_or_default();
        self.compiled.shares.push(Share { rule_set: self.rule_set, isolation });
    }

    fn rule(&mut self, rule: &RuleRef, place: &Place) -> u32 {
        let names = &mut *self.numbering.names;
        let id = names.rules.acquire(rule).unwrap_or_default();
        // A rule that only moved keeps its rows, but not its place.
        names.places.insert(id, place.clone());
        self.compiled.rules.push(id);
        id
    }

    fn network_rule(&mut self, policy: &NetworkPolicy, index: u32, rule: &NetworkRule) {
        let direction = self.direction;
        let id = self.rule(&RuleRef::Network { policy: policy.name.clone(), direction, index }, &rule.place);
        let slot = RuleSlot {
            rank: rank::network_policy(&policy.name, index),
            rule: id,
            action: Action::Allow as u32,
        };
        let statement = Statement { slot, place: &rule.place, ports: rule.ports.as_deref() };
        let Some(peers) = &rule.peers else {
            self.any_peer(&statement);
            return;
        };
        for peer in peers {
            match peer {
                NetworkPeer::Workloads { namespaces, pods } => {
                    let namespaces = namespaces.as_ref().map_or_else(
                        || NamespaceMatch::Own(policy.name.namespace.clone()),
                        |selector| NamespaceMatch::Labels(selector.clone()),
                    );
                    self.group_peer(&Group::Workloads { namespaces, pods: pods.clone() }, &statement);
                }
                NetworkPeer::Block(block) => self.block_peer(block, &statement),
            }
        }
    }

    fn cluster_rule(&mut self, policy: &ClusterPolicy, tie: u32, index: u32, rule: &ClusterRule) {
        let direction = self.direction;
        let id = self.rule(&RuleRef::Cluster { policy: policy.name.clone(), direction, index }, &rule.place);
        let is_unknown = matches!(rule.peers, ClusterPeers::Unknown);
        let action = match rule.action {
            ClusterAction::Accept => Action::Allow,
            ClusterAction::Deny => Action::Deny,
            // Of peers that nobody can resolve, `Pass` denies.
            ClusterAction::Pass if is_unknown => Action::Deny,
            ClusterAction::Pass => Action::Pass,
        };
        let rank = rank::cluster_policy(policy.priority, tie, index);
        let slot = RuleSlot { rank, rule: id, action: action as u32 };
        let statement = Statement { slot, place: &rule.place, ports: rule.protocols.as_deref() };
        match &rule.peers {
            ClusterPeers::Unknown if rule.action == ClusterAction::Accept => {}
            // Every peer and every protocol, whatever `protocols` says.
            ClusterPeers::Unknown => self.any_peer(&Statement { ports: None, ..statement }),
            ClusterPeers::Known(peers) => {
                for peer in peers {
                    match peer {
                        ClusterPeer::Workloads(selector) => self.group_peer(&workloads(selector), &statement),
                        ClusterPeer::Networks(networks) => {
                            for cidr in networks {
                                self.block_peer(&IpBlock { cidr: *cidr, except: Vec::new() }, &statement);
                            }
                        }
                    }
                }
            }
        }
    }

    fn any_peer(&mut self, statement: &Statement<'_>) {
        let shapes = self.shapes(statement);
        self.rows(GROUP_ANY, &shapes, statement.slot);
    }

    fn group_peer(&mut self, group: &Group, statement: &Statement<'_>) {
        let shapes = self.shapes(statement);
        if !shapes.is_empty() {
            let number = self.group(group);
            self.rows(number, &shapes, statement.slot);
        }
    }

    fn block_peer(&mut self, block: &IpBlock, statement: &Statement<'_>) {
        let mut shapes = self.shapes(statement);
        if self.direction == Direction::Egress {
            // A destination that is an address has no named ports; the source of ingress is none.
            shapes.retain(|shape| !shape.is_name());
        }
        if shapes.is_empty() {
            return;
        }
        for piece in pieces(block) {
            let number = self.group(&Group::Prefix(piece));
            self.rows(number, &shapes, statement.slot);
        }
    }

    fn shapes(&mut self, statement: &Statement<'_>) -> Vec<Shape> {
        let Self { numbering, compiled, .. } = self;
        shapes(statement.ports, |name| {
            let number = numbering.names.ports.acquire(&name.to_owned()).unwrap_or_else(|| {
                numbering.errors.push(CompileError::too_many_port_names(statement.place));
                0
            });
            compiled.names.push(number);
            u16::try_from(number).unwrap_or_default()
        })
    }

    fn group(&mut self, group: &Group) -> u32 {
        let number = self.numbering.groups.acquire(group).unwrap_or_default();
        self.compiled.groups.push(number);
        number
    }

    fn rows(&mut self, peer_group: u32, shapes: &[Shape], slot: RuleSlot) {
        self.compiled.rows.extend(shapes.iter().map(|&Shape { port, protocol, code: shape }| {
            (RuleKey { rule_set: self.rule_set, peer_group, port, protocol, shape }, slot)
        }));
    }

    fn finish(mut self) -> Compiled {
        self.compiled.rows.sort_unstable();
        self.compiled.rows.dedup();
        self.compiled.groups.sort_unstable();
        let groups = &mut *self.numbering.groups;
        self.compiled.groups.dedup_by(|a, b| {
            let is_same = a == b;
            if is_same {
                groups.release(*a);
            }
            is_same
        });
        self.compiled
    }
}

impl Numbering<'_> {
    /// Gives back what a compiled policy holds.
    pub(super) fn release(&mut self, compiled: &Compiled) {
        for share in &compiled.shares {
            self.rule_sets.release(share.rule_set);
        }
        for group in &compiled.groups {
            self.groups.release(*group);
        }
        for name in &compiled.names {
            self.names.ports.release(*name);
        }
        for rule in &compiled.rules {
            self.names.rules.release(*rule);
        }
    }
}

fn workloads(selector: &NamespacedSelector) -> Group {
    Group::Workloads {
        namespaces: NamespaceMatch::Labels(selector.namespaces.clone()),
        pods: selector.pods.clone(),
    }
}
