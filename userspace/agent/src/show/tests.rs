//! What people see, word for word.

use crate::north::{ConditionView, GatewayView, ListenerView, ObjectView, ParentView};
use std::sync::Arc;

use windrose_datapath::abi::{Address, ConnectionRow, Event, Verdict, decision};

use super::*;
use crate::book::Book;
use crate::clock::Clock;
use crate::compile::VerifiedView;
use crate::edge::{BalanceView, InterfaceView, ListView};
use crate::record::Balanced;
use crate::refused::FaultView;
use crate::snapshot::{Counts, Reload};
use crate::status::{Kernel, Lost, MapView, ProgramView};

fn address(last: u8) -> Address {
    Address::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 77, 0, last])
}

#[test]
fn golden_connections_for_people() {
    let row = ConnectionRow {
        decision: decision(3, Verdict::Allow),
        local: address(10),
        peer: address(11),
        local_port: 40_000,
        peer_port: 8080,
        identity: 1,
        peer_identity: 1,
        bytes_sent: 2048,
        bytes_received: 12,
        srtt_us: 150,
        direction: 1,
        origin: 1,
        tcp_state: 1,
        ..ConnectionRow::ZERO
    };
    let view = crate::record::connection(&row, &Balanced::default(), &Book::default(), &Clock::now());
    output::golden::assert("connections.txt", &connections_text(&[view], Paint::off()));
}

#[test]
fn golden_events_for_people() {
    let base = Event {
        local: address(11),
        peer: address(66),
        local_port: 8080,
        peer_port: 50_000,
        protocol: 6,
        ..Event::ZERO
    };
    let refused = Event { kind: 2, verdict: 1, reason: 2, origin: 4, ..base };
    let closed = Event {
        kind: 1,
        origin: 1,
        bytes_sent: 10,
        bytes_received: 4096,
        lifetime_ns: 2_500_000_000,
        ..base
    };
    let said: String = [refused, closed]
        .iter()
        .map(|event| event_line(&crate::record::event(event, &Book::default(), &Clock::now()), Paint::off()))
        .collect();
    output::golden::assert("flows.txt", &said);
}

/// One that listens on one of two addresses, and a route with a backend of nobody.
fn gateway() -> GatewayView {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| ConditionView {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    let good = |kind| condition(kind, "True", kind, "");
    let in_use = "0.0.0.0:443 is in use by another process: end it";
    let listener = |name: &str, programmed| ListenerView {
        name: name.to_owned(),
        supported_kinds: vec!["HTTPRoute".to_owned()],
        attached_routes: 1,
        conditions: vec![
            good("Accepted"),
            condition("Conflicted", "False", "NoConflicts", ""),
            good("ResolvedRefs"),
            programmed,
        ],
    };
    let object = |kind: &str, name: &str| ObjectView {
        kind: kind.to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        conditions: vec![good("Accepted"), good("Programmed")],
        listeners: Vec::new(),
        parents: Vec::new(),
    };
    let listeners = vec![
        listener("web", good("Programmed")),
        listener("secure", condition("Programmed", "False", "PortUnavailable", in_use)),
    ];
    let why = "shop.yaml:9:5: backend shop/none is no Service with an address in these files";
    let missing = condition("ResolvedRefs", "False", "BackendNotFound", why);
    let parent =
        ParentView { gateway: "shop/outside".to_owned(), conditions: vec![good("Accepted"), missing] };
    GatewayView {
        workers: 2,
        listening: vec!["0.0.0.0:80".to_owned()],
        not_listening: vec![in_use.to_owned()],
        connections: 12,
        exchanges: 1,
        objects: vec![
            ObjectView { listeners, ..object("Gateway", "outside") },
            ObjectView { conditions: Vec::new(), parents: vec![parent], ..object("HTTPRoute", "cart") },
        ],
    }
}

#[test]
fn golden_status_for_people() {
    let status = Status {
        generation: 3,
        version: "0.1.0".to_owned(),
        abi: 1,
        ready: true,
        not_ready: None,
        uptime_seconds: 3_725,
        kernel_half: true,
        gateway: Some(gateway()),
        adopted: true,
        audit: false,
        refused_ingress: "reset".to_owned(),
        statistics: true,
        counts: Counts { workloads: 4, policies: 1, rules: 2, namespaces: 2, services: 1, endpoints: 3 },
        maps: vec![MapView { map: "RULES".to_owned(), entries: 7, capacity: 1024 }],
        programs: vec![ProgramView {
            name: "connect4".to_owned(),
            id: 12,
            attached: Some(7),
            verified_instructions: 490,
            run_count: 100,
            run_time_ns: 21_000,
        }],
        kernel: Kernel {
            release: "6.18.0".to_owned(),
            features: vec!["btf".to_owned()],
            unused: crate::status::unused(),
        },
        edge: Some(EdgeView {
            interfaces: vec![
                InterfaceView {
                    interface: "eth0".to_owned(),
                    mode: Some("generic".to_owned()),
                    why: "loopback has no native hook".to_owned(),
                },
                InterfaceView { interface: "eth1".to_owned(), mode: None, why: "it is not there".to_owned() },
            ],
            lists: vec![ListView { list: "deny.txt".to_owned(), entries: Some(1), ..ListView::default() }],
            list_failures: 0,
            balance: Some(BalanceView {
                frontends: 4,
                endpoints: 3,
                down: 1,
                fault: Some("it does not fit".to_owned()),
                failures: 1,
                warnings: vec!["net.ipv4.conf.eth0.forwarding is 0".to_owned()],
                ..BalanceView::default()
            }),
        }),
        verified: Some(VerifiedView { witnesses: 667, classes: 255, complete: true }),
        last_reload: Some(Reload {
            at: "2026-01-02T03:04:05.000000Z".to_owned(),
            ok: false,
            faults: vec![FaultView::without_place("it does not fit".to_owned())],
            compile_ms: 1,
            verify_ms: 2,
            apply_ms: 0,
            ended_connections: 0,
        }),
        reloads: 2,
        reload_failures: 1,
        lost: Lost {
            events: 0,
            follower_events: 1,
            unnamed_refusals: 0,
            unnamed_edges: 0,
            no_connection_row: 0,
            no_balanced_row: 0,
            uncounted_loads: 0,
            dropped_packets: 9,
        },
    };
    output::golden::assert("status.txt", &status_text(&status, Paint::off()));
}

#[test]
fn a_line_of_the_stream_is_an_event_or_a_loss() {
    let event = crate::record::event(&Event::ZERO, &Book::default(), &Clock::now());
    let text = serde_json::to_string(&Arc::new(event)).unwrap();
    assert!(matches!(serde_json::from_str(&text).unwrap(), Line::Event(_)));
    assert!(matches!(
        serde_json::from_str(r#"{"kind":"lost","events":3}"#).unwrap(),
        Line::Lost { events: 3 }
    ));
}
