//! A namespace with an edge, frontends, and what becomes of a frame.

use windrose_datapath::abi::{EdgeReason, EdgeSettings, Forwarding};
use windrose_datapath::{Balanced, Capacities, Edge, EdgeConfig, Frontend, FrontendEndpoint, Pins};

use crate::namespace::{in_a_namespace, ip, machine_with_ip};
use crate::packets::{Packet, TCP, UDP};

pub(crate) const PASS: u32 = 2;
pub(crate) const DROP: u32 = 1;
pub(crate) const SEND_BACK: u32 = 3;
pub(crate) const REDIRECT: u32 = 4;

pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;

/// The frame's ends on the way out of `out`, to the neighbour of this number.
pub(crate) fn ends(neighbour: u8) -> [u8; 12] {
    [2, 0, 0, 0, 9, neighbour, 2, 0, 0, 0, 9, 1]
}

pub(crate) const SETUP: &str = "link set lo up
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
pub(crate) fn with_an_edge(name: &str, work: impl FnOnce(&Edge) + Send) {
    let Some(machine) = machine_with_ip() else { return };
    let pins = Pins::below(&machine.bpffs, &format!("windrose-forward-{name}-{}", std::process::id()));
    in_a_namespace(|| {
        ip(SETUP);
        for family in ["ipv4", "ipv6"] {
            std::fs::write(format!("/proc/sys/net/{family}/conf/all/forwarding"), "1").unwrap();
        }
        let edge = open(&pins);
        // SAFETY: the name is a NUL-terminated string.
        let out = unsafe { libc::if_nametoindex(c"out".as_ptr()) };
        edge.lead_to(&[out]).unwrap();
        work(&edge);
    });
    pins.remove().unwrap();
}

pub(crate) fn open(pins: &Pins) -> Edge {
    let settings = EdgeSettings { flags: EdgeSettings::BALANCE, ..EdgeSettings::ZERO };
    Edge::open(pins, &Capacities::default(), EdgeConfig { settings, allowed: Vec::new() }).unwrap()
}

pub(crate) fn endpoint(address: &str, port: u16) -> FrontendEndpoint {
    FrontendEndpoint {
        address: address.parse().unwrap(),
        port,
        weight: 1,
        is_ready: true,
        forwarding: Forwarding::Nat,
    }
}

pub(crate) fn frontend(address: &str, port: u16, protocol: u8, endpoints: &[FrontendEndpoint]) -> Frontend {
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
pub(crate) struct Sides {
    pub(crate) client: &'static str,
    pub(crate) frontend: &'static str,
    pub(crate) endpoint: &'static str,
    pub(crate) router: &'static str,
}

pub(crate) const SIDES: [Sides; 2] = [
    Sides { client: "198.51.100.7", frontend: "203.0.113.1", endpoint: "10.9.0.10", router: "10.9.0.77" },
    Sides { client: "2001:db8:c::7", frontend: "2001:db8::1", endpoint: "fd09::10", router: "fd09::77" },
];

pub(crate) fn packet(protocol: u8, from: (&str, u16), to: (&str, u16)) -> Packet {
    Packet::new(protocol, (from.0.parse().unwrap(), from.1), (to.0.parse().unwrap(), to.1))
}

/// What is counted, and what the program answers.
pub(crate) fn outcome(edge: &Edge, frame: &[u8]) -> (EdgeReason, u32, Vec<u8>) {
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

pub(crate) fn expect(
    edge: &Edge,
    sentence: &str,
    frame: &[u8],
    reason: EdgeReason,
    code: u32,
    expected: &[u8],
) {
    let found = outcome(edge, frame);
    assert_eq!((found.0, found.1), (reason, code), "{sentence}");
    assert_eq!(hex(&found.2), hex(expected), "{sentence}");
}

/// By the stack: translated, and no more.
pub(crate) fn expect_in_stack(edge: &Edge, sentence: &str, frame: &[u8], arrives: bool, expected: &[u8]) {
    let (goes_on, left) = edge.test_in_stack(frame, arrives).unwrap();
    assert!(goes_on, "{sentence}");
    assert_eq!(hex(&left), hex(expected), "{sentence}");
}

/// In rows, so that a difference is found.
pub(crate) fn hex(bytes: &[u8]) -> Vec<String> {
    bytes.chunks(16).map(|row| format!("{row:02x?}")).collect()
}

/// The frontends of [`SIDES`] for TCP and UDP, with one endpoint each.
pub(crate) fn both(edge: &Edge) -> Balanced {
    let frontends: Vec<Frontend> = SIDES
        .iter()
        .flat_map(|side| {
            [TCP, UDP]
                .map(|protocol| frontend(side.frontend, 443, protocol, &[endpoint(side.endpoint, 8443)]))
        })
        .collect();
    edge.balance(&frontends).unwrap()
}
