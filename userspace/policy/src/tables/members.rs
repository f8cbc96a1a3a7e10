//! Who is a member of which group, kept up to date from both sides.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use windrose_abi::Tier;

use crate::model::{Direction, Labels};

use super::group::{Group, Member};
use super::names::IdentityKey;
use super::rows::RuleSetKey;

/// Workloads of one namespace with the same labels.
#[derive(Debug)]
pub(super) struct Identity {
    key: IdentityKey,
    namespace_labels: Option<Arc<Labels>>,
    pub(super) workloads: BTreeSet<u32>,
    /// By which groups find it.
    pivots: Vec<u64>,
    /// Sorted.
    groups: Vec<u32>,
    /// Lists that the compiler made of `groups`.
    pub(super) peer_list: u32,
    pub(super) ingress_set: u32,
    pub(super) egress_set: u32,
}

/// A group of workloads.
#[derive(Debug)]
struct Selecting {
    group: Group,
    /// Policies that name it as a peer.
    peers: u32,
    /// Rule sets that it is the subject of, each with its tier.
    rule_sets: BTreeSet<(Direction, Tier, u32)>,
    /// By which identities find it; empty until it is indexed.
    pivots: Vec<u64>,
    members: BTreeSet<u32>,
    /// What its members know of it: whether it is a peer, and whether `rule_sets` are the same.
    was_peer: bool,
    has_other_sets: bool,
}

/// Numbers by what they have in common.
#[derive(Debug, Default)]
struct Index(HashMap<u64, BTreeSet<u32>>);

/// Identities, groups, and who is in which.
#[derive(Debug, Default)]
pub(super) struct Members {
    identities: HashMap<u32, Identity>,
    groups: HashMap<u32, Selecting>,
    identities_by_pivot: Index,
    groups_by_pivot: Index,
    /// Identities that are new or whose namespace has other labels.
    fresh: BTreeSet<u32>,
    /// Identities that may have lost their last workload.
    idle: BTreeSet<u32>,
    /// Groups whose uses changed.
    touched: BTreeSet<u32>,
}

impl Identity {
    fn member(&self) -> Member<'_> {
        Member {
            namespace: &self.key.namespace,
            namespace_labels: self.namespace_labels.as_deref(),
            labels: &self.key.labels,
        }
    }
}

impl Index {
    fn insert(&mut self, pivots: &[u64], number: u32) {
        for pivot in pivots {
            self.0.entry(*pivot).or_default().insert(number);
        }
    }

    fn remove(&mut self, pivots: &[u64], number: u32) {
        for pivot in pivots {
            let Some(numbers) = self.0.get_mut(pivot) else { continue };
            numbers.remove(&number);
            if numbers.is_empty() {
                self.0.remove(pivot);
            }
        }
    }

    fn count(&self, pivots: &[u64]) -> usize {
        pivots.iter().filter_map(|pivot| self.0.get(pivot)).map(BTreeSet::len).sum()
    }

    /// Sorted, without duplicates.
    fn candidates(&self, pivots: &[u64]) -> Vec<u32> {
        let mut numbers: Vec<u32> =
            pivots.iter().filter_map(|pivot| self.0.get(pivot)).flatten().copied().collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

impl Members {
    pub(super) fn identity(&self, number: u32) -> Option<&Identity> {
        self.identities.get(&number)
    }

    pub(super) fn identity_mut(&mut self, number: u32) -> Option<&mut Identity> {
        self.identities.get_mut(&number)
    }

    /// A workload has this identity from now on.
    pub(super) fn attach(
        &mut self,
        number: u32,
        key: &IdentityKey,
        namespace_labels: Option<Arc<Labels>>,
        workload: u32,
    ) {
        let identity = self.identities.entry(number).or_insert_with(|| {
            self.fresh.insert(number);
            Identity {
                key: key.clone(),
                namespace_labels,
                workloads: BTreeSet::new(),
                pivots: Vec::new(),
                groups: Vec::new(),
                peer_list: 0,
                ingress_set: 0,
                egress_set: 0,
            }
        });
        identity.workloads.insert(workload);
    }

    pub(super) fn detach(&mut self, number: u32, workload: u32) {
        if let Some(identity) = self.identities.get_mut(&number) {
            identity.workloads.remove(&workload);
            self.idle.insert(number);
        }
    }

    /// A namespace has other labels, or is in audit or no more. Its identities.
    pub(super) fn of_namespace(&self, namespace: &str) -> Vec<u32> {
        let labels = Labels::new();
        let member = Member { namespace, namespace_labels: None, labels: &labels };
        let mut numbers = self.identities_by_pivot.candidates(&member.pivots()[1..]);
        numbers.retain(|number| {
            self.identities.get(number).is_some_and(|identity| identity.key.namespace == namespace)
        });
        numbers
    }

    pub(super) fn relabel(&mut self, namespace: &str, labels: Option<&Arc<Labels>>) {
        for number in self.of_namespace(namespace) {
            if let Some(identity) = self.identities.get_mut(&number) {
                identity.namespace_labels = labels.cloned();
                self.fresh.insert(number);
            }
        }
    }

    fn group_mut(&mut self, number: u32, group: &Group) -> &mut Selecting {
        self.touched.insert(number);
        self.groups.entry(number).or_insert_with(|| Selecting {
            group: group.clone(),
            peers: 0,
            rule_sets: BTreeSet::new(),
            pivots: Vec::new(),
            members: BTreeSet::new(),
            was_peer: false,
            has_other_sets: false,
        })
    }

    /// One policy more names the group as a peer.
    pub(super) fn add_peer(&mut self, number: u32, group: &Group) {
        self.group_mut(number, group).peers += 1;
    }

    pub(super) fn remove_peer(&mut self, number: u32, group: &Group) {
        let group = self.group_mut(number, group);
        group.peers = group.peers.saturating_sub(1);
    }

    /// The group is the subject of a rule set.
    pub(super) fn add_rule_set(&mut self, number: u32, key: &RuleSetKey, rule_set: u32) {
        let group = self.group_mut(number, &key.subject);
        group.rule_sets.insert((key.direction, key.tier, rule_set));
        group.has_other_sets = true;
    }

    pub(super) fn remove_rule_set(&mut self, number: u32, key: &RuleSetKey, rule_set: u32) {
        let group = self.group_mut(number, &key.subject);
        group.rule_sets.remove(&(key.direction, key.tier, rule_set));
        group.has_other_sets = true;
    }

    /// Brings memberships up to date. Identities that are gone, and those whose lists may have
    /// changed.
    pub(super) fn flush(&mut self) -> (Vec<Identity>, BTreeSet<u32>) {
        let mut dirty = BTreeSet::new();
        let gone = self.drop_idle();
        let fresh = std::mem::take(&mut self.fresh);
        self.index_fresh(&fresh);
        let added = self.settle_groups(&mut dirty);
        for number in &fresh {
            self.find_groups(*number);
        }
        for number in added {
            self.find_members(number, &fresh, &mut dirty);
        }
        dirty.extend(fresh);
        (gone, dirty)
    }

    fn drop_idle(&mut self) -> Vec<Identity> {
        let mut gone = Vec::new();
        for number in std::mem::take(&mut self.idle) {
            if self.identities.get(&number).is_none_or(|identity| !identity.workloads.is_empty()) {
                continue;
            }
            let Some(identity) = self.identities.remove(&number) else { continue };
            self.fresh.remove(&number);
            self.identities_by_pivot.remove(&identity.pivots, number);
            for group in &identity.groups {
                if let Some(group) = self.groups.get_mut(group) {
                    group.members.remove(&number);
                }
            }
            gone.push(identity);
        }
        gone
    }

    fn index_fresh(&mut self, fresh: &BTreeSet<u32>) {
        for number in fresh {
            let Some(identity) = self.identities.get_mut(number) else { continue };
            self.identities_by_pivot.remove(&identity.pivots, *number);
            identity.pivots = identity.member().pivots();
            self.identities_by_pivot.insert(&identity.pivots, *number);
        }
    }

    /// Drops groups that nobody uses and indexes new ones, which it returns.
    fn settle_groups(&mut self, dirty: &mut BTreeSet<u32>) -> Vec<u32> {
        let mut added = Vec::new();
        for number in std::mem::take(&mut self.touched) {
            let Some(group) = self.groups.get_mut(&number) else { continue };
            let is_peer = group.peers != 0;
            if is_peer != group.was_peer || group.has_other_sets {
                dirty.extend(&group.members);
            }
            group.was_peer = is_peer;
            group.has_other_sets = false;
            if !is_peer && group.rule_sets.is_empty() {
                self.drop_group(number);
            } else if group.pivots.is_empty() {
                let ways = group.group.ways();
                let best = ways.into_iter().min_by_key(|way| self.identities_by_pivot.count(way));
                group.pivots = best.unwrap_or_default();
                self.groups_by_pivot.insert(&group.pivots, number);
                added.push(number);
            }
        }
        added
    }

    fn drop_group(&mut self, number: u32) {
        let Some(group) = self.groups.remove(&number) else { return };
        self.groups_by_pivot.remove(&group.pivots, number);
        for member in &group.members {
            if let Some(identity) = self.identities.get_mut(member)
                && let Ok(at) = identity.groups.binary_search(&number)
            {
                identity.groups.remove(at);
            }
        }
    }

    /// Of a fresh identity.
    fn find_groups(&mut self, number: u32) {
        let Some(identity) = self.identities.get_mut(&number) else { return };
        let mut found = self.groups_by_pivot.candidates(&identity.pivots);
        found.retain(|group| self.groups.get(group).is_some_and(|group| group.group.has(identity.member())));
        let before = std::mem::replace(&mut identity.groups, found);
        for group in &before {
            if identity.groups.binary_search(group).is_err()
                && let Some(group) = self.groups.get_mut(group)
            {
                group.members.remove(&number);
            }
        }
        for group in &identity.groups {
            if let Some(group) = self.groups.get_mut(group) {
                group.members.insert(number);
            }
        }
    }

    /// Of a new group, among the identities that are not `fresh`: those have found it themselves.
    fn find_members(&mut self, number: u32, fresh: &BTreeSet<u32>, dirty: &mut BTreeSet<u32>) {
        let Some(group) = self.groups.get_mut(&number) else { return };
        for candidate in self.identities_by_pivot.candidates(&group.pivots) {
            if fresh.contains(&candidate) {
                continue;
            }
            let Some(identity) = self.identities.get_mut(&candidate) else { continue };
            if !group.group.has(identity.member()) {
                continue;
            }
            if let Err(at) = identity.groups.binary_search(&number) {
                identity.groups.insert(at, number);
            }
            group.members.insert(candidate);
            dirty.insert(candidate);
        }
    }

    /// What the tables say of an identity: its peer groups, and its rule sets of each direction by
    /// tier, because a walk ends with the first tier that decides. All sorted.
    pub(super) fn lists(&self, identity: &Identity) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
        let (mut peers, mut ingress, mut egress) = (Vec::new(), Vec::new(), Vec::new());
        for number in &identity.groups {
            let Some(group) = self.groups.get(number) else { continue };
            if group.peers != 0 {
                peers.push(*number);
            }
            for (direction, tier, rule_set) in &group.rule_sets {
                match direction {
                    Direction::Ingress => ingress.push((*tier, *rule_set)),
                    Direction::Egress => egress.push((*tier, *rule_set)),
                }
            }
        }
        (peers, ordered(ingress), ordered(egress))
    }
}

fn ordered(mut rule_sets: Vec<(Tier, u32)>) -> Vec<u32> {
    rule_sets.sort_unstable();
    rule_sets.into_iter().map(|(_, rule_set)| rule_set).collect()
}
