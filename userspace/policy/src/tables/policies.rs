//! Changed policies: their rows take the place of the old ones.

use std::collections::{BTreeSet, HashMap};

use crate::model::{ClusterPolicy, Model};

use super::differences::shared_differences;
use super::group::Group;
use super::rows::{self, Compiled, Numbering};
use super::{Compiler, Tied};

impl Compiler {
    pub(super) fn update_network(&mut self, before: &Model, after: &Model) {
        for (name, _, policy) in shared_differences(&before.network_policies, &after.network_policies) {
            let compiled = policy.map(|policy| rows::network(policy, &mut self.numbering()));
            let last = self.network.remove(name);
            match compiled {
                Some(compiled) => {
                    self.take_place(last, &compiled);
                    self.network.insert(name.clone(), compiled);
                }
                None => self.take_place(last, &Compiled::default()),
            }
        }
    }

    pub(super) fn update_cluster(&mut self, before: &Model, after: &Model) {
        let mut ranks = BTreeSet::new();
        let mut names = BTreeSet::new();
        for (name, old, new) in shared_differences(&before.cluster_policies, &after.cluster_policies) {
            let rank = |policy: &ClusterPolicy| (policy.tier, policy.priority);
            let (from, to) = (old.map(|old| rank(old)), new.map(|new| rank(new)));
            names.insert(name);
            if from == to {
                continue;
            }
            if let Some(from) = from {
                self.ties.entry(from).or_default().remove(name);
                ranks.insert(from);
            }
            if let Some(to) = to {
                self.ties.entry(to).or_default().insert(name.clone());
                ranks.insert(to);
            }
        }
        // A policy that comes or goes moves those behind it, of the same rank only.
        let mut moved = HashMap::new();
        for rank in ranks {
            let Some(equals) = self.ties.get(&rank) else { continue };
            for ((name, _), tie) in
                equals.iter().filter_map(|name| after.cluster_policies.get_key_value(name)).zip(0..)
            {
                if self.cluster.get(name).is_none_or(|tied| tied.tie != tie) {
                    names.insert(name);
                }
                moved.insert(name, tie);
            }
            if equals.is_empty() {
                self.ties.remove(&rank);
            }
        }
        for name in names {
            self.recompile_cluster(name, moved.get(name).copied(), after);
        }
    }

    /// `tie` is `None` where it is as before.
    fn recompile_cluster(&mut self, name: &String, tie: Option<u32>, model: &Model) {
        let last = self.cluster.remove(name);
        let tie = tie.or(last.as_ref().map(|tied| tied.tie)).unwrap_or_default();
        let last = last.map(|tied| tied.compiled);
        let Some(policy) = model.cluster_policies.get(name) else {
            self.take_place(last, &Compiled::default());
            return;
        };
        let compiled = rows::cluster(policy, tie, &mut self.numbering());
        self.take_place(last, &compiled);
        self.cluster.insert(name.clone(), Tied { tie, compiled });
    }

    /// The new one first, so that what both use is never out of use.
    fn take_place(&mut self, before: Option<Compiled>, after: &Compiled) {
        let before = before.unwrap_or_default();
        self.replace_rows(&before, after);
        self.numbering().release(&before);
    }

    fn numbering(&mut self) -> Numbering<'_> {
        Numbering {
            groups: &mut self.groups,
            rule_sets: &mut self.set_keys,
            names: &mut self.names,
            errors: &mut self.errors,
        }
    }

    /// A policy more or less names the group as a peer.
    pub(super) fn count_peer(&mut self, number: u32, is_added: bool) {
        let Some(group) = self.groups.content(number) else { return };
        match (group, is_added) {
            (Group::Workloads { .. }, true) => self.members.add_peer(number, group),
            (Group::Workloads { .. }, false) => self.members.remove_peer(number, group),
            (Group::Prefix(prefix), true) => self.addresses.add_peer(*prefix, number),
            (Group::Prefix(prefix), false) => self.addresses.remove_peer(*prefix, number),
        }
    }
}
