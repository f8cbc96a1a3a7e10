//! What is planned for a packet, in XDP and in traffic control.
//!
//! All of these are global functions: the verifier checks each once.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;
use windrose_abi::{Address, ForwardEndpoint, ForwardHop, ServiceKey};
use windrose_engine::forward::{self, Ends, Plan};
use windrose_engine::{Bytes, Packet};

use crate::edge_answer;
use crate::edge_frame::Frame;
use crate::forward_tables::KernelForward;

/// What was planned for the frame of this run. In a map: the frames of the stack would not fit.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Planned {
    pub(crate) endpoint: ForwardEndpoint,
    pub(crate) index: u32,
    pub(crate) is_new: u32,
    pub(crate) frontend: ServiceKey,
    /// See [`Way`].
    pub(crate) way: u32,
    /// To a client.
    pub(crate) hop: ForwardHop,
    /// What an ICMP error quotes, turned round.
    pub(crate) turned: Packet,
    pub(crate) quoted: Quoted,
    /// What fits, where a packet does not; 0: nobody is there.
    pub(crate) mtu: u32,
    pub(crate) answer: edge_answer::Room,
}

#[btf_map]
pub(crate) static FORWARD_PLANNED: PerCpuArray<Planned, 1> = PerCpuArray::new();

/// Answers of the functions that plan; anything else is the reason to refuse.
pub(crate) const LEAVE: u32 = 256;
pub(crate) const SEND: u32 = 257;
pub(crate) const RETURN: u32 = 258;

/// Nothing becomes of it.
pub(crate) const NOTHING: u16 = 2;

/// What becomes of one end of a packet that an ICMP error quotes.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Quoted {
    pub(crate) old: Address,
    pub(crate) new: Address,
    pub(crate) port: u16,
    /// 1: the source; 0: the destination; or [`NOTHING`].
    pub(crate) is_source: u16,
    /// The same address has changed around the quotation.
    pub(crate) is_outer: u16,
    pub(crate) reserved: u16,
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

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_plain(packet: *const Packet, ends: u32) -> u32 {
    if packet.is_null() {
        return LEAVE;
    }
    // SAFETY: checked above; the only caller passes a live reference.
    keep(forward::plain(unsafe { &*packet }, Ends(ends), &KernelForward))
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
pub extern "C" fn forward_quoted(context: *mut xdp_md, packet: *const Packet) -> i32 {
    if packet.is_null() {
        return 0;
    }
    // SAFETY: as above.
    take_quoted(&Frame::of(context), unsafe { &*packet })
}

/// Takes what an ICMP error quotes, for [`plan_quoted`]; 1 if that is of use.
#[inline(always)]
pub(crate) fn take_quoted<B: Bytes>(bytes: &B, packet: &Packet) -> i32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return 0 };
    let Some(turned) = forward::quoted(bytes, packet) else { return 0 };
    // SAFETY: this processor's own.
    unsafe { (*planned).turned = turned };
    1
}

/// Plans an ICMP error by what was taken of it.
#[inline(always)]
pub(crate) fn plan_quoted() -> u32 {
    let Some(planned) = FORWARD_PLANNED.get_ptr_mut(0) else { return LEAVE };
    // SAFETY: this processor's own; planning does not write there.
    forward_plain(unsafe { &raw const (*planned).turned }, Ends::BOTH.0)
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
