//! Built frames through the loaded edge program (`BPF_PROG_TEST_RUN`) and through the engine
//! natively: the same verdict, and exactly one counter that moves. Nothing is attached.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test, outside of its function")]

#[path = "edge/frames.rs"]
mod frames;
#[path = "support/machine.rs"]
mod machine;
#[path = "edge/native.rs"]
mod native;

use std::net::IpAddr;

use windrose_datapath::abi::edge::FOREVER;
use windrose_datapath::abi::{Address, EdgeLimit, EdgeReason, EdgeSettings, LimitClass, PrefixKey};
use windrose_datapath::{Capacities, Edge, EdgeConfig, Listed, Pins};

use frames::{
    ICMP, ICMPV6, IGMP, OLD_SERVICE, SCTP, SERVICE, TCP, UDP, V4, VLAN, ethernet, extension, fragment, icmp,
    tcp, udp, v6, v6_packet,
};
use machine::machine;
use native::Native;

const SYN: u8 = 2;
const ACK: u8 = 16;

/// Denied hosts, and hosts in denied prefixes.
const HOST4: &str = "198.51.100.66";
const HOST6: &str = "2001:db8:66::66";
const NET4: &str = "203.0.113.9";
const NET6: &str = "2001:db8:99::9";
/// Denied and allowed.
const ALLOWED4: &str = "198.51.100.80";

fn prefix(text: &str, length: u32) -> PrefixKey {
    let (bits, length) = match text.parse().unwrap() {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped().to_bits(), length + 96),
        IpAddr::V6(v6) => (v6.to_bits(), length),
    };
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    PrefixKey { length, address: Address::from_bytes((bits & mask).to_be_bytes()) }
}

fn listed() -> Vec<Listed> {
    [prefix(HOST4, 32), prefix(HOST6, 128), prefix(NET4, 24), prefix(NET6, 48), prefix(ALLOWED4, 32)]
        .map(|prefix| Listed { prefix, until_ns: FOREVER, list: 1 })
        .to_vec()
}

fn limit(class: LimitClass, burst: u64) -> EdgeLimit {
    // An hour until a token comes back: the clock has no part in it.
    let cost_ns = 3_600_000_000_000;
    EdgeLimit {
        cost_ns,
        burst_ns: cost_ns * burst,
        mask_v6: Address { words: [u32::MAX, u32::MAX, 0, 0] },
        mask_v4: u32::from_ne_bytes([255, 255, 255, 0]),
        class: class as u32,
    }
}

/// The program under test and the engine beside it; `None` where the kernel lacks something.
struct Subject {
    edge: Edge,
    pins: Pins,
    native: Native,
    faults: Vec<String>,
}

impl Subject {
    fn open(name: &str, config: &EdgeConfig) -> Option<Self> {
        let machine = machine()?;
        let pins = Pins::below(&machine.bpffs, &format!("windrose-edge-{name}-{}", std::process::id()));
        let mut capacities = Capacities::default();
        capacities.set("DENY_HOSTS", 1024).unwrap();
        let edge = Edge::open(&pins, &capacities, config.clone()).unwrap();
        edge.sync(listed(), &[]).unwrap();
        Some(Self { edge, pins, native: Native::new(config, &listed()), faults: Vec::new() })
    }

    /// What the kernel says, by the counter that moved.
    fn kernel(&self, frame: &[u8]) -> EdgeReason {
        let before = self.edge.counts().unwrap();
        let (passes, _) = self.edge.test_frame(frame, 1).unwrap();
        let after = self.edge.counts().unwrap();
        let moved: Vec<(EdgeReason, u64)> = after
            .iter()
            .zip(&before)
            .filter(|(after, before)| after.1 != before.1)
            .map(|(after, before)| (after.0, after.1 - before.1))
            .collect();
        let [(reason, 1)] = moved[..] else { panic!("counters that moved: {moved:?}") };
        assert_eq!(reason.passes(), passes, "{reason:?} and the return code differ");
        reason
    }

    fn expect(&mut self, sentence: &str, frame: &[u8], expected: EdgeReason) {
        let (natively, kernel) = (self.native.decide(frame), self.kernel(frame));
        if (natively, kernel) != (expected, expected) {
            self.faults.push(format!(
                "{sentence}: expected {expected:?}, the engine says {natively:?}, the kernel {kernel:?}"
            ));
        }
    }

    /// Both say the same, whatever it is.
    fn agree(&mut self, frame: &[u8]) {
        let (natively, kernel) = (self.native.decide(frame), self.kernel(frame));
        if natively != kernel {
            self.faults.push(format!("the engine says {natively:?}, the kernel {kernel:?}: {frame:02x?}"));
        }
    }

    fn finish(self) {
        self.pins.remove().unwrap();
        assert!(self.faults.is_empty(), "\n{}", self.faults.join("\n"));
    }
}

fn plain() -> EdgeConfig {
    let settings = EdgeSettings { flags: EdgeSettings::BOGONS, ..EdgeSettings::ZERO };
    EdgeConfig { settings, allowed: vec![prefix(ALLOWED4, 32)] }
}

fn from4(source: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    V4 { source, protocol, ..V4::default() }.frame(payload)
}

#[test]
fn every_header_shape_gets_its_verdict() {
    use EdgeReason::{DeniedHost, DeniedPrefix, NotIp, Passed, Unparsable};
    let Some(mut subject) = Subject::open("shapes", &plain()) else { return };
    let mut expect = |sentence: &str, frame: &[u8], reason| subject.expect(sentence, frame, reason);

    expect("ARP passes", &ethernet(&[], 0x0806, &[0; 28]), NotIp);
    expect("a frame with a length (802.3) passes", &ethernet(&[], 0x0100, &[0; 46]), NotIp);
    expect("ARP in a VLAN passes", &ethernet(&[VLAN], 0x0806, &[0; 28]), NotIp);
    expect("PPPoE passes unread", &ethernet(&[], 0x8864, &[0; 46]), NotIp);

    for (source, reason) in
        [("198.51.100.7", Passed), (HOST4, DeniedHost), (NET4, DeniedPrefix), (ALLOWED4, Passed)]
    {
        let header = V4 { source, ..V4::default() };
        for tags in [&[][..], &[VLAN], &[SERVICE], &[SERVICE, VLAN], &[VLAN, VLAN], &[OLD_SERVICE, VLAN]] {
            let frame = ethernet(tags, 0x0800, &header.packet(&tcp(ACK)));
            expect(&format!("{source} behind {} tags", tags.len()), &frame, reason);
        }
        for options in (0..=40).step_by(4) {
            let frame = V4 { options, ..header }.frame(&tcp(ACK));
            expect(&format!("{source} with {options} bytes of options"), &frame, reason);
        }
        for protocol in [ICMP, IGMP, UDP, SCTP, 47, 50, 255] {
            let frame = V4 { protocol, ..header }.frame(&[8; 24]);
            expect(&format!("{source} by protocol {protocol}"), &frame, reason);
        }
        let first = V4 { fragment: 0x2000, ..header }.frame(&tcp(ACK));
        expect(&format!("a first fragment of {source}"), &first, reason);
        let later = V4 { fragment: 0x20b9, ..header }.frame(&[0xff; 8]);
        expect(&format!("a later fragment of {source}"), &later, reason);
        let short = V4 { fragment: 185, ..header }.frame(&[0xff; 2]);
        expect(&format!("a last fragment of two bytes of {source}"), &short, reason);
    }
    expect(
        "a third tag is one too many",
        &ethernet(&[SERVICE, VLAN, VLAN], 0x0800, &V4::default().packet(&tcp(ACK))),
        Unparsable,
    );
    for (source, reason) in [("2001:db8:1::7", Passed), (HOST6, DeniedHost), (NET6, DeniedPrefix)] {
        for tags in [&[][..], &[VLAN], &[SERVICE, VLAN]] {
            let packet = v6_packet(source, "2001:db8::1", &[], TCP, &tcp(ACK));
            expect(&format!("{source} behind {} tags", tags.len()), &ethernet(tags, 0x86dd, &packet), reason);
        }
        for number in [0, 43, 51, 60, 135, 139, 140] {
            for bytes in [8, 16, 64] {
                let frame = v6(source, &[extension(number, bytes)], TCP, &tcp(ACK));
                expect(&format!("{source} behind header {number} of {bytes} bytes"), &frame, reason);
            }
        }
        for count in 0..=8 {
            let frame = v6(source, &vec![extension(60, 8); count], UDP, &udp(1, 2));
            expect(&format!("{source} behind {count} headers"), &frame, reason);
        }
        let nine = v6(source, &vec![extension(60, 8); 9], UDP, &udp(1, 2));
        expect(&format!("{source} behind nine headers"), &nine, Unparsable);
        let first = v6(source, &[extension(0, 8), fragment(0, true)], TCP, &tcp(ACK));
        expect(&format!("a first fragment of {source}"), &first, reason);
        let later = v6(source, &[fragment(185, true)], TCP, &[0xff; 4]);
        expect(&format!("a later fragment of {source}"), &later, reason);
        expect(&format!("no next header from {source}"), &v6(source, &[], 59, &[]), reason);
    }
    let mut versions = V4::default().frame(&tcp(ACK));
    versions[14] = 0x65;
    expect("a header of another version than its frame says", &versions, Unparsable);
    versions[14] = 0x44;
    expect("a header of four words", &versions, Unparsable);
    expect("a v4-mapped source", &v6("::ffff:198.51.100.7", &[], TCP, &tcp(ACK)), Unparsable);
    expect(
        "a v4-mapped source that is allowed",
        &v6(&format!("::ffff:{ALLOWED4}"), &[], TCP, &tcp(ACK)),
        Unparsable,
    );
    let mapped = v6_packet("2001:db8:1::7", "::ffff:192.0.2.1", &[], TCP, &tcp(ACK));
    expect("a v4-mapped destination", &ethernet(&[], 0x86dd, &mapped), Unparsable);
    subject.finish();
}

#[test]
fn all_combinations_of_flags_are_told_apart() {
    let Some(mut subject) = Subject::open("flags", &plain()) else { return };
    for flags in 0..=u8::MAX {
        let [fin, syn, rst, ack] = [1, 2, 4, 16].map(|flag| flags & flag != 0);
        let is_bad = (syn && (fin || rst)) || (fin && !ack) || (flags << 2) == 0;
        let reason = if is_bad { EdgeReason::BadFlags } else { EdgeReason::Passed };
        subject.expect(&format!("v4 flags {flags:#010b}"), &V4::default().frame(&tcp(flags)), reason);
        let tagged = ethernet(&[VLAN], 0x0800, &V4 { options: 8, ..V4::default() }.packet(&tcp(flags)));
        subject.expect(&format!("v4 flags {flags:#010b} in a VLAN behind options"), &tagged, reason);
        let hidden = v6("2001:db8:1::7", &[extension(0, 8), fragment(0, true)], TCP, &tcp(flags));
        subject.expect(&format!("v6 flags {flags:#010b} in a first fragment"), &hidden, reason);
        let later = V4 { fragment: 9, ..V4::default() }.frame(&tcp(flags));
        subject.expect("no flags are read in a later fragment", &later, EdgeReason::Passed);
        let other = from4("198.51.100.7", UDP, &tcp(flags));
        subject.expect("nor in another protocol", &other, EdgeReason::Passed);
    }
    subject.finish();
}

#[test]
fn sources_that_nobody_can_have_are_dropped() {
    use EdgeReason::{Bogon, Land, Passed, Private};
    let sources4 = [
        ("0.0.0.1", Bogon),
        ("0.255.255.255", Bogon),
        ("1.0.0.0", Passed),
        ("126.255.255.255", Passed),
        ("127.0.0.1", Bogon),
        ("127.255.255.255", Bogon),
        ("128.0.0.0", Passed),
        ("223.255.255.255", Passed),
        ("224.0.0.1", Bogon),
        ("239.255.255.255", Bogon),
        ("240.0.0.1", Bogon),
        ("255.255.255.255", Bogon),
        ("192.0.2.1", Land),
    ];
    let sources6 = [
        ("::", Bogon),
        ("::1", Bogon),
        ("::2", Passed),
        ("ff02::1", Bogon),
        ("ff00::", Bogon),
        ("fe80::1", Passed),
        ("2001:db8::1", Land),
    ];
    let private = [
        ("10.0.0.1", true),
        ("11.0.0.0", false),
        ("172.15.0.1", false),
        ("172.16.0.1", true),
        ("172.31.255.255", true),
        ("172.32.0.0", false),
        ("192.168.0.1", true),
        ("192.169.0.1", false),
        ("100.63.0.1", false),
        ("100.64.0.1", true),
        ("100.127.0.1", true),
        ("100.128.0.1", false),
        ("169.254.1.1", true),
        ("169.255.1.1", false),
    ];
    for (name, flags) in [
        ("bogons", EdgeSettings::BOGONS),
        ("none", 0),
        ("private", EdgeSettings::BOGONS | EdgeSettings::PRIVATE),
    ] {
        let settings = EdgeSettings { flags, ..EdgeSettings::ZERO };
        let Some(mut subject) = Subject::open(name, &EdgeConfig { settings, allowed: Vec::new() }) else {
            return;
        };
        let is = |reason| if reason == Bogon && flags & EdgeSettings::BOGONS == 0 { Passed } else { reason };
        for (source, reason) in sources4 {
            subject.expect(&format!("{name}: {source}"), &from4(source, UDP, &udp(1, 2)), is(reason));
        }
        for (source, reason) in sources6 {
            subject.expect(&format!("{name}: {source}"), &v6(source, &[], UDP, &udp(1, 2)), is(reason));
        }
        for (source, is_private) in private {
            let reason = if is_private && flags & EdgeSettings::PRIVATE != 0 { Private } else { Passed };
            subject.expect(&format!("{name}: {source}"), &from4(source, UDP, &udp(1, 2)), reason);
        }
        for (source, reason) in [("fc00::1", Private), ("fdff::1", Private), ("fe00::1", Passed)] {
            let reason = if flags & EdgeSettings::PRIVATE == 0 { Passed } else { reason };
            subject.expect(&format!("{name}: {source}"), &v6(source, &[], UDP, &udp(1, 2)), reason);
        }
        subject.expect("who asks for an address has none", &from4("0.0.0.0", UDP, &udp(68, 67)), Passed);
        subject.expect("DNS from nowhere", &from4("0.0.0.0", UDP, &udp(68, 53)), is(Bogon));
        subject.expect("IGMP of a bridge", &from4("0.0.0.0", IGMP, &[0x11; 8]), Passed);
        subject.expect("duplicate address detection", &v6("::", &[], ICMPV6, &icmp(135)), Passed);
        subject.expect("a report of listeners", &v6("::", &[extension(0, 8)], ICMPV6, &icmp(143)), Passed);
        subject.finish();
    }
}

#[test]
fn limits_count_their_class_by_prefix() {
    use EdgeReason::{AllLimit, IcmpLimit, Passed, SynLimit, UdpLimit};
    let mut settings = EdgeSettings::ZERO;
    let limits = [(LimitClass::Syn, 2), (LimitClass::Udp, 2), (LimitClass::Icmp, 2), (LimitClass::All, 9)];
    for (slot, (class, burst)) in settings.limits.iter_mut().zip(limits) {
        *slot = limit(class, burst);
        settings.limit_count += 1;
    }
    let config = EdgeConfig { settings, allowed: vec![prefix(ALLOWED4, 32), prefix("198.51.99.0", 24)] };
    let Some(mut subject) = Subject::open("limits", &config) else { return };
    let mut expect = |sentence: &str, frame: &[u8], reason| subject.expect(sentence, frame, reason);
    let syn = |source| from4(source, TCP, &tcp(SYN));
    expect("the first SYN", &syn("198.51.100.1"), Passed);
    expect("one from a neighbour", &syn("198.51.100.2"), Passed);
    expect("the third of the /24", &syn("198.51.100.3"), SynLimit);
    expect("one of another /24", &syn("198.51.101.3"), Passed);
    expect("a SYN-ACK is no attempt", &from4("198.51.100.1", TCP, &tcp(SYN | ACK)), Passed);
    for n in 0..2 {
        expect(&format!("datagram {n}"), &from4("198.51.100.1", UDP, &udp(1, 2)), Passed);
    }
    let later = V4 { source: "198.51.100.1", protocol: UDP, fragment: 185, ..V4::default() }.frame(&[0; 8]);
    expect("a later fragment counts", &later, UdpLimit);
    for n in 0..2 {
        expect(&format!("ping {n}"), &from4("198.51.100.1", ICMP, &icmp(8)), Passed);
    }
    expect("ping 2", &from4("198.51.100.1", ICMP, &icmp(8)), IcmpLimit);
    // Seven have passed.
    for n in 7..9 {
        expect(&format!("packet {n}"), &from4("198.51.100.1", TCP, &tcp(ACK)), Passed);
    }
    expect("the tenth of all", &from4("198.51.100.1", TCP, &tcp(ACK)), AllLimit);
    for n in 0..12 {
        expect(&format!("allowed {n}"), &syn("198.51.99.1"), Passed);
    }
    for n in 0..2 {
        let source = format!("2001:db8:1:0:{n}::1");
        expect(&format!("v6 ping {n} of a /64"), &v6(&source, &[], ICMPV6, &icmp(128)), Passed);
    }
    expect("v6 ping 2 of the /64", &v6("2001:db8:1:0:9::1", &[], ICMPV6, &icmp(128)), IcmpLimit);
    expect("neighbour discovery is not counted", &v6("2001:db8:1:0:9::1", &[], ICMPV6, &icmp(135)), Passed);
    expect("another /64", &v6("2001:db8:1:1::1", &[], ICMPV6, &icmp(128)), Passed);
    subject.finish();
}

#[test]
fn a_frame_cut_anywhere_or_altered_at_random_is_decided_alike() {
    let Some(mut subject) = Subject::open("random", &plain()) else { return };
    let whole = [
        V4 { options: 12, ..V4::default() }.frame(&tcp(SYN)),
        ethernet(
            &[SERVICE, VLAN],
            0x0800,
            &V4 { source: HOST4, protocol: UDP, ..V4::default() }.packet(&udp(1, 2)),
        ),
        from4(NET4, ICMP, &icmp(8)),
        v6(
            HOST6,
            &[extension(0, 16), extension(43, 24), fragment(0, true), extension(51, 16)],
            UDP,
            &udp(1, 2),
        ),
        v6(NET6, &[fragment(7, true)], TCP, &tcp(SYN)),
        v6("2001:db8:1::7", &[extension(60, 8), extension(60, 8)], ICMPV6, &icmp(1)),
    ];
    for frame in &whole {
        // The kernel takes no frame without an Ethernet header.
        for length in 14..=frame.len() {
            subject.agree(&frame[..length]);
        }
    }
    // xorshift, with a fixed seed: what fails once fails again.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..5_000 {
        let mut frame = whole[random(whole.len())].clone();
        for _ in 0..=random(3) {
            let at = 12 + random(frame.len() - 12);
            frame[at] = match random(3) {
                0 => [0, 6, 17, 43, 44, 51, 58, 60, 0x45, 0x60, 0x81, 0xff][random(12)],
                _ => u8::try_from(random(256)).unwrap(),
            };
        }
        frame.truncate(14 + random(frame.len() - 13));
        subject.agree(&frame);
    }
    subject.finish();
}
