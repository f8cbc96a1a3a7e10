//! The edge: its program, its deny lists and what it counts.
//!
//! It is loaded from the same object as the data path, and apart from it: who names no interface
//! does not pay for its maps, and a list of a million entries is written without making policy wait.

use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aya::programs::{SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use windrose_abi::{Address, BucketKey, DenyNote, DenyRow, EdgeReason, EdgeSettings, PrefixKey};

use crate::datapath::OBJECT;
use crate::error::DatapathError;
use crate::maps::{Capacities, Table};
use crate::memory::{self, MapMemory, ProgramMemory};
use crate::pins::Pins;
use crate::programs::ProgramStatus;
use crate::stats::MapFill;
use crate::sys;

mod added;
mod forward;
mod interface;
mod link;
mod lists;
mod rooms;
mod rows;

pub use added::{Added, AddedNow, Found};
pub use forward::{Balanced, ForwardTotals, Frontend, FrontendEndpoint};
pub use link::{Attached, Mode, NotAttached};
pub use lists::{Listed, Synced};

use added::Ledger;
use forward::{Capacity, ForwardMaps, Forwarder};

/// The program in the driver's hook.
const PROGRAM: &str = "edge";

/// The program in the kernel's generic hook.
const GENERIC: &str = "edge_generic";

/// What balances the answers that the stack sends on.
const RETURN: &str = "edge_return";

/// What balances where XDP has no driver's hook.
const ARRIVE: &str = "edge_arrive";

/// Maps that outlive the agent.
const PINNED: &[&str] = &["DENY_HOSTS", "DENY_PREFIXES", "DENY_NOTES", "EDGE_COUNTS"];

/// Maps of balancing that outlive the agent.
const PINNED_FORWARD: &[&str] = &[
    "FRONTENDS",
    "FRONTEND_NAMES",
    "SOURCE_RANGES",
    "FORWARD_TABLES",
    "EDGE_ENDPOINTS",
    "FORWARD_HOPS",
    "FORWARD_FLOWS",
    "RETURNS",
    "FORWARD_FILTER",
    "EDGE_FRAGMENTS",
    "FORWARD_DEVICES",
];

/// Every map of the edge whose room can be chosen.
pub(crate) const SIZED: &[&str] = &[
    "DENY_HOSTS",
    "DENY_PREFIXES",
    "DENY_NOTES",
    "BUCKETS",
    "FRONTENDS",
    "SOURCE_RANGES",
    "FORWARD_TABLES",
    "EDGE_ENDPOINTS",
    "FORWARD_FLOWS",
];

/// Of these, the maps of balancing, and those that are as large as another: only with balancing
/// have they any room.
const SIZED_FORWARD: &[(&str, &str)] = &[
    ("FRONTENDS", "FRONTENDS"),
    ("FRONTEND_NAMES", "FRONTENDS"),
    ("SOURCE_RANGES", "SOURCE_RANGES"),
    ("FORWARD_TABLES", "FORWARD_TABLES"),
    ("EDGE_ENDPOINTS", "EDGE_ENDPOINTS"),
    ("FORWARD_HOPS", "EDGE_ENDPOINTS"),
    ("FORWARD_FLOWS", "FORWARD_FLOWS"),
    ("RETURNS", "EDGE_ENDPOINTS"),
];

/// The program of one of the two hooks of XDP.
const fn xdp_program(is_native: bool) -> &'static str {
    if is_native { PROGRAM } else { GENERIC }
}

/// A frontend's index has so many bits.
const MOST_FRONTENDS: u32 = windrose_abi::forward::MAX_FRONTENDS;

/// Gives the maps of balancing a room of 1, where they are of no use.
pub(crate) fn without_balancing(loader: &mut EbpfLoader<'_>) {
    for (map, _) in SIZED_FORWARD {
        loader.map_max_entries(map, 1);
    }
}

/// Removes what an agent has left that balanced.
fn forget_balancing(pins: &Pins) -> Result<(), DatapathError> {
    PINNED_FORWARD.iter().try_for_each(|name| pins.remove_map(name))
}

/// What the edge is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EdgeConfig {
    /// What the program is loaded with; [`EdgeSettings::HAS_ALLOWED`] is set by [`Edge::open`].
    pub settings: EdgeSettings,
    /// Prefixes that are never denied nor limited.
    pub allowed: Vec<PrefixKey>,
}

/// The edge program and its maps in the kernel.
#[derive(Debug)]
pub struct Edge {
    pins: Pins,
    capacities: Capacities,
    config: EdgeConfig,
    ebpf: Ebpf,
    netns: u64,
    hosts: Table<Address, DenyRow>,
    prefixes: Table<PrefixKey, DenyRow>,
    notes: Table<PrefixKey, DenyNote>,
    buckets: Table<BucketKey, u64>,
    /// Who writes entries: the two claims on a row are put together by its holder.
    ledger: Mutex<Ledger>,
    /// The maps of balancing, with [`EdgeSettings::BALANCE`].
    forward: Option<ForwardMaps>,
    forwarder: Mutex<Forwarder>,
}

impl Edge {
    /// Loads the program and opens the maps, adopting pinned ones with their entries. Nothing is
    /// attached; what an earlier agent has attached goes on with its own program.
    pub fn open(pins: &Pins, capacities: &Capacities, mut config: EdgeConfig) -> Result<Self, DatapathError> {
        pins.check()?;
        pins.prepare()?;
        if !config.allowed.is_empty() {
            config.settings.flags |= EdgeSettings::HAS_ALLOWED;
        }
        let mut loader = EbpfLoader::new();
        loader.override_global("EDGE", &config.settings, true);
        for name in PINNED {
            loader.map_pin_path(name, pins.map(name));
        }
        for (name, room) in capacities.iter() {
            loader.map_max_entries(name, if SIZED.contains(&name) { room } else { 1 });
        }
        let is_balancing = config.settings.flags & EdgeSettings::BALANCE != 0;
        let room = |map| u32::try_from(capacities.of(map)).unwrap_or(u32::MAX);
        let capacity = Capacity {
            frontends: room("FRONTENDS").min(MOST_FRONTENDS),
            endpoints: room("EDGE_ENDPOINTS"),
            rows: room("FORWARD_TABLES"),
        };
        if is_balancing {
            for (map, as_large_as) in SIZED_FORWARD {
                loader.map_max_entries(map, room(as_large_as));
            }
            for name in PINNED_FORWARD {
                loader.map_pin_path(name, pins.map(name));
            }
        } else {
            without_balancing(&mut loader);
            forget_balancing(pins)?;
        }
        loader.map_max_entries("EVENTS", 4096);
        let mut ebpf = loader.load(OBJECT).map_err(|source| DatapathError::Load { source })?;
        for name in [PROGRAM, GENERIC] {
            let program: &mut Xdp = ebpf
                .program_mut(name)
                .and_then(|program| program.try_into().ok())
                .ok_or(DatapathError::Object { what: "XDP program", name })?;
            program.load().map_err(|source| DatapathError::Program { program: name, source })?;
        }
        let in_stack: &[&str] = if is_balancing { &[RETURN, ARRIVE] } else { &[] };
        for name in in_stack {
            let program: &mut SchedClassifier = ebpf
                .program_mut(name)
                .and_then(|program| program.try_into().ok())
                .ok_or(DatapathError::Object { what: "traffic control program", name })?;
            program.load().map_err(|source| DatapathError::Program { program: name, source })?;
        }

        let hosts = Table::of(&ebpf, "DENY_HOSTS")?;
        let prefixes = Table::of(&ebpf, "DENY_PREFIXES")?;
        let notes = Table::of(&ebpf, "DENY_NOTES")?;
        let buckets = Table::of(&ebpf, "BUCKETS")?;
        let allowed: Table<PrefixKey, u32> = Table::of(&ebpf, "ALLOW_PREFIXES")?;
        for prefix in &config.allowed {
            allowed.put(prefix, &1)?;
        }
        let forward = if is_balancing {
            Some(ForwardMaps {
                frontends: Table::of(&ebpf, "FRONTENDS")?,
                names: Table::of(&ebpf, "FRONTEND_NAMES")?,
                ranges: Table::of(&ebpf, "SOURCE_RANGES")?,
                tables: Table::of(&ebpf, "FORWARD_TABLES")?,
                endpoints: Table::of(&ebpf, "EDGE_ENDPOINTS")?,
                returns: Table::of(&ebpf, "RETURNS")?,
                filter: Table::of(&ebpf, "FORWARD_FILTER")?,
                devices: Table::of(&ebpf, "FORWARD_DEVICES")?,
            })
        } else {
            None
        };
        let forwarder = match &forward {
            Some(maps) => maps.read(capacity)?,
            None => Forwarder::default(),
        };
        let ledger = Ledger::read(&hosts, &prefixes)?;
        let mut wanted = capacities.clone();
        for (name, room) in [hosts.room()?, prefixes.room()?, notes.room()?] {
            if wanted.of(name) != room as usize {
                tracing::warn!(
                    map = name,
                    room,
                    "an adopted map keeps its capacity; detach and start again to change it"
                );
            }
            wanted.adopt(name, room);
        }
        Ok(Self {
            pins: pins.clone(),
            capacities: wanted,
            config,
            ebpf,
            netns: crate::netns::own_cookie()?,
            hosts,
            prefixes,
            notes,
            buckets,
            ledger: Mutex::new(ledger),
            forward,
            forwarder: Mutex::new(forwarder),
        })
    }

    /// Takes the edge of an earlier agent off every interface and removes its maps; what is not
    /// there is no error. Says from how many interfaces it was taken.
    pub fn remove(pins: &Pins) -> Result<usize, DatapathError> {
        let links = link::remove_all(pins)?;
        for name in PINNED.iter().chain(PINNED_FORWARD) {
            pins.remove_map(name)?;
        }
        Ok(links)
    }

    /// Frames by what became of them, over every interface and processor.
    pub fn counts(&self) -> Result<Vec<(EdgeReason, u64)>, DatapathError> {
        let counts: aya::maps::PerCpuArray<_, u64> = self
            .ebpf
            .map("EDGE_COUNTS")
            .and_then(|map| map.try_into().ok())
            .ok_or(DatapathError::Object { what: "map", name: "EDGE_COUNTS" })?;
        EdgeReason::ALL
            .iter()
            .map(|reason| {
                let by_processor = counts.get(&(*reason as u32), 0).map_err(|error| {
                    DatapathError::call("reading map EDGE_COUNTS")(std::io::Error::other(error))
                })?;
                Ok((*reason, by_processor.iter().sum()))
            })
            .collect()
    }

    /// How full the edge's maps are.
    pub fn map_fill(&self) -> Result<Vec<MapFill>, DatapathError> {
        let (hosts, prefixes, notes) = {
            let ledger = self.ledger();
            (ledger.hosts, ledger.prefixes, ledger.added.len())
        };
        let mut buckets = 0;
        self.buckets.for_each(|_, _| buckets += 1)?;
        let fill = |map, entries| MapFill { map, entries, capacity: self.capacities.of(map) };
        Ok(vec![
            fill("DENY_HOSTS", hosts),
            fill("DENY_PREFIXES", prefixes),
            fill("DENY_NOTES", notes),
            fill("BUCKETS", buckets),
        ])
    }

    /// What the kernel says of each program.
    pub fn programs(&self) -> Result<Vec<ProgramStatus>, DatapathError> {
        self.loaded()
            .map(|(name, hook)| crate::programs::status_of(&self.ebpf, name, hook.to_owned()))
            .collect()
    }

    /// The id of the program of a hook: the driver's, or the generic one.
    pub fn program_id(&self, is_native: bool) -> Result<u32, DatapathError> {
        let name = xdp_program(is_native);
        Ok(crate::programs::status_of(&self.ebpf, name, String::new())?.id)
    }

    /// Every map that the programs use; constants of the object as `edge.rodata` and the like, for the
    /// data path has such, too.
    pub fn map_memory(&self) -> Result<Vec<MapMemory>, DatapathError> {
        let mut maps = memory::maps_of(&self.ebpf, self.loaded().map(|(name, _)| name))?;
        for map in maps.iter_mut().filter(|map| map.map.starts_with('.')) {
            map.map.insert_str(0, PROGRAM);
        }
        Ok(maps)
    }

    /// What each program takes of the kernel's memory.
    pub fn program_memory(&self) -> Result<Vec<ProgramMemory>, DatapathError> {
        self.loaded().map(|(name, _)| memory::memory_of(&self.ebpf, name)).collect()
    }

    /// The programs that are loaded, and their hooks.
    fn loaded(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let in_stack = if self.forward.is_some() { 2 } else { 0 };
        [(PROGRAM, "XDP"), (GENERIC, "XDP, generic")]
            .into_iter()
            .chain([(RETURN, "TCX egress"), (ARRIVE, "TCX ingress")].into_iter().take(in_stack))
    }

    /// Runs the program so many times on a frame, for tests and measurements. Answers whether it
    /// passes, and the mean nanoseconds of a run.
    pub fn test_frame(&self, frame: &[u8], repeat: u32) -> Result<(bool, u32), DatapathError> {
        const PASS: u32 = 2;
        let run = self.test_run(frame, repeat)?;
        Ok((run.code == PASS, run.mean_ns))
    }

    /// Runs the program once on a frame; what it sends back, if it does.
    pub fn test_answer(&self, frame: &[u8]) -> Result<Option<Vec<u8>>, DatapathError> {
        const SEND_BACK: u32 = 3;
        let run = self.test_run(frame, 1)?;
        Ok((run.code == SEND_BACK).then_some(run.frame))
    }

    /// Runs the program once on a frame; answers what it answers (`XDP_*`), and the frame as it left it.
    pub fn test_outcome(&self, frame: &[u8]) -> Result<(u32, Vec<u8>), DatapathError> {
        let run = self.test_run(frame, 1)?;
        Ok((run.code, run.frame))
    }

    /// Runs the program for what arrives in the stack, or leaves it, once on a frame; whether it goes
    /// on, and the frame as it was left.
    pub fn test_in_stack(&self, frame: &[u8], arrives: bool) -> Result<(bool, Vec<u8>), DatapathError> {
        const NEXT: u32 = u32::MAX;
        let name = if arrives { ARRIVE } else { RETURN };
        let run = sys::xdp::test_run(self.descriptor_of(name)?, frame, 1)
            .map_err(DatapathError::call(format!("test run of `{name}`")))?;
        Ok((run.code == NEXT, run.frame))
    }

    fn test_run(&self, frame: &[u8], repeat: u32) -> Result<sys::xdp::TestRun, DatapathError> {
        sys::xdp::test_run(self.descriptor_of(PROGRAM)?, frame, repeat)
            .map_err(DatapathError::call("test run of `edge`"))
    }

    fn descriptor_of(&self, name: &'static str) -> Result<BorrowedFd<'_>, DatapathError> {
        crate::programs::descriptor(&self.ebpf, name)
    }

    /// As below.
    fn forwarder(&self) -> MutexGuard<'_, Forwarder> {
        self.forwarder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic elsewhere leaves it usable: it says what is in the kernel, entry by entry.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
