//! Tables that were compiled are verified; those with one wrong row are refused.
#![expect(clippy::unwrap_used, reason = "the helpers of a test, outside of its function")]

#[path = "generate/world.rs"]
mod generate;
#[path = "../examples/world/many.rs"]
#[expect(dead_code, reason = "some of it is for the measurement only")]
mod many;
#[path = "verify/mutants.rs"]
mod mutants;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use windrose_engine::{Question, decide, resolve};
use windrose_policy::decision::{Decision, Flow};
use windrose_policy::model::{Direction, Model};
use windrose_policy::source::load;
use windrose_policy::tables::{Compiler, Lookup, Names, Settings, Tables};
use windrose_policy::verify::{
    Compiled, Mismatch, Order, Stage, Verified, decision_of, verify, wire_address,
};

use generate::Rng;
use mutants::{Mutant, mutants};

/// Flows by which a mutant shows itself, or does not.
const FLOWS: usize = 1_000;

/// Of each random model so many mutants are tried.
const SAMPLE: usize = 40;

fn examples() -> Vec<(String, Model)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let example = |folder: PathBuf| {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        (name, load(&[folder]).unwrap().model)
    };
    let examples = folders.into_iter().map(example);
    // One that is of the outside alone has nothing for the kernel.
    examples.filter(|(_, model)| !model.workloads.is_empty()).collect()
}

fn settings() -> Settings {
    Settings { audit_all: false, answers: false, host_addresses: generate::HOSTS.to_vec() }
}

fn compiled(model: &Model) -> Compiler {
    let mut compiler = Compiler::new();
    compiler.update(Arc::new(model.clone()), &settings()).unwrap();
    compiler
}

/// With all the time that it takes.
fn verified(compiler: &Compiler, tables: &Tables, seed: u64) -> Result<Verified, Box<Mismatch>> {
    let case = Compiled { tables, ..Compiled::of(compiler) };
    verify(&case, Order { before: None, seed }, &mut |_| true)
}

/// What the tables say of one end of a flow, if that end runs here; `Err`: they are torn.
fn said(
    model: &Model,
    lookup: &Lookup<'_>,
    names: &Names,
    flow: &Flow,
    direction: Direction,
) -> Option<Result<Decision, ()>> {
    let (subject, peer, direction) = match direction {
        Direction::Ingress => (&flow.destination, &flow.source, windrose_abi::Direction::Ingress),
        Direction::Egress => (&flow.source, &flow.destination, windrose_abi::Direction::Egress),
    };
    let path = model.workloads.get(subject.workload.as_ref()?)?.cgroup.as_ref()?;
    let number = lookup.tables.cgroups.get(path).copied().unwrap_or(0);
    let Some(slot) = lookup.tables.workloads.get(&number) else { return Some(Err(())) };
    let question = Question {
        subject: number,
        slot: *slot,
        peer: resolve(&lookup, &wire_address(peer.address)),
        direction,
        protocol: flow.protocol,
        port: flow.destination_port,
    };
    Some(decision_of(names, &decide(&lookup, &question)).ok_or(()))
}

/// What the tables say of both ends of each flow.
fn all_said(
    model: &Model,
    tables: &Tables,
    names: &Names,
    flows: &[Flow],
) -> Vec<Option<Result<Decision, ()>>> {
    let lookup = Lookup::new(tables);
    let directions = [Direction::Ingress, Direction::Egress];
    let both = |flow| directions.map(|direction| said(model, &lookup, names, flow, direction));
    flows.iter().flat_map(both).collect()
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

fn flows(model: &Model, seed: u64) -> Vec<Flow> {
    let mut rng = Rng::new(seed);
    (0..FLOWS).map(|_| generate::flow(model, &mut rng)).collect()
}

#[test]
fn what_is_compiled_is_verified_whole() {
    for (name, model) in examples() {
        let compiler = compiled(&model);
        for seed in 0..3 {
            let verified =
                verified(&compiler, compiler.tables(), seed).unwrap_or_else(|wrong| panic!("{wrong}"));
            println!("{name}: {verified:?}");
            assert!(verified.is_complete && verified.witnesses >= verified.classes && verified.classes > 50);
        }
    }
    each(60, |seed| {
        let compiler = compiled(&generate::model(seed));
        let verified = verified(&compiler, compiler.tables(), seed).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert!(verified.is_complete, "{seed}");
    });
}

#[test]
fn every_wrong_row_of_an_example_that_shows_is_found() {
    for (name, model) in examples() {
        let compiler = compiled(&model);
        let mutants = mutants(compiler.tables());
        let flows = flows(&model, 1);
        let right = all_said(&model, compiler.tables(), compiler.names(), &flows);
        let shown = AtomicU64::new(0);
        each(mutants.len() as u64, |n| {
            let Mutant { what, .. } = &mutants[usize::try_from(n).unwrap()];
            let Some(mutant) = mutants[usize::try_from(n).unwrap()].of(compiler.tables()) else { return };
            if all_said(&model, &mutant, compiler.names(), &flows) == right {
                return;
            }
            shown.fetch_add(1, Ordering::Relaxed);
            assert!(verified(&compiler, &mutant, n).is_err(), "{name}: not found: {what}");
        });
        println!("{name}: of {} mutants {shown:?} show in {FLOWS} flows, and are found", mutants.len());
        assert!(shown.into_inner() > 20, "{name}: few mutants show");
    }
}

#[test]
fn wrong_rows_of_random_policies_are_found() {
    let counts: Mutex<BTreeMap<String, (u64, u64)>> = Mutex::default();
    each(40, |seed| {
        let model = generate::model(seed);
        let compiler = compiled(&model);
        let flows = flows(&model, !seed);
        let right = all_said(&model, compiler.tables(), compiler.names(), &flows);
        let mut rng = Rng::new(seed);
        let mut mutants = mutants(compiler.tables());
        for n in 0..SAMPLE.min(mutants.len()) {
            let recipe = mutants.swap_remove(rng.index(mutants.len()));
            let Some(mutant) = recipe.of(compiler.tables()) else { continue };
            let what = recipe.what;
            if all_said(&model, &mutant, compiler.names(), &flows) == right {
                continue;
            }
            let is_found = verified(&compiler, &mutant, n as u64).is_err();
            if !is_found {
                println!("seed {seed}: not found: {what}");
            }
            let kind = what.split(':').next().unwrap_or_default();
            let kind: String = kind.chars().filter(|c| !c.is_ascii_digit()).collect();
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(kind).or_default();
            *count = (count.0 + u64::from(is_found), count.1 + 1);
        }
    });
    let counts = counts.into_inner().unwrap();
    let (found, shown) = counts.values().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    println!("{found} of {shown} mutants that show in {FLOWS} flows are found: {counts:#?}");
    assert_eq!(found, shown);
}

/// A world in which not every class can be heard in a test, and the same with one policy changed.
fn worlds() -> (Arc<Model>, Arc<Model>) {
    let before = many::model(10, 10, 10);
    let mut after = before.clone();
    let policy = Arc::make_mut(after.network_policies.values_mut().nth(57).unwrap());
    policy.ingress.as_mut().unwrap()[5].ports = Some(vec![many::tcp(4_000)]);
    (Arc::new(before), Arc::new(after))
}

/// Time for so many witnesses of each stage.
fn at_most(changed: u64, others: u64) -> impl FnMut(Stage) -> bool {
    let mut left = [changed, others];
    move |stage| {
        let left = &mut left[usize::from(stage == Stage::Others)];
        *left = left.saturating_sub(1);
        *left != 0
    }
}

#[test]
fn what_changed_is_verified_first() {
    let (before, after) = worlds();
    let mut compiler = Compiler::new();
    compiler.update(Arc::clone(&before), &settings()).unwrap();
    let changes = compiler.update(after, &settings()).unwrap();
    let (key, ..) = changes.rules.iter().find(|(_, _, after)| after.is_some()).unwrap();
    let mut tables = compiler.tables().clone();
    tables.rules.remove(key);
    for seed in 0..5 {
        let case = Compiled { tables: &tables, ..Compiled::of(&compiler) };
        let order = Order { before: Some((&before, &settings())), seed };
        let wrong = verify(&case, order, &mut at_most(20, 1)).unwrap_err();
        assert_eq!((wrong.subject.namespace.as_str(), wrong.flow.destination_port), ("team-005", 4_000));
    }
}

#[test]
fn what_a_removed_policy_leaves_behind_is_found_first() {
    let (before, _) = worlds();
    let mut after = (*before).clone();
    let removed = after.network_policies.keys().nth(57).unwrap().clone();
    after.network_policies.remove(&removed);
    let mut compiler = Compiler::new();
    compiler.update(Arc::clone(&before), &settings()).unwrap();
    let case = Compiled { model: &after, ..Compiled::of(&compiler) };
    let order = Order { before: Some((&before, &settings())), seed: 1 };
    let wrong = verify(&case, order, &mut at_most(20, 1)).unwrap_err();
    assert_eq!(wrong.subject.namespace, "team-005");
}

#[test]
fn a_cut_falls_on_others_with_each_seed_until_a_wrong_row_is_found() {
    let (before, _) = worlds();
    let compiler = compiled(&before);
    let mut tables = compiler.tables().clone();
    let (key, _) = tables.rules.iter().max_by_key(|(key, _)| **key).map(|(key, row)| (*key, *row)).unwrap();
    tables.rules.remove(&key);
    let case = Compiled { tables: &tables, ..Compiled::of(&compiler) };
    // All is as it was: no witness comes first.
    let hear = |seed| {
        let order = Order { before: Some((&before, &settings())), seed };
        verify(&case, order, &mut at_most(1, 100))
    };
    let found = (0..200).position(|seed| hear(seed).is_err());
    assert!(found.is_some_and(|loads| loads > 0), "{found:?}");
    let verified = hear(0).unwrap();
    assert!(!verified.is_complete && (90..=110).contains(&verified.witnesses), "{verified:?}");
    assert!((10_000..10_000_000).contains(&verified.classes), "{verified:?}");
    assert_eq!(hear(0), hear(0), "equal seeds hear the same");
}

#[test]
fn a_refused_update_leaves_everything_as_it_was() {
    let (before, after) = worlds();
    let mut compiler = compiled(&before);
    let tables = compiler.tables().clone();
    let refused = compiler.update_if(after.clone(), &settings(), |new| {
        assert!(*new.tables() != tables && Arc::ptr_eq(new.model(), &after));
        Err::<(), _>("no")
    });
    assert!(refused.is_err());
    assert!(*compiler.tables() == tables);
    assert_eq!(compiler.model().network_policies, before.network_policies);
    let (changes, verified) = compiler
        .update_if(after.clone(), &settings(), |new| {
            let order = Order { before: Some((&before, &settings())), seed: 1 };
            verify(&Compiled::of(new), order, &mut at_most(u64::MAX, 1))
        })
        .unwrap();
    assert!(!changes.is_empty() && verified.witnesses > 100, "{verified:?}");
    assert!(Arc::ptr_eq(compiler.model(), &after));
}

#[test]
fn a_mismatch_names_the_flow_both_verdicts_and_the_places() {
    let (_, model) = examples().into_iter().find(|(name, _)| name == "default-deny").unwrap();
    let compiler = compiled(&model);
    let mut tables = compiler.tables().clone();
    let rule = compiler.tables().rules.values().find_map(|row| {
        let (rule, place) = compiler.names().rule(row.rule)?;
        Some((row.rule, rule.clone(), place.clone())).filter(|_| place.line == 49)
    });
    let (id, rule, place) = rule.unwrap();
    tables.rules.retain(|_, row| row.rule != id);
    let wrong = verified(&compiler, &tables, 1).unwrap_err();
    assert_eq!((&wrong.expected.rule, &wrong.place), (&rule, &place));
    let said = wrong.to_string();
    for part in [
        "ingress of orders/api for orders/frontend (",
        ") -> orders/api (",
        "TCP port 8080: the policy says allow by NetworkPolicy orders/api ingress[0] (",
        "policy.yaml:49:7), the tables say deny by isolation by NetworkPolicy orders/",
        "This is a bug in Windrose",
        "the one in force stays",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}
