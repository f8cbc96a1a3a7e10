//! Which endpoint a flow gets, and keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use windrose_datapath::abi::{EdgeReason, EdgeSettings, PrefixKey};
use windrose_datapath::{Capacities, Edge, EdgeConfig, Frontend, FrontendEndpoint, Pins};

use crate::ground::*;
use crate::machine::machine;
use crate::packets::*;

/// The endpoint that a client's packet goes to, by the neighbour that it is sent to.
fn neighbour(edge: &Edge, client_port: u16, flags: u8) -> u8 {
    let asked = packet(TCP, ("198.51.100.7", client_port), ("203.0.113.1", 443)).flags(flags);
    let (reason, code, frame) = outcome(edge, &asked.frame());
    assert_eq!((reason, code), (EdgeReason::Forwarded, REDIRECT));
    frame[5]
}

#[test]
fn a_refused_share_is_refused() {
    with_an_edge("refused", |edge| {
        let side = &SIDES[0];
        let open = frontend(side.frontend, 443, TCP, &[endpoint(side.endpoint, 8443)]);
        edge.balance(&[Frontend { refused_share: 1, ..open.clone() }]).unwrap();
        let ask = |port| {
            let asked = packet(TCP, (side.client, port), (side.frontend, 443)).flags(SYN).frame();
            outcome(edge, &asked).0
        };
        let found: Vec<EdgeReason> = (40_000..40_200).map(ask).collect();
        let refused = found.iter().filter(|reason| **reason == EdgeReason::NoEndpoint).count();
        let forwarded = found.iter().filter(|reason| **reason == EdgeReason::Forwarded).count();
        assert_eq!(refused + forwarded, 200, "{found:?}");
        assert!((60..140).contains(&refused), "{refused} of 200");
        // As an agent that is started again finds it.
        let again = edge.balance(&[Frontend { refused_share: 1, ..open.clone() }]).unwrap();
        assert_eq!(again.changed, 0);
        edge.balance(&[open]).unwrap();
        assert!((40_000..40_200).all(|port| ask(port) == EdgeReason::Forwarded));
    });
}

#[test]
fn only_who_may_ask_is_served() {
    with_an_edge("sources", |edge| {
        let prefix = |text: &str, length: u32| match text.parse().unwrap() {
            IpAddr::V4(v4) => PrefixKey {
                length: length + 96,
                address: windrose_datapath::abi::Address::from_bytes(v4.to_ipv6_mapped().octets()),
            },
            IpAddr::V6(v6) => {
                PrefixKey { length, address: windrose_datapath::abi::Address::from_bytes(v6.octets()) }
            }
        };
        let frontends: Vec<Frontend> = SIDES
            .iter()
            .map(|side| {
                let sources = if side.client.contains(':') {
                    vec![prefix("2001:db8:c::", 120)]
                } else {
                    vec![prefix("198.51.100.0", 28)]
                };
                let sources = Some(sources);
                Frontend { sources, ..frontend(side.frontend, 443, TCP, &[endpoint(side.endpoint, 8443)]) }
            })
            .collect();
        edge.balance(&frontends).unwrap();
        for (client, reason) in [
            ("198.51.100.7", EdgeReason::Forwarded),
            ("198.51.100.17", EdgeReason::SourceRange),
            ("2001:db8:c::7", EdgeReason::Forwarded),
            ("2001:db8:c::107", EdgeReason::SourceRange),
        ] {
            let frontend = if client.contains(':') { "2001:db8::1" } else { "203.0.113.1" };
            let asked = packet(TCP, (client, 40_000), (frontend, 443)).flags(SYN).frame();
            assert_eq!(outcome(edge, &asked).0, reason, "{client}");
        }
        // None of this family: nobody is served.
        let closed = Frontend { sources: Some(Vec::new()), ..frontends[0].clone() };
        edge.balance(&[closed]).unwrap();
        let asked = packet(TCP, ("198.51.100.7", 40_001), ("203.0.113.1", 443)).flags(SYN).frame();
        assert_eq!(outcome(edge, &asked).0, EdgeReason::SourceRange);
        // No longer asked for: everybody is served.
        let open: Vec<Frontend> =
            frontends.into_iter().map(|frontend| Frontend { sources: None, ..frontend }).collect();
        edge.balance(&open).unwrap();
        let asked = packet(TCP, ("198.51.100.17", 40_000), ("203.0.113.1", 443)).flags(SYN).frame();
        assert_eq!(outcome(edge, &asked).0, EdgeReason::Forwarded);
    });
}

#[test]
fn flows_stay_while_their_endpoint_does() {
    with_an_edge("change", |edge| {
        let (a, b) = (endpoint("10.9.0.10", 8443), endpoint("10.9.0.11", 8443));
        let with = |endpoints: &[FrontendEndpoint]| {
            edge.balance(&[frontend("203.0.113.1", 443, TCP, endpoints)]).unwrap();
        };
        let ports = 40_000..40_200_u16;
        with(&[a, b]);
        let first: BTreeMap<u16, u8> = ports.clone().map(|port| (port, neighbour(edge, port, SYN))).collect();
        let of_a = first.values().filter(|to| **to == 10).count();
        assert!((60..140).contains(&of_a), "{of_a} of 200 go to one of two");
        // Draining: what it has goes on, what begins goes to the other; also on the same ports.
        with(&[FrontendEndpoint { is_ready: false, ..a }, b]);
        for port in ports.clone() {
            assert_eq!(neighbour(edge, port, ACK), first[&port], "{port} while draining");
        }
        for port in 50_000..50_050 {
            assert_eq!(neighbour(edge, port, SYN), 11);
        }
        let renewed = *first.iter().find(|(_, to)| **to == 10).unwrap().0;
        assert_eq!(neighbour(edge, renewed, SYN), 11, "a new connection on an old port");
        // Gone: its flows go to who is there, and answer for themselves.
        with(&[b]);
        for port in ports.clone() {
            assert_eq!(neighbour(edge, port, ACK), 11, "{port} when gone");
        }
        // Back: flows stay with the other, who has them now.
        with(&[a, b]);
        for port in ports {
            assert_eq!(neighbour(edge, port, ACK), 11, "{port} when back");
        }
        let news: BTreeSet<u8> = (51_000..51_100).map(|port| neighbour(edge, port, SYN)).collect();
        assert_eq!(news, BTreeSet::from([10, 11]));
    });
}

#[test]
fn clients_are_one_flow_where_they_are_to_be() {
    with_an_edge("client", |edge| {
        let endpoints = [endpoint("10.9.0.10", 8443), endpoint("10.9.0.11", 8443)];
        let by_client = Frontend { is_by_client: true, ..frontend("203.0.113.1", 443, TCP, &endpoints) };
        edge.balance(&[by_client]).unwrap();
        let all: BTreeSet<u8> = (40_000..40_100).map(|port| neighbour(edge, port, SYN)).collect();
        assert_eq!(all.len(), 1);
    });
}

#[test]
fn another_node_and_a_restarted_agent_choose_alike() {
    with_an_edge("alike", |edge| {
        let weighed = |address, weight| FrontendEndpoint { weight, ..endpoint(address, 8443) };
        let here = [weighed("10.9.0.10", 3), weighed("10.9.0.11", 1)];
        let there = [weighed("10.9.0.11", 1), weighed("10.9.0.10", 3)];
        let other = frontend("203.0.113.9", 1, TCP, &[endpoint("10.9.0.11", 1), endpoint("10.9.0.10", 2)]);
        let asked = |endpoints: &[FrontendEndpoint]| frontend("203.0.113.1", 443, TCP, endpoints);
        edge.balance(&[asked(&here)]).unwrap();
        let first: Vec<u8> = (40_000..40_400).map(|port| neighbour(edge, port, SYN)).collect();
        let of_a = first.iter().map(|to| usize::from(*to == 10)).sum::<usize>();
        assert!((250..350).contains(&of_a), "{of_a} of 400 go to three quarters");
        let machine = machine().unwrap();
        let pins = Pins::below(&machine.bpffs, &format!("windrose-forward-node-{}", std::process::id()));
        {
            let node = open(&pins);
            // SAFETY: the name is a NUL-terminated string.
            node.lead_to(&[unsafe { libc::if_nametoindex(c"out".as_ptr()) }]).unwrap();
            // In another order, after others.
            node.balance(std::slice::from_ref(&other)).unwrap();
            node.balance(&[other.clone(), asked(&there)]).unwrap();
            let second: Vec<u8> = (40_000..40_400).map(|port| neighbour(&node, port, ACK)).collect();
            assert_eq!(first, second);
        }
        // What is pinned is taken over: nothing is written again, and flows are where they were.
        let again = open(&pins);
        let balanced = again.balance(&[other, asked(&there)]).unwrap();
        assert_eq!((balanced.frontends, balanced.changed, balanced.removed), (2, 0, 0));
        let one = [asked(&[endpoint("10.9.0.11", 8443)])];
        assert_eq!(again.balance(&one).unwrap().removed, 1);
        let third: Vec<u8> = (40_000..40_400).map(|port| neighbour(&again, port, ACK)).collect();
        assert!(third.iter().all(|to| *to == 11));
        pins.remove().unwrap();
    });
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    with_an_edge("room", |edge| {
        let side = &SIDES[0];
        let many: Vec<Frontend> = (1..=16)
            .map(|port| frontend(side.frontend, port, TCP, &[endpoint(side.endpoint, 8443)]))
            .collect();
        edge.balance(&many[..15]).unwrap();
        let error = edge.balance(&many).unwrap_err().to_string();
        assert!(error.contains("10.9.0.10:8443") && error.contains("more than 15"), "{error}");
        let ask = packet(TCP, (side.client, 40_000), (side.frontend, 15)).flags(SYN).frame();
        assert_eq!(outcome(edge, &ask).0, EdgeReason::Forwarded);
        // Each of them is known by its own flow.
        for port in 1..=15 {
            let ask = packet(TCP, (side.client, 50_000 + port), (side.frontend, port)).flags(SYN).frame();
            assert_eq!(outcome(edge, &ask).0, EdgeReason::Forwarded);
            let answer = packet(TCP, (side.endpoint, 8443), (side.client, 50_000 + port)).flags(ACK);
            let returned = answer.clone().from((side.frontend, port)).hops(63).frame_with(ends(0x63));
            expect(edge, "its own", &answer.frame(), EdgeReason::Forwarded, REDIRECT, &returned);
        }
    });
}

#[test]
fn everything_at_once_is_taken_by_the_verifier() {
    let Some(machine) = machine() else { return };
    let pins = Pins::below(&machine.bpffs, &format!("windrose-forward-all-{}", std::process::id()));
    let mut settings = EdgeSettings {
        flags: EdgeSettings::BALANCE | EdgeSettings::COOKIES | EdgeSettings::BOGONS | EdgeSettings::PRIVATE,
        limit_count: 8,
        ..EdgeSettings::ZERO
    };
    for limit in &mut settings.limits {
        (limit.cost_ns, limit.burst_ns) = (1, 1);
    }
    let allowed = vec![PrefixKey { length: 96, address: windrose_datapath::abi::Address::from_v4_word(0) }];
    Edge::open(&pins, &Capacities::default(), EdgeConfig { settings, allowed }).unwrap();
    pins.remove().unwrap();
}
