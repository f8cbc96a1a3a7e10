//! SYNs through the loaded edge program (`BPF_PROG_TEST_RUN`) in a network namespace with a listener:
//! what is sent back, byte by byte.
#![expect(clippy::unwrap_used, reason = "the helpers of a test, outside of its function")]

#[path = "edge/frames.rs"]
#[expect(dead_code, reason = "the frames of another test, too")]
mod frames;
#[path = "support/machine.rs"]
mod machine;
#[path = "support/namespace.rs"]
#[expect(dead_code, reason = "what other tests need of it")]
mod namespace;

use std::net::{Ipv6Addr, TcpListener};

use windrose_datapath::abi::{EdgeReason, EdgeSettings};
use windrose_datapath::{Capacities, Edge, EdgeConfig, Pins};

use frames::{SERVICE, TCP, V4, VLAN, ethernet, extension, fragment, v6_packet};
use machine::machine;
use namespace::in_a_namespace;

/// Cookies from the second SYN on.
fn settings() -> EdgeSettings {
    let mut settings = EdgeSettings { flags: EdgeSettings::COOKIES, ..EdgeSettings::ZERO };
    (settings.cookies.cost_ns, settings.cookies.burst_ns) = (1 << 40, 1 << 40);
    settings
}

/// A SYN for a port, with so many bytes of options behind a maximum segment size of 1400.
fn syn(port: u16, options: usize) -> Vec<u8> {
    let mut header = vec![0_u8; 20];
    header[0..2].copy_from_slice(&40_000_u16.to_be_bytes());
    header[2..4].copy_from_slice(&port.to_be_bytes());
    header[4..8].copy_from_slice(&[1, 2, 3, 0xff]);
    header[12] = u8::try_from(((24 + options) / 4) << 4).unwrap();
    header[13] = 2;
    header.extend_from_slice(&[2, 4, 0x05, 0x78]);
    header.resize(24 + options, 1);
    header
}

/// The sum of RFC 1071 over some parts; 0xffff for what carries its checksum.
fn sum(parts: &[&[u8]]) -> u32 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

/// Checks an answer against the frame that it answers.
fn check(question: &[u8], answer: &[u8], network: usize, is_v4: bool) {
    assert_eq!(answer[0..6], question[6..12], "to whom");
    assert_eq!(answer[6..12], question[0..6], "from whom");
    assert_eq!(answer[12..network], question[12..network], "tags and type");
    let (ip, pseudo) = if is_v4 { (20, 12) } else { (40, 8) };
    let transport = network + ip;
    assert_eq!(answer.len(), (transport + 24).max(60), "length");
    if is_v4 {
        assert_eq!(sum(&[&answer[network..transport]]), 0xffff, "IP checksum");
        assert_eq!(answer[network + 2..network + 4], [0, 44]);
    } else {
        assert_eq!(answer[network + 4..network + 6], [0, 24]);
    }
    let half = (ip - pseudo) / 2;
    let (a, b) = (network + pseudo, network + pseudo + half);
    assert_eq!(answer[a..b], question[b..b + half], "source");
    assert_eq!(answer[b..b + half], question[a..b], "destination");
    let segment = &answer[transport..transport + 24];
    assert_eq!(sum(&[&answer[a..b + half], &[0, 24, 0, TCP], segment]), 0xffff, "TCP checksum");
    assert_eq!(segment[0..2], question[transport + 2..transport + 4], "source port");
    assert_eq!(segment[2..4], question[transport..transport + 2], "destination port");
    assert_eq!(segment[8..12], [1, 2, 4, 0], "the next that is expected");
    assert_eq!(segment[12..14], [0x60, 0x12], "six words, SYN and ACK");
    assert_eq!(segment[20..22], [2, 4], "a maximum segment size");
    // The largest of the kernel's table that is not above the SYN's own.
    let mss = u16::from_be_bytes([segment[22], segment[23]]);
    assert!((536..=1400).contains(&mss), "segments of {mss}");
}

#[test]
fn a_syn_for_a_listener_is_answered_and_others_go_on() {
    let Some(machine) = machine() else { return };
    let pins = Pins::below(&machine.bpffs, &format!("windrose-cookies-{}", std::process::id()));
    in_a_namespace(|| {
        // Of the namespace of the thread that opens it.
        std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2").unwrap();
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = EdgeConfig { settings: settings(), allowed: Vec::new() };
        let edge = Edge::open(&pins, &Capacities::default(), config).unwrap();

        let six = v6_packet("2001:db8:1::7", "2001:db8::1", &[], TCP, &syn(port, 0));
        for first in [V4::default().frame(&syn(port, 0)), ethernet(&[], 0x86dd, &six)] {
            assert_eq!(edge.test_answer(&first).unwrap(), None);
        }
        for tags in [&[][..], &[VLAN], &[SERVICE, VLAN]] {
            for options in [0, 4, 16, 36] {
                let network = 14 + 4 * tags.len();
                let four = ethernet(tags, 0x0800, &V4::default().packet(&syn(port, options)));
                check(&four, &edge.test_answer(&four).unwrap().unwrap(), network, true);
                let packet = v6_packet("2001:db8:1::7", "2001:db8::1", &[], TCP, &syn(port, options));
                let six = ethernet(tags, 0x86dd, &packet);
                check(&six, &edge.test_answer(&six).unwrap().unwrap(), network, false);
            }
        }
        let answered = count(&edge, EdgeReason::SynCookie);
        assert_eq!(answered, 24);

        // A frame that is cut short of its options, options of IP, extension headers, another
        // port: not answered, and not dropped.
        let closed = V4::default().frame(&syn(1, 0));
        let with_options = V4 { options: 4, ..V4::default() }.frame(&syn(port, 0));
        let behind = v6_packet("2001:db8:1::7", "2001:db8::1", &[extension(60, 8)], TCP, &syn(port, 0));
        let mut cut = V4::default().frame(&syn(port, 16));
        cut.truncate(14 + 20 + 30);
        let mut short = V4::default().frame(&syn(port, 0));
        short[14 + 20 + 12] = 0x40;
        for frame in [closed, with_options, ethernet(&[], 0x86dd, &behind), cut, short] {
            assert_eq!(edge.test_answer(&frame).unwrap(), None, "{frame:02x?}");
            assert!(edge.test_frame(&frame, 1).unwrap().0, "{frame:02x?}");
        }
        // A fragment is no attempt that could be answered.
        let piece = v6_packet("2001:db8:1::7", "2001:db8::1", &[fragment(0, true)], TCP, &syn(port, 0));
        assert_eq!(edge.test_answer(&ethernet(&[], 0x86dd, &piece)).unwrap(), None);
        assert_eq!(count(&edge, EdgeReason::SynCookie), answered);
    });
    pins.remove().unwrap();
}

fn count(edge: &Edge, wanted: EdgeReason) -> u64 {
    edge.counts().unwrap().into_iter().find(|(reason, _)| *reason == wanted).unwrap().1
}
