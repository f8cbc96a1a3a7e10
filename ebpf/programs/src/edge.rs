//! Every frame that an interface of the edge receives.

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, xdp_action, xdp_md};
use aya_ebpf::btf_maps::{HashMap, LpmTrie, LruHashMap, PerCpuArray};
use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::XdpContext;
use core::cell::Cell;
use windrose_abi::edge::MAX_LIMITS;
use windrose_abi::{Address, BucketKey, DenyNote, DenyRow, EdgeLimit, EdgeReason, EdgeSettings};
use windrose_engine::edge::{self, EdgeTables};
use windrose_engine::{Bytes, Packet, frame};

use crate::edge_frame::Frame;
use crate::{account, edge_cookie, edge_forward};

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

/// The maps as the engine's tables. Where frames are no longer as they came (`BALANCES` is false)
/// nothing is balanced here.
struct KernelEdge<const BALANCES: bool> {
    context: *mut xdp_md,
    /// What balancing answers.
    action: Cell<u32>,
}

/// A field of the settings. Volatile: the value is the agent's, not the initial one; the verifier
/// knows it, since the section is read-only.
macro_rules! setting {
    ($($field:tt)+) => {
        // SAFETY: a field of a live static.
        unsafe { core::ptr::read_volatile(&raw const EDGE.$($field)+) }
    };
}

impl<const BALANCES: bool> EdgeTables for KernelEdge<BALANCES> {
    #[inline(always)]
    fn flags(&self) -> u32 {
        let flags = setting!(flags);
        if BALANCES { flags } else { flags & !EdgeSettings::BALANCE }
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

    #[inline(always)]
    fn forward<B: Bytes>(&self, _: &B, network: u32, packet: &Packet) -> Option<EdgeReason> {
        let outcome = edge_forward::forward(self.context, network, packet);
        if outcome == edge_forward::LEFT {
            return None;
        }
        self.action.set(outcome >> 8);
        EdgeReason::try_from(outcome as u8).ok()
    }
}

/// XDP at the interfaces that the configuration names, in the driver's hook.
#[xdp(frags)]
pub fn edge(context: XdpContext) -> u32 {
    judge::<true>(context.ctx)
}

/// The same in the kernel's generic hook. There frames have been merged and their checksums may be
/// half done, and nobody says which: they are translated later, see `edge_skb`.
#[xdp]
pub fn edge_generic(context: XdpContext) -> u32 {
    judge::<false>(context.ctx)
}

#[inline(always)]
fn judge<const BALANCES: bool>(context: *mut xdp_md) -> u32 {
    let frame = Frame::of(context);
    let edge = KernelEdge::<BALANCES> { context, action: Cell::new(xdp_action::XDP_PASS) };
    match edge::decide(&frame, &edge) {
        // A test of the settings, so that no more than this is left where cookies are off.
        EdgeReason::SynCookie if edge.flags() & EdgeSettings::COOKIES != 0 => answer(context),
        reason @ (EdgeReason::Forwarded | EdgeReason::NoEndpoint | EdgeReason::TooBig)
            if edge.flags() & EdgeSettings::BALANCE != 0 =>
        {
            count(reason);
            edge.action.get()
        }
        reason => {
            count(reason);
            if reason.passes() { xdp_action::XDP_PASS } else { xdp_action::XDP_DROP }
        }
    }
}

/// Answers a SYN; one that cannot be answered, or need not be, goes on.
#[inline(always)]
fn answer(context: *mut xdp_md) -> u32 {
    // Balancing may have moved its ends.
    let Ok(front) = frame::parse(&Frame::of(context)) else { return xdp_action::XDP_DROP };
    let action = edge_cookie::answer(context, front.network, front.ether_type == frame::IPV4);
    count(if action == xdp_action::XDP_PASS { EdgeReason::Passed } else { EdgeReason::SynCookie });
    action
}

#[inline(always)]
pub(crate) fn count(reason: EdgeReason) {
    if let Some(count) = EDGE_COUNTS.get_ptr_mut(reason as u32) {
        // SAFETY: this processor's own counter; a program is not interrupted by itself.
        unsafe { *count += 1 };
    }
}
