//! `/status`: what the agent enforces, as JSON.

use serde::{Deserialize, Serialize};
use windrose_datapath::{Counting, DatapathError, abi};

use crate::agent::Agent;
use crate::compile::VerifiedView;
use crate::edge::EdgeView;
use crate::north::GatewayView;
use crate::snapshot::{Counts, Reload};

/// What the data path needs of the kernel, and has when it is open: it refuses to load without.
const FEATURES: &[&str] = &[
    "bpf timers",
    "btf",
    "cgroup connect, sendmsg, recvmsg and getpeername hooks",
    "cgroup packet hooks",
    "cgroup tracepoints",
    "link update",
    "ring buffer",
    "sock_ops",
    "socket storage and its iterator",
    "sock_destroy of inet_diag",
    "tcp iterator",
];

/// What could be faster and is not used, on any kernel so far, each with the reason.
const UNUSED: &[(&str, &str)] = &[(
    "local redirect (sk_msg)",
    "programs can tell: splice(2) does not find redirected bytes, a blocked recv(2) ends with EAGAIN (ADR 10)",
)];

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts that JSON shows, not a state")]
pub(crate) struct Status {
    /// The policy in force, counted by the kernel; 0: none.
    pub(crate) generation: u64,
    /// Of this agent.
    pub(crate) version: String,
    /// Of the layouts in the kernel.
    pub(crate) abi: u32,
    /// Whether what is on disk is in force.
    pub(crate) ready: bool,
    /// Why not.
    pub(crate) not_ready: Option<String>,
    /// Since this agent started.
    pub(crate) uptime_seconds: u64,
    /// Whether there is a kernel half; else this agent is a gateway alone, and what is told of the kernel
    /// is empty.
    #[serde(default = "yes")]
    pub(crate) kernel_half: bool,
    /// Whether the pins of a former agent were adopted.
    pub(crate) adopted: bool,
    /// Whether the whole agent is in audit.
    pub(crate) audit: bool,
    /// How refused ingress is answered: `drop`, `reset` or `unreachable`.
    pub(crate) refused_ingress: String,
    /// Whether the kernel's run-time statistics are on.
    pub(crate) statistics: bool,
    /// How many of what.
    pub(crate) counts: Counts,
    /// How full each map is.
    pub(crate) maps: Vec<MapView>,
    /// What is attached.
    pub(crate) programs: Vec<ProgramView>,
    /// The running kernel and what is used of it.
    pub(crate) kernel: Kernel,
    /// The gateway and its objects; absent where policy has none.
    #[serde(default)]
    pub(crate) gateway: Option<GatewayView>,
    /// The edge; absent where none is configured.
    pub(crate) edge: Option<EdgeView>,
    /// How much of the tables in force was verified.
    pub(crate) verified: Option<VerifiedView>,
    /// The last time that policy was read.
    pub(crate) last_reload: Option<Reload>,
    /// Times that policy was put in force.
    pub(crate) reloads: u64,
    /// Times that it was refused.
    pub(crate) reload_failures: u64,
    /// What found no room.
    pub(crate) lost: Lost,
}

/// A map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MapView {
    pub(crate) map: String,
    pub(crate) entries: usize,
    pub(crate) capacity: usize,
}

/// A program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgramView {
    pub(crate) name: String,
    /// Of the program that the agent has for its hook.
    pub(crate) id: u32,
    /// The id of the program that is attached; `None`: there is none, or its link is not pinned here
    /// (iterators, the edge).
    pub(crate) attached: Option<u32>,
    pub(crate) verified_instructions: u32,
    /// While statistics were on.
    pub(crate) run_count: u64,
    /// While statistics were on.
    pub(crate) run_time_ns: u64,
}

/// The kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kernel {
    pub(crate) release: String,
    pub(crate) features: Vec<String>,
    pub(crate) unused: Vec<Unused>,
}

/// What is not used of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unused {
    pub(crate) feature: String,
    pub(crate) why: String,
}

/// What found no room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lost {
    /// Events for which the ring buffer had no room.
    pub(crate) events: u64,
    /// Events that followers of `/flows` were too slow for.
    pub(crate) follower_events: u64,
    /// Refusals whose key found no room.
    pub(crate) unnamed_refusals: u64,
    /// Connections whose edge found no room.
    pub(crate) unnamed_edges: u64,
    /// Connections whose row could not be allocated.
    pub(crate) no_connection_row: u64,
    /// Connections to services that were refused because their row could not be allocated.
    pub(crate) no_balanced_row: u64,
    /// Loads of endpoints and totals of services that found no room.
    pub(crate) uncounted_loads: u64,
    /// Packets dropped: not lost, but refused.
    pub(crate) dropped_packets: u64,
}

/// What is not used of any kernel.
pub(crate) fn unused() -> Vec<Unused> {
    UNUSED
        .iter()
        .map(|(feature, why)| Unused { feature: (*feature).to_owned(), why: (*why).to_owned() })
        .collect()
}

/// What an earlier version does not say is so.
const fn yes() -> bool {
    true
}

/// Of this agent, without anything of the kernel.
fn common(agent: &Agent) -> Status {
    let snapshot = agent.snapshot();
    Status {
        generation: snapshot.generation,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        abi: abi::ABI_VERSION,
        ready: snapshot.not_ready.is_none(),
        not_ready: snapshot.not_ready.clone(),
        uptime_seconds: agent.started.elapsed().as_secs(),
        kernel_half: agent.has_kernel(),
        adopted: false,
        audit: agent.config.audit,
        refused_ingress: agent.config.refused_ingress.as_str().to_owned(),
        statistics: agent.statistics.are_on(),
        counts: snapshot.counts,
        maps: Vec::new(),
        programs: Vec::new(),
        kernel: Kernel {
            release: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            features: Vec::new(),
            unused: Vec::new(),
        },
        gateway: agent.north.view(&snapshot.model),
        edge: None,
        verified: snapshot.verified,
        last_reload: snapshot.last_reload.clone(),
        reloads: snapshot.reloads,
        reload_failures: snapshot.reload_failures,
        lost: Lost { follower_events: agent.flow_log.lost(), ..Lost::default() },
    }
}

/// Asks the kernel; blocks for some milliseconds.
pub(crate) fn status(agent: &Agent) -> Result<Status, DatapathError> {
    let common = common(agent);
    if !agent.has_kernel() {
        return Ok(common);
    }
    let datapath = agent.datapath()?;
    let counts = datapath.counts()?;
    let edge = agent.edge.as_ref().map(|edge| edge.sample()).transpose()?;
    let (mut maps, mut programs) = (datapath.map_fill(Counting::Keys)?, datapath.programs()?);
    let attached = datapath.attached()?;
    let edge = edge.map(|edge| {
        maps.extend(edge.maps);
        programs.extend(edge.programs);
        edge.view
    });
    let (maps, programs) = (maps.into_iter(), programs.into_iter());
    Ok(Status {
        generation: datapath.generation(),
        adopted: datapath.is_adopted(),
        maps: maps
            .map(|fill| MapView { map: fill.map.to_owned(), entries: fill.entries, capacity: fill.capacity })
            .collect(),
        programs: programs
            .map(|program| ProgramView {
                name: program.name.to_owned(),
                id: program.id,
                attached: attached.iter().find(|(name, _)| *name == program.name).map(|(_, id)| *id),
                verified_instructions: program.verified_instructions,
                run_count: program.run_count,
                run_time_ns: program.run_time_ns,
            })
            .collect(),
        kernel: Kernel {
            features: FEATURES.iter().map(|feature| (*feature).to_owned()).collect(),
            unused: unused(),
            ..common.kernel
        },
        edge,
        lost: Lost {
            events: counts.lost_events,
            unnamed_refusals: counts.unnamed_refusals,
            unnamed_edges: counts.unnamed_edges,
            no_connection_row: counts.no_connection_row,
            no_balanced_row: counts.no_balanced_row,
            uncounted_loads: counts.uncounted_loads,
            dropped_packets: counts.dropped_packets,
            ..common.lost
        },
        ..common
    })
}
