//! Times the compiler on 10,000 workloads and 100,000 rules, then on small changes of them.

#[path = "world/many.rs"]
#[expect(dead_code, reason = "some of it is for the test of scale only")]
mod many;

use std::sync::Arc;
use std::time::{Duration, Instant};

use windrose_policy::model::Model;
use windrose_policy::tables::{Changes, Compiler, Settings};

use many::{block, policy, rule, tcp, workload};

const NAMESPACES: usize = 100;
const WORKLOADS: usize = 100;
const RULES: usize = 10;

fn main() {
    let settings = Settings::default();
    let model = Arc::new(many::model(NAMESPACES, WORKLOADS, RULES));
    let mut compiler = Compiler::new();
    let changes = timed("compile", || compiler.update(Arc::clone(&model), &settings));
    let tables = compiler.tables();
    println!(
        "{} workloads, {} policies, {} rules in the model; {} rule rows, {} rule sets, {} peer lists, \
         {} policy sets, {} addresses, {} prefixes",
        model.workloads.len(),
        model.network_policies.len(),
        model
            .network_policies
            .values()
            .map(|policy| policy.ingress.as_ref().map_or(0, Vec::len))
            .sum::<usize>(),
        tables.rules.len(),
        tables.rule_sets.len(),
        tables.peer_lists.len(),
        tables.policy_sets.len(),
        tables.addresses.len(),
        tables.prefixes.len(),
    );
    drop(changes);
    println!("peak memory {}", peak().unwrap_or_default());

    let next = timed("clone the model", || Ok::<_, ()>((*model).clone())).unwrap_or_default();
    timed("nothing changed", || compiler.update(Arc::new(next), &settings).map(|changes| changes.len()));
    each(&mut compiler, &settings, "change one rule's port", |model, turn| {
        let policy = Arc::make_mut(model.network_policies.values_mut().nth(turn * 7)?);
        policy.ingress.as_mut()?.first_mut()?.ports = Some(vec![tcp(4_000)]);
        Some(())
    });
    each(&mut compiler, &settings, "add a policy", |model, turn| {
        let policy = policy(turn, 200, &[rule(turn, 5, 443)]);
        model.network_policies.insert(policy.name.clone(), Arc::new(policy));
        Some(())
    });
    each(&mut compiler, &settings, "add a CIDR of 8 workloads", |model, turn| {
        let policy = Arc::make_mut(model.network_policies.values_mut().nth(turn * 11)?);
        policy.ingress.as_mut()?.first_mut()?.peers = Some(vec![block(turn, 29)]);
        Some(())
    });
    each(&mut compiler, &settings, "add a CIDR around all", |model, turn| {
        let policy = Arc::make_mut(model.network_policies.values_mut().nth(turn * 13)?);
        let length = u8::try_from(turn).ok()?;
        policy.ingress.as_mut()?.first_mut()?.peers = Some(vec![block(0, 8 - length)]);
        Some(())
    });
    each(&mut compiler, &settings, "add a workload", |model, turn| {
        let workload = workload(turn, 100);
        model.workloads.insert(workload.name.clone(), Arc::new(workload));
        Some(())
    });
    each(&mut compiler, &settings, "change a workload's labels", |model, turn| {
        let workload = Arc::make_mut(model.workloads.values_mut().nth(turn * 17)?);
        workload.labels.insert("version".to_owned(), "2".to_owned());
        Some(())
    });
    each(&mut compiler, &settings, "change a namespace's labels", |model, turn| {
        let namespace = model.namespaces.values_mut().nth(turn)?;
        Arc::make_mut(&mut namespace.labels).insert("env".to_owned(), "other".to_owned());
        Some(())
    });
    let fresh = many::model(NAMESPACES, WORKLOADS, RULES);
    timed("read all anew: equal, nothing shared", || {
        compiler.update(Arc::new(fresh), &settings).map(|changes| changes.len())
    });
}

/// Five times, on another object each time; the changed model shares all else.
fn each(
    compiler: &mut Compiler,
    settings: &Settings,
    what: &str,
    edit: impl Fn(&mut Model, usize) -> Option<()>,
) {
    let (mut times, mut counts) = (Vec::new(), Vec::new());
    for turn in 1..=5 {
        let mut model = (**compiler.model()).clone();
        if edit(&mut model, turn).is_none() {
            println!("{what}: nothing to change");
            return;
        }
        let model = Arc::new(model);
        let start = Instant::now();
        let changes = compiler.update(model, settings);
        times.push(start.elapsed());
        counts.push(changes.as_ref().map_or(0, Changes::len));
    }
    times.sort_unstable();
    println!("{what}: median {:?}, worst {:?}, rows {counts:?}", times[2], times[4]);
}

fn timed<T, E: std::fmt::Debug>(what: &str, work: impl FnOnce() -> Result<T, E>) -> Option<T> {
    let start = Instant::now();
    let result = work();
    let elapsed: Duration = start.elapsed();
    println!("{what}: {elapsed:?}");
    result.map_err(|error| println!("{what}: {error:?}")).ok()
}

fn peak() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map(|size| size.trim().to_owned())
}
