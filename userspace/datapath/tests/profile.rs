//! Built packets through the loaded programs while they time their verdicts: counts are exact, and
//! what is counted together fits together.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test, outside of its function")]

#[expect(dead_code, reason = "this test sends datagrams only")]
#[path = "packets/build.rs"]
mod build;
#[path = "packets/inside.rs"]
mod inside;
#[path = "support/machine.rs"]
mod machine;

use std::sync::Arc;

use windrose_datapath::abi::{Lookup, Origin};
use windrose_datapath::{Capacities, Datapath, Measured, Pins, difference};
use windrose_policy::source::{Source, parse};
use windrose_policy::tables::{Compiler, Settings};

use build::{PEER, SELF, udp};
use inside::Inside;
use machine::machine;

const POLICY: &str = r"
apiVersion: windrose.dev/v1alpha1
kind: Workload
metadata: {name: self, namespace: test, labels: {app: self}}
spec: {cgroup: CGROUP, addresses: [10.99.0.1]}
---
apiVersion: windrose.dev/v1alpha1
kind: Workload
metadata: {name: peer, namespace: test, labels: {app: peer}}
spec: {addresses: [10.99.0.2]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: self, namespace: test}
spec:
  podSelector: {matchLabels: {app: self}}
  policyTypes: [Egress]
  egress:
    - to: [{podSelector: {matchLabels: {app: peer}}}]
      ports: [{port: 53, protocol: UDP}]
";

/// Another policy: it is another generation, whose decisions nobody has made yet.
const MORE: &str = r"
---
apiVersion: windrose.dev/v1alpha1
kind: Workload
metadata: {name: other, namespace: test, labels: {app: peer}}
spec: {addresses: [10.99.0.3]}
";

const PACKETS: u16 = 2000;

/// Datagrams that are each the first of a flow, to an allowed port.
fn send(datapath: &Datapath, from_port: u16) {
    for n in 0..PACKETS {
        assert!(datapath.test_packet("packet_egress", &udp(SELF, PEER, from_port + n, 53)).unwrap());
    }
}

fn verdicts(measured: &Measured) -> u64 {
    measured.hits.verdicts + measured.misses.verdicts
}

fn look_ups(measured: &Measured, kind: Lookup) -> (u64, u64) {
    let found = measured.look_ups.iter().find(|look_ups| look_ups.kind == kind).unwrap();
    (found.count, found.sum_ns)
}

#[test]
fn verdicts_are_counted_while_it_is_asked_for_and_at_no_other_time() {
    let Some(machine) = machine() else { return };
    let name = format!("windrose-profile-{}", std::process::id());
    let inside = Inside::new(&machine.cgroup_root, &name);
    let mut compiler = Compiler::new();
    let mut compile = |more: &str| {
        let text = POLICY.replace("CGROUP", &name) + more;
        let model = parse(&[Source { name: "profile.yaml".to_owned(), text }]).unwrap().model;
        compiler.update(Arc::new(model), &Settings::default()).unwrap();
        compiler.tables().clone()
    };
    let (tables, more) = (compile(""), compile(MORE));
    let pins = Pins::below(&machine.bpffs, &name);
    let mut datapath = Datapath::open(machine, pins.clone(), Capacities::default()).unwrap();
    datapath.apply(&difference(&datapath.pinned_tables().unwrap(), &tables), &tables).unwrap();

    // Nothing is attached: only the packets of this test run the programs.
    let before = datapath.measured().unwrap();
    send(&datapath, 1000);
    assert_eq!(datapath.measured().unwrap(), before, "measured although nobody asked");

    datapath.set_profiling(true).unwrap();
    // A new generation does not forget that it is on, and the tables do not know of it.
    assert_eq!(datapath.pinned_tables().unwrap().control, tables.control);
    datapath.apply(&difference(&tables, &more), &more).unwrap();
    send(&datapath, 10_000);
    datapath.set_profiling(false).unwrap();
    let measured = datapath.measured().unwrap().since(&before);
    send(&datapath, 20_000);
    assert_eq!(datapath.measured().unwrap().since(&before), measured, "measured for longer than asked");

    let packets = u64::from(PACKETS);
    assert_eq!(verdicts(&measured), packets);
    // One question, on one or a few processors, each of which decides it once.
    assert!((1..packets / 2).contains(&measured.misses.verdicts), "{measured:?}");
    assert!(measured.hits.verdicts > 0, "{measured:?}");
    assert!(measured.sampled_runs > 0 && measured.sampled_runs < measured.runs / 4, "{measured:?}");
    for (spent, histogram) in [(measured.hits, measured.hit_times), (measured.misses, measured.miss_times)] {
        let shown = histogram.iter().sum();
        assert!(spent.timed <= shown && shown <= spent.verdicts, "{measured:?}");
        assert_eq!(spent.timed == 0, spent.sum_ns == 0);
    }
    let shown: u64 = measured.hit_times.iter().chain(&measured.miss_times).sum();
    let untimed = packets - shown;
    assert_eq!(untimed, measured.sampled_runs, "{measured:?}");

    // All by one rule, and its times are those of all.
    let [(key, spent)] = &measured.rules[..] else { panic!("one rule: {:?}", measured.rules) };
    assert_eq!((key.origin, spent[0], spent[1]), (Origin::Rule as u8, measured.hits, measured.misses));
    assert_eq!(measured.unnamed, 0);

    // Each sampled run looks once at each of these; few are interrupted.
    for kind in [Lookup::Clock, Lookup::Workload, Lookup::Decision] {
        let (count, sum_ns) = look_ups(&measured, kind);
        assert!((untimed / 2..=untimed).contains(&count) && sum_ns > 0, "{kind:?}: {measured:?}");
    }
    assert_eq!(look_ups(&measured, Lookup::PortNames).0, 0);

    drop(datapath);
    pins.remove().unwrap();
    drop(inside);
}

#[test]
fn statistics_cost_something_and_not_much() {
    if machine().is_none() {
        return;
    }
    let cost = Datapath::statistics_cost().unwrap();
    assert!(cost.in_run_time_ns > 0.0 && cost.in_run_time_ns < 100_000.0, "{cost:?}");
    assert!(cost.per_run_ns.is_none_or(|ns| (0.0..100_000.0).contains(&ns)), "{cost:?}");
    eprintln!("{cost:?}");
}
