//! The kernel's maps as the engine's tables.

use aya_ebpf::helpers::generated::bpf_loop;
use core::ffi::c_void;
use windrose_abi::{
    Address, AddressSlot, ControlSlot, Lookup, PeerListKey, PeerListRow, PolicySetKey, PolicySetRow, PortKey,
    PortSlot, PrefixSlot, RuleKey, RuleSetSlot, RuleSlot, WorkloadSlot,
};
use windrose_engine::{Step, Tables};

use crate::profile::{look_up, look_up_deep};
use crate::{maps, profile};

/// One generation of the maps: a decision takes it once and so sees all of one policy.
#[derive(Clone, Copy)]
pub struct KernelTables {
    pub(crate) generation: u64,
    pub(crate) flags: u32,
    zero: u32,
}

/// The number of the policy in force; `None` before the first one.
#[inline(always)]
pub(crate) fn generation() -> Option<u64> {
    let control = maps::CONTROL.get_ptr(0)?;
    // SAFETY: the entry of an array map lives as long as the map; the word is written atomically.
    let generation = unsafe { core::ptr::read_volatile(&raw const (*control).generation) };
    (generation != 0).then_some(generation)
}

/// The policy in force and its cgroup depths; `None` before the first one.
#[inline(always)]
pub(crate) fn current() -> Option<(KernelTables, u64)> {
    let generation = generation()?;
    let control = maps::CONTROL.get_ptr(0)?;
    // SAFETY: as above; the index is 0 or 1.
    let slot = unsafe { &raw const (*control).slots[(generation & 1) as usize] };
    let sampled = profile::draw();
    // SAFETY: as above. Read after the lot is drawn: a call in between would need room on the stack.
    let slot = unsafe { slot.read() };
    let flags = slot.flags | sampled;
    Some((KernelTables { generation, flags, zero: slot.zero }, slot.cgroup_depths))
}

/// The slot of a row that a generation reads.
macro_rules! slot_of {
    ($look_up:ident, $kind:ident, $map:expr, $key:expr, $self:expr) => {{
        // SAFETY: userspace replaces whole entries; the old one outlives this program's run (RCU).
        let row = $look_up(&$self.flags, Lookup::$kind, || unsafe { $map.get($key) })?;
        &row.slots[($self.generation & 1) as usize]
    }};
}

impl KernelTables {
    /// The row of a workload that exists in this generation.
    #[inline(always)]
    pub(crate) fn workload(&self, workload: u32) -> Option<WorkloadSlot> {
        let slot = slot_of!(look_up, Workload, maps::WORKLOADS, &workload, self);
        (slot.identity != 0).then_some(*slot)
    }

    /// The workload bound to a cgroup.
    #[inline(always)]
    pub(crate) fn cgroup(&self, id: u64) -> Option<u32> {
        // SAFETY: as in `slot_of`.
        let row = look_up(&self.flags, Lookup::Cgroup, || unsafe { maps::CGROUPS.get(&id) })?;
        let workload = row.workloads[(self.generation & 1) as usize];
        (workload != 0).then_some(workload)
    }
}

impl Tables for KernelTables {
    type PeerRow = &'static PeerListRow;
    type SetRow = &'static PolicySetRow;

    #[inline(always)]
    fn address(&self, address: &Address) -> Option<AddressSlot> {
        let slot = slot_of!(look_up, Address, maps::ADDRESSES, address, self);
        (slot.identity != 0).then_some(*slot)
    }

    #[inline(always)]
    fn prefix(&self, address: &Address) -> Option<PrefixSlot> {
        let key = aya_ebpf::maps::lpm_trie::Key::new(128, *address);
        let row = look_up(&self.flags, Lookup::Prefix, || maps::PREFIXES.get(&key))?;
        let slot = &row.slots[(self.generation & 1) as usize];
        (slot.identity != 0).then_some(*slot)
    }

    #[inline(always)]
    fn has_prefixes(&self) -> bool {
        self.flags & ControlSlot::HAS_PREFIXES != 0
    }

    #[inline(always)]
    fn peer_list(&self, list: u32, row: u32) -> Option<&'static PeerListRow> {
        // SAFETY: rows of a list never change; removal waits for running programs.
        look_up(&self.flags, Lookup::PeerList, || unsafe { maps::PEER_LISTS.get(&PeerListKey { list, row }) })
    }

    #[inline(always)]
    fn policy_set(&self, set: u32, row: u32) -> Option<&'static PolicySetRow> {
        // SAFETY: as above.
        look_up(&self.flags, Lookup::PolicySet, || unsafe {
            maps::POLICY_SETS.get(&PolicySetKey { set, row })
        })
    }

    #[inline(always)]
    fn rule_set(&self, rule_set: u32) -> Option<RuleSetSlot> {
        let slot = slot_of!(look_up, RuleSet, maps::RULE_SETS, &rule_set, self);
        (slot.flags & RuleSetSlot::EXISTS != 0).then_some(*slot)
    }

    #[inline(always)]
    fn rule(&self, key: &RuleKey) -> Option<RuleSlot> {
        let slot = slot_of!(look_up_deep, Rule, maps::RULES, key, self);
        (slot.action != 0).then_some(*slot)
    }

    #[inline(always)]
    fn port_names(&self, key: &PortKey) -> Option<PortSlot> {
        let slot = slot_of!(look_up, PortNames, maps::PORT_NAMES, key, self);
        Some(*slot)
    }

    #[inline(always)]
    fn audit_all(&self) -> bool {
        self.flags & ControlSlot::AUDIT_ALL != 0
    }

    #[inline(always)]
    fn zero(&self) -> u32 {
        self.zero
    }

    #[inline(always)]
    fn repeat<S: Step>(&self, count: u32, state: &mut S) {
        // SAFETY: the callback is called with `state` only, and only during this call.
        unsafe { bpf_loop(count, turn::<S> as *mut c_void, core::ptr::from_mut(state).cast(), 0) };
    }
}

extern "C" fn turn<S: Step>(index: u64, state: *mut c_void) -> i64 {
    // SAFETY: `repeat` passes a live, exclusive `S`.
    let state = unsafe { &mut *state.cast::<S>() };
    i64::from(!state.step(index as u32))
}
