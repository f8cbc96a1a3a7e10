//! Fuzzes the packet parser of the kernel half: no panic, and the same answer wherever the packet begins.
#![no_main]

use libfuzzer_sys::fuzz_target;
use windrose_engine::packet::{Kind, Packet, parse};

fuzz_target!(|bytes: &[u8]| {
    let here = parse(&bytes, 0);

    // XDP and TCX hand over an Ethernet header first, sockets do not; offsets move along and nothing else.
    let framed = [&[0; 14], bytes].concat();
    let there = parse(&framed.as_slice(), 14);
    let moved = there.map(|packet| Packet {
        transport: packet.transport - 14,
        payload: packet.payload - 14,
        ..packet
    });
    assert_eq!(here, moved);

    // An ICMP error carries the head of the packet that it answers.
    if let Ok(Packet { kind: Kind::IcmpError, payload, .. }) = here {
        let _ = parse(&bytes, payload.into());
    }
});
