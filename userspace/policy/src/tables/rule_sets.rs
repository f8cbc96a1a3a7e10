//! Rule sets and their rows, counted so that they can go one by one.

use std::collections::HashMap;

use windrose_abi::rules::{SHAPES, probes};
use windrose_abi::{RuleKey, RuleSetSlot, RuleSlot};

use super::Compiler;
use super::record::Touched;
use super::rows::{Compiled, Share};

/// The policies of one tier, audit, direction and subject.
#[derive(Debug)]
pub(super) struct RuleSet {
    /// The group that is its subject.
    pub(super) subject: u32,
    /// Policies in it.
    policies: u32,
    /// Rank and rule id of each policy that isolates. Sorted.
    isolations: Vec<(u64, u32)>,
    /// Rows of each shape.
    shapes: [u32; SHAPES as usize],
    /// Rows by peer group modulo 64.
    peers: [u32; 64],
}

impl RuleSet {
    const fn new(subject: u32) -> Self {
        Self { subject, policies: 0, isolations: Vec::new(), shapes: [0; SHAPES as usize], peers: [0; 64] }
    }

    fn join(&mut self, share: &Share) {
        self.policies += 1;
        if let Some(isolation) = share.isolation {
            let at = self.isolations.partition_point(|other| *other < isolation);
            self.isolations.insert(at, isolation);
        }
    }

    fn leave(&mut self, share: &Share) {
        self.policies = self.policies.saturating_sub(1);
        if let Some(isolation) = share.isolation
            && let Ok(at) = self.isolations.binary_search(&isolation)
        {
            self.isolations.remove(at);
        }
    }

    fn count(&mut self, key: &RuleKey, is_added: bool) {
        let step = |count: &mut u32| {
            *count = if is_added { *count + 1 } else { count.saturating_sub(1) };
        };
        step(&mut self.shapes[usize::from(key.shape)]);
        step(&mut self.peers[(key.peer_group & 63) as usize]);
    }

    fn slot(&self, tier: u32, is_audit: bool) -> RuleSetSlot {
        let bits = |counts: &[u32]| {
            (0..).zip(counts).filter(|(_, count)| **count != 0).fold(0_u64, |bits, (n, _)| bits | 1 << n)
        };
        let shapes = u32::try_from(bits(&self.shapes)).unwrap_or(u32::MAX);
        let (default_rank, default_rule) = self.isolations.first().copied().unwrap_or_default();
        RuleSetSlot {
            default_rank,
            peers: bits(&self.peers),
            probes: probes(shapes),
            default_rule,
            shapes,
            tier,
            flags: RuleSetSlot::EXISTS | if is_audit { RuleSetSlot::AUDIT } else { 0 },
        }
    }
}

impl Compiler {
    /// Puts the rows of one compiled policy in the place of those of another.
    pub(super) fn replace_rows(&mut self, before: &Compiled, after: &Compiled) {
        for share in &after.shares {
            self.join(share);
        }
        let (mut old, mut new) = (before.rows.iter().peekable(), after.rows.iter().peekable());
        while old.peek().is_some() || new.peek().is_some() {
            match (old.peek(), new.peek()) {
                (Some(one), Some(other)) if one == other => {
                    old.next();
                    new.next();
                }
                (Some(one), other) if other.is_none_or(|other| one < other) => {
                    self.remove_row(one.0, one.1);
                    old.next();
                }
                (_, Some(other)) => {
                    self.add_row(other.0, other.1);
                    new.next();
                }
                (_, None) => break,
            }
        }
        for share in &before.shares {
            self.leave(share);
        }
        for number in &after.groups {
            self.count_peer(*number, true);
        }
        for number in &before.groups {
            self.count_peer(*number, false);
        }
    }

    fn join(&mut self, share: &Share) {
        let number = share.rule_set;
        self.dirty_rule_sets.insert(number);
        if !self.rule_sets.contains_key(&number) {
            let Some(key) = self.set_keys.content(number) else { return };
            let Some(subject) = self.groups.acquire(&key.subject) else { return };
            self.members.add_rule_set(subject, key, number);
            self.rule_sets.insert(number, RuleSet::new(subject));
        }
        if let Some(set) = self.rule_sets.get_mut(&number) {
            set.join(share);
        }
    }

    fn leave(&mut self, share: &Share) {
        self.dirty_rule_sets.insert(share.rule_set);
        if let Some(set) = self.rule_sets.get_mut(&share.rule_set) {
            set.leave(share);
        }
    }

    fn add_row(&mut self, key: RuleKey, slot: RuleSlot) {
        if let Some(set) = self.rule_sets.get_mut(&key.rule_set) {
            set.count(&key, true);
        }
        let shown = match self.tables.rules.get(&key) {
            None => slot,
            Some(shown) => {
                let hidden = self.hidden.entry(key).or_default();
                let other = slot.max(*shown);
                let at = hidden.partition_point(|row| *row < other);
                hidden.insert(at, other);
                slot.min(*shown)
            }
        };
        show(&mut self.tables.rules, &mut self.record.rules, key, Some(shown));
    }

    fn remove_row(&mut self, key: RuleKey, slot: RuleSlot) {
        if let Some(set) = self.rule_sets.get_mut(&key.rule_set) {
            set.count(&key, false);
        }
        let is_shown = self.tables.rules.get(&key) == Some(&slot);
        let mut next = None;
        if let Some(hidden) = self.hidden.get_mut(&key) {
            if is_shown {
                next = Some(hidden.remove(0));
            } else if let Ok(at) = hidden.binary_search(&slot) {
                hidden.remove(at);
            }
            if hidden.is_empty() {
                self.hidden.remove(&key);
            }
        }
        if is_shown {
            show(&mut self.tables.rules, &mut self.record.rules, key, next);
        }
    }

    /// Brings the heads of rule sets up to date. A rule set without policies goes.
    pub(super) fn flush_rule_sets(&mut self) {
        for number in std::mem::take(&mut self.dirty_rule_sets) {
            let Some(set) = self.rule_sets.get(&number) else { continue };
            let Some(key) = self.set_keys.content(number) else { continue };
            let slot = if set.policies == 0 {
                self.members.remove_rule_set(set.subject, key, number);
                self.groups.release(set.subject);
                self.rule_sets.remove(&number);
                None
            } else {
                Some(set.slot(key.tier as u32, key.audit))
            };
            if self.tables.rule_sets.get(&number) != slot.as_ref() {
                self.record.rule_sets.set(&mut self.tables.rule_sets, number, slot);
            }
        }
    }
}

fn show(
    rules: &mut HashMap<RuleKey, RuleSlot>,
    touched: &mut Touched<RuleKey, RuleSlot>,
    key: RuleKey,
    row: Option<RuleSlot>,
) {
    if rules.get(&key) != row.as_ref() {
        touched.set(rules, key, row);
    }
}
