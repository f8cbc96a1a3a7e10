//! Every shape of packet, there and back.

use std::net::IpAddr;

use windrose_datapath::abi::{EdgeReason, EdgeSettings, Forwarding};
use windrose_datapath::{Capacities, Edge, EdgeConfig, Frontend, FrontendEndpoint, Pins};

use crate::ground::*;
use crate::machine::machine;
use crate::packets::*;

#[test]
fn a_flow_goes_to_an_endpoint_and_back_translated() {
    with_an_edge("nat", |edge| {
        let balanced = both(edge);
        assert_eq!((balanced.frontends, balanced.changed, balanced.endpoints), (4, 4, 2));
        for side in &SIDES {
            for protocol in [TCP, UDP] {
                for payload in [0, 1, 100, 1001] {
                    let asked = packet(protocol, (side.client, 40_000), (side.frontend, 443))
                        .flags(SYN)
                        .payload(payload);
                    let sent = asked.clone().to((side.endpoint, 8443)).hops(63);
                    expect(
                        edge,
                        "to the endpoint",
                        &asked.frame(),
                        EdgeReason::Forwarded,
                        REDIRECT,
                        &sent.frame_with(ends(10)),
                    );
                    let answer = packet(protocol, (side.endpoint, 8443), (side.client, 40_000))
                        .flags(SYN | ACK)
                        .payload(payload);
                    let returned = answer.clone().from((side.frontend, 443)).hops(63);
                    expect(
                        edge,
                        "back to the client",
                        &answer.frame(),
                        EdgeReason::Forwarded,
                        REDIRECT,
                        &returned.frame_with(ends(0x63)),
                    );
                }
                // The endpoint's own traffic, and that of others with the client.
                for (from, to) in [
                    ((side.endpoint, 8443), (side.client, 40_001)),
                    ((side.endpoint, 8444), (side.client, 40_000)),
                    ((side.client, 40_000), (side.endpoint, 8443)),
                    ((side.client, 40_000), (side.frontend, 444)),
                ] {
                    let own = packet(protocol, from, to).flags(ACK).frame();
                    expect(edge, "left alone", &own, EdgeReason::Passed, PASS, &own);
                }
            }
            let ping = Packet::ping(side.client.parse().unwrap(), side.frontend.parse().unwrap()).frame();
            expect(edge, "an echo request", &ping, EdgeReason::Passed, PASS, &ping);
        }
        let totals = edge.forwarded().unwrap();
        assert_eq!(totals.len(), 2);
        assert!(totals.iter().all(|totals| totals.packets == 8), "{totals:?}");
        assert!(totals.iter().all(|totals| totals.flows == 2 && totals.bytes > 2000), "{totals:?}");
    });
}

#[test]
fn options_extensions_and_absent_checksums_are_kept() {
    with_an_edge("shapes", |edge| {
        both(edge);
        for side in &SIDES {
            for protocol in [TCP, UDP] {
                let asked =
                    packet(protocol, (side.client, 40_000), (side.frontend, 443)).flags(SYN).payload(64);
                for shape in [asked.clone().options(40), asked.clone().options(8), asked.clone().class(0xb8)]
                {
                    let sent = shape.clone().to((side.endpoint, 8443)).hops(63);
                    expect(
                        edge,
                        "with options",
                        &shape.frame(),
                        EdgeReason::Forwarded,
                        REDIRECT,
                        &sent.frame_with(ends(10)),
                    );
                }
                // The stack takes the tags off and finds the way; it is only translated.
                for tags in [1, 2] {
                    let frame = tagged(&asked.frame(), tags);
                    let sent = tagged(&asked.clone().to((side.endpoint, 8443)).frame(), tags);
                    expect(edge, "tagged", &frame, EdgeReason::HandedOver, PASS, &sent);
                }
                // Its hops end here: nobody beyond this node sees it.
                let last = asked.clone().hops(1).frame();
                assert_eq!(outcome(edge, &last).1, DROP);
            }
        }
        let v4 = &SIDES[0];
        let asked = packet(UDP, (v4.client, 40_000), (v4.frontend, 443)).payload(9).without_checksum();
        let sent = asked.clone().to((v4.endpoint, 8443)).hops(63);
        let frame = sent.frame_with(ends(10));
        expect(edge, "no checksum", &asked.frame(), EdgeReason::Forwarded, REDIRECT, &frame);
    });
}

#[test]
fn a_checksum_of_udp_never_becomes_none() {
    with_an_edge("zero", |edge| {
        let side = &SIDES[0];
        edge.balance(&[frontend(side.frontend, 443, UDP, &[endpoint(side.endpoint, 8443)])]).unwrap();
        // Of all payloads of two bytes one makes the sum all ones, whose complement is zero.
        let mut found = 0;
        for filling in 0..=u16::MAX {
            let to = (side.endpoint, 8443);
            let sent = packet(UDP, (side.client, 40_000), to).bytes(&filling.to_be_bytes()).hops(63);
            if sent.checksum() != 0xffff {
                continue;
            }
            found += 1;
            let asked = sent.clone().to((side.frontend, 443)).hops(64);
            let frame = sent.frame_with(ends(10));
            expect(edge, "all ones", &asked.frame(), EdgeReason::Forwarded, REDIRECT, &frame);
        }
        assert_eq!(found, 1);
    });
}

#[test]
fn fragments_follow_their_first() {
    with_an_edge("fragments", |edge| {
        let frontends: Vec<Frontend> = SIDES
            .iter()
            .map(|side| frontend(side.frontend, 443, UDP, &[endpoint(side.endpoint, 8443)]))
            .collect();
        edge.balance(&frontends).unwrap();
        for side in &SIDES {
            let asked = packet(UDP, (side.client, 40_000), (side.frontend, 443)).payload(1200);
            let sent = asked.clone().to((side.endpoint, 8443)).hops(63);
            let (asked_pieces, sent_pieces) = (fragments(&asked, 7), fragments(&sent, 7));
            // Before its first: nobody knows where to.
            let lost = ethernet(&asked_pieces[1], [0; 12]);
            assert_eq!(outcome(edge, &lost).0, EdgeReason::LostFragment);
            for (asked, sent) in asked_pieces.iter().zip(&sent_pieces) {
                let (frame, expected) = (framed(asked), ethernet(sent, ends(10)));
                expect(edge, "a piece", &frame, EdgeReason::Forwarded, REDIRECT, &expected);
            }
            let answer = packet(UDP, (side.endpoint, 8443), (side.client, 40_000)).payload(1200);
            let returned = answer.clone().from((side.frontend, 443)).hops(63);
            for (answer, returned) in fragments(&answer, 8).iter().zip(&fragments(&returned, 8)) {
                let (frame, expected) = (framed(answer), ethernet(returned, ends(0x63)));
                expect(edge, "a piece back", &frame, EdgeReason::Forwarded, REDIRECT, &expected);
            }
            // Of a packet to a port that is not balanced, at the same address.
            let own = packet(UDP, (side.client, 40_000), (side.frontend, 444)).payload(1200);
            for piece in fragments(&own, 9) {
                let frame = framed(&piece);
                expect(edge, "a piece of another", &frame, EdgeReason::Passed, PASS, &frame);
            }
        }
    });
}

#[test]
fn icmp_errors_go_to_who_they_are_for() {
    with_an_edge("errors", |edge| {
        both(edge);
        for side in &SIDES {
            for protocol in [TCP, UDP] {
                let asked =
                    packet(protocol, (side.client, 40_000), (side.frontend, 443)).flags(SYN).payload(40);
                let sent = asked.clone().to((side.endpoint, 8443)).hops(63);
                assert_eq!(outcome(edge, &asked.frame()).0, EdgeReason::Forwarded);
                let answer =
                    packet(protocol, (side.endpoint, 8443), (side.client, 40_000)).flags(ACK).payload(40);
                let returned = answer.clone().from((side.frontend, 443)).hops(63);
                // From a router between client and edge, about an answer.
                let router: IpAddr = side.client.parse().unwrap();
                let about = error(router, side.frontend.parse().unwrap(), 64, &returned.clone().unsummed());
                // What it quotes has another address, and the sum it had.
                let expected = error(
                    router,
                    side.endpoint.parse().unwrap(),
                    63,
                    &returned.clone().unsummed().from((side.endpoint, 8443)),
                );
                expect(
                    edge,
                    "about an answer",
                    &framed(&about),
                    EdgeReason::Forwarded,
                    REDIRECT,
                    &ethernet(&expected, ends(10)),
                );
                // From the endpoint, and from a router before it, about what was asked.
                for (from, shown) in [(side.endpoint, side.frontend), (side.router, side.router)] {
                    let client = side.client.parse().unwrap();
                    let about = error(from.parse().unwrap(), client, 64, &sent.clone().unsummed());
                    let expected = error(
                        shown.parse().unwrap(),
                        client,
                        63,
                        &sent.clone().unsummed().to((side.frontend, 443)),
                    );
                    expect(
                        edge,
                        "about what was asked",
                        &framed(&about),
                        EdgeReason::Forwarded,
                        REDIRECT,
                        &ethernet(&expected, ends(0x63)),
                    );
                }
            }
        }
    });
}

#[test]
fn a_packet_is_put_into_another_or_into_another_frame() {
    with_an_edge("dsr", |edge| {
        for forwarding in [Forwarding::Ipip, Forwarding::Layer2] {
            let frontends: Vec<Frontend> = SIDES
                .iter()
                .map(|side| {
                    let endpoint = FrontendEndpoint { forwarding, ..endpoint(side.endpoint, 443) };
                    frontend(side.frontend, 443, TCP, &[endpoint])
                })
                .collect();
            edge.balance(&frontends).unwrap();
            for side in &SIDES {
                let local = if side.client.contains(':') { "fd09::1" } else { "10.9.0.1" };
                for payload in [0, 777] {
                    let asked = packet(TCP, (side.client, 40_000), (side.frontend, 443))
                        .flags(SYN)
                        .class(0x2e)
                        .payload(payload);
                    let expected = if forwarding == Forwarding::Ipip {
                        let outer = asked.inside(local.parse().unwrap(), side.endpoint.parse().unwrap());
                        ethernet(&outer, ends(10))
                    } else {
                        asked.clone().hops(63).frame_with(ends(10))
                    };
                    expect(
                        edge,
                        forwarding.as_str(),
                        &asked.frame(),
                        EdgeReason::Forwarded,
                        REDIRECT,
                        &expected,
                    );
                }
                // The endpoint answers by itself.
                let answer = packet(TCP, (side.frontend, 443), (side.client, 40_000)).flags(ACK).frame();
                expect(edge, "an answer", &answer, EdgeReason::Passed, PASS, &answer);
            }
        }
    });
}

#[test]
fn what_cannot_be_sent_on_is_answered() {
    with_an_edge("answers", |edge| {
        let mut frontends = Vec::new();
        for side in &SIDES {
            let inside = FrontendEndpoint { forwarding: Forwarding::Ipip, ..endpoint(side.endpoint, 444) };
            let away = FrontendEndpoint { is_ready: false, ..endpoint(side.endpoint, 445) };
            frontends.extend([
                frontend(side.frontend, 443, TCP, &[endpoint(side.endpoint, 8443)]),
                frontend(side.frontend, 444, TCP, &[inside]),
                frontend(side.frontend, 445, TCP, &[away]),
                frontend(side.frontend, 446, UDP, &[]),
            ]);
        }
        frontends.push(frontend("203.0.113.1", 447, TCP, &[endpoint("10.66.0.1", 1)]));
        frontends.push(frontend("203.0.113.1", 448, TCP, &[endpoint("10.9.0.200", 1)]));
        frontends.push(frontend("203.0.113.1", 449, TCP, &[endpoint("10.9.0.1", 1)]));
        edge.balance(&frontends).unwrap();
        for side in &SIDES {
            let is_v4 = !side.client.contains(':');
            let ask =
                |protocol, port| packet(protocol, (side.client, 40_000), (side.frontend, port)).flags(SYN);
            for (protocol, port) in [(TCP, 445), (UDP, 446)] {
                let asked = ask(protocol, port).payload(32);
                let expected = asked.refusal(None);
                expect(edge, "nobody", &asked.frame(), EdgeReason::NoEndpoint, SEND_BACK, &expected);
            }
            let heads = if is_v4 { 40 } else { 60 };
            for (port, mtu) in [(443, 1500), (444, if is_v4 { 1480 } else { 1460 })] {
                let fits = ask(TCP, port).payload(usize::from(mtu) - heads);
                assert_eq!(outcome(edge, &fits.frame()).0, EdgeReason::Forwarded, "{port}");
                let large = ask(TCP, port).payload(usize::from(mtu) - heads + 1);
                let expected = large.refusal(Some(mtu));
                expect(edge, "too big", &large.frame(), EdgeReason::TooBig, SEND_BACK, &expected);
            }
        }
        let ask = |port| packet(TCP, ("198.51.100.7", 40_000), ("203.0.113.1", port)).flags(SYN);
        assert_eq!(outcome(edge, &ask(447).frame()).0, EdgeReason::NoRoute);
        // A neighbour that the stack has to find, and this node itself: translated, no more.
        for (port, to) in [(448, "10.9.0.200"), (449, "10.9.0.1")] {
            let sent = ask(port).to((to, 1)).frame();
            expect(edge, "handed over", &ask(port).frame(), EdgeReason::HandedOver, PASS, &sent);
        }
    });
}

#[test]
fn what_finds_no_room_halfway_is_found_again() {
    let Some(machine) = machine() else { return };
    let pins = Pins::below(&machine.bpffs, &format!("windrose-forward-halfway-{}", std::process::id()));
    with_an_edge("halfway", |_| {
        let mut capacities = Capacities::default();
        capacities.set("frontends", 4).unwrap();
        let settings = EdgeSettings { flags: EdgeSettings::BALANCE, ..EdgeSettings::ZERO };
        let edge = Edge::open(&pins, &capacities, EdgeConfig { settings, allowed: Vec::new() }).unwrap();
        let side = &SIDES[0];
        let of = |ports: std::ops::RangeInclusive<u16>| -> Vec<Frontend> {
            ports.map(|port| frontend(side.frontend, port, TCP, &[endpoint(side.endpoint, 8443)])).collect()
        };
        let ask = |edge: &Edge, port| {
            outcome(edge, &packet(TCP, (side.client, 40_000), (side.frontend, port)).flags(SYN).frame()).0
        };
        edge.balance(&of(1..=1)).unwrap();
        assert!(edge.balance(&of(1..=9)).is_err());
        assert_ne!(ask(&edge, 1), EdgeReason::Passed, "what was there goes on");
        assert_eq!(edge.balance(&of(1..=2)).unwrap().frontends, 2);
        for port in 1..=2 {
            assert_ne!(ask(&edge, port), EdgeReason::Passed, "{port}");
        }
        assert_eq!(ask(&edge, 3), EdgeReason::Passed);
        pins.remove().unwrap();
    });
}
