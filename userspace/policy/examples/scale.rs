//! Times the compiler on 10,000 workloads and 100,000 rules, then on small changes of them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use windrose_policy::model::{
    Cidr, IpBlock, Labels, Model, NamedPort, Namespace, NetworkPeer, NetworkPolicy, NetworkRule, ObjectName, PortMatch,
    Protocol, Requirement, Selector, Workload,
};
use windrose_policy::place::Place;
use windrose_policy::tables::{Changes, Compiler, Settings};

const NAMESPACES: usize = 100;
const WORKLOADS: usize = 100;
const RULES: usize = 10;

fn main() {
    let settings = Settings::default();
    let model = Arc::new(model());
    let mut compiler = Compiler::new();
    let changes = timed("compile", || compiler.update(Arc::clone(&model), &settings));
    let tables = compiler.tables();
    println!(
        "{} workloads, {} policies, {} rules in the model; {} rule rows, {} rule sets, {} peer lists, \
         {} policy sets, {} addresses, {} prefixes",
        model.workloads.len(),
        model.network_policies.len(),
        model.network_policies.values().map(|policy| policy.ingress.as_ref().map_or(0, Vec::len)).sum::<usize>(),
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
    each(&mut compiler, &settings, "add a CIDR of 256 workloads", |model, turn| {
        let policy = Arc::make_mut(model.network_policies.values_mut().nth(turn * 11)?);
        policy.ingress.as_mut()?.first_mut()?.peers = Some(vec![block(turn, 24)]);
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
    let fresh = self::model();
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

fn model() -> Model {
    let mut model = Model::default();
    for n in 0..NAMESPACES {
        let name = namespace(n);
        let env = ["prod", "test", "dev"][n % 3];
        let labels: Labels = [("kubernetes.io/metadata.name", name.as_str()), ("env", env)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let place = Some(place(n));
        model.namespaces.insert(name, Namespace { labels: Arc::new(labels), audit: false, place });
        for app in 0..WORKLOADS {
            let workload = workload(n, app);
            model.workloads.insert(workload.name.clone(), Arc::new(workload));
            let rules: Vec<NetworkRule> = (0..RULES).map(|number| rule(n, app + number, number)).collect();
            let policy = policy(n, app, &rules);
            model.network_policies.insert(policy.name.clone(), Arc::new(policy));
        }
    }
    model
}

fn namespace(n: usize) -> String {
    format!("team-{n:03}")
}

fn name(namespace: String, name: String) -> ObjectName {
    ObjectName { namespace, name }
}

fn workload(n: usize, app: usize) -> Workload {
    let [high, low] = u16::try_from(app).unwrap_or_default().to_be_bytes();
    let address = Ipv4Addr::new(10, u8::try_from(n).unwrap_or_default(), high, low);
    let labels = [("app", format!("app-{app:03}")), ("tier", format!("tier-{}", app % 4))];
    Workload {
        name: name(namespace(n), format!("app-{app:03}")),
        labels: labels.map(|(key, value)| (key.to_owned(), value)).into(),
        cgroup: Some(format!("windrose/{}/app-{app:03}", namespace(n))),
        addresses: vec![IpAddr::V4(address)],
        ports: vec![NamedPort { name: "http".to_owned(), port: 8080, protocol: Protocol::Tcp }],
        place: place(app),
    }
}

fn policy(n: usize, app: usize, rules: &[NetworkRule]) -> NetworkPolicy {
    NetworkPolicy {
        name: name(namespace(n), format!("policy-{app:03}")),
        pod_selector: selector("app", &format!("app-{:03}", app % WORKLOADS)),
        ingress: Some(rules.to_vec()),
        egress: None,
        audit: false,
        place: place(app),
    }
}

/// One in ten is a block with a hole, one in ten names other namespaces, one in ten any peer.
fn rule(n: usize, app: usize, number: usize) -> NetworkRule {
    let pods = selector("app", &format!("app-{:03}", app % WORKLOADS));
    let namespaces = selector("env", ["prod", "test", "dev"][n % 3]);
    let peers = match number {
        0 => Some(vec![block(n, 24)]),
        1 => Some(vec![NetworkPeer::Workloads { namespaces: Some(namespaces), pods }]),
        2 => None,
        _ => Some(vec![NetworkPeer::Workloads { namespaces: None, pods }]),
    };
    let port = match number {
        3 => PortMatch::Range { protocol: Protocol::Tcp, first: 8_000, last: 8_099 },
        4 => PortMatch::Named { protocol: Some(Protocol::Tcp), name: "http".to_owned() },
        _ => tcp(8_000 + number),
    };
    NetworkRule { peers, ports: Some(vec![port]), place: place(number) }
}

fn tcp(port: usize) -> PortMatch {
    let port = u16::try_from(port).unwrap_or(1);
    PortMatch::Range { protocol: Protocol::Tcp, first: port, last: port }
}

fn block(n: usize, length: u8) -> NetworkPeer {
    let second = if length < 16 { 0 } else { u8::try_from(n).unwrap_or_default() };
    let address = if length < 8 { Ipv4Addr::from(0x0a00_0000 & (u32::MAX << (32 - length))) } else { Ipv4Addr::new(10, second, 0, 0) };
    NetworkPeer::Block(IpBlock { cidr: Cidr { address: IpAddr::V4(address), length }, except: Vec::new() })
}

fn selector(key: &str, value: &str) -> Selector {
    Selector { requirements: vec![Requirement::In(key.to_owned(), vec![value.to_owned()])] }
}

fn place(line: usize) -> Place {
    Place { file: "scale.yaml".into(), line: u32::try_from(line).unwrap_or(0), column: 1 }
}
