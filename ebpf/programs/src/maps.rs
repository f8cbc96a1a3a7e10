//! Every map, with the capacity it has until the agent configures another.

use aya_ebpf::bindings::{BPF_F_CLONE, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, bpf_map_type};
use aya_ebpf::btf_maps::{
    Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf, SkStorage,
};
use aya_ebpf::macros::btf_map;
use windrose_abi::{
    Address, AddressRow, AffinityKey, AffinityRow, BalancedRow, CachedDecision, CgroupPath, CgroupRow,
    ChoiceKey, ConnectionRow, Control, EdgeKey, EdgeRow, EndpointLoad, EndpointRow, Event, FlowKey, FlowRow,
    FragmentKey, OriginKey, OriginRow, PeerListKey, PeerListRow, PolicySetKey, PolicySetRow, PortKey,
    PortRow, PrefixRow, RefusalKey, ReplyKey, ReplyRow, RuleKey, RuleRow, RuleSetRow, RuleTimes,
    RuleTimesKey, ServiceKey, ServiceRow, ServiceTotals, SynRow, TableKey, TableRow, VerdictTimes,
    WorkloadRow,
};

/// Entries are allocated when they are written: capacity costs only the buckets.
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;

/// Mapped into the agent's memory: the word that flips is one store.
#[btf_map]
pub(crate) static CONTROL: Array<Control, 1, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map]
pub(crate) static CGROUPS: HashMap<u64, CgroupRow, 65536, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static CGROUP_PATHS: HashMap<CgroupPath, CgroupRow, 16384, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static WORKLOADS: HashMap<u32, WorkloadRow, 65536, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static ADDRESSES: HashMap<Address, AddressRow, 262144, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static PREFIXES: LpmTrie<Address, PrefixRow, 262144> = LpmTrie::new();
#[btf_map]
pub(crate) static PEER_LISTS: HashMap<PeerListKey, PeerListRow, 131072, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static POLICY_SETS: HashMap<PolicySetKey, PolicySetRow, 65536, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static RULE_SETS: HashMap<u32, RuleSetRow, 65536, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static RULES: HashMap<RuleKey, RuleRow, 1048576, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static PORT_NAMES: HashMap<PortKey, PortRow, 65536, ON_DEMAND> = HashMap::new();

/// Socket storage that accepted sockets copy from their listener; aya's own has no such flag. The
/// fields are what a BTF map definition is made of.
#[repr(C)]
pub(crate) struct InheritedSkStorage<T> {
    r#type: *const [i32; bpf_map_type::BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; ON_DEMAND | BPF_F_CLONE as usize],
}

// SAFETY: the pointers are a definition for the loader and are never dereferenced.
unsafe impl<T> Sync for InheritedSkStorage<T> {}

#[btf_map]
pub(crate) static CONNECTIONS: InheritedSkStorage<ConnectionRow> = InheritedSkStorage {
    r#type: core::ptr::null(),
    key: core::ptr::null(),
    value: core::ptr::null(),
    max_entries: core::ptr::null(),
    map_flags: core::ptr::null(),
};
#[btf_map]
pub(crate) static DECISIONS: PerCpuArray<CachedDecision, { windrose_abi::state::DECISIONS as usize }> =
    PerCpuArray::new();
#[btf_map]
pub(crate) static SYNS: PerCpuArray<SynRow, { windrose_abi::state::SYNS as usize }> = PerCpuArray::new();
#[btf_map]
pub(crate) static BALANCED: SkStorage<BalancedRow> = SkStorage::new();
#[btf_map]
pub(crate) static SERVICES: HashMap<ServiceKey, ServiceRow, 65536, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static ENDPOINTS: HashMap<u32, EndpointRow, 262144, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static BALANCE_TABLES: HashMap<TableKey, TableRow, 262144, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static ENDPOINT_LOADS: HashMap<u32, EndpointLoad, 262144, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static SERVICE_TOTALS: HashMap<u32, ServiceTotals, 65536, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static AFFINITIES: LruHashMap<AffinityKey, AffinityRow, 65536> = LruHashMap::new();
#[btf_map]
pub(crate) static CHOICES: LruHashMap<ChoiceKey, u32, 16384> = LruHashMap::new();
#[btf_map]
pub(crate) static REPLIES: LruHashMap<ReplyKey, ReplyRow, 16384> = LruHashMap::new();
#[btf_map]
pub(crate) static FLOWS: HashMap<FlowKey, FlowRow, 65536> = HashMap::new();
#[btf_map]
pub(crate) static ORIGINS: HashMap<OriginKey, OriginRow, 65536> = HashMap::new();
#[btf_map]
pub(crate) static REFUSALS: HashMap<RefusalKey, u64, 65536, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static RECENT_REFUSALS: LruHashMap<OriginKey, u64, 8192> = LruHashMap::new();
/// Packets whose first fragment was allowed, with the generation that allowed it.
#[btf_map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, u64, 4096> = LruHashMap::new();
#[btf_map]
pub(crate) static EDGES: HashMap<EdgeKey, EdgeRow, 16384, ON_DEMAND> = HashMap::new();
/// Counts that no key names: see `account::Count`.
#[btf_map]
pub(crate) static COUNTS: Array<u64, 16> = Array::new();
/// Written while a profile runs, as is the next.
#[btf_map]
pub(crate) static VERDICT_TIMES: PerCpuArray<VerdictTimes, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static RULE_TIMES: PerCpuHashMap<
    RuleTimesKey,
    RuleTimes,
    { windrose_abi::profile::RULES_TIMED },
    ON_DEMAND,
> = PerCpuHashMap::new();
#[btf_map]
pub(crate) static EVENTS: RingBuf<Event, 4194304> = RingBuf::new();
