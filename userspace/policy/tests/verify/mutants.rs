//! Tables with one wrong row: every way in which a compiler could be wrong by one.

use std::collections::HashMap;
use std::sync::Arc;

use windrose_abi::rules::{SHAPE_ANY, SHAPES, probes};
use windrose_abi::{AddressSlot, ControlSlot, RuleKey, RuleSetSlot, RuleSlot, WorkloadSlot};
use windrose_policy::tables::Tables;

/// What is done to the tables, and how: each is a copy of the tables only when it is asked for.
pub(crate) struct Mutant {
    pub(crate) what: String,
    edit: Box<dyn Fn(&mut Tables) + Send + Sync>,
}

/// So many rows of rules are changed in every way; all are dropped.
const ROWS: usize = 64;

/// So many others lend a row what they have.
const LENDERS: usize = 4;

impl Mutant {
    /// The wrong tables; `None` if these are not.
    pub(crate) fn of(&self, tables: &Tables) -> Option<Tables> {
        let mut mutant = tables.clone();
        (self.edit)(&mut mutant);
        (mutant != *tables).then_some(mutant)
    }
}

/// Every mutant of these tables, in an order of its own.
pub(crate) fn mutants(tables: &Tables) -> Vec<Mutant> {
    let mut all = Vec::new();
    rules(tables, &mut all);
    rule_sets(tables, &mut all);
    lists(tables, &mut all);
    ends(tables, &mut all);
    settings(&mut all);
    all.sort_by(|a, b| a.what.cmp(&b.what));
    all
}

fn mutant(what: String, all: &mut Vec<Mutant>, edit: impl Fn(&mut Tables) + Send + Sync + 'static) {
    all.push(Mutant { what, edit: Box::new(edit) });
}

/// The first of some rows by key.
fn lenders<K: Ord + Copy, V: Copy>(rows: &HashMap<K, V>) -> Vec<V> {
    let mut rows: Vec<(K, V)> = rows.iter().map(|(key, row)| (*key, *row)).collect();
    rows.sort_unstable_by_key(|(key, _)| *key);
    rows.into_iter().map(|(_, row)| row).take(LENDERS).collect()
}

fn rules(tables: &Tables, all: &mut Vec<Mutant>) {
    let others = lenders(&tables.rules);
    let mut rows: Vec<(RuleKey, RuleSlot)> = tables.rules.iter().map(|(key, slot)| (*key, *slot)).collect();
    rows.sort_unstable();
    let every = rows.len().div_ceil(ROWS);
    for (n, (key, slot)) in rows.into_iter().enumerate() {
        mutant(format!("rule row dropped: {key:?}"), all, move |tables| {
            tables.rules.remove(&key);
        });
        if n % every != 0 {
            continue;
        }
        let mut slots = vec![
            ("rank raised", RuleSlot { rank: u64::MAX - 1, ..slot }),
            ("rank lowered", RuleSlot { rank: 0, ..slot }),
            ("rule of nobody", RuleSlot { rule: slot.rule ^ 0x5a5a, ..slot }),
        ];
        slots.extend((1..=3).map(|action| ("action", RuleSlot { action, ..slot })));
        slots.extend(
            others.first().map(|other| ("another rule's name", RuleSlot { rule: other.rule, ..slot })),
        );
        for (what, slot) in slots {
            mutant(format!("{what}: {key:?} {slot:?}"), all, move |tables| {
                tables.rules.insert(key, slot);
            });
        }
        let mut keys = vec![
            ("every peer", RuleKey { peer_group: 0, ..key }),
            ("another peer", RuleKey { peer_group: key.peer_group ^ 64, ..key }),
            ("every port", RuleKey { port: 0, protocol: 0, shape: SHAPE_ANY, ..key }),
            ("the port above", RuleKey { port: key.port.wrapping_add(1), ..key }),
            ("another protocol", RuleKey { protocol: if key.protocol == 6 { 17 } else { 6 }, ..key }),
        ];
        if key.shape <= 16 {
            let shorter = key.shape.saturating_sub(1);
            let port = key.port & u16::MAX.checked_shl(16 - u32::from(shorter)).unwrap_or(0);
            keys.push(("a shorter port prefix", RuleKey { shape: shorter, port, ..key }));
            keys.push(("a longer port prefix", RuleKey { shape: (key.shape + 1).min(16), ..key }));
        }
        for (what, key_after) in keys {
            mutant(format!("{what}: {key:?}"), all, move |tables| {
                tables.rules.remove(&key);
                tables.rules.insert(key_after, slot);
                // Its rule set says which shapes and groups it has rows of: else nobody would look.
                if let Some(set) = tables.rule_sets.get_mut(&key.rule_set) {
                    set.shapes |= 1 << key_after.shape;
                    set.probes = probes(set.shapes);
                    set.peers |= 1 << (key_after.peer_group & 63);
                }
            });
        }
    }
}

fn rule_sets(tables: &Tables, all: &mut Vec<Mutant>) {
    let others = lenders(&tables.rule_sets);
    for (&number, &slot) in &tables.rule_sets {
        mutant(format!("rule set dropped: {number}"), all, move |tables| {
            tables.rule_sets.remove(&number);
        });
        let mut slots = vec![
            ("no groups", RuleSetSlot { peers: 0, ..slot }),
            ("no shapes", RuleSetSlot { shapes: 0, probes: probes(0), ..slot }),
            ("audit", RuleSetSlot { flags: slot.flags ^ RuleSetSlot::AUDIT, ..slot }),
            ("isolation rank raised", RuleSetSlot { default_rank: u64::MAX - 1, ..slot }),
        ];
        for RuleSetSlot { default_rank, default_rule, .. } in others.iter().copied() {
            slots.push(("another isolation", RuleSetSlot { default_rank, default_rule, ..slot }));
            slots.push(("another isolation's name", RuleSetSlot { default_rule, ..slot }));
        }
        slots.extend((0..3).map(|tier| ("tier", RuleSetSlot { tier, ..slot })));
        let shapes = (0..SHAPES).filter(|shape| slot.shapes & 1 << shape != 0);
        slots.extend(shapes.map(|shape| {
            let shapes = slot.shapes & !(1 << shape);
            ("a shape forgotten", RuleSetSlot { shapes, probes: probes(shapes), ..slot })
        }));
        slots.extend(
            (0..64)
                .filter(|bit| slot.peers & 1 << bit != 0)
                .map(|bit| ("a group forgotten", RuleSetSlot { peers: slot.peers & !(1 << bit), ..slot })),
        );
        for (what, slot) in slots {
            mutant(format!("{what}: {number} {slot:?}"), all, move |tables| {
                tables.rule_sets.insert(number, slot);
            });
        }
    }
}

fn lists(tables: &Tables, all: &mut Vec<Mutant>) {
    for (&number, list) in &tables.peer_lists {
        mutant(format!("peer list dropped: {number}"), all, move |tables| {
            tables.peer_lists.remove(&number);
        });
        for (what, list) in shorter(list) {
            mutant(format!("group {what} dropped from list {number}"), all, move |tables| {
                tables.peer_lists.insert(number, Arc::clone(&list));
            });
        }
        let mut groups: Vec<u32> = tables.peer_lists.values().flat_map(|list| list.iter().copied()).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups.iter().take(LENDERS) {
            if !list.contains(group) {
                let mut longer = list.to_vec();
                longer.push(*group);
                longer.sort_unstable();
                mutant(format!("group {group} added to list {number}"), all, move |tables| {
                    tables.peer_lists.insert(number, longer.as_slice().into());
                });
            }
        }
    }
    for (&number, list) in &tables.policy_sets {
        mutant(format!("policy set dropped: {number}"), all, move |tables| {
            tables.policy_sets.remove(&number);
        });
        let mut reversed = list.to_vec();
        reversed.reverse();
        let lists = shorter(list).into_iter().chain([(0, reversed.into())]);
        for (what, list) in lists {
            mutant(format!("rule set {what} dropped from set {number} {list:?}"), all, move |tables| {
                tables.policy_sets.insert(number, Arc::clone(&list));
            });
        }
    }
}

/// The list without each of its numbers.
fn shorter(list: &Arc<[u32]>) -> Vec<(u32, Arc<[u32]>)> {
    let without = |number: &u32| list.iter().copied().filter(|other| other != number).collect();
    list.iter().map(|number| (*number, without(number))).collect()
}

fn ends(tables: &Tables, all: &mut Vec<Mutant>) {
    for path in tables.cgroups.keys() {
        let path = path.clone();
        mutant(format!("cgroup forgotten: {path}"), all, move |tables| {
            tables.cgroups.remove(&path);
        });
    }
    for (&number, &slot) in &tables.workloads {
        mutant(format!("workload dropped: {number}"), all, move |tables| {
            tables.workloads.remove(&number);
        });
        let mut slots = vec![
            ("open to ingress", WorkloadSlot { ingress_set: 0, ..slot }),
            ("open to egress", WorkloadSlot { egress_set: 0, ..slot }),
            ("in audit or not", WorkloadSlot { flags: slot.flags ^ WorkloadSlot::AUDIT, ..slot }),
            ("in no group", WorkloadSlot { peer_list: 0, ..slot }),
        ];
        for other in lenders(&tables.workloads) {
            slots.push(("another's ingress", WorkloadSlot { ingress_set: other.ingress_set, ..slot }));
            slots.push(("another's egress", WorkloadSlot { egress_set: other.egress_set, ..slot }));
        }
        for (what, slot) in slots {
            mutant(format!("{what}: {number} {slot:?}"), all, move |tables| {
                tables.workloads.insert(number, slot);
            });
        }
    }
    for (&address, &slot) in &tables.addresses {
        mutant(format!("address dropped: {address:?}"), all, move |tables| {
            tables.addresses.remove(&address);
        });
        let mut slots = vec![
            ("nobody's", AddressSlot { workload: 0, ..slot }),
            ("in no group", AddressSlot { peer_list: 0, ..slot }),
            ("the host's or not", AddressSlot { flags: slot.flags ^ AddressSlot::HOST, workload: 0, ..slot }),
        ];
        for other in lenders(&tables.addresses) {
            slots.push(("another's", other));
            slots.push(("another's groups", AddressSlot { peer_list: other.peer_list, ..slot }));
        }
        for (what, slot) in slots {
            mutant(format!("{what}: {address:?} {slot:?}"), all, move |tables| {
                tables.addresses.insert(address, slot);
            });
        }
    }
    for (&key, &slot) in &tables.prefixes {
        mutant(format!("prefix dropped: {key:?}"), all, move |tables| {
            tables.prefixes.remove(&key);
        });
        for other in lenders(&tables.prefixes) {
            mutant(format!("another's groups: {key:?} {other:?}"), all, move |tables| {
                tables.prefixes.insert(key, other);
            });
        }
        let mut longer = key;
        longer.length += 1;
        mutant(format!("prefix longer: {key:?}"), all, move |tables| {
            tables.prefixes.remove(&key);
            tables.prefixes.insert(longer, slot);
        });
    }
    for (&key, &slot) in &tables.port_names {
        mutant(format!("port name dropped: {key:?}"), all, move |tables| {
            tables.port_names.remove(&key);
        });
        for n in 0..slot.names.len() {
            let mut after = slot;
            after.names[n] = 0;
            mutant(format!("name {n} dropped: {key:?}"), all, move |tables| {
                tables.port_names.insert(key, after);
            });
        }
    }
}

fn settings(all: &mut Vec<Mutant>) {
    for flag in [ControlSlot::AUDIT_ALL, ControlSlot::HAS_PREFIXES] {
        mutant(format!("flag {flag}"), all, move |tables| tables.control.flags ^= flag);
    }
}
