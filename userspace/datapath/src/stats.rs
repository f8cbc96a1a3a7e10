//! What the kernel has counted.

use std::os::fd::OwnedFd;
use std::time::Duration;

use windrose_abi::{ConnectionRow, EdgeKey, EdgeRow, FlowKey, FlowRow, RefusalKey};

use crate::datapath::Datapath;
use crate::error::DatapathError;
use crate::maps::Table;
use crate::programs::{self, ProgramStatus};
use crate::sys;

/// Counts that no key names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that found no room in the ring buffer.
    pub lost_events: u64,
    /// Refusals that found no room for their key.
    pub unnamed_refusals: u64,
    /// Edges that found no room, not even without their port.
    pub unnamed_edges: u64,
    /// Packets dropped, repetitions of a refused attempt among them.
    pub dropped_packets: u64,
    /// Connections whose row could not be allocated.
    pub no_connection_row: u64,
    /// Connections to services that were refused because their row could not be allocated.
    pub no_balanced_row: u64,
    /// Loads of endpoints and totals of services that found no room.
    pub uncounted_loads: u64,
}

/// How entries of maps are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// Rows of the policy in force as this process knows them; what the kernel adds by its keys.
    Known,
    /// Every key of every map: half a second for 100,000 rules.
    Keys,
}

/// How full a map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapFill {
    /// The map.
    pub map: &'static str,
    /// Entries in it.
    pub entries: usize,
    /// Entries it has room for.
    pub capacity: usize,
}

impl Datapath {
    /// Every live TCP connection of a workload, its counters as of now. A walk decides connections
    /// that the policy in force has not decided yet, and samples their round-trip times.
    pub fn connections(&self) -> Result<Vec<ConnectionRow>, DatapathError> {
        sys::iterate(&self.loaded().walk).map_err(DatapathError::call("walking connections"))
    }

    /// Every flow of a protocol without connections.
    pub fn flows(&self) -> Result<Vec<(FlowKey, FlowRow)>, DatapathError> {
        self.maps.flows.entries()
    }

    /// What was refused, and what would have been.
    pub fn refusals(&self) -> Result<Vec<(RefusalKey, u64)>, DatapathError> {
        self.maps.refusals.entries()
    }

    /// Totals of connections that have ended, by edge; `opened` counts live ones, too.
    pub fn edges(&self) -> Result<Vec<(EdgeKey, EdgeRow)>, DatapathError> {
        self.maps.edges.entries()
    }

    /// Counts that no key names.
    pub fn counts(&self) -> Result<Counts, DatapathError> {
        let read = |n| Ok::<u64, DatapathError>(self.maps.counts.get(&n)?.unwrap_or(0));
        Ok(Counts {
            lost_events: read(0)?,
            unnamed_refusals: read(1)?,
            unnamed_edges: read(2)?,
            dropped_packets: read(3)?,
            no_connection_row: read(4)?,
            no_balanced_row: read(5)?,
            uncounted_loads: read(6)?,
        })
    }

    /// How full every map is.
    pub fn map_fill(&self, counting: Counting) -> Result<Vec<MapFill>, DatapathError> {
        fn count<K, V>(table: &Table<K, V>) -> Result<usize, DatapathError>
        where
            K: Copy + Default,
            V: Copy + Default,
        {
            table.count()
        }
        let maps = &self.maps;
        let mut fill = Vec::new();
        let mut push = |map: &'static str, count: &dyn Fn() -> Result<usize, DatapathError>| {
            let known = self.rows.iter().find(|(name, _)| *name == map && map != "CGROUPS");
            let known = known.filter(|_| counting == Counting::Known);
            let entries = known.map_or_else(count, |(_, rows)| Ok(*rows))?;
            fill.push(MapFill { map, entries, capacity: self.capacities.of(map) });
            Ok::<(), DatapathError>(())
        };
        push("CGROUPS", &|| count(&maps.cgroups))?;
        push("CGROUP_PATHS", &|| count(&maps.cgroup_paths))?;
        push("WORKLOADS", &|| count(&maps.workloads))?;
        push("ADDRESSES", &|| count(&maps.addresses))?;
        push("PREFIXES", &|| count(&maps.prefixes))?;
        push("PEER_LISTS", &|| count(&maps.peer_lists))?;
        push("POLICY_SETS", &|| count(&maps.policy_sets))?;
        push("RULE_SETS", &|| count(&maps.rule_sets))?;
        push("RULES", &|| count(&maps.rules))?;
        push("PORT_NAMES", &|| count(&maps.port_names))?;
        push("SERVICES", &|| count(&maps.services))?;
        push("ENDPOINTS", &|| count(&maps.endpoints))?;
        push("BALANCE_TABLES", &|| count(&maps.balance_tables))?;
        push("ENDPOINT_LOADS", &|| count(&maps.endpoint_loads))?;
        push("SERVICE_TOTALS", &|| count(&maps.service_totals))?;
        push("AFFINITIES", &|| count(&maps.affinities))?;
        push("FLOWS", &|| count(&maps.flows))?;
        push("ORIGINS", &|| count(&maps.origins))?;
        push("REFUSALS", &|| count(&maps.refusals))?;
        push("EDGES", &|| count(&maps.edges))?;
        Ok(fill)
    }

    /// Sets for how long a flow of a protocol without connections may be idle before the kernel
    /// forgets it; it looks every 5 s. Zero: for ever.
    pub fn set_flow_idle(&mut self, idle: Duration) {
        self.control.set_flow_idle_ns(u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Runs `packet_egress` or `packet_ingress` once on a packet (from its IP header on), as if a
    /// socket of the calling task sent or received it: for tests. True: it passes.
    pub fn test_packet(&self, program: &'static str, packet: &[u8]) -> Result<bool, DatapathError> {
        sys::test_run(programs::descriptor(&self.loaded().ebpf, program)?, &framed(packet))
            .map(|code| code == 1)
            .map_err(DatapathError::call(format!("test run of `{program}`")))
    }

    /// Likewise so many times: the mean nanoseconds of a run.
    pub fn test_packet_cost(
        &self,
        program: &'static str,
        packet: &[u8],
        runs: u32,
    ) -> Result<u32, DatapathError> {
        sys::test_run_cost(programs::descriptor(&self.loaded().ebpf, program)?, &framed(packet), runs)
            .map_err(DatapathError::call(format!("test run of `{program}`")))
    }

    /// What the kernel says of each program. Runs are those of all that this process has loaded, timed
    /// or not; all else is of those in place.
    pub fn programs(&self) -> Result<Vec<ProgramStatus>, DatapathError> {
        let mut programs = programs::status(&self.loaded().ebpf)?;
        let Some(timed) = &self.timed else { return Ok(programs) };
        let others = programs::status(if self.is_timed { &self.plain.ebpf } else { &timed.ebpf })?;
        for (program, other) in programs.iter_mut().zip(others) {
            program.run_count += other.run_count;
            program.run_time_ns += other.run_time_ns;
        }
        Ok(programs)
    }

    /// The id of the program behind each link that is pinned, by the program's name: what the kernel
    /// runs, whatever this process has loaded.
    pub fn attached(&self) -> Result<Vec<(&'static str, u32)>, DatapathError> {
        programs::attached(&self.pins)
    }

    /// Turns the kernel's run-time statistics on for as long as the result lives (about 75 ns a
    /// run, for every program on the machine).
    pub fn enable_statistics() -> Result<OwnedFd, DatapathError> {
        sys::enable_statistics().map_err(DatapathError::call("turning run-time statistics on"))
    }
}

/// A packet behind an Ethernet header.
fn framed(packet: &[u8]) -> Vec<u8> {
    let is_v6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
    let mut frame = vec![0; 12];
    frame.extend_from_slice(if is_v6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
    frame.extend_from_slice(packet);
    frame
}
