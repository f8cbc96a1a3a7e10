//! The engine over compiled tables says what the reference says; an update is a compilation.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test, outside of its function")]

#[path = "equivalence/edit.rs"]
mod edit;
#[path = "generate/world.rs"]
mod generate;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use windrose_abi::Direction;
use windrose_engine::{Peer, Question, decide, resolve};
use windrose_policy::decision::{Decision, Flow, RuleRef, Verdict};
use windrose_policy::model::Model;
use windrose_policy::reference::{endpoint, evaluate};
use windrose_policy::tables::{Changes, Compiler, Lookup, Names, Settings, Tables, Trie};
use windrose_policy::verify::{decision_of, wire_address};

use generate::Rng;

/// The host's own addresses in generated flows.
const HOSTS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 0, 3, 200)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xc8))];

/// Models, and flows for each: more than a million together.
const MODELS: u64 = 2_600;
const FLOWS: u64 = 400;

fn settings(audit_all: bool) -> Settings {
    Settings { audit_all, host_addresses: HOSTS.to_vec(), ..Settings::default() }
}

fn compiled(model: &Model, settings: &Settings) -> Compiler {
    let mut compiler = Compiler::new();
    compiler.update(Arc::new(model.clone()), settings).unwrap();
    compiler
}

/// One direction as the kernel decides it: both ends are looked up by address.
fn side(rows: &Lookup<'_>, names: &Names, flow: &Flow, direction: Direction) -> Decision {
    let source = resolve(&rows, &wire_address(flow.source.address));
    let destination = resolve(&rows, &wire_address(flow.destination.address));
    let (subject, peer): (Peer, Peer) = match direction {
        Direction::Ingress => (destination, source),
        Direction::Egress => (source, destination),
    };
    if subject.workload == 0 {
        return Decision { verdict: Verdict::Allow, rule: RuleRef::Open, would_be: None };
    }
    let question = Question {
        subject: subject.workload,
        slot: rows.tables.workloads[&subject.workload],
        peer,
        direction,
        protocol: flow.protocol,
        port: flow.destination_port,
    };
    let said = decide(&rows, &question);
    decision_of(names, &said).unwrap_or_else(|| panic!("the tables are torn: {said:?}"))
}

fn agree(model: &Model, rows: &Lookup<'_>, names: &Names, flow: &Flow, audit_all: bool) {
    let expected = evaluate(model, flow, audit_all);
    let egress = side(rows, names, flow, Direction::Egress);
    let ingress = side(rows, names, flow, Direction::Ingress);
    assert_eq!(egress, expected.egress, "egress of {flow:#?}\nin {model:#?}");
    assert_eq!(ingress, expected.ingress, "ingress of {flow:#?}\nin {model:#?}");
}

/// Runs `body` for 0 to `count - 1` on every core.
fn each(count: u64, body: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    if turn >= count {
                        break;
                    }
                    body(turn);
                }
            });
        }
    });
}

#[test]
fn the_engine_says_what_the_reference_says() {
    const { assert!(MODELS * FLOWS >= 1_000_000) };
    each(MODELS, |seed| {
        let model = generate::model(seed);
        let audit_all = seed % 16 == 0;
        let compiler = compiled(&model, &settings(audit_all));
        let rows = Lookup::new(compiler.tables());
        let mut rng = Rng::new(!seed);
        for _ in 0..FLOWS {
            agree(&model, &rows, compiler.names(), &generate::flow(&model, &mut rng), audit_all);
        }
    });
}

#[test]
fn an_update_comes_to_the_tables_of_a_compilation_from_scratch() {
    each(150, |seed| {
        let mut rng = Rng::new(seed);
        let mut model = generate::model(seed);
        let mut compiler = compiled(&model, &settings(false));
        for step in 0..25 {
            let tables = compiler.tables().clone();
            let settings = Settings {
                audit_all: rng.chance(10),
                host_addresses: if rng.chance(90) { HOSTS.to_vec() } else { Vec::new() },
                ..Settings::default()
            };
            model = edit::edit(&model, &mut rng);
            if step % 4 == 0 {
                let broken = edit::break_limit(&edit::edit(&model, &mut rng), &mut rng);
                let errors = compiler.update(Arc::new(broken), &settings).unwrap_err();
                assert!(!errors.is_empty());
                assert_same(
                    compiler.tables(),
                    &tables,
                    &format!("errors of seed {seed}, step {step}: {errors:?}"),
                );
            }
            let changes = compiler.update(Arc::new(model.clone()), &settings).unwrap();

            let scratch = compiled(&model, &settings);
            assert_same(compiler.tables(), scratch.tables(), &format!("seed {seed}, step {step}"));
            assert_same_names(&compiler, &scratch);
            let mut applied = tables.clone();
            applied.apply(&changes);
            assert_same(&applied, compiler.tables(), &format!("changes of seed {seed}, step {step}"));
            assert_minimal(&changes, &tables);
            assert_shadows(&model, &tables, compiler.tables(), &changes, &mut rng);

            let rows = Lookup::new(compiler.tables());
            for _ in 0..10 {
                let mut flow = generate::flow(&model, &mut rng);
                flow.source = endpoint(&model, flow.source.address, &settings.host_addresses);
                flow.destination = endpoint(&model, flow.destination.address, &settings.host_addresses);
                agree(&model, &rows, compiler.names(), &flow, settings.audit_all);
            }
        }
    });
}

fn assert_same(left: &Tables, right: &Tables, context: &str) {
    assert_eq!(left.control, right.control, "{context}");
    assert_eq!(left.cgroups, right.cgroups, "{context}");
    assert_eq!(left.workloads, right.workloads, "{context}");
    assert_eq!(left.addresses, right.addresses, "{context}");
    assert_eq!(left.prefixes, right.prefixes, "{context}");
    assert_eq!(left.peer_lists, right.peer_lists, "{context}");
    assert_eq!(left.policy_sets, right.policy_sets, "{context}");
    assert_eq!(left.rule_sets, right.rule_sets, "{context}");
    assert_eq!(left.rules, right.rules, "{context}");
    assert_eq!(left, right, "{context}");
}

/// Rules have the same ids and places, workloads the same numbers.
fn assert_same_names(left: &Compiler, right: &Compiler) {
    for row in left.tables().rules.values() {
        assert_eq!(left.names().rule(row.rule), right.names().rule(row.rule));
        assert!(left.names().rule(row.rule).is_some());
    }
    for (number, slot) in &left.tables().workloads {
        assert_eq!(left.names().workload(*number), right.names().workload(*number));
        assert_eq!(left.names().identity(slot.identity), right.names().identity(slot.identity));
        assert!(left.names().namespace(slot.namespace).is_some());
    }
}

/// No change that is none, and each begins where the tables were.
fn assert_minimal(changes: &Changes, before: &Tables) {
    for (key, old, new) in &changes.rules {
        assert_ne!(old, new);
        assert_eq!(before.rules.get(key), old.as_ref());
    }
    for (key, old, new) in &changes.addresses {
        assert_ne!(old, new);
        assert_eq!(before.addresses.get(key), old.as_ref());
    }
    // A list's row has no slots, so that it must never change under a number in use.
    let lists = changes.peer_lists.iter().chain(&changes.policy_sets).chain(&changes.balance_tables);
    for (_, old, new) in lists {
        assert!(old.is_none() || new.is_none(), "a list changed: {old:?} to {new:?}");
    }
}

/// One trie holds both generations: with the shadows, each sees what it would see alone.
fn assert_shadows(model: &Model, before: &Tables, after: &Tables, changes: &Changes, rng: &mut Rng) {
    let (mut old, mut new) = (before.prefixes.clone(), after.prefixes.clone());
    for (key, shadow) in &changes.prefix_shadows {
        assert!(before.prefixes.contains_key(key) != after.prefixes.contains_key(key));
        old.entry(*key).or_insert(*shadow);
        new.entry(*key).or_insert(*shadow);
    }
    assert!(old.keys().all(|key| new.contains_key(key)) && old.len() == new.len());
    for (alone, shared) in [(&before.prefixes, &old), (&after.prefixes, &new)] {
        let (alone, shared) = (Trie::new(alone), Trie::new(shared));
        for _ in 0..20 {
            let address = wire_address(generate::flow(model, rng).destination.address);
            let groups = |slot: Option<windrose_abi::PrefixSlot>| slot.map_or(0, |slot| slot.peer_list);
            assert_eq!(groups(alone.longest(&address)), groups(shared.longest(&address)));
        }
    }
}
