//! Times the verification of compiled tables at 10, 1,000 and 100,000 rules, all of them and after a
//! small change.

#[path = "world/many.rs"]
#[expect(dead_code, reason = "some of it is for the test of scale only")]
mod many;

use std::sync::Arc;
use std::time::Duration;

use windrose_policy::model::{Model, NetworkPeer, NetworkRule, Requirement, Selector, Workload};
use windrose_policy::tables::{Compiler, Settings};
use windrose_policy::verify::{Compiled, Order, Stage, verify};

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

/// All rules are of one workload; each names another peer.
fn one(rules: usize) -> Model {
    let mut model = many::model(1, 1, 10);
    for n in 0..rules / 10 {
        let rules = (n * 10..n * 10 + 10).map(|number| {
            let peer = workload(1 + number / 50_000, number % 50_000);
            let peers = vec![labelled(&peer)];
            model.workloads.insert(peer.name.clone(), Arc::new(peer));
            NetworkRule { peers: Some(peers), ..rule(0, 0, 3 + number % 7) }
        });
        let mut policy = policy(0, 0, &rules.collect::<Vec<_>>());
        policy.name.name = format!("more-{n:05}");
        model.network_policies.insert(policy.name.clone(), Arc::new(policy));
    }
    model
}

/// Workloads anywhere with the `app` of this one.
fn labelled(workload: &Workload) -> NetworkPeer {
    let app = workload.labels.get("app").cloned().into_iter().collect();
    let pods = Selector { requirements: vec![Requirement::In("app".to_owned(), app)] };
    NetworkPeer::Workloads { namespaces: Some(Selector::default()), pods }
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
    let mut apart = Compiler::new();
    // What the compilation takes without the verification.
    if !compiler.model().workloads.is_empty()
        && apart.update(Arc::clone(compiler.model()), &Settings::default()).is_err()
    {
        return println!("{what}: does not compile");
    }
    let start = now();
    let plain = apart.update(Arc::clone(&model), &Settings::default()).map(|_| now().saturating_sub(start));
    drop(apart);
    let start = now();
    let (mut asked, mut first, mut stages) = (0_u64, None, [None, None]);
    let mut has_time = true;
    let last = Arc::clone(compiler.model());
    let mut goes_on = |stage| {
        let (number, most) = match stage {
            Stage::Changed => (0, Duration::from_secs(1)),
            Stage::Others => (1, Duration::from_millis(100)),
        };
        asked += 1;
        if stages[number].is_none() || asked % 64 == 0 {
            let now = now();
            first.get_or_insert(now);
            has_time = now.saturating_sub(*stages[number].get_or_insert(now)) < most;
        }
        has_time
    };
    let settings = Settings::default();
    let result = compiler.update_if(model, &settings, |compiler| {
        let order = Order { before: Some((&last, &settings)), seed: 1 };
        verify(&Compiled::of(compiler), order, &mut goes_on)
    });
    let took = now().saturating_sub(start);
    match result {
        Ok((_, verified)) => println!(
            "{what}: {took:?}, without verification {:?}; {} witnesses of {} classes{}; the first after {:?}",
            plain.unwrap_or_default(),
            verified.witnesses,
            verified.classes,
            if verified.is_complete { ", complete" } else { "" },
            first.map(|first| first.saturating_sub(start)).unwrap_or_default(),
        ),
        Err(refusal) => println!("{what}: {refusal:?}"),
    }
}

/// Time on a processor, which other programs do not add to.
fn now() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let spent = stat.split(' ').next().and_then(|spent| spent.parse().ok());
    Duration::from_nanos(spent.unwrap_or_default())
}
