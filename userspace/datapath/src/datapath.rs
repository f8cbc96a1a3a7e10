//! The data path as a whole: opened, attached, and what else is asked of it.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::maps::RingBuf;
use aya::{Ebpf, EbpfLoader};

use windrose_abi::{ControlSlot, PeerListKey, PeerListRow};

use crate::btf;
use crate::control::ControlWord;
use crate::edge;
use crate::error::DatapathError;
use crate::events::Events;
use crate::machine::Machine;
use crate::maps::{Capacities, Maps};
use crate::pins::Pins;
use crate::programs;
use crate::sys;

pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("WINDROSE_OBJECT"));

/// Every map that is pinned.
const PINNED: &[&str] = &[
    "CONTROL",
    "CGROUPS",
    "CGROUP_PATHS",
    "WORKLOADS",
    "ADDRESSES",
    "PREFIXES",
    "PEER_LISTS",
    "POLICY_SETS",
    "RULE_SETS",
    "RULES",
    "PORT_NAMES",
    "SERVICES",
    "ENDPOINTS",
    "BALANCE_TABLES",
    "ENDPOINT_LOADS",
    "SERVICE_TOTALS",
    "AFFINITIES",
    "BALANCED",
    "CHOICES",
    "REPLIES",
    "SWEEPER",
    "CONNECTIONS",
    "FLOWS",
    "ORIGINS",
    "REFUSALS",
    "RECENT_REFUSALS",
    "FRAGMENTS",
    "EDGES",
    "COUNTS",
    "EVENTS",
];

/// A set of programs in the kernel, with their iterators ready to be started.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) ebpf: Ebpf,
    pub(crate) walk: OwnedFd,
    pub(crate) adoption: OwnedFd,
    pub(crate) balanced: OwnedFd,
}

impl Loaded {
    /// Loads the programs with the pinned maps, or makes and pins these; programs that measure, or such
    /// as have no instruction more for it. Blocks for as long as the verifier takes.
    pub(crate) fn new(pins: &Pins, capacities: &Capacities, is_timed: bool) -> Result<Self, DatapathError> {
        let offsets = btf::offsets()?;
        let profiled = u32::from(is_timed);
        let mut loader = EbpfLoader::new();
        loader.override_global("OFFSETS", &offsets, true);
        loader.override_global("PROFILED", &profiled, true);
        for name in PINNED {
            loader.map_pin_path(name, pins.map(name));
        }
        for (name, room) in capacities.iter() {
            // Those of the edge are made when it is opened; here they are of no use.
            loader.map_max_entries(name, if edge::SIZED.contains(&name) { 1 } else { room });
        }
        edge::without_balancing(&mut loader);
        if !is_timed {
            // Nobody writes it.
            loader.map_max_entries("RULE_TIMES", 1);
        }
        let mut ebpf = loader.load(OBJECT).map_err(|source| DatapathError::Load { source })?;
        programs::load(&mut ebpf)?;
        let connections =
            sys::open_pin(&pins.map("CONNECTIONS")).map_err(DatapathError::file(pins.map("CONNECTIONS")))?;
        let walk = programs::iterator(&ebpf, "walk_connections", Some(connections.as_fd()))?;
        let adoption = programs::iterator(&ebpf, "adopt_connections", None)?;
        let balanced =
            sys::open_pin(&pins.map("BALANCED")).map_err(DatapathError::file(pins.map("BALANCED")))?;
        let balanced = programs::iterator(&ebpf, "walk_balanced", Some(balanced.as_fd()))?;
        Ok(Self { ebpf, walk, adoption, balanced })
    }
}

/// Programs and maps in the kernel.
#[derive(Debug)]
pub struct Datapath {
    pub(crate) machine: Machine,
    pub(crate) pins: Pins,
    pub(crate) capacities: Capacities,
    /// Rows of the policy in force, by map; none before this process has put one in force.
    pub(crate) rows: Vec<(&'static str, usize)>,
    /// The programs that are attached unless somebody profiles.
    pub(crate) plain: Loaded,
    /// The same programs, measuring: from the first profile on.
    pub(crate) timed: Option<Loaded>,
    /// Whether it is those that are attached.
    pub(crate) is_timed: bool,
    is_attached: bool,
    pub(crate) maps: Maps,
    pub(crate) control: ControlWord,
    /// Endpoints whose load was too high (or low) by so much at the last look.
    pub(crate) suspects: HashMap<u32, i64>,
    adopted: bool,
}

impl Datapath {
    /// Loads the programs and opens the maps, adopting pinned ones. Nothing is attached or changed
    /// for traffic; on failure nothing is left that was not there before.
    #[expect(clippy::needless_pass_by_value, reason = "the data path keeps them, as a copy")]
    pub fn open(machine: Machine, pins: Pins, capacities: Capacities) -> Result<Self, DatapathError> {
        pins.check()?;
        let adopted = pins.exist();
        let opened = Self::open_or_fail(machine, &pins, capacities, adopted);
        if opened.is_err() && !adopted {
            let _ = pins.remove();
        }
        opened
    }

    fn open_or_fail(
        machine: Machine,
        pins: &Pins,
        capacities: Capacities,
        adopted: bool,
    ) -> Result<Self, DatapathError> {
        pins.prepare()?;
        let plain = Loaded::new(pins, &capacities, false)?;
        let maps = Maps::open(pins)?;
        // Pinned maps keep the room they were made with, whatever the configuration says now.
        let wanted = capacities;
        let capacities = maps.capacities(&wanted)?;
        if capacities != wanted {
            tracing::warn!("adopted maps keep their capacities; detach and start again to change them");
        }
        let control =
            sys::open_pin(&pins.map("CONTROL")).map_err(DatapathError::file(pins.map("CONTROL")))?;
        let control = ControlWord::map(control.as_fd())?;
        // The empty list: the engine expects it (`Tables::peer_list`).
        maps.peer_lists.put(&PeerListKey::ZERO, &PeerListRow::ZERO)?;
        let pins = pins.clone();
        let suspects = HashMap::new();
        Ok(Self {
            machine,
            pins,
            capacities,
            rows: Vec::new(),
            plain,
            timed: None,
            is_timed: false,
            is_attached: false,
            maps,
            control,
            suspects,
            adopted,
        })
    }

    /// Whether pins of an earlier agent were adopted.
    pub fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// Attaches every program, or replaces the attached ones. On failure of a first start
    /// everything is detached again.
    pub fn attach(&mut self) -> Result<(), DatapathError> {
        let attached = programs::attach(&self.loaded().ebpf, &self.machine, &self.pins);
        self.is_attached |= attached.is_ok();
        if attached.is_err() && !self.adopted {
            let _ = self.pins.remove();
        }
        attached
    }

    /// Puts these programs in the place of those that an earlier agent has left attached, if they are
    /// others: they may be those that measure, which an agent that is killed does not take back.
    /// Nothing is attached where nothing is. What is in force stays: its tables are of the same ABI.
    /// True: they were replaced.
    pub fn replace_adopted(&mut self) -> Result<bool, DatapathError> {
        let is_due = self.adopted && programs::are_others(&self.plain.ebpf, &self.pins)?;
        if is_due {
            programs::replace(&self.plain.ebpf, &self.pins)?;
        }
        Ok(is_due)
    }

    /// The programs that are attached, or are to be.
    pub(crate) fn loaded(&self) -> &Loaded {
        self.timed.as_ref().filter(|_| self.is_timed).unwrap_or(&self.plain)
    }

    /// Puts the one set of programs in the place of the other. Where somebody has detached meanwhile
    /// nothing is attached again.
    pub(crate) fn switch(&mut self, is_timed: bool) -> Result<(), DatapathError> {
        if self.is_timed == is_timed {
            return Ok(());
        }
        let loaded = if is_timed { self.timed.as_ref() } else { Some(&self.plain) };
        let loaded = loaded.ok_or(DatapathError::Object { what: "set of programs", name: "timed" })?;
        if self.is_attached {
            programs::replace(&loaded.ebpf, &self.pins)?;
        }
        self.is_timed = is_timed;
        Ok(())
    }

    /// The policy in force; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.control.generation()
    }

    /// Whether the policy in force has services.
    pub(crate) fn has_services(&self) -> bool {
        self.control.slot(self.generation()).flags & ControlSlot::HAS_SERVICES != 0
    }

    /// The ring buffer of events. One reader at a time; `None` when it was taken before.
    pub fn take_events(&mut self) -> Option<Events> {
        RingBuf::try_from(self.plain.ebpf.take_map("EVENTS")?).ok().map(Events)
    }
}
