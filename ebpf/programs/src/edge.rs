//! Every frame that an interface of the edge receives.

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, xdp_action, xdp_md};
use aya_ebpf::btf_maps::{HashMap, LpmTrie, LruHashMap, PerCpuArray};
use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::XdpContext;
use core::mem::MaybeUninit;
use windrose_abi::edge::MAX_LIMITS;
use windrose_abi::{Address, BucketKey, DenyNote, DenyRow, EdgeLimit, EdgeReason, EdgeSettings};
use windrose_engine::edge::{self, EdgeTables};
use windrose_engine::{Bytes, frame};

use crate::{account, edge_cookie};

/// What the agent loads the program with, see [`EdgeSettings`].
#[unsafe(no_mangle)]
static EDGE: EdgeSettings = EdgeSettings::ZERO;

/// Entries are allocated when they are written: capacity costs only the buckets.
#[btf_map]
static DENY_HOSTS: HashMap<Address, DenyRow, 1048576, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
#[btf_map]
static DENY_PREFIXES: LpmTrie<Address, DenyRow, 262144> = LpmTrie::new();
/// Read by the agent alone.
#[btf_map]
static DENY_NOTES: HashMap<Key<Address>, DenyNote, 65536, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
#[btf_map]
static ALLOW_PREFIXES: LpmTrie<Address, u32, 1024> = LpmTrie::new();
/// By source and limit: the moment at which the bucket is full.
#[btf_map]
static BUCKETS: LruHashMap<BucketKey, u64, 262144> = LruHashMap::new();
/// Frames by `EdgeReason`.
#[btf_map]
static EDGE_COUNTS: PerCpuArray<u64, 64> = PerCpuArray::new();

/// The first buffer of a frame, read in place. Drivers and the kernel's generic hook put at least
/// its headers there (`skb_pp_cow_data` in net/core/skbuff.c).
struct Frame {
    start: usize,
    end: usize,
}

/// Far behind the last header that is followed: 8 extension headers of 2 KiB.
const FARTHEST: u32 = 0x7fff;

impl Bytes for Frame {
    #[inline(always)]
    fn read<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        if at > FARTHEST {
            return None;
        }
        let from = self.start + at as usize;
        if from + N > self.end {
            return None;
        }
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        let to = bytes.as_mut_ptr().cast::<u8>();
        let mut done = 0;
        // By words: of a pointer to bytes the compiler makes a load for each of them.
        while done + 4 <= N {
            // SAFETY: see `word`.
            let word = unsafe { word::<u32>(from + done) };
            // SAFETY: these bytes end within the N of the array.
            unsafe { to.add(done).cast::<u32>().write_unaligned(word) };
            done += 4;
        }
        while done + 2 <= N {
            // SAFETY: see `word`.
            let word = unsafe { word::<u16>(from + done) };
            // SAFETY: as above.
            unsafe { to.add(done).cast::<u16>().write_unaligned(word) };
            done += 2;
        }
        const { assert!(N.is_multiple_of(2), "headers are read by pairs of bytes") };
        // SAFETY: all N bytes are written.
        Some(unsafe { bytes.assume_init() })
    }
}

/// One load. Headers in a frame are aligned to two bytes only; a load of BPF has no need of more,
/// where the verifier lets it be (it does where the processor can, `HAVE_EFFICIENT_UNALIGNED_ACCESS`).
///
/// # Safety
///
/// The caller has compared the end of the word with the end of the buffer.
#[inline(always)]
unsafe fn word<T: Copy>(from: usize) -> T {
    // SAFETY: as said.
    unsafe { *(from as *const T) }
}

/// The maps as the engine's tables.
struct KernelEdge;

/// A field of the settings. Volatile: the value is the agent's, not the initial one; the verifier
/// knows it, since the section is read-only.
macro_rules! setting {
    ($($field:tt)+) => {
        // SAFETY: a field of a live static.
        unsafe { core::ptr::read_volatile(&raw const EDGE.$($field)+) }
    };
}

impl EdgeTables for KernelEdge {
    #[inline(always)]
    fn flags(&self) -> u32 {
        setting!(flags)
    }

    #[inline(always)]
    fn limit_count(&self) -> u32 {
        setting!(limit_count)
    }

    #[inline(always)]
    fn limit(&self, index: u32) -> EdgeLimit {
        let index = (index % MAX_LIMITS) as usize;
        EdgeLimit {
            cost_ns: setting!(limits[index].cost_ns),
            burst_ns: setting!(limits[index].burst_ns),
            mask_v6: Address {
                words: [
                    setting!(limits[index].mask_v6.words[0]),
                    setting!(limits[index].mask_v6.words[1]),
                    setting!(limits[index].mask_v6.words[2]),
                    setting!(limits[index].mask_v6.words[3]),
                ],
            },
            mask_v4: setting!(limits[index].mask_v4),
            class: setting!(limits[index].class),
        }
    }

    #[inline(always)]
    fn cookies(&self) -> EdgeLimit {
        EdgeLimit {
            cost_ns: setting!(cookies.cost_ns),
            burst_ns: setting!(cookies.burst_ns),
            ..EdgeLimit::ZERO
        }
    }

    #[inline(always)]
    fn is_allowed(&self, source: &Address) -> bool {
        ALLOW_PREFIXES.get(&Key::new(128, *source)).is_some()
    }

    #[inline(always)]
    fn denied_host(&self, source: &Address) -> Option<DenyRow> {
        // SAFETY: userspace replaces whole entries; the old one outlives this program's run (RCU).
        unsafe { DENY_HOSTS.get(source) }.copied()
    }

    #[inline(always)]
    fn denied_prefix(&self, source: &Address, length: u32) -> Option<DenyRow> {
        DENY_PREFIXES.get(&Key::new(length, *source)).copied()
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: the helper takes nothing.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn take(&self, index: u32, limit: &EdgeLimit, source: &Address) -> bool {
        let key = BucketKey { source: *source, limit: index };
        let now_ns = self.now_ns();
        let Some(bucket) = BUCKETS.get_ptr_mut(&key) else {
            // Another processor may have made it meanwhile: then one token is given away. There is
            // room always, the oldest bucket makes it.
            let _ = BUCKETS.insert(&key, now_ns + limit.cost_ns, 0);
            return true;
        };
        // SAFETY: a live entry, 8-aligned, written whole.
        let full_ns = unsafe { core::ptr::read_volatile(bucket) };
        let Some(next) = edge::spend(full_ns, now_ns, limit) else { return false };
        if full_ns <= now_ns {
            // Processors that meet here all write the same: each time that a bucket begins to
            // empty, as many tokens as there are processors less one may be given away.
            // SAFETY: as above.
            unsafe { core::ptr::write_volatile(bucket, next) };
        } else {
            account::add(bucket, limit.cost_ns);
        }
        true
    }
}

/// XDP at the interfaces that the configuration names.
#[xdp(frags)]
pub fn edge(context: XdpContext) -> u32 {
    judge(context.ctx)
}

#[inline(always)]
fn judge(context: *mut xdp_md) -> u32 {
    // SAFETY: the context of this run.
    let frame = unsafe { Frame { start: (*context).data as usize, end: (*context).data_end as usize } };
    match edge::decide(&frame, &KernelEdge) {
        // A test of the settings, so that no more than this is left where cookies are off.
        EdgeReason::SynCookie if KernelEdge.flags() & EdgeSettings::COOKIES != 0 => answer(context, &frame),
        reason => {
            count(reason);
            if reason.passes() { xdp_action::XDP_PASS } else { xdp_action::XDP_DROP }
        }
    }
}

/// Answers a SYN; one that cannot be answered, or need not be, goes on.
#[inline(always)]
fn answer(context: *mut xdp_md, frame: &Frame) -> u32 {
    let Ok(front) = frame::parse(frame) else { return xdp_action::XDP_DROP };
    let action = edge_cookie::answer(context, front.network, front.ether_type == frame::IPV4);
    count(if action == xdp_action::XDP_PASS { EdgeReason::Passed } else { EdgeReason::SynCookie });
    action
}

#[inline(always)]
fn count(reason: EdgeReason) {
    if let Some(count) = EDGE_COUNTS.get_ptr_mut(reason as u32) {
        // SAFETY: this processor's own counter; a program is not interrupted by itself.
        unsafe { *count += 1 };
    }
}
