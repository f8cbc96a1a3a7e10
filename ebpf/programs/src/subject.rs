//! Whose policy is asked: from a task or a socket to its workload.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{bpf_get_current_ancestor_cgroup_id, bpf_skb_ancestor_cgroup_id};
use windrose_abi::WorkloadSlot;
use windrose_abi::rules::MAX_CGROUP_DEPTH;

use crate::tables::KernelTables;

/// A local workload.
#[derive(Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) workload: u32,
    pub(crate) slot: WorkloadSlot,
}

impl Subject {
    /// Before it is found.
    pub(crate) const NOBODY: Self = Self { workload: 0, slot: WorkloadSlot::ZERO };
}

/// The workload of the running task; the deepest cgroup wins.
#[inline(always)]
pub(crate) fn of_task(tables: &KernelTables, depths: u64) -> Option<Subject> {
    // SAFETY: the helper takes any level and answers 0 where there is none.
    find(tables, depths, |level| unsafe { bpf_get_current_ancestor_cgroup_id(level) })
}

/// The workload of the packet's socket.
#[inline(always)]
pub(crate) fn of_skb(tables: &KernelTables, depths: u64, skb: *mut __sk_buff) -> Option<Subject> {
    // SAFETY: as above; `skb` is this program's context.
    find(tables, depths, |level| unsafe { bpf_skb_ancestor_cgroup_id(skb, level) })
}

/// The workload of the deepest level that has one; `id_at` gives cgroup ids by level.
#[inline(always)]
pub(crate) fn find(tables: &KernelTables, depths: u64, id_at: impl Fn(i32) -> u64) -> Option<Subject> {
    let mut list = depths;
    for _ in 0..MAX_CGROUP_DEPTH {
        let level = (list & 15) as i32;
        if level == 0 {
            return None;
        }
        list >>= 4;
        let id = id_at(level);
        if id != 0
            && let Some(workload) = tables.cgroup(id)
        {
            let slot = tables.workload(workload)?;
            return Some(Subject { workload, slot });
        }
    }
    None
}
