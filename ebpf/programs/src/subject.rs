//! Whose policy is asked: from a task or a socket to its workload.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{bpf_get_current_ancestor_cgroup_id, bpf_skb_ancestor_cgroup_id};
use windrose_abi::WorkloadSlot;

use crate::tables::KernelTables;

/// Levels below the cgroup v2 root at which workloads are looked for; the policy's reader refuses
/// deeper ones.
const DEPTH: i32 = 12;

/// A local workload.
#[derive(Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) workload: u32,
    pub(crate) slot: WorkloadSlot,
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

#[inline(always)]
fn find(tables: &KernelTables, depths: u64, id_at: impl Fn(i32) -> u64) -> Option<Subject> {
    let mut found = 0;
    for above in 0..DEPTH {
        let level = DEPTH - above;
        if found == 0 && depths & (1 << level) != 0 {
            let id = id_at(level);
            if id != 0 {
                found = tables.cgroup(id).unwrap_or(0);
            }
        }
    }
    if found == 0 {
        return None;
    }
    let slot = tables.workload(found)?;
    Some(Subject { workload: found, slot })
}
