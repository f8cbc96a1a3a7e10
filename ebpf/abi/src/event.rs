//! Events: what the ring buffer carries.

use crate::identity::Address;

layout! {
    /// One event of one connection, seen from one workload.
    pub struct Event {
        /// Monotonic clock.
        pub time_ns: u64,
        /// The policy in force.
        pub generation: u64,
        /// Socket cookie; 0 where there is none.
        pub cookie: u64,
        /// Cookie of the network namespace; 0 where it is not known.
        pub netns: u64,
        /// Closed and ended connections: payload bytes.
        pub bytes_sent: u64,
        /// Closed and ended connections: payload bytes.
        pub bytes_received: u64,
        /// Closed and ended connections: how long it lived.
        pub lifetime_ns: u64,
        /// The workload's own address; zero where it is not known yet.
        pub local: Address,
        /// The other end's address.
        pub peer: Address,
        /// The workload.
        pub workload: u32,
        /// The other end's workload; 0 is none.
        pub peer_workload: u32,
        /// The workload's identity.
        pub identity: u32,
        /// The other end's identity.
        pub peer_identity: u32,
        /// The rule that decided (or would).
        pub rule: u32,
        /// Closed and ended TCP connections: smoothed round-trip time, microseconds.
        pub srtt_us: u32,
        /// Host order; 0 where it is not known yet.
        pub local_port: u16,
        /// Host order.
        pub peer_port: u16,
        /// See [`crate::EventKind`].
        pub kind: u8,
        /// See [`crate::Verdict`]: in force, or what would be for audited events.
        pub verdict: u8,
        /// See [`crate::DropReason`].
        pub reason: u8,
        /// See [`crate::Direction`].
        pub direction: u8,
        /// See [`crate::Origin`].
        pub origin: u8,
        /// The protocol.
        pub protocol: u8,
        /// Refused ingress that may be answered: index of the interface that it came by, 65,535 for
        /// every one from there on. 0: it must not be answered.
        pub interface: u16,
        /// Refused ingress: bytes 4 to 7 of the transport header as they stand in memory (TCP's
        /// sequence number, UDP's length and checksum). An answer quotes them.
        pub transport_word: u32,
    }
}
