//! What balancing looks into: frontends, endpoints, flows.

use aya_ebpf::bindings::{BPF_F_NO_COMMON_LRU, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, DevMapHash, HashMap, LpmTrie, LruHashMap, PerCpuArray};
use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use aya_ebpf::macros::btf_map;
use aya_ebpf::maps::lpm_trie::Key;
use windrose_abi::forward::{FILTER_WORDS, MAX_FRONTENDS, filter_bit};
use windrose_abi::{
    Address, ForwardEndpoint, ForwardFlow, ForwardFragment, ForwardHop, ForwardKey, FragmentKey,
    FrontendName, FrontendRow, RangeKey, ReturnRow, ServiceKey, TableRow,
};
use windrose_engine::Packet;
use windrose_engine::forward::{self, Ends, ForwardTables};

#[btf_map]
static FRONTENDS: HashMap<ServiceKey, FrontendRow, 16384, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
/// By the index in a frontend's number.
#[btf_map]
static FRONTEND_NAMES: Array<FrontendName, 65536> = Array::new();
#[btf_map]
static SOURCE_RANGES: LpmTrie<RangeKey, u32, 16384> = LpmTrie::new();
#[btf_map]
static FORWARD_TABLES: Array<TableRow, 16384> = Array::new();
#[btf_map]
static EDGE_ENDPOINTS: Array<ForwardEndpoint, 4096> = Array::new();
#[btf_map]
pub(crate) static FORWARD_HOPS: PerCpuArray<ForwardHop, 4096> = PerCpuArray::new();
/// Each processor has a list of its own of what was not used for long: no lock is shared.
#[btf_map]
static FORWARD_FLOWS: LruHashMap<ForwardKey, ForwardFlow, 262144, { BPF_F_NO_COMMON_LRU as usize }> =
    LruHashMap::new();
#[btf_map]
static RETURNS: HashMap<ServiceKey, ReturnRow, 65536, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
#[btf_map]
static EDGE_FRAGMENTS: LruHashMap<FragmentKey, ForwardFragment, 8192> = LruHashMap::new();
/// Interfaces that frames can be sent to, by their index.
#[btf_map]
pub(crate) static FORWARD_DEVICES: DevMapHash<256> = DevMapHash::new();

/// What most packets are told by that they are for nobody, see [`filter_bit`].
#[btf_map]
static FORWARD_FILTER: Array<u64, { FILTER_WORDS as usize }> = Array::new();

#[inline(always)]
pub(crate) fn ends(packet: &Packet) -> u32 {
    let Packet { source, destination, source_port, destination_port, protocol, .. } = packet;
    let mut ends = 0;
    if is_filtered(filter_bit(destination, *destination_port, *protocol, false)) {
        ends |= Ends::ASKED;
    }
    if is_filtered(filter_bit(source, *source_port, *protocol, true)) {
        ends |= Ends::ANSWERING;
    }
    ends
}

#[inline(always)]
fn is_filtered((index, bit): (u32, u64)) -> bool {
    FORWARD_FILTER.get(index).is_some_and(|word| word & bit != 0)
}

/// The maps as the engine's tables.
#[derive(Clone, Copy)]
pub(crate) struct KernelForward;

impl ForwardTables for KernelForward {
    #[inline(always)]
    fn frontend(&self, key: &ServiceKey) -> Option<&FrontendRow> {
        // SAFETY: userspace replaces whole entries; the old one outlives this program's run (RCU).
        unsafe { FRONTENDS.get(key) }
    }

    #[inline(always)]
    fn name(&self, frontend: u32) -> Option<FrontendName> {
        FRONTEND_NAMES.get(frontend & (MAX_FRONTENDS - 1)).copied().filter(|name| name.frontend == frontend)
    }

    #[inline(always)]
    fn is_in_range(&self, frontend: u32, source: &Address) -> bool {
        SOURCE_RANGES.get(&Key::new(160, RangeKey { frontend, source: *source })).is_some()
    }

    #[inline(always)]
    fn entry(&self, row: u32, entry: u32) -> Option<u32> {
        FORWARD_TABLES.get(row).map(|row| row.endpoints[(entry & 31) as usize])
    }

    #[inline(always)]
    fn endpoint(&self, endpoint: u32) -> Option<ForwardEndpoint> {
        EDGE_ENDPOINTS.get(endpoint).copied().filter(|found| found.serial != 0)
    }

    #[inline(always)]
    fn flow(&self, key: &ForwardKey, is_datagram: bool) -> Option<ForwardFlow> {
        let flow = FORWARD_FLOWS.get_ptr_mut(key)?;
        // SAFETY: a live entry; its words are written whole.
        let known = unsafe { *flow };
        if is_datagram {
            // SAFETY: as above.
            unsafe { (&raw mut (*flow).seen_ns).write_volatile(self.now_ns()) };
        }
        Some(known)
    }

    #[inline(always)]
    fn remember(&self, key: &ForwardKey, flow: &ForwardFlow) {
        let flow = ForwardFlow { seen_ns: self.now_ns(), ..*flow };
        // An LRU makes room for itself.
        let _ = FORWARD_FLOWS.insert(key, &flow, 0);
    }

    #[inline(always)]
    fn returns(&self, key: &ServiceKey) -> Option<&ReturnRow> {
        // SAFETY: as for frontends.
        unsafe { RETURNS.get(key) }
    }

    #[inline(always)]
    fn goes_to(&self, key: &ForwardKey, endpoint: &ServiceKey) -> bool {
        forward_goes_to(key, endpoint) != 0
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<ForwardFragment> {
        // SAFETY: the entry outlives this program's run.
        unsafe { EDGE_FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_fragment(&self, key: &FragmentKey, to: &ForwardFragment) {
        // An LRU makes room for itself.
        let _ = EDGE_FRAGMENTS.insert(key, to, 0);
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: the helper takes nothing.
        unsafe { bpf_ktime_get_coarse_ns() }
    }
}

/// As a global function: the verifier checks it once, and not in each turn of the loop.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_goes_to(key: *const ForwardKey, endpoint: *const ServiceKey) -> i32 {
    if key.is_null() || endpoint.is_null() {
        return 0;
    }
    // SAFETY: checked above; the only caller passes live references.
    i32::from(forward::goes_to(&KernelForward, unsafe { &*key }, unsafe { &*endpoint }))
}
