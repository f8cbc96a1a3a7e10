//! Balancing by the loaded edge program (`BPF_PROG_TEST_RUN`): every shape of packet, compared whole
//! with what the test builds itself, checksums included.
#![expect(clippy::unwrap_used, reason = "the helpers of a test, outside of its function")]

#[path = "edge_forward/packets.rs"]
mod packets;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use packets::{Packet, TCP, UDP, error, ethernet, fragments, tagged};
use windrose_datapath::abi::{EdgeReason, EdgeSettings, Forwarding, PrefixKey};
use windrose_datapath::{Capacities, Edge, EdgeConfig, Frontend, FrontendEndpoint, Machine, Pins};

const PASS: u32 = 2;
const DROP: u32 = 1;
const SEND_BACK: u32 = 3;
const REDIRECT: u32 = 4;

const SYN: u8 = 2;
const ACK: u8 = 16;

/// The frame's ends on the way out of `out`, to the neighbour of this number.
fn ends(neighbour: u8) -> [u8; 12] {
    [2, 0, 0, 0, 9, neighbour, 2, 0, 0, 0, 9, 1]
}

const SETUP: &str = "link set lo up
link add out type veth peer name far
link set far up
link set out address 02:00:00:00:09:01
link set out mtu 1500 up
addr add 10.9.0.1/24 dev out
addr add fd09::1/64 dev out nodad
addr add 203.0.113.1/32 dev lo
neigh add 10.9.0.10 lladdr 02:00:00:00:09:0a dev out nud permanent
neigh add 10.9.0.11 lladdr 02:00:00:00:09:0b dev out nud permanent
neigh add 10.9.0.99 lladdr 02:00:00:00:09:63 dev out nud permanent
neigh add fd09::10 lladdr 02:00:00:00:09:0a dev out nud permanent
neigh add fd09::11 lladdr 02:00:00:00:09:0b dev out nud permanent
neigh add fd09::99 lladdr 02:00:00:00:09:63 dev out nud permanent
route add 198.51.100.0/24 via 10.9.0.99
route add 2001:db8:c::/48 via fd09::99
route add blackhole 10.66.0.0/16
";

/// A namespace with routes and neighbours, and an edge in it. `None` where the kernel lacks something.
fn in_a_namespace(name: &str, work: impl FnOnce(&Edge) + Send) {
    let machine = match Machine::inspect() {
        Ok(machine) => machine,
        Err(missing) => {
            assert!(std::env::var_os("WINDROSE_REQUIRE").is_none(), "{missing}");
            eprintln!("ignored: {missing}");
            return;
        }
    };
    let pins = Pins::below(&machine.bpffs, &format!("windrose-forward-{name}-{}", std::process::id()));
    std::thread::scope(|scope| {
        let work = || {
            // SAFETY: only this thread's network namespace changes.
            let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
            let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
            ip.stdin.take().unwrap().write_all(SETUP.as_bytes()).unwrap();
            assert!(ip.wait().unwrap().success());
            for family in ["ipv4", "ipv6"] {
                std::fs::write(format!("/proc/sys/net/{family}/conf/all/forwarding"), "1").unwrap();
            }
            let edge = open(&pins);
            // SAFETY: the name is a NUL-terminated string.
            let out = unsafe { libc::if_nametoindex(c"out".as_ptr()) };
            edge.lead_to(&[out]).unwrap();
            work(&edge);
        };
        scope.spawn(work).join().unwrap();
    });
    pins.remove().unwrap();
}

fn open(pins: &Pins) -> Edge {
    let settings = EdgeSettings { flags: EdgeSettings::BALANCE, ..EdgeSettings::ZERO };
    Edge::open(pins, &Capacities::default(), EdgeConfig { settings, allowed: Vec::new() }).unwrap()
}

fn endpoint(address: &str, port: u16) -> FrontendEndpoint {
    FrontendEndpoint {
        address: address.parse().unwrap(),
        port,
        weight: 1,
        is_ready: true,
        forwarding: Forwarding::Nat,
    }
}

fn frontend(address: &str, port: u16, protocol: u8, endpoints: &[FrontendEndpoint]) -> Frontend {
    Frontend {
        address: address.parse().unwrap(),
        port,
        protocol,
        is_by_client: false,
        sources: None,
        endpoints: endpoints.to_vec(),
        refused_share: 0,
    }
}

/// Both families: client, frontend, endpoint, and somebody on the way to it.
struct Sides {
    client: &'static str,
    frontend: &'static str,
    endpoint: &'static str,
    router: &'static str,
}

const SIDES: [Sides; 2] = [
    Sides { client: "198.51.100.7", frontend: "203.0.113.1", endpoint: "10.9.0.10", router: "10.9.0.77" },
    Sides { client: "2001:db8:c::7", frontend: "2001:db8::1", endpoint: "fd09::10", router: "fd09::77" },
];

fn packet(protocol: u8, from: (&str, u16), to: (&str, u16)) -> Packet {
    Packet::new(protocol, (from.0.parse().unwrap(), from.1), (to.0.parse().unwrap(), to.1))
}

/// What is counted, and what the program answers.
fn outcome(edge: &Edge, frame: &[u8]) -> (EdgeReason, u32, Vec<u8>) {
    let before = edge.counts().unwrap();
    let (code, left) = edge.test_outcome(frame).unwrap();
    let after = edge.counts().unwrap();
    let moved: Vec<EdgeReason> = after
        .iter()
        .zip(&before)
        .filter(|(after, before)| after.1 != before.1)
        .map(|(after, _)| after.0)
        .collect();
    assert_eq!(moved.len(), 1, "{moved:?}");
    (moved[0], code, left)
}

fn expect(edge: &Edge, sentence: &str, frame: &[u8], reason: EdgeReason, code: u32, expected: &[u8]) {
    let found = outcome(edge, frame);
    assert_eq!((found.0, found.1), (reason, code), "{sentence}");
    assert_eq!(hex(&found.2), hex(expected), "{sentence}");
}

/// By the stack: translated, and no more.
fn expect_in_stack(edge: &Edge, sentence: &str, frame: &[u8], arrives: bool, expected: &[u8]) {
    let (goes_on, left) = edge.test_in_stack(frame, arrives).unwrap();
    assert!(goes_on, "{sentence}");
    assert_eq!(hex(&left), hex(expected), "{sentence}");
}

/// In rows, so that a difference is found.
fn hex(bytes: &[u8]) -> Vec<String> {
    bytes.chunks(16).map(|row| format!("{row:02x?}")).collect()
}

#[test]
fn a_flow_goes_to_an_endpoint_and_back_translated() {
    in_a_namespace("nat", |edge| {
        let frontends: Vec<Frontend> = SIDES
            .iter()
            .flat_map(|side| {
                [TCP, UDP]
                    .map(|protocol| frontend(side.frontend, 443, protocol, &[endpoint(side.endpoint, 8443)]))
            })
            .collect();
        let balanced = edge.balance(&frontends).unwrap();
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
    in_a_namespace("shapes", |edge| {
        let frontends: Vec<Frontend> = SIDES
            .iter()
            .flat_map(|side| {
                [TCP, UDP]
                    .map(|protocol| frontend(side.frontend, 443, protocol, &[endpoint(side.endpoint, 8443)]))
            })
            .collect();
        edge.balance(&frontends).unwrap();
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
    in_a_namespace("zero", |edge| {
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
    in_a_namespace("fragments", |edge| {
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
                let (frame, expected) = (packets::framed(asked), ethernet(sent, ends(10)));
                expect(edge, "a piece", &frame, EdgeReason::Forwarded, REDIRECT, &expected);
            }
            let answer = packet(UDP, (side.endpoint, 8443), (side.client, 40_000)).payload(1200);
            let returned = answer.clone().from((side.frontend, 443)).hops(63);
            for (answer, returned) in fragments(&answer, 8).iter().zip(&fragments(&returned, 8)) {
                let (frame, expected) = (packets::framed(answer), ethernet(returned, ends(0x63)));
                expect(edge, "a piece back", &frame, EdgeReason::Forwarded, REDIRECT, &expected);
            }
            // Of a packet to a port that is not balanced, at the same address.
            let own = packet(UDP, (side.client, 40_000), (side.frontend, 444)).payload(1200);
            for piece in fragments(&own, 9) {
                let frame = packets::framed(&piece);
                expect(edge, "a piece of another", &frame, EdgeReason::Passed, PASS, &frame);
            }
        }
    });
}

#[test]
fn icmp_errors_go_to_who_they_are_for() {
    in_a_namespace("errors", |edge| {
        let frontends: Vec<Frontend> = SIDES
            .iter()
            .flat_map(|side| {
                [TCP, UDP]
                    .map(|protocol| frontend(side.frontend, 443, protocol, &[endpoint(side.endpoint, 8443)]))
            })
            .collect();
        edge.balance(&frontends).unwrap();
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
                    &packets::framed(&about),
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
                        &packets::framed(&about),
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
    in_a_namespace("dsr", |edge| {
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
    in_a_namespace("answers", |edge| {
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
fn a_refused_share_is_refused() {
    in_a_namespace("refused", |edge| {
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
    in_a_namespace("sources", |edge| {
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

/// The endpoint that a client's packet goes to, by the neighbour that it is sent to.
fn neighbour(edge: &Edge, client_port: u16, flags: u8) -> u8 {
    let asked = packet(TCP, ("198.51.100.7", client_port), ("203.0.113.1", 443)).flags(flags);
    let (reason, code, frame) = outcome(edge, &asked.frame());
    assert_eq!((reason, code), (EdgeReason::Forwarded, REDIRECT));
    frame[5]
}

#[test]
fn flows_stay_while_their_endpoint_does() {
    in_a_namespace("change", |edge| {
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
    in_a_namespace("client", |edge| {
        let endpoints = [endpoint("10.9.0.10", 8443), endpoint("10.9.0.11", 8443)];
        let by_client = Frontend { is_by_client: true, ..frontend("203.0.113.1", 443, TCP, &endpoints) };
        edge.balance(&[by_client]).unwrap();
        let all: BTreeSet<u8> = (40_000..40_100).map(|port| neighbour(edge, port, SYN)).collect();
        assert_eq!(all.len(), 1);
    });
}

#[test]
fn another_node_and_a_restarted_agent_choose_alike() {
    in_a_namespace("alike", |edge| {
        let weighed = |address, weight| FrontendEndpoint { weight, ..endpoint(address, 8443) };
        let here = [weighed("10.9.0.10", 3), weighed("10.9.0.11", 1)];
        let there = [weighed("10.9.0.11", 1), weighed("10.9.0.10", 3)];
        let other = frontend("203.0.113.9", 1, TCP, &[endpoint("10.9.0.11", 1), endpoint("10.9.0.10", 2)]);
        let asked = |endpoints: &[FrontendEndpoint]| frontend("203.0.113.1", 443, TCP, endpoints);
        edge.balance(&[asked(&here)]).unwrap();
        let first: Vec<u8> = (40_000..40_400).map(|port| neighbour(edge, port, SYN)).collect();
        let of_a = first.iter().map(|to| usize::from(*to == 10)).sum::<usize>();
        assert!((250..350).contains(&of_a), "{of_a} of 400 go to three quarters");
        let machine = Machine::inspect().unwrap();
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
    in_a_namespace("room", |edge| {
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
fn what_finds_no_room_halfway_is_found_again() {
    let Ok(machine) = Machine::inspect() else { return };
    let pins = Pins::below(&machine.bpffs, &format!("windrose-forward-halfway-{}", std::process::id()));
    in_a_namespace("halfway", |_| {
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

/// The frontends of [`SIDES`] for TCP and UDP, with one endpoint each.
fn both(edge: &Edge) {
    let frontends: Vec<Frontend> = SIDES
        .iter()
        .flat_map(|side| {
            [TCP, UDP]
                .map(|protocol| frontend(side.frontend, 443, protocol, &[endpoint(side.endpoint, 8443)]))
        })
        .collect();
    edge.balance(&frontends).unwrap();
}

#[test]
fn the_stack_translates_what_it_carries_itself() {
    in_a_namespace("stack", |edge| {
        both(edge);
        for side in &SIDES {
            for protocol in [TCP, UDP] {
                let asked =
                    packet(protocol, (side.client, 40_000), (side.frontend, 443)).flags(SYN).payload(701);
                let sent = asked.clone().to((side.endpoint, 8443));
                let answer =
                    packet(protocol, (side.endpoint, 8443), (side.client, 40_000)).flags(ACK).payload(300);
                let returned = answer.clone().from((side.frontend, 443));
                expect_in_stack(edge, "before it is known", &answer.frame(), false, &answer.frame());
                for shape in 0..3 {
                    let with = |packet: &Packet| match shape {
                        0 => packet.clone(),
                        1 => packet.clone().options(24),
                        _ => packet.clone().payload(1),
                    };
                    expect_in_stack(edge, "arrives", &with(&asked).frame(), true, &with(&sent).frame());
                    expect_in_stack(edge, "leaves", &with(&answer).frame(), false, &with(&returned).frame());
                    expect_in_stack(
                        edge,
                        "arrives back",
                        &with(&answer).frame(),
                        true,
                        &with(&returned).frame(),
                    );
                }
                // This node's own request is no client's.
                expect_in_stack(edge, "own", &asked.frame(), false, &asked.frame());
                let client: IpAddr = side.client.parse().unwrap();
                let (quoted, shown) = (returned.clone().unsummed(), answer.clone().unsummed());
                expect_in_stack(
                    edge,
                    "about an answer",
                    &packets::framed(&error(client, side.frontend.parse().unwrap(), 64, &quoted)),
                    true,
                    &packets::framed(&error(client, side.endpoint.parse().unwrap(), 64, &shown)),
                );
                for (from, as_if) in [(side.endpoint, side.frontend), (side.router, side.router)] {
                    let (quoted, shown) = (sent.clone().unsummed(), asked.clone().unsummed());
                    expect_in_stack(
                        edge,
                        "about what was asked",
                        &packets::framed(&error(from.parse().unwrap(), client, 64, &quoted)),
                        false,
                        &packets::framed(&error(as_if.parse().unwrap(), client, 64, &shown)),
                    );
                }
            }
            let asked = packet(UDP, (side.client, 40_000), (side.frontend, 443)).payload(1200);
            let sent = asked.clone().to((side.endpoint, 8443));
            for (asked, sent) in fragments(&asked, 7).iter().zip(&fragments(&sent, 7)) {
                expect_in_stack(edge, "a piece", &packets::framed(asked), true, &packets::framed(sent));
            }
            let answer = packet(UDP, (side.endpoint, 8443), (side.client, 40_000)).payload(1200);
            let returned = answer.clone().from((side.frontend, 443));
            for (answer, returned) in fragments(&answer, 8).iter().zip(&fragments(&returned, 8)) {
                expect_in_stack(
                    edge,
                    "a piece back",
                    &packets::framed(answer),
                    false,
                    &packets::framed(returned),
                );
            }
            let nobody = packet(UDP, (side.client, 40_000), (side.frontend, 444)).frame();
            expect_in_stack(edge, "of nobody", &nobody, true, &nobody);
        }
        edge.balance(&[frontend("203.0.113.1", 443, TCP, &[])]).unwrap();
        let asked = packet(TCP, ("198.51.100.7", 40_000), ("203.0.113.1", 443)).flags(SYN).frame();
        assert!(!edge.test_in_stack(&asked, true).unwrap().0, "nobody is ready");
    });
}

#[test]
fn everything_at_once_is_taken_by_the_verifier() {
    let Ok(machine) = Machine::inspect() else { return };
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
