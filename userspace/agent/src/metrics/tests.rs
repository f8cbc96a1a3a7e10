//! The text of a scrape, word for word, and what promtool says of it.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use windrose_datapath::abi::profile::TIME_BUCKETS;
use windrose_datapath::abi::{
    EdgeKey, EdgeReason, EdgeRow, EndpointLoad, Lookup, RefusalKey, RuleTimesKey, ServiceTotals,
};
use windrose_datapath::{LookUps, MapMemory, Measured, Spent};
use windrose_gateway::HandshakeFault;
use windrose_gateway::refusal::Refusal as Refused;
use windrose_gateway::series::{Names, Reading};
use windrose_gateway::wire::WireFault;
use windrose_policy::decision::RuleRef;
use windrose_policy::model::{Direction, ExposureSource, ObjectName};
use windrose_policy::source::{Source, parse};
use windrose_policy::tables::{Compiler, Settings};

use super::*;
use crate::book::Book;
use crate::edge::{
    BalanceSample, BalanceView, EdgeView, FetchView, Forwarded, InterfaceView, ListView, SourceSample,
};
use crate::snapshot::Counts as ModelCounts;

fn name(namespace: &str, name: &str) -> ObjectName {
    ObjectName { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// Ten verdicts by a rule, of which seven were remembered, and one sampled run.
fn measured(rule: u32) -> Measured {
    let (mut hit_times, mut miss_times) = ([0; TIME_BUCKETS], [0; TIME_BUCKETS]);
    (hit_times[28], miss_times[40]) = (6, 3);
    let hits = Spent { verdicts: 7, timed: 6, sum_ns: 900 };
    let misses = Spent { verdicts: 3, timed: 3, sum_ns: 3300 };
    Measured {
        hits,
        misses,
        hit_times,
        miss_times,
        rules: vec![(RuleTimesKey { rule, origin: 4, verdict: 1, ..RuleTimesKey::ZERO }, [hits, misses])],
        unnamed: 0,
        runs: 10,
        sampled_runs: 1,
        look_ups: vec![LookUps { kind: Lookup::Address, count: 1, sum_ns: 70 }],
    }
}

/// What a scrape finds at the edge.
fn edge() -> EdgeSample {
    EdgeSample {
        view: EdgeView {
            interfaces: vec![InterfaceView {
                interface: "eth0".to_owned(),
                mode: Some("native".to_owned()),
                why: "its driver has the hook".to_owned(),
            }],
            lists: vec![
                ListView { list: "deny.txt".to_owned(), entries: Some(3), ..ListView::default() },
                ListView {
                    list: "https://lists.example/drop.txt?...".to_owned(),
                    entries: Some(7),
                    fetch: Some(FetchView {
                        confirmed_at: Some("2026-11-23T12:00:00.000000Z".to_owned()),
                        age_seconds: Some(90),
                        error: Some("too late".to_owned()),
                        failing_since: Some("2026-11-23T12:01:00.000000Z".to_owned()),
                        failures: [("connect".to_owned(), 1), ("timeout".to_owned(), 2)].into(),
                    }),
                    ..ListView::default()
                },
            ],
            list_failures: 1,
            balance: None,
        },
        memory: Vec::new(),
        counts: vec![(EdgeReason::Passed, 100), (EdgeReason::DeniedHost, 5), (EdgeReason::Forwarded, 40)],
        maps: Vec::new(),
        programs: vec![ProgramStatus {
            name: "edge",
            hook: "XDP".to_owned(),
            instructions: 3000,
            machine_code_bytes: 14_000,
            id: 8,
            verified_instructions: 19_000,
            run_count: 0,
            run_time_ns: 0,
        }],
        balance: Some(BalanceSample {
            view: BalanceView { frontends: 2, endpoints: 3, down: 1, ..BalanceView::default() },
            sources: BTreeMap::from([(
                ExposureSource::Service { name: name("shop", "web"), port: "http".to_owned() },
                SourceSample {
                    forwarded: Forwarded { flows: 7, packets: 70, bytes: 7_000 },
                    ready: 2,
                    draining: 0,
                    down: 1,
                },
            )]),
        }),
    }
}

/// What a scrape finds of a gateway: a route with responses of both sorts, and who found no route.
fn gateway() -> gateway::GatewaySample {
    let names = |route| Names { gateway: Some(name("shop", "outside")), listener: "web".to_owned(), route };
    let mut routed = Reading {
        names: names(Some(name("shop", "cart"))),
        exchanges: [[0; 4]; 6],
        times: [0; 18],
        sum_us: 4_500,
    };
    let mut unrouted = Reading { names: names(None), sum_us: 90, ..routed.clone() };
    (routed.exchanges[2][0], routed.exchanges[5][2]) = (7, 1);
    (routed.times[1], routed.times[4]) = (7, 1);
    (unrouted.exchanges[4][1], unrouted.times[0]) = (2, 2);
    gateway::GatewaySample {
        series: vec![unrouted, routed],
        refusals: vec![(Refused::Connect, 1), (Refused::NoRoute, 2)],
        wire_faults: vec![(WireFault::BareLf, 3)],
        handshake_faults: vec![(HandshakeFault::NoCertificate, 4)],
        counters: vec![("windrose_gateway_connections", "Connections of clients that were accepted.", 9)],
        gauges: vec![("windrose_gateway_workers", "Threads that serve.", 2)],
    }
}

fn sample() -> Sample {
    let text = include_str!("../../tests/fixtures/shop.yaml").to_owned();
    let model = Arc::new(parse(&[Source { name: "shop.yaml".to_owned(), text }]).unwrap().model);
    let mut compiler = Compiler::new();
    compiler.update(Arc::clone(&model), &Settings::default()).unwrap();
    let book = Book::default().next(&compiler);
    let number = |workload: &str| compiler.names().workload_number(&name("shop", workload)).unwrap();
    let (web, cart) = (number("web"), number("cart"));
    let rule = RuleRef::Isolated { policy: name("shop", "cart"), direction: Direction::Ingress };
    let rule = compiler.names().rule_number(&rule).unwrap();

    let mut row = EdgeRow { opened: 3, closed: 2, bytes_sent: 100, bytes_received: 2000, ..EdgeRow::ZERO };
    (row.rtt[5], row.rtt_sum_us, row.lifetime[10], row.lifetime_sum_ms) = (2, 90, 2, 3000);
    let edges = [
        (EdgeKey { source: web, destination: cart, port: 8080, protocol: 6, direction: 0 }, row),
        (
            EdgeKey { source: web, destination: 0, port: 443, protocol: 17, direction: 1 },
            EdgeRow { opened: 1, ..EdgeRow::ZERO },
        ),
    ];
    let refused = RefusalKey {
        workload: cart,
        peer_workload: 0,
        rule,
        direction: 0,
        reason: 2,
        audited: 0,
        protocol: 6,
    };
    let refusals = [(refused, 7), (RefusalKey { audited: 1, ..refused }, 1)];
    // Of both families, which are one port.
    let services = compiler.tables().services.values();
    let totals: Vec<(u32, ServiceTotals)> =
        services.map(|slot| (slot.service, ServiceTotals { connections: 5, refused: 1, ended: 0 })).collect();
    let loads: Vec<(u32, EndpointLoad)> = compiler
        .tables()
        .endpoints
        .keys()
        .map(|number| (*number, EndpointLoad { live: 2, connections: 5 }))
        .collect();
    Sample {
        edges: collect(&book, Ports::OfWorkloads, &edges, &[], &[]),
        refusals: refusals::collect(&book, &refusals),
        services: services::collect(&book, &totals, &loads),
        snapshot: Snapshot {
            generation: 4,
            counts: ModelCounts::of(&model),
            model,
            reloads: 3,
            reload_failures: 1,
            compile: Duration::from_millis(12),
            verify: Duration::from_millis(8),
            apply: Duration::from_millis(3),
            ..Snapshot::default()
        },
        counts: Counts { lost_events: 1, dropped_packets: 20, ..Counts::default() },
        maps: vec![MapFill { map: "RULES", entries: 6, capacity: 1024 }],
        programs: vec![ProgramStatus {
            name: "connect4",
            hook: "cgroup connect4".to_owned(),
            id: 7,
            verified_instructions: 490,
            instructions: 120,
            machine_code_bytes: 700,
            run_count: 10,
            run_time_ns: 2_500,
        }],
        answers: [("reset", 5), ("unreachable", 2)],
        suppressed_answers: [("failed", 0), ("late", 0), ("limit", 1)],
        edge: Some(edge()),
        gateway: Some(gateway()),
        has_kernel: true,
        events: 12,
        follower_events_lost: 0,
        costs: Costs {
            maps: vec![MapMemory {
                map: "RULES".to_owned(),
                key_bytes: 12,
                value_bytes: 32,
                capacity: 1024,
                memory_bytes: 66_000,
            }],
            verdicts: Some(VerdictCosts::new(measured(rule), &book)),
        },
    }
}

#[test]
fn golden_metrics_in_both_formats() {
    let open = render(sample(), Exposition::OpenMetrics).unwrap();
    assert!(open.ends_with("# EOF\n"));
    crate::output::golden::assert("metrics.openmetrics.txt", &open);
    crate::output::golden::assert("metrics.txt", &render(sample(), Exposition::Classic).unwrap());
}

#[test]
fn promtool_finds_nothing_to_say() {
    let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        assert!(std::env::var_os("WINDROSE_REQUIRE").is_none(), "promtool is required here and missing");
        eprintln!("ignored, needs promtool");
        return;
    };
    let text = render(sample(), Exposition::Classic).unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let said_text =
        String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && said_text.is_empty(), "{said_text}");
}

#[test]
fn no_label_is_an_address() {
    let text = render(sample(), Exposition::Classic).unwrap();
    assert!(!text.contains("10.77.") && !text.contains("10.96."), "{text}");
}
