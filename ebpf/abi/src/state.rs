//! What the kernel remembers: connections, flows without a connection, refusals and totals.

use crate::codes::Verdict;
use crate::identity::Address;

/// Buckets of a log2 histogram: bucket n counts values from 2^n to 2^(n+1) - 1 (bucket 0 also 0,
/// the last one everything above).
pub const BUCKETS: usize = 32;

layout! {
    /// Value of `CONNECTIONS`, kept with a TCP socket.
    pub struct ConnectionRow {
        /// Verdict and the generation it was decided under, in one word: [`decision`]. 0: none yet.
        pub decision: u64,
        /// Socket cookie, never reused.
        pub cookie: u64,
        /// Cookie of the network namespace.
        pub netns: u64,
        /// Monotonic clock when the handshake ended; 0 before.
        pub start_ns: u64,
        /// Monotonic clock when the last walk saw traffic.
        pub active_ns: u64,
        /// Payload bytes sent, without retransmissions; final when `phase` is closed.
        pub bytes_sent: u64,
        /// Payload bytes received in order.
        pub bytes_received: u64,
        /// Segments sent, extended to 64 bits by every walk.
        pub segments_sent: u64,
        /// Segments received, extended likewise.
        pub segments_received: u64,
        /// The workload's own address.
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
        /// The rule that decided; 0 if `origin` is not a rule.
        pub rule: u32,
        /// Smoothed round-trip time, microseconds.
        pub srtt_us: u32,
        /// Minimum round-trip time, microseconds.
        pub min_rtt_us: u32,
        /// Segments retransmitted.
        pub retransmits: u32,
        /// The kernel's 32-bit count at the last walk.
        pub last_segments_out: u32,
        /// The kernel's 32-bit count at the last walk.
        pub last_segments_in: u32,
        /// Host order.
        pub local_port: u16,
        /// Host order.
        pub peer_port: u16,
        /// See [`crate::Direction`]: egress if the workload opened the connection.
        pub direction: u8,
        /// See [`crate::Origin`].
        pub origin: u8,
        /// See [`crate::Phase`].
        pub phase: u8,
        /// Zero.
        pub reserved: u8,
        /// See [`ConnectionRow::AUDITED`].
        pub flags: u32,
        /// The kernel's TCP state (1 is established).
        pub tcp_state: u32,
    }
}

/// A verdict and its generation as one word: two processors that decide one connection under two
/// policies write one of them whole, never a verdict of one and the generation of the other.
#[inline(always)]
pub const fn decision(generation: u64, verdict: Verdict) -> u64 {
    generation << 1 | matches!(verdict, Verdict::Allow) as u64
}

impl ConnectionRow {
    /// The generation under which it was decided; 0: not yet.
    #[inline(always)]
    pub const fn generation(&self) -> u64 {
        self.decision >> 1
    }

    /// The verdict of that generation.
    #[inline(always)]
    pub const fn verdict(&self) -> Verdict {
        if self.decision & 1 == 1 { Verdict::Allow } else { Verdict::Deny }
    }

    /// The verdict would differ if nothing were in audit.
    pub const AUDITED: u32 = 1;
    /// The connection is older than enforcement.
    pub const FOUND: u32 = 2;
    /// `peer_workload` is known by the sending socket, not by its address.
    pub const BY_SOCKET: u32 = 4;
    /// This end is remembered in `ORIGINS` for the other one.
    pub const LENT: u32 = 8;
    /// This end's address is its own.
    pub const OWN: u32 = 16;
}

layout! {
    /// Value of `SYNS`: what was decided of a SYN that arrived, until its handshake ends.
    pub struct SynRow {
        /// See [`decision`]; 0: empty, or being written.
        pub decision: u64,
        /// Cookie of the network namespace.
        pub netns: u64,
        /// Who opens.
        pub peer: Address,
        /// Who is to accept.
        pub workload: u32,
        /// See [`ConnectionRow::peer_workload`].
        pub peer_workload: u32,
        /// See [`ConnectionRow::identity`].
        pub identity: u32,
        /// See [`ConnectionRow::peer_identity`].
        pub peer_identity: u32,
        /// See [`ConnectionRow::rule`].
        pub rule: u32,
        /// [`ConnectionRow::AUDITED`] and [`ConnectionRow::BY_SOCKET`].
        pub flags: u32,
        /// Host order.
        pub peer_port: u16,
        /// Host order.
        pub local_port: u16,
        /// See [`crate::Origin`].
        pub origin: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}

/// Entries of `SYNS`, by the lowest bits of the peer's port.
pub const SYNS: u16 = 64;

layout! {
    /// Value of `DECISIONS`: a decision and all that it depends on.
    pub struct CachedDecision {
        /// Generation; subject and peer list; peer's workload, port, protocol and direction.
        pub question: [u64; 3],
        /// The decision, as the engine writes it.
        pub decision: [u64; 2],
        /// Of all the words before: two writers that interrupt each other leave a row without it.
        pub check: u64,
    }
}

/// Entries of `DECISIONS`, a power of two.
pub const DECISIONS: u32 = 1024;

layout! {
    /// Key of `FLOWS`: state of protocols without connections, seen from one workload.
    pub struct FlowKey {
        /// The other end's address.
        pub peer: Address,
        /// The workload.
        pub workload: u32,
        /// Host order; an ICMP echo's identifier; else 0.
        pub local_port: u16,
        /// Host order; else 0.
        pub peer_port: u16,
        /// The protocol.
        pub protocol: u32,
    }
}

layout! {
    /// Value of `FLOWS`.
    pub struct FlowRow {
        /// The generation under which it was allowed.
        pub generation: u64,
        /// Monotonic clock of the first packet.
        pub start_ns: u64,
        /// Monotonic clock of the last packet.
        pub active_ns: u64,
        /// Payload bytes above the transport header.
        pub bytes_sent: u64,
        /// Likewise, the other way.
        pub bytes_received: u64,
        /// Packets before fragmentation.
        pub packets_sent: u64,
        /// Packets after reassembly.
        pub packets_received: u64,
        /// Cookie of the socket that was seen first.
        pub cookie: u64,
        /// Cookie of its network namespace.
        pub netns: u64,
        /// The workload's own address.
        pub local: Address,
        /// The other end's workload; 0 is none.
        pub peer_workload: u32,
        /// The workload's identity.
        pub identity: u32,
        /// The other end's identity.
        pub peer_identity: u32,
        /// The rule that decided; 0 if `origin` is not a rule.
        pub rule: u32,
        /// See [`crate::Direction`]: egress if the workload sent first.
        pub direction: u8,
        /// See [`crate::Verdict`].
        pub verdict: u8,
        /// See [`crate::Origin`].
        pub origin: u8,
        /// See [`ConnectionRow::AUDITED`].
        pub flags: u8,
        /// Zero.
        pub reserved: u32,
    }
}

layout! {
    /// Key of `ORIGINS`: a flow whose source address does not name its workload.
    pub struct OriginKey {
        /// Source address.
        pub source: Address,
        /// Destination address.
        pub destination: Address,
        /// Host order.
        pub source_port: u16,
        /// Host order.
        pub destination_port: u16,
        /// The protocol.
        pub protocol: u32,
        /// Cookie of the network namespace.
        pub netns: u64,
    }
}

layout! {
    /// Value of `ORIGINS`.
    pub struct OriginRow {
        /// Monotonic clock of the last packet.
        pub active_ns: u64,
        /// The workload whose socket sent it.
        pub workload: u32,
        /// Its identity.
        pub identity: u32,
    }
}

layout! {
    /// Key of `FRAGMENTS`: a fragmented packet whose first fragment was allowed.
    pub struct FragmentKey {
        /// Source address.
        pub source: Address,
        /// Destination address.
        pub destination: Address,
        /// Identification, host order.
        pub id: u32,
        /// The protocol.
        pub protocol: u32,
    }
}

layout! {
    /// Key of `REFUSALS`, counters of what was refused.
    pub struct RefusalKey {
        /// The subject.
        pub workload: u32,
        /// The other end's workload; 0 is none.
        pub peer_workload: u32,
        /// The rule that decided; 0 if none did.
        pub rule: u32,
        /// See [`crate::Direction`].
        pub direction: u8,
        /// See [`crate::DropReason`].
        pub reason: u8,
        /// 1: only reported, it passed.
        pub audited: u8,
        /// The protocol.
        pub protocol: u8,
    }
}

layout! {
    /// Key of `EDGES`, totals of connections between two workloads.
    pub struct EdgeKey {
        /// Who opened; 0 is no workload.
        pub source: u32,
        /// Who accepted; 0 is no workload.
        pub destination: u32,
        /// Destination port, host order; 0 when there was no room for it.
        pub port: u16,
        /// The protocol.
        pub protocol: u8,
        /// See [`crate::Direction`]: which end counted.
        pub direction: u8,
    }
}

layout! {
    /// Value of `EDGES`. Bytes and packets are those of closed connections; live ones are added
    /// when read.
    pub struct EdgeRow {
        /// Connections established.
        pub opened: u64,
        /// Connections ended by themselves.
        pub closed: u64,
        /// Connections ended because policy no longer allows them.
        pub ended_late: u64,
        /// Payload bytes sent by the end that counted.
        pub bytes_sent: u64,
        /// Payload bytes received by it.
        pub bytes_received: u64,
        /// Segments or packets sent.
        pub packets_sent: u64,
        /// Segments or packets received.
        pub packets_received: u64,
        /// Segments retransmitted.
        pub retransmits: u64,
        /// Sum of the lifetimes in `lifetime`, milliseconds.
        pub lifetime_sum_ms: u64,
        /// Sum of the samples in `rtt`, microseconds.
        pub rtt_sum_us: u64,
        /// Smoothed round-trip time, microseconds: each live connection once a walk, and at its end.
        pub rtt: [u64; BUCKETS],
        /// Lifetime of ended connections, milliseconds.
        pub lifetime: [u64; BUCKETS],
    }
}

layout! {
    /// Offsets of fields of `struct tcp_sock` and others in the running kernel, bytes, from BTF.
    pub struct Offsets {
        /// `tcp_sock.bytes_sent`, u64.
        pub bytes_sent: u32,
        /// `tcp_sock.bytes_retrans`, u64.
        pub bytes_retrans: u32,
        /// `tcp_sock.bytes_received`, u64.
        pub bytes_received: u32,
        /// `tcp_sock.segs_out`, u32.
        pub segs_out: u32,
        /// `tcp_sock.segs_in`, u32.
        pub segs_in: u32,
        /// `tcp_sock.srtt_us`, u32, eighths of a microsecond.
        pub srtt_us: u32,
        /// `tcp_sock.rtt_min.s[0].v`, u32, microseconds.
        pub rtt_min: u32,
        /// `tcp_sock.total_retrans`, u32.
        pub total_retrans: u32,
        /// `sock_common.skc_state`, u8.
        pub state: u32,
        /// `cgroup.kn`, pointer.
        pub cgroup_kn: u32,
        /// `kernfs_node.id`, u64.
        pub kernfs_id: u32,
        /// `cgroup.root`, pointer.
        pub cgroup_root: u32,
        /// `cgroup_root.hierarchy_id`, int; 0 is cgroup v2.
        pub hierarchy_id: u32,
        /// `sock_common.skc_flags`, unsigned long; bit 1 (`SOCK_DONE`): a FIN was received.
        pub flags: u32,
        /// `sock.sk_cgrp_data.cgroup`, pointer.
        pub sock_cgroup: u32,
        /// `cgroup.level`, int.
        pub cgroup_level: u32,
        /// `cgroup.ancestors`, pointers by level.
        pub cgroup_ancestors: u32,
        /// `sock_common.skc_num`, u16 in host order.
        pub local_port: u32,
        /// `sock_common.skc_dport`, u16 in network order.
        pub peer_port: u32,
        /// `sock_common.skc_family`, u16.
        pub family: u32,
        /// `sock_common.skc_rcv_saddr`.
        pub local_v4: u32,
        /// `sock_common.skc_daddr`.
        pub peer_v4: u32,
        /// `sock_common.skc_v6_rcv_saddr`.
        pub local_v6: u32,
        /// `sock_common.skc_v6_daddr`.
        pub peer_v6: u32,
        /// `sock_common.skc_net.net`, pointer.
        pub sock_net: u32,
        /// `net.net_cookie`, u64.
        pub net_cookie: u32,
    }
}
