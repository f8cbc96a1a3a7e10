//! What balancing plans for a frame, done: addresses rewritten, frames sent on.

use aya_ebpf::bindings::{BPF_F_NO_COMMON_LRU, BPF_F_NO_PREALLOC, xdp_action, xdp_md};
use aya_ebpf::btf_maps::{Array, DevMapHash, HashMap, LpmTrie, LruHashMap, PerCpuArray};
use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use aya_ebpf::macros::btf_map;
use aya_ebpf::maps::lpm_trie::Key;
use windrose_abi::codes::protocol;
use windrose_abi::forward::{FILTER_WORDS, MAX_FRONTENDS, filter_bit};
use windrose_abi::{
    Address, EdgeReason, ForwardEndpoint, ForwardFlow, ForwardFragment, ForwardHop, ForwardKey, Forwarding,
    FragmentKey, FrontendRow, RangeKey, ReturnRow, ServiceKey, TableRow,
};
use windrose_engine::forward::{self, Delta, ForwardTables, Plan, Shape};
use windrose_engine::{Kind, Packet};

use crate::edge_answer;
use crate::edge_frame::Frame;
use crate::edge_hop::{self, Way};
use crate::edge_ipip::encapsulate;

#[btf_map]
static FRONTENDS: HashMap<ServiceKey, FrontendRow, 16384, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
/// By the index in a frontend's number.
#[btf_map]
static FRONTEND_NAMES: Array<ServiceKey, 65536> = Array::new();
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
pub(crate) fn may_be_ours(packet: &Packet) -> bool {
    let Packet { source, destination, source_port, destination_port, protocol, .. } = packet;
    is_filtered(filter_bit(destination, *destination_port, *protocol, false))
        || is_filtered(filter_bit(source, *source_port, *protocol, true))
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
    fn name(&self, frontend: u32) -> Option<ServiceKey> {
        FRONTEND_NAMES.get(frontend & (MAX_FRONTENDS - 1)).copied()
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
    fn remember(&self, key: &ForwardKey, endpoint: u32, serial: u32) {
        let flow = ForwardFlow { endpoint, serial, seen_ns: self.now_ns() };
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

/// What was planned for the frame of this run. In a map: the frames of the stack would not fit.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Planned {
    pub(crate) endpoint: ForwardEndpoint,
    pub(crate) index: u32,
    pub(crate) is_new: u32,
    pub(crate) frontend: ServiceKey,
    /// See [`Way`].
    way: u32,
    /// To a client.
    hop: ForwardHop,
    quoted: Quoted,
    /// What fits, where a packet does not; 0: nobody is there.
    mtu: u32,
    answer: edge_answer::Room,
}

#[btf_map]
pub(crate) static FORWARD_PLANNED: PerCpuArray<Planned, 1> = PerCpuArray::new();

/// The frame is for nobody behind this edge, and was not touched.
pub(crate) const LEFT: u32 = u32::MAX;
/// Answers of the functions that plan; anything else is the reason to refuse.
pub(crate) const LEAVE: u32 = 256;
pub(crate) const SEND: u32 = 257;
pub(crate) const RETURN: u32 = 258;

/// Plans and does. Answers the reason, and behind it the program's answer where the reason does not
/// say it; or [`LEFT`].
#[inline(always)]
pub(crate) fn forward(context: *mut xdp_md, network: u32, packet: &Packet) -> u32 {
    // One after the other, not one inside the other: their frames would not fit.
    let step = match Shape::of(packet) {
        Shape::Plain if !may_be_ours(packet) => LEAVE,
        Shape::Plain => forward_plain(packet),
        Shape::First => {
            let step = forward_plain(packet);
            forward_note(packet, step);
            step
        }
        Shape::Later => forward_later(packet),
        Shape::Error => forward_quoted(context, packet),
        Shape::Other => LEAVE,
    };
    let done = match step {
        LEAVE => return LEFT,
        SEND => match forward_send(context, network, packet) {
            STALE => {
                forward_way_out(context, packet);
                forward_send(context, network, packet)
            }
            done => done,
        },
        RETURN => {
            forward_way_back(context, packet);
            forward_back(context, network, packet)
        }
        reason => outcome(reason, xdp_action::XDP_DROP),
    };
    if done & 0xff == INSIDE {
        return forward_inside(context, packet);
    }
    if done == ANSWERED_BIG || done == ANSWERED_NOBODY {
        return outcome(done, forward_refuse(context, network, packet));
    }
    if packet.kind == Kind::IcmpError
        && done >> 8 != xdp_action::XDP_DROP
        && forward_error(context, packet) != 1
    {
        return refused(EdgeReason::NoRoute);
    }
    done
}

/// Not a reason: the packet goes into another one.
const INSIDE: u32 = 0xff;
/// Not a reason: the way to the endpoint is to be found first.
const STALE: u32 = 0xfe;
const ANSWERED_BIG: u32 = refused(EdgeReason::TooBig);
const ANSWERED_NOBODY: u32 = refused(EdgeReason::NoEndpoint);

#[inline(always)]
const fn outcome(reason: u32, action: u32) -> u32 {
    reason & 0xff | action << 8
}

#[inline(always)]
const fn refused(reason: EdgeReason) -> u32 {
    outcome(reason as u32, xdp_action::XDP_DROP)
}

#[inline(always)]
pub(crate) fn keep(plan: Plan) -> u32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return LEAVE };
    // SAFETY: this processor's own; a program is not interrupted by itself.
    let planned = unsafe { &mut *planned };
    planned.quoted.is_source = NOTHING;
    match plan {
        Plan::Leave => LEAVE,
        Plan::Refuse(reason) => {
            planned.mtu = 0;
            reason as u32
        }
        Plan::Send { index, endpoint, is_new } => {
            planned.endpoint = endpoint;
            planned.index = index;
            planned.is_new = u32::from(is_new);
            SEND
        }
        Plan::Return { frontend } => {
            planned.frontend = frontend;
            RETURN
        }
    }
}

/// As global functions, all of these: the verifier checks each once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_plain(packet: *const Packet) -> u32 {
    if packet.is_null() {
        return LEAVE;
    }
    // SAFETY: checked above; the only caller passes a live reference.
    keep(forward::plain(unsafe { &*packet }, &KernelForward))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_later(packet: *const Packet) -> u32 {
    if packet.is_null() {
        return LEAVE;
    }
    // SAFETY: as above.
    keep(forward::later(unsafe { &*packet }, &KernelForward))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_quoted(context: *mut xdp_md, packet: *const Packet) -> u32 {
    if packet.is_null() {
        return LEAVE;
    }
    // SAFETY: as above.
    keep(forward::error(&Frame::of(context), unsafe { &*packet }, &KernelForward))
}

/// Notes what was planned for a first fragment.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_note(packet: *const Packet, step: u32) -> i32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return 0 };
    if packet.is_null() {
        return 0;
    }
    // SAFETY: this processor's own.
    let planned = unsafe { &*planned };
    let plan = match step {
        LEAVE => Plan::Leave,
        SEND => Plan::Send { index: planned.index, endpoint: planned.endpoint, is_new: false },
        RETURN => Plan::Return { frontend: planned.frontend },
        _ => return 0,
    };
    // SAFETY: as above.
    forward::note(unsafe { &*packet }, &plan, &KernelForward);
    1
}

/// Answers a packet with an ICMP error; what the program answers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_refuse(context: *mut xdp_md, network: u32, packet: *const Packet) -> u32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return xdp_action::XDP_DROP };
    if packet.is_null() {
        return xdp_action::XDP_DROP;
    }
    // SAFETY: checked above; the only caller passes a live reference.
    let is_v4 = unsafe { (*packet).destination.is_v4() };
    // SAFETY: this processor's own.
    let planned = unsafe { &mut *planned };
    edge_answer::unreachable(context, network, is_v4, planned.mtu, &mut planned.answer)
}

/// Finds the way to the endpoint that was planned.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_way_out(context: *mut xdp_md, packet: *const Packet) -> i32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return 0 };
    // SAFETY: this processor's own.
    let planned = unsafe { &*planned };
    let Some(hop) = FORWARD_HOPS.get_ptr_mut(planned.index) else { return 0 };
    if packet.is_null() {
        return 0;
    }
    // SAFETY: checked above; this processor's own.
    let (packet, hop) = unsafe { (&*packet, &mut *hop) };
    edge_hop::to_endpoint(context, hop, &planned.endpoint, packet.destination.is_v4());
    1
}

/// Finds the way to the client of an answer.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_way_back(context: *mut xdp_md, packet: *const Packet) -> i32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return 0 };
    if packet.is_null() {
        return 0;
    }
    // SAFETY: checked above; this processor's own.
    let (packet, planned) = unsafe { (&*packet, &mut *planned) };
    planned.way = edge_hop::to_client(context, &mut planned.hop, packet) as u32;
    1
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_send(context: *mut xdp_md, network: u32, packet: *const Packet) -> u32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return refused(EdgeReason::NoRoute) };
    if packet.is_null() {
        return refused(EdgeReason::NoRoute);
    }
    // SAFETY: checked above; this processor's own.
    send(context, network, unsafe { &*packet }, unsafe { &mut *planned })
        .unwrap_or(refused(EdgeReason::NoRoute))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_back(context: *mut xdp_md, network: u32, packet: *const Packet) -> u32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return refused(EdgeReason::NoRoute) };
    if packet.is_null() {
        return refused(EdgeReason::NoRoute);
    }
    // SAFETY: checked above; this processor's own.
    give_back(context, network, unsafe { &*packet }, unsafe { &mut *planned })
        .unwrap_or(refused(EdgeReason::NoRoute))
}

/// Puts the packet into one to the endpoint that was planned, and sends it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_inside(context: *mut xdp_md, packet: *const Packet) -> u32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return refused(EdgeReason::NoRoute) };
    // SAFETY: this processor's own.
    let planned = unsafe { &*planned };
    let Some(hop) = FORWARD_HOPS.get_ptr_mut(planned.index) else { return refused(EdgeReason::NoRoute) };
    if packet.is_null() {
        return refused(EdgeReason::NoRoute);
    }
    // SAFETY: as above.
    let (is_v4, hop) = unsafe { ((*packet).destination.is_v4(), &*hop) };
    if encapsulate(context, is_v4, &planned.endpoint, hop).is_none() {
        return refused(EdgeReason::NoRoute);
    }
    sent(context, hop.interface)
}

/// Behind no tag: only such frames are sent on by the edge itself.
const UNTAGGED: u32 = 14;

#[inline(always)]
fn send(context: *mut xdp_md, network: u32, packet: &Packet, planned: &mut Planned) -> Option<u32> {
    const NAT: u8 = Forwarding::Nat as u8;
    const IPIP: u8 = Forwarding::Ipip as u8;
    let frame = Frame::of(context);
    let is_v4 = packet.destination.is_v4();
    let hop = FORWARD_HOPS.get_ptr_mut(planned.index)?;
    // SAFETY: this processor's own; a program is not interrupted by itself.
    let hop: &mut ForwardHop = unsafe { &mut *hop };
    if !edge_hop::is_believed(hop, &planned.endpoint) {
        return Some(STALE);
    }
    let way = edge_hop::way(hop);
    let bytes = packet_bytes(&frame, network, is_v4)?;
    hop.packets += 1;
    hop.bytes += u64::from(bytes);
    hop.flows += u64::from(planned.is_new);
    let forwarding = planned.endpoint.forwarding;
    if way == Way::Out && network == UNTAGGED {
        let around = if forwarding == IPIP { outer_bytes(is_v4) } else { 0 };
        if bytes + around > hop.mtu {
            planned.mtu = hop.mtu - around;
            return Some(ANSWERED_BIG);
        }
        if forwarding == IPIP {
            return Some(INSIDE);
        }
        if forwarding == NAT {
            to_endpoint(&frame, network, packet, planned)?;
        }
        go(&frame, network, is_v4, &hop.ends)?;
        return Some(sent(context, hop.interface));
    }
    if way == Way::None {
        return None;
    }
    if forwarding == NAT {
        to_endpoint(&frame, network, packet, planned)?;
    } else if way != Way::Here {
        // The stack would take it for its own.
        return None;
    }
    Some(outcome(EdgeReason::HandedOver as u32, xdp_action::XDP_PASS))
}

/// An endpoint's answer becomes its frontend's.
#[inline(always)]
fn give_back(context: *mut xdp_md, network: u32, packet: &Packet, planned: &mut Planned) -> Option<u32> {
    if planned.way == Way::None as u32 {
        return None;
    }
    let frame = Frame::of(context);
    let is_v4 = packet.destination.is_v4();
    let is_sent = planned.way == Way::Out as u32 && network == UNTAGGED;
    if is_sent && packet_bytes(&frame, network, is_v4)? > planned.hop.mtu {
        planned.mtu = planned.hop.mtu;
        return Some(ANSWERED_BIG);
    }
    to_client(&frame, network, packet, planned)?;
    if !is_sent {
        return Some(outcome(EdgeReason::HandedOver as u32, xdp_action::XDP_PASS));
    }
    go(&frame, network, is_v4, &planned.hop.ends)?;
    Some(sent(context, planned.hop.interface))
}

/// What goes around a packet that is put into another one.
#[inline(always)]
const fn outer_bytes(is_v4: bool) -> u32 {
    if is_v4 { 20 } else { 40 }
}

/// The answer for a frame that is ready for an interface.
#[inline(always)]
fn sent(context: *mut xdp_md, interface: u32) -> u32 {
    // SAFETY: the context of this run.
    if interface == unsafe { (*context).ingress_ifindex } {
        return outcome(EdgeReason::Forwarded as u32, xdp_action::XDP_TX);
    }
    let action = FORWARD_DEVICES.redirect(interface, u64::from(xdp_action::XDP_DROP));
    outcome(EdgeReason::Forwarded as u32, action.unwrap_or(xdp_action::XDP_DROP))
}

/// The packet's length as it says it, from its IP header on: a frame may be padded.
#[inline(always)]
fn packet_bytes(frame: &Frame, network: u32, is_v4: bool) -> Option<u32> {
    if is_v4 {
        Some(u32::from(u16::from_be(frame.get::<u16>(network + 2)?)))
    } else {
        Some(40 + u32::from(u16::from_be(frame.get::<u16>(network + 4)?)))
    }
}

/// On to the next hop: one less of its hops, and the frame's new ends.
#[inline(always)]
fn go(frame: &Frame, network: u32, is_v4: bool, ends: &[u16; 6]) -> Option<()> {
    if is_v4 {
        let word = frame.get::<u16>(network + 8)?;
        let check = frame.get::<u16>(network + 10)?;
        let [hops, next] = word.to_ne_bytes();
        let less = u16::from_ne_bytes([hops.wrapping_sub(1), next]);
        if hops <= 1 {
            return None;
        }
        frame.put(network + 8, less)?;
        frame.put(network + 10, Delta::NONE.word(word, less).applied(check))?;
    } else {
        let word = frame.get::<u16>(network + 6)?;
        let [next, hops] = word.to_ne_bytes();
        if hops <= 1 {
            return None;
        }
        frame.put(network + 6, u16::from_ne_bytes([next, hops - 1]))?;
    }
    put_ends(frame, ends)
}

#[inline(always)]
pub(crate) fn put_ends(frame: &Frame, ends: &[u16; 6]) -> Option<()> {
    let word = |n: usize| u32::from(ends[n]) | u32::from(ends[n + 1]) << 16;
    frame.put(0, word(0))?;
    frame.put(4, word(2))?;
    frame.put(8, word(4))
}

/// Translates a packet's destination; what an ICMP error quotes is left to [`forward_error`].
#[inline(always)]
fn to_endpoint(frame: &Frame, network: u32, packet: &Packet, planned: &mut Planned) -> Option<()> {
    let (old, new) = (&packet.destination, &planned.endpoint.address);
    let port = planned.endpoint.port;
    let at = if old.is_v4() { network + 16 } else { network + 24 };
    put_address(frame, network, at, old, new)?;
    match packet.kind {
        Kind::LaterFragment => Some(()),
        // It quotes what the endpoint is said to have sent.
        Kind::IcmpError => {
            planned.quoted = Quoted { old: *old, new: *new, port, is_source: 1, is_outer: 1, reserved: 0 };
            Some(())
        }
        _ => {
            let delta = Delta::NONE.address(old, new);
            ports(frame, packet, delta, 2, packet.destination_port, port)
        }
    }
}

/// Translates a packet's source; what an ICMP error quotes is left to [`forward_error`].
#[inline(always)]
fn to_client(frame: &Frame, network: u32, packet: &Packet, planned: &mut Planned) -> Option<()> {
    let is_v4 = packet.source.is_v4();
    let at = if is_v4 { network + 12 } else { network + 8 };
    let new = &planned.frontend.address;
    let port = planned.frontend.port;
    if packet.kind == Kind::IcmpError {
        // About what a client has sent: from its endpoint, or from somebody on the way there, who
        // keeps his name.
        let quoted = u32::from(packet.payload);
        let old = get_address(frame, if is_v4 { quoted + 16 } else { quoted + 24 }, is_v4)?;
        let mut is_outer = 0;
        if packet.source == old {
            is_outer = 1;
            put_address(frame, network, at, &packet.source, new)?;
        }
        planned.quoted = Quoted { old, new: *new, port, is_source: 0, is_outer, reserved: 0 };
        return Some(());
    }
    put_address(frame, network, at, &packet.source, new)?;
    if packet.kind == Kind::LaterFragment {
        return Some(());
    }
    ports(frame, packet, Delta::NONE.address(&packet.source, new), 0, packet.source_port, port)
}

/// Nothing becomes of it.
const NOTHING: u16 = 2;

/// What becomes of one end of a packet that an ICMP error quotes.
#[repr(C)]
#[derive(Clone, Copy)]
struct Quoted {
    old: Address,
    new: Address,
    port: u16,
    /// 1: the source; 0: the destination; or [`NOTHING`].
    is_source: u16,
    /// The same address has changed around the quotation.
    is_outer: u16,
    reserved: u16,
}

/// Translates one end of the packet that an ICMP error quotes; 1 if that was done.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_error(context: *mut xdp_md, packet: *const Packet) -> i32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return 0 };
    if packet.is_null() {
        return 0;
    }
    // SAFETY: checked above; this processor's own.
    let (packet, planned) = unsafe { (&*packet, &*planned) };
    if planned.quoted.is_source == NOTHING {
        return 1;
    }
    i32::from(error(&Frame::of(context), packet, &planned.quoted).is_some())
}

#[inline(always)]
fn error(frame: &Frame, packet: &Packet, end: &Quoted) -> Option<()> {
    let quoted = u32::from(packet.payload);
    let checksum = u32::from(packet.transport) + 2;
    let is_source = end.is_source == 1;
    if packet.source.is_v4() {
        let (at, port) = if is_source { (12, 20) } else { (16, 22) };
        put_address(frame, quoted, quoted + at, &end.old, &end.new)?;
        // Of the quoted header its own checksum makes up for the change, and ICMP's covers no
        // addresses around it.
        let delta = put_port(frame, quoted + port, end.port)?;
        let check = frame.get::<u16>(checksum)?;
        return frame.put(checksum, delta.applied(check));
    }
    let (at, port) = if is_source { (8, 40) } else { (24, 42) };
    put_address(frame, quoted, quoted + at, &end.old, &end.new)?;
    let mut delta = put_port(frame, quoted + port, end.port)?.address(&end.old, &end.new);
    if end.is_outer != 0 {
        delta = delta.address(&end.old, &end.new);
    }
    let check = frame.get::<u16>(checksum)?;
    frame.put(checksum, delta.applied(check))
}

#[inline(always)]
fn put_port(frame: &Frame, at: u32, new: u16) -> Option<Delta> {
    let old = frame.get::<u16>(at)?;
    frame.put(at, new.to_be())?;
    Some(Delta::NONE.word(old, new.to_be()))
}

#[inline(always)]
fn get_address(frame: &Frame, at: u32, is_v4: bool) -> Option<Address> {
    if is_v4 {
        return Some(Address::from_v4_word(frame.get(at)?));
    }
    Some(Address { words: [frame.get(at)?, frame.get(at + 4)?, frame.get(at + 8)?, frame.get(at + 12)?] })
}

/// Writes an address into the IP header at `network`, whose checksum is kept.
#[inline(always)]
fn put_address(frame: &Frame, network: u32, at: u32, old: &Address, new: &Address) -> Option<()> {
    if old.is_v4() {
        let check = frame.get::<u16>(network + 10)?;
        frame.put(at, new.words[3])?;
        return frame.put(network + 10, Delta::NONE.words(old.words[3], new.words[3]).applied(check));
    }
    let [a, b, c, d] = new.words;
    frame.put(at, a)?;
    frame.put(at + 4, b)?;
    frame.put(at + 8, c)?;
    frame.put(at + 12, d)
}

/// Writes a port and the checksum behind it; `delta`: what has changed in the addresses.
#[inline(always)]
fn ports(frame: &Frame, packet: &Packet, delta: Delta, at: u32, old: u16, new: u16) -> Option<()> {
    let transport = u32::from(packet.transport);
    frame.put(transport + at, new.to_be())?;
    let delta = delta.word(old.to_be(), new.to_be());
    if packet.protocol == protocol::TCP {
        let check = frame.get::<u16>(transport + 16)?;
        return frame.put(transport + 16, delta.applied(check));
    }
    let check = frame.get::<u16>(transport + 6)?;
    // RFC 768: zero is none, and never the checksum itself.
    if check == 0 {
        return Some(());
    }
    let check = delta.applied(check);
    frame.put(transport + 6, if check == 0 { 0xffff } else { check })
}
