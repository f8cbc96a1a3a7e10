//! An update touches rows in proportion to the change, and limits are refused with their numbers.
#![expect(clippy::unwrap_used, reason = "the helpers of a test, outside of its function")]

#[path = "../examples/world/many.rs"]
mod many;

use std::net::IpAddr;
use std::sync::Arc;

use windrose_abi::ControlSlot;
use windrose_abi::rules::depths;
use windrose_policy::model::{ClusterAction, Model, NetworkRule, PortMatch, Protocol};
use windrose_policy::tables::{Changes, CompileError, Compiler, Settings};

/// 20 namespaces of 20 workloads, each with a policy of 10 rules.
fn compiler() -> Compiler {
    let mut compiler = Compiler::new();
    compiler.update(Arc::new(many::model(20, 20, 10)), &Settings::default()).unwrap();
    compiler
}

fn change(compiler: &mut Compiler, edit: impl FnOnce(&mut Model)) -> Changes {
    let mut model = (**compiler.model()).clone();
    edit(&mut model);
    compiler.update(Arc::new(model), &Settings::default()).unwrap()
}

fn refused(compiler: &mut Compiler, edit: impl FnOnce(&mut Model)) -> Vec<CompileError> {
    let tables = compiler.tables().clone();
    let mut model = (**compiler.model()).clone();
    edit(&mut model);
    let errors = compiler.update(Arc::new(model), &Settings::default()).unwrap_err();
    assert!(*compiler.tables() == tables, "errors leave the tables as they were");
    errors
}

#[test]
fn rows_are_proportional_to_rules_and_not_to_peers() {
    let compiler = compiler();
    let tables = compiler.tables();
    assert_eq!(tables.workloads.len(), 400);
    assert_eq!(tables.rule_sets.len(), 400);
    // A range of ports is up to three rows here, all else is one.
    assert!((4_000..=5_000).contains(&tables.rules.len()), "{}", tables.rules.len());
}

#[test]
fn an_equal_model_changes_nothing() {
    let mut compiler = compiler();
    let changes = compiler.update(Arc::new(many::model(20, 20, 10)), &Settings::default()).unwrap();
    assert!(changes.is_empty(), "{changes:?}");
}

#[test]
fn a_changed_rule_changes_its_rows_only() {
    let changes = change(&mut compiler(), |model| {
        let policy = Arc::make_mut(model.network_policies.values_mut().nth(7).unwrap());
        let rules: &mut Vec<NetworkRule> = policy.ingress.as_mut().unwrap();
        rules[5].ports = Some(vec![PortMatch::Range { protocol: Protocol::Tcp, first: 4_000, last: 4_000 }]);
    });
    assert_eq!((changes.rules.len(), changes.len()), (2, 2), "{changes:?}");
}

#[test]
fn a_rule_that_only_moved_changes_its_place_and_no_row() {
    let mut compiler = compiler();
    let changes = change(&mut compiler, |model| {
        let policy = Arc::make_mut(model.network_policies.values_mut().nth(7).unwrap());
        policy.ingress.as_mut().unwrap()[5].place.line = 4_711;
    });
    assert!(changes.is_empty(), "{changes:?}");
    let names = compiler.names();
    let moved = compiler.tables().rules.values().filter_map(|row| names.rule(row.rule));
    assert_eq!(moved.filter(|(_, place)| place.line == 4_711).count(), 1);
}

#[test]
fn a_block_changes_the_rows_of_addresses_inside_it_only() {
    let mut compiler = compiler();
    let changes = change(&mut compiler, |model| {
        let policy = Arc::make_mut(model.network_policies.values_mut().next().unwrap());
        // 10.3.0.0/29 holds 8 of the 20 addresses of the fourth namespace.
        policy.ingress.as_mut().unwrap()[5].peers = Some(vec![many::block(3, 29)]);
    });
    assert_eq!(changes.addresses.len(), 8);
    assert_eq!(changes.prefixes.len(), 1);
    assert!(changes.len() < 40, "{changes:?}");
}

#[test]
fn a_workload_changes_its_own_rows_only() {
    let mut compiler = compiler();
    let changes = change(&mut compiler, |model| {
        let workload = many::workload(3, 20);
        model.workloads.insert(workload.name.clone(), Arc::new(workload));
    });
    assert!(changes.len() < 10, "{changes:?}");
    let changes = change(&mut compiler, |model| {
        let workload = many::workload(3, 20);
        model.workloads.remove(&workload.name);
    });
    assert!(changes.len() < 10, "{changes:?}");
}

#[test]
fn a_tie_renumbers_policies_of_its_rank_only() {
    let mut compiler = compiler();
    let add = |compiler: &mut Compiler, name: &str, priority| {
        change(compiler, |model| {
            let policy = many::cluster_policy(name, priority, ClusterAction::Deny);
            model.cluster_policies.insert(policy.name.clone(), Arc::new(policy));
        })
    };
    add(&mut compiler, "b", 10);
    add(&mut compiler, "c", 10);
    add(&mut compiler, "a", 20);
    // One row each: that of `a`, and those of `b` and `c`, which move behind it.
    let changes = add(&mut compiler, "a0", 10);
    assert_eq!((changes.rules.len(), changes.len()), (1, 1), "{changes:?}");
    let (_, old, new) = changes.rules[0];
    assert!(old.unwrap().rule != new.unwrap().rule, "one key, and the first by name shows");
}

#[test]
fn a_v6_prefix_around_all_of_v4_is_stopped_before_v4() {
    let mut compiler = compiler();
    let changes = change(&mut compiler, |model| {
        let policy = Arc::make_mut(model.network_policies.values_mut().next().unwrap());
        policy.ingress.as_mut().unwrap()[5].peers = Some(vec![many::v6_block(0)]);
    });
    let lengths: Vec<u32> = changes.prefixes.iter().map(|(key, ..)| key.length).collect();
    assert_eq!(lengths, [0, 96]);
    assert_eq!(changes.prefixes[1].2.unwrap().peer_list, 0);
    assert!(changes.addresses.is_empty(), "no v4 address is inside ::/0");
}

#[test]
fn limits_are_refused_with_their_numbers_and_places() {
    let mut compiler = compiler();
    let errors = refused(&mut compiler, |model| {
        let policy = Arc::make_mut(model.network_policies.values_mut().next().unwrap());
        policy.ingress.as_mut().unwrap()[5].peers = Some(many::selectors(600));
    });
    // Every workload is a member of all of them; each of 400 is named.
    assert_eq!(errors.len(), 400);
    let first = errors[0].to_string();
    assert!(first.starts_with("scale.yaml:"), "{first}");
    assert!(first.contains("peer groups, the most is 512"), "{first}");

    let errors = refused(&mut compiler, |model| {
        let policy = (**model.network_policies.values().next().unwrap()).clone();
        for (n, selector) in (0..).zip(many::all_but(600)) {
            let mut policy = policy.clone();
            policy.name.name = format!("more-{n}");
            policy.pod_selector = selector;
            model.network_policies.insert(policy.name.clone(), Arc::new(policy));
        }
    });
    assert!(errors[0].message.contains("601 Ingress selectors, the most is 512"), "{}", errors[0]);

    let errors = refused(&mut compiler, |model| {
        let workload = Arc::make_mut(model.workloads.values_mut().next().unwrap());
        workload.cgroup = Some("a/".repeat(12) + "b");
    });
    assert!(errors[0].message.contains("13 levels below the root, the most is 12"), "{}", errors[0]);
}

#[test]
fn the_control_slot_tells_depths_and_audit() {
    let mut compiler = compiler();
    assert_eq!(compiler.tables().control.cgroup_depths, depths(1 << 3));
    let settings = Settings { audit_all: true, ..Settings::default() };
    let model = Arc::clone(compiler.model());
    let changes = compiler.update(model, &settings).unwrap();
    assert_eq!(changes.len(), 1);
    assert_ne!(changes.control.unwrap().1.flags & ControlSlot::AUDIT_ALL, 0);
}

#[test]
fn a_hosts_address_changes_one_row() {
    let mut compiler = compiler();
    let host: IpAddr = "192.0.2.1".parse().unwrap();
    let settings = Settings { host_addresses: vec![host], ..Settings::default() };
    let changes = compiler.update(Arc::clone(compiler.model()), &settings).unwrap();
    assert_eq!((changes.addresses.len(), changes.len()), (1, 1), "{changes:?}");
}

#[test]
fn adopted_lists_keep_their_numbers() {
    let first = compiler();
    let renumbered = |lists: &std::collections::HashMap<u32, Arc<[u32]>>| -> Vec<(u32, Arc<[u32]>)> {
        lists.iter().map(|(number, list)| (number ^ 0x5555, Arc::clone(list))).collect()
    };
    let (peers, sets) = (renumbered(&first.tables().peer_lists), renumbered(&first.tables().policy_sets));
    let mut second = Compiler::new();
    second.adopt(peers.clone(), sets.clone());
    second.update(Arc::clone(first.model()), &Settings::default()).unwrap();
    assert_eq!(second.tables().peer_lists, peers.into_iter().collect());
    assert_eq!(second.tables().policy_sets, sets.into_iter().collect());
}
