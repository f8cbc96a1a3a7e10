//! Built packets through the loaded programs (`BPF_PROG_TEST_RUN`) and through the engine natively:
//! the same verdict, and exactly the counters that must move.
//!
//! The kernel runs a packet program on behalf of the calling task, so that this process moves into
//! the cgroup of a workload. Nothing is attached.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test, outside of its function")]

#[path = "packets/build.rs"]
mod build;
#[path = "packets/inside.rs"]
mod inside;
#[path = "support/machine.rs"]
mod machine;

use std::collections::BTreeMap;
use std::sync::Arc;

use windrose_datapath::abi::{Direction, DropReason, Verdict};
use windrose_datapath::{Capacities, Datapath, Pins, difference};
use windrose_engine::decide::has_ports;
use windrose_engine::{Kind, Question, decide, packet, resolve};
use windrose_policy::source::{Source, parse};
use windrose_policy::tables::{Compiler, Lookup, Settings};

use build::{
    PEER, SELF, SELF6, echo, error_about, first_fragment, later_fragment, neighbour, other, tcp, udp,
};
use inside::Inside;
use machine::machine;

const POLICY: &str = r#"
apiVersion: windrose.dev/v1alpha1
kind: Workload
metadata: {name: self, namespace: test, labels: {app: self}}
spec: {cgroup: CGROUP, addresses: [10.99.0.1, "fd99::1"]}
---
apiVersion: windrose.dev/v1alpha1
kind: Workload
metadata: {name: peer, namespace: test, labels: {app: peer}}
spec: {addresses: [10.99.0.2, "fd99::2"]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: self, namespace: test}
spec:
  podSelector: {matchLabels: {app: self}}
  policyTypes: [Ingress, Egress]
  ingress:
    - from: [{podSelector: {matchLabels: {app: peer}}}]
      ports: [{port: 53, protocol: UDP}]
  egress:
    - to: [{podSelector: {matchLabels: {app: peer}}}]
      ports: [{port: 53, protocol: UDP}]
    - to: [{ipBlock: {cidr: 10.99.1.0/24, except: [10.99.1.128/25]}}]
      ports: [{port: 9, protocol: UDP, endPort: 11}]
"#;

/// What moves when a packet runs.
#[derive(Debug, PartialEq, Eq)]
struct Moved {
    passes: bool,
    /// Packets dropped.
    dropped: u64,
    /// Refusals by reason.
    refused: BTreeMap<&'static str, u64>,
    /// Flows remembered.
    flows: usize,
}

fn passes(flows: usize) -> Moved {
    Moved { passes: true, dropped: 0, refused: BTreeMap::new(), flows }
}

fn drops(reason: DropReason) -> Moved {
    Moved { passes: false, dropped: 1, refused: BTreeMap::from([(reason.as_str(), 1)]), flows: 0 }
}

/// A repetition of a refused attempt: dropped, and not counted as another.
fn drops_again() -> Moved {
    Moved { passes: false, dropped: 1, refused: BTreeMap::new(), flows: 0 }
}

/// One packet: what it shows, its direction, its bytes, what must move, and whether its verdict
/// needs nothing but policy, so that the engine alone must say the same.
type Row = (&'static str, Direction, Vec<u8>, Moved, bool);

fn table() -> Vec<Row> {
    use Direction::{Egress, Ingress};
    const OUTSIDE: &str = "10.99.1.5";
    let query = udp(SELF, PEER, 40_000, 53);
    vec![
        ("an allowed datagram passes and is remembered", Egress, query.clone(), passes(1), true),
        ("its flow is known", Egress, query.clone(), passes(0), true),
        ("its reply passes by state", Ingress, udp(PEER, SELF, 53, 40_000), passes(0), false),
        ("a datagram for an allowed port passes", Ingress, udp(PEER, SELF, 4000, 53), passes(1), true),
        (
            "one for another port is dropped",
            Ingress,
            udp(PEER, SELF, 4000, 54),
            drops(DropReason::Isolated),
            true,
        ),
        ("again, it is one attempt", Ingress, udp(PEER, SELF, 4000, 54), drops_again(), true),
        ("the first port of a range passes", Egress, udp(SELF, OUTSIDE, 1, 9), passes(1), true),
        ("the last port of a range passes", Egress, udp(SELF, OUTSIDE, 1, 11), passes(1), true),
        (
            "the port behind a range is refused",
            Egress,
            udp(SELF, OUTSIDE, 1, 12),
            drops(DropReason::Isolated),
            true,
        ),
        (
            "an exception is refused",
            Egress,
            udp(SELF, "10.99.1.200", 1, 9),
            drops(DropReason::Isolated),
            true,
        ),
        ("IP options are skipped", Egress, build::with_options(&query), passes(0), true),
        ("IPv6 passes", Egress, udp(SELF6, "fd99::2", 40_000, 53), passes(1), true),
        (
            "IPv6 extension headers are followed",
            Egress,
            build::with_extensions(&udp(SELF6, "fd99::2", 40_000, 53), 8),
            passes(0),
            true,
        ),
        (
            "nine of them are too many",
            Egress,
            build::with_extensions(&udp(SELF6, "fd99::2", 40_000, 53), 9),
            drops(DropReason::Unparsable),
            false,
        ),
        ("a cut header is refused", Egress, query[..22].to_vec(), drops(DropReason::Unparsable), false),
        (
            "a later fragment alone is refused",
            Egress,
            later_fragment(&query, 7),
            drops(DropReason::Fragment),
            false,
        ),
        (
            "the first fragment of an allowed packet passes",
            Egress,
            first_fragment(&query, 8),
            passes(0),
            true,
        ),
        ("its later fragments follow it", Egress, later_fragment(&query, 8), passes(0), false),
        ("an isolated workload sends no ping", Egress, echo(SELF, PEER), drops(DropReason::Isolated), true),
        ("an ICMP error about an allowed flow passes", Ingress, error_about(PEER, &query), passes(0), false),
        (
            "an ICMP error about nothing is dropped",
            Ingress,
            error_about(PEER, &udp(SELF, PEER, 40_001, 99)),
            drops(DropReason::Isolated),
            false,
        ),
        ("neighbour discovery passes", Ingress, neighbour("fd99::2", SELF6), passes(0), false),
        (
            "a raw SYN that no rule allows is refused",
            Egress,
            tcp(SELF, PEER, 1, 80),
            drops(DropReason::Isolated),
            true,
        ),
        ("again, it is one attempt", Egress, tcp(SELF, PEER, 1, 80), drops_again(), true),
        (
            "with another sequence number it is another",
            Egress,
            build::numbered(&tcp(SELF, PEER, 1, 80), 1),
            drops(DropReason::Isolated),
            true,
        ),
        ("another protocol is dropped", Ingress, other(PEER, SELF, 47), drops(DropReason::Isolated), true),
        (
            "an address of another workload is not sent from",
            Egress,
            udp(PEER, OUTSIDE, 2, 10),
            drops(DropReason::Spoofed),
            false,
        ),
    ]
}

fn measure(datapath: &Datapath, program: &'static str, bytes: &[u8]) -> Moved {
    let refusals = |datapath: &Datapath| {
        let mut by_reason: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (key, count) in datapath.refusals().unwrap() {
            *by_reason.entry(DropReason::try_from(key.reason).unwrap().as_str()).or_default() += count;
        }
        by_reason
    };
    let (before, dropped, flows) =
        (refusals(datapath), datapath.counts().unwrap().dropped_packets, datapath.flows().unwrap().len());
    let passes = datapath.test_packet(program, bytes).unwrap();
    let refused = refusals(datapath)
        .into_iter()
        .map(|(reason, count)| (reason, count - before.get(reason).unwrap_or(&0)))
        .filter(|(_, count)| *count != 0)
        .collect();
    Moved {
        passes,
        dropped: datapath.counts().unwrap().dropped_packets - dropped,
        refused,
        flows: datapath.flows().unwrap().len() - flows,
    }
}

/// The engine's own word on a packet.
fn natively(rows: &Lookup<'_>, direction: Direction, bytes: &[u8]) -> bool {
    let parsed = packet::parse(&bytes, 0).unwrap();
    assert_ne!(parsed.kind, Kind::LaterFragment);
    let (subject, peer) = match direction {
        Direction::Egress => (parsed.source, parsed.destination),
        Direction::Ingress => (parsed.destination, parsed.source),
    };
    let subject = resolve(&rows, &subject).workload;
    let port = if has_ports(parsed.protocol) { parsed.destination_port } else { 0 };
    let question = Question {
        subject,
        slot: rows.tables.workloads[&subject],
        peer: resolve(&rows, &peer),
        direction,
        protocol: parsed.protocol,
        port,
    };
    decide(&rows, &question).enforced.verdict == Verdict::Allow
}

#[test]
fn every_packet_gets_its_verdict_and_moves_exactly_its_counters() {
    let Some(machine) = machine() else { return };
    let name = format!("windrose-packets-{}", std::process::id());
    let inside = Inside::new(&machine.cgroup_root, &name);
    let text = POLICY.replace("CGROUP", &name);
    let model = parse(&[Source { name: "packets.yaml".to_owned(), text }]).unwrap().model;
    let mut compiler = Compiler::new();
    compiler.update(Arc::new(model), &Settings::default()).unwrap();

    let pins = Pins::below(&machine.bpffs, &name);
    let mut datapath = Datapath::open(machine, pins.clone(), Capacities::default()).unwrap();
    let changes = difference(&datapath.pinned_tables().unwrap(), compiler.tables());
    datapath.apply(&changes, compiler.tables()).unwrap();

    let rows = Lookup::new(compiler.tables());
    let mut faults = Vec::new();
    for (sentence, direction, bytes, expected, by_policy) in table() {
        let program = match direction {
            Direction::Egress => "packet_egress",
            Direction::Ingress => "packet_ingress",
        };
        if by_policy && natively(&rows, direction, &bytes) != expected.passes {
            faults.push(format!("{sentence}: the engine says otherwise"));
        }
        let moved = measure(&datapath, program, &bytes);
        if moved != expected {
            faults.push(format!("{sentence}: expected {expected:?}, the kernel says {moved:?}"));
        }
    }
    drop(datapath);
    pins.remove().unwrap();
    drop(inside);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
