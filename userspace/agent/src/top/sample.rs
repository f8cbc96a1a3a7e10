//! What the agent answers at `/top`: counters as they are, from which whoever asks twice makes rates.

use serde::{Deserialize, Serialize};

/// Counters of one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// RFC 3339.
    pub(crate) time: String,
    /// The kernel's monotonic clock.
    pub(crate) monotonic_ns: u64,
    /// Another number than before: the counters began anew.
    pub(crate) epoch: u32,
    /// The policy in force; 0: none.
    pub(crate) generation: u64,
    /// Why the agent does not enforce what is on disk; `None` when it does.
    pub(crate) not_ready: Option<String>,
    /// Processors of the machine.
    pub(crate) processors: usize,
    /// Whether the agent has the kernel's run statistics on.
    pub(crate) statistics: bool,
    /// Packets dropped, repetitions of a refused attempt among them.
    pub(crate) dropped_packets: u64,
    /// Events for which the ring buffer had no room.
    pub(crate) lost_events: u64,
    /// Live connections and flows, each counted at both of its ends where both are workloads here.
    pub(crate) live: usize,
    /// Totals of connections by their ends.
    pub(crate) pairs: Vec<PairTotals>,
    /// Live connections and flows, those that were active last first; at most as many as asked for.
    pub(crate) connections: Vec<ConnectionTotals>,
    /// What was refused, and what would have been; what the edge has dropped.
    pub(crate) drops: Vec<DropTotals>,
    /// Connections of services, by port and endpoint.
    pub(crate) services: Vec<ServiceTotals>,
    /// What is attached.
    pub(crate) programs: Vec<ProgramTotals>,
}

/// Who talks to whom. Seen from the source where it is a workload of this host, else from the
/// destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Pair {
    /// `namespace/name`, or `outside` for who is no workload.
    pub(crate) source: String,
    /// Likewise.
    pub(crate) destination: String,
    /// Destination port; 0 where there is none or no room for it.
    pub(crate) port: u16,
    /// `TCP`, `UDP`, ... or a number.
    pub(crate) protocol: String,
}

/// Connections of a pair.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PairTotals {
    #[serde(flatten)]
    pub(crate) pair: Pair,
    /// Live now.
    pub(crate) active: u64,
    /// Established, ever.
    pub(crate) opened: u64,
    /// Ended because policy no longer allows them.
    pub(crate) ended_late: u64,
    /// Payload bytes from source to destination.
    pub(crate) bytes_sent: u64,
    /// Payload bytes from destination to source.
    pub(crate) bytes_received: u64,
    /// TCP segments sent again, by the end that this is seen from.
    pub(crate) retransmits: u64,
    /// Round-trip times of TCP, microseconds: bucket n counts from 2^n on. Empty buckets at the end are
    /// left out.
    pub(crate) rtt: Vec<u64>,
}

/// One live connection or flow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ConnectionTotals {
    /// The same as long as it lives.
    pub(crate) id: u64,
    /// Workload or address, and port.
    pub(crate) source: String,
    /// Likewise.
    pub(crate) destination: String,
    pub(crate) protocol: String,
    /// `egress` if it is seen from the source.
    pub(crate) direction: String,
    /// TCP's state; `active` for flows.
    pub(crate) state: String,
    /// How its bytes travel: `stack`, through the whole network stack.
    pub(crate) path: String,
    /// `namespace/name` of the service that the source asked for; empty if it asked for none, or that
    /// is not known (at the destination's end).
    pub(crate) service: String,
    /// The rule that decided, with its place; or `open` and the like.
    pub(crate) decided_by: String,
    /// Payload bytes from source to destination.
    pub(crate) bytes_sent: u64,
    /// Payload bytes from destination to source.
    pub(crate) bytes_received: u64,
    /// TCP segments that this end sent again.
    pub(crate) retransmits: u64,
    /// TCP's smoothed round-trip time, microseconds; 0 if not known.
    pub(crate) rtt_us: u32,
    /// TCP's minimum round-trip time, microseconds; 0 if not known.
    pub(crate) min_rtt_us: u32,
    /// Since it began; 0 if that is not known.
    pub(crate) age_seconds: f64,
}

/// Why something was refused, and to whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Drop {
    pub(crate) reason: String,
    /// `namespace/policy ingress[0]`; empty if no rule decided.
    pub(crate) rule: String,
    /// `file:line:column` of the rule; empty if no rule decided.
    pub(crate) place: String,
    pub(crate) source: String,
    pub(crate) destination: String,
    /// Empty where it is not known.
    pub(crate) protocol: String,
    /// Where: `ingress` or `egress`, as the workload sees it whose policy decided, or `edge`: a frame,
    /// before the network stack, whose ends nobody has looked at.
    pub(crate) direction: String,
    /// It was only reported, and passed.
    pub(crate) audited: bool,
}

/// How often.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DropTotals {
    #[serde(flatten)]
    pub(crate) drop: Drop,
    /// Attempts; repetitions of one within a while are one. At the edge: frames.
    pub(crate) attempts: u64,
}

/// A port of a service, and one of its endpoints or all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ServicePort {
    /// `namespace/name`.
    pub(crate) service: String,
    /// What clients ask for.
    pub(crate) port: u16,
    pub(crate) protocol: String,
    /// `namespace/name`, or `unnamed` for those that are no workload; empty for all.
    pub(crate) endpoint: String,
}

/// Connections of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceTotals {
    #[serde(flatten)]
    pub(crate) port: ServicePort,
    /// Live ones.
    pub(crate) live: u64,
    /// Those that were given the endpoint, or some endpoint.
    pub(crate) connections: u64,
    /// Those for which there was no endpoint. Of all endpoints only.
    pub(crate) refused: u64,
    /// Those that were ended because their endpoint had gone. Of all endpoints only.
    pub(crate) ended: u64,
}

/// A program while the kernel's statistics were on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgramTotals {
    pub(crate) program: String,
    /// Where it is attached.
    pub(crate) hook: String,
    pub(crate) runs: u64,
    pub(crate) run_time_ns: u64,
}
