//! Built answers: their bytes, their checksums, and what gets none.

use windrose_engine::{Kind, packet};

use super::*;

const SERVER: &str = "10.77.0.11";
const CLIENT: &str = "10.77.0.10";
const SERVER6: &str = "fd77::11";
const CLIENT6: &str = "fd77::10";

fn address(text: &str) -> Address {
    match text.parse().unwrap() {
        IpAddr::V4(v4) => Address::from_bytes(v4.to_ipv6_mapped().octets()),
        IpAddr::V6(v6) => Address::from_bytes(v6.octets()),
    }
}

fn refused(protocol: u8, server: &str, client: &str) -> Event {
    Event {
        kind: EventKind::Refused as u8,
        direction: Direction::Ingress as u8,
        protocol,
        local: address(server),
        peer: address(client),
        local_port: 8080,
        peer_port: 40_000,
        netns: 7,
        interface: 3,
        // UDP: 33 bytes, checksum 0xabcd. TCP: a sequence number.
        transport_word: u32::from_ne_bytes([0, 33, 0xab, 0xcd]),
        ..Event::ZERO
    }
}

/// What is left when a checksum is summed with what it covers (RFC 1071): nothing.
fn is_summed(bytes: &[u8], protocol: u8, pseudo: Option<(IpAddr, IpAddr)>) -> bool {
    let addresses = pseudo.map_or(0, |(source, destination)| {
        sum(&octets(source)) + sum(&octets(destination)) + bytes.len() as u64 + u64::from(protocol)
    });
    fold(addresses + sum(bytes)) == [0, 0]
}

/// The payload, its checksums having been looked at.
fn checked(answer: &Answer) -> &[u8] {
    let packet = &answer.packet;
    let ends = (answer.source, answer.destination);
    let (header, protocol) = if answer.source.is_ipv4() { (20, packet[9]) } else { (40, packet[6]) };
    let payload = &packet[header..];
    let pseudo = if protocol == protocol::ICMP { None } else { Some(ends) };
    assert!(is_summed(payload, protocol, pseudo), "the checksum of {answer:?}");
    if answer.source.is_ipv4() {
        assert!(is_summed(&packet[..20], 0, None), "the checksum of the header of {answer:?}");
        assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
    } else {
        assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), payload.len());
    }
    payload
}

#[test]
fn a_syn_is_answered_by_the_reset_that_acknowledges_it() {
    for (server, client) in [(SERVER, CLIENT), (SERVER6, CLIENT6)] {
        let answer = Answer::to(&refused(protocol::TCP, server, client), Manner::Reset).unwrap();
        assert_eq!((answer.kind(), answer.netns, answer.scope), (AnswerKind::Reset, 7, 0));
        let reset = checked(&answer);
        assert_eq!(reset[4..8], [0; 4], "no sequence number");
        assert_eq!(reset[8..12], [0, 33, 0xab, 0xce], "the SYN's and one");
        let parsed = packet::parse(&answer.packet.as_slice(), 0).unwrap();
        assert_eq!((parsed.source, parsed.source_port), (address(server), 8080));
        assert_eq!((parsed.destination, parsed.destination_port), (address(client), 40_000));
        assert_eq!(parsed.tcp_flags, packet::TCP_RST | packet::TCP_ACK);
    }
}

#[test]
fn the_last_sequence_number_is_acknowledged_by_zero() {
    let event = Event { transport_word: u32::MAX, ..refused(protocol::TCP, SERVER, CLIENT) };
    let answer = Answer::to(&event, Manner::Reset).unwrap();
    assert_eq!(checked(&answer)[8..12], [0; 4]);
}

#[test]
fn an_error_quotes_the_refused_packet() {
    for (manner, protocol, v4, v6) in [
        (Manner::Reset, protocol::UDP, [3, 3], [1, 4]),
        (Manner::Reset, protocol::SCTP, [3, 3], [1, 4]),
        (Manner::Unreachable, protocol::TCP, [3, 13], [1, 1]),
        (Manner::Unreachable, protocol::UDP, [3, 13], [1, 1]),
    ] {
        for (server, client, code) in [(SERVER, CLIENT, v4), (SERVER6, CLIENT6, v6)] {
            let answer = Answer::to(&refused(protocol, server, client), manner).unwrap();
            assert_eq!(answer.kind(), AnswerKind::Unreachable);
            let error = checked(&answer);
            assert_eq!((&error[..2], &error[4..8]), (&code[..], &[0; 4][..]));
            let parsed = packet::parse(&answer.packet.as_slice(), 0).unwrap();
            assert_eq!((parsed.kind, parsed.source), (Kind::IcmpError, address(server)));

            let quoted = &error[8..];
            // Past the quote the engine's parser wants the rest of a TCP header, which none reads.
            let whole = [quoted, &[0; 12]].concat();
            let parsed = packet::parse(&whole.as_slice(), 0).unwrap();
            assert_eq!((parsed.source, parsed.source_port), (address(client), 40_000));
            assert_eq!((parsed.destination, parsed.destination_port), (address(server), 8080));
            assert_eq!(parsed.protocol, protocol);
            assert_eq!(quoted[quoted.len() - 4..], [0, 33, 0xab, 0xcd], "as it stood on the wire");
            if client == CLIENT {
                assert!(is_summed(&quoted[..20], 0, None), "the checksum of the quoted header");
                let length = if protocol == protocol::UDP { 53 } else { 40 };
                assert_eq!(quoted[2..4], [0, length]);
            }
        }
    }
}

#[test]
fn a_packet_that_was_seen_before_is_answered_like_the_first() {
    let event = refused(protocol::TCP, SERVER, CLIENT);
    let again = Event { kind: EventKind::Unanswered as u8, ..event };
    assert_eq!(Answer::to(&again, Manner::Reset), Answer::to(&event, Manner::Reset));
}

#[test]
fn nothing_answers_what_is_not_refused_ingress_from_one_host_to_one() {
    let event = refused(protocol::UDP, SERVER, CLIENT);
    let no_answer = [
        Event { kind: EventKind::Audited as u8, ..event },
        Event { kind: EventKind::Closed as u8, ..event },
        Event { direction: Direction::Egress as u8, ..event },
        Event { interface: 0, ..event },
        Event { local: address("224.0.0.251"), ..event },
        Event { local: address("255.255.255.255"), ..event },
        Event { peer: address("0.0.0.0"), ..event },
        Event { peer: address("239.1.2.3"), ..event },
        Event { local: address("ff02::1"), peer: address(CLIENT6), ..event },
        Event { local: address(SERVER6), peer: address("::"), ..event },
        // No packet has one end in either family.
        Event { peer: address(CLIENT6), ..event },
    ];
    for event in no_answer {
        for manner in [Manner::Reset, Manner::Unreachable] {
            assert_eq!(Answer::to(&event, manner), None, "{event:?}");
        }
    }
}

#[test]
fn a_link_local_client_is_answered_where_it_is() {
    let event = refused(protocol::TCP, "fe80::11", "fe80::10");
    assert_eq!(Answer::to(&event, Manner::Reset).unwrap().scope, 3);
    let nowhere = Event { interface: SOME_INTERFACE, ..event };
    assert_eq!(Answer::to(&nowhere, Manner::Reset), None);
    let elsewhere = Event { interface: SOME_INTERFACE, ..refused(protocol::TCP, SERVER6, CLIENT6) };
    assert_eq!(Answer::to(&elsewhere, Manner::Reset).unwrap().scope, 0);
}
