//! Cgroups of known workloads: bound to them before any process can enter.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use core::ffi::c_void;
use windrose_abi::{CgroupPath, Offsets};

use crate::maps;
use crate::walk::{offset, read};

/// `cgroup_mkdir(struct cgroup *, const char *path)`. The kernel calls it before the directory
/// becomes visible (`cgroup_mkdir` in kernel/cgroup/cgroup.c, before `kernfs_activate`), so a
/// workload's first process already finds its policy.
#[raw_tracepoint(tracepoint = "cgroup_mkdir")]
pub fn cgroup_made(ctx: RawTracePointContext) -> i32 {
    let Some(id) = id_in_v2(ctx.arg::<*const c_void>(0)) else { return 0 };
    let mut path = CgroupPath::ZERO;
    // SAFETY: `path` has room for its own size.
    let written = unsafe {
        bpf_probe_read_kernel_str(
            path.bytes.as_mut_ptr().cast(),
            path.bytes.len() as u32,
            ctx.arg::<*const c_void>(1),
        )
    };
    if written < 0 {
        return 0;
    }
    // SAFETY: userspace replaces whole entries.
    if let Some(row) = unsafe { maps::CGROUP_PATHS.get(&path) } {
        let row = *row;
        let _ = maps::CGROUPS.insert(&id, &row, 0);
    }
    0
}

/// `cgroup_rmdir(struct cgroup *, const char *path)`: ids are not reused, but room is.
#[raw_tracepoint(tracepoint = "cgroup_rmdir")]
pub fn cgroup_removed(ctx: RawTracePointContext) -> i32 {
    if let Some(id) = id_in_v2(ctx.arg::<*const c_void>(0)) {
        let _ = maps::CGROUPS.remove(&id);
    }
    0
}

/// The id of a cgroup of the v2 hierarchy; other hierarchies use the same numbers for others.
fn id_in_v2(cgroup: *const c_void) -> Option<u64> {
    let root: usize = read(cgroup, offset(|o: &Offsets| &raw const o.cgroup_root));
    let hierarchy: i32 = read(root as *const c_void, offset(|o| &raw const o.hierarchy_id));
    if root == 0 || hierarchy != 0 {
        return None;
    }
    let node: usize = read(cgroup, offset(|o| &raw const o.cgroup_kn));
    let id: u64 = read(node as *const c_void, offset(|o| &raw const o.kernfs_id));
    (id != 0).then_some(id)
}
