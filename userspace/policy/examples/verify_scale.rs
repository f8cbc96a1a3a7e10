//! Times the verification of compiled tables at 10, 1,000 and 100,000 rules, all of them and after a
//! small change.

#[path = "world/many.rs"]
#[expect(dead_code, reason = "some of it is for the test of scale only")]
mod many;

use std::sync::Arc;
use std::time::{Duration, Instant};

use windrose_policy::model::{Model, NetworkRule};
use windrose_policy::tables::{Compiler, Settings};
use windrose_policy::verify::{Stage, update};

use many::{policy, rule, tcp, workload};

fn main() {
    for (namespaces, workloads, rules) in [(1, 1, 10), (10, 10, 10), (100, 100, 10)] {
        let model = many::model(namespaces, workloads, rules);
        measure(&format!("{} workloads, a policy of {rules} rules each", namespaces * workloads), &model);
    }
    for rules in [10, 1_000, 100_000] {
        measure(&format!("one workload with policies of 10 rules, {rules} rules"), &one(rules));
    }
}

/// All rules are of one workload.
fn one(rules: usize) -> Model {
    let mut model = many::model(1, 1, 1);
    for n in 1..=rules / 10 {
        let peer = |number: usize| workload(n / 200, 1 + (n % 200) * 10 + number);
        let rules: Vec<NetworkRule> =
            (0..10).map(|number| rule(n / 200, 1 + (n % 200) * 10 + number, 3 + number)).collect();
        for number in 0..10 {
            let peer = peer(number);
            model.workloads.insert(peer.name.clone(), Arc::new(peer));
        }
        let mut policy = policy(0, 0, &rules);
        policy.name.name = format!("policy-{n:05}");
        model.network_policies.insert(policy.name.clone(), Arc::new(policy));
    }
    model
}

fn measure(what: &str, model: &Model) {
    let mut compiler = Compiler::new();
    println!("{what}");
    verified("  first", &mut compiler, model.clone());
    let mut changed = model.clone();
    if let Some(policy) = changed.network_policies.values_mut().nth(model.network_policies.len() / 2)
        && let Some(rule) = Arc::make_mut(policy).ingress.iter_mut().flatten().next()
    {
        rule.ports = Some(vec![tcp(4_000)]);
    }
    verified("  a rule changed", &mut compiler, changed.clone());
    let added = workload(0, 4_000);
    changed.workloads.insert(added.name.clone(), Arc::new(added));
    verified("  a workload added", &mut compiler, changed);
}

/// With the agent's patience: a second for what is changed, a tenth of one for the rest.
fn verified(what: &str, compiler: &mut Compiler, model: Model) {
    let model = Arc::new(model);
    let mut plain = Duration::ZERO;
    if compiler.model().workloads.is_empty() {
        let start = Instant::now();
        let compiled = Compiler::new().update(Arc::clone(&model), &Settings::default());
        plain = start.elapsed();
        drop(compiled);
    }
    let start = Instant::now();
    let (mut first, mut others) = (None, None);
    let result = update(compiler, model, &Settings::default(), 1, &mut |stage| match stage {
        Stage::Changed => first.get_or_insert_with(Instant::now).elapsed() < Duration::from_secs(1),
        Stage::Others => others.get_or_insert_with(Instant::now).elapsed() < Duration::from_millis(100),
    });
    let took = start.elapsed();
    match result {
        Ok((_, verified)) => println!(
            "{what}: {took:?} with the compilation (alone, of all: {plain:?}), {} witnesses of {} classes, complete: {}; \
             before the first witness {:?}",
            verified.witnesses,
            verified.classes,
            verified.is_complete,
            first.or(others).map(|first: Instant| first - start),
        ),
        Err(refusal) => println!("{what}: {refusal:?}"),
    }
}
