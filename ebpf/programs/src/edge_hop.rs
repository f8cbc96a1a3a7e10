//! The way to an address as the kernel's routes and neighbours have it.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_fib_lookup, bpf_ktime_get_coarse_ns};
use windrose_abi::{Address, ForwardEndpoint, ForwardHop, Forwarding};
use windrose_engine::Packet;

use crate::forward_tables::FORWARD_DEVICES;

/// A way is believed for so long.
const BELIEVED_NS: u64 = 100_000_000;

/// Kept in place of an interface where there is none.
const STACK: u32 = 0;
const HERE: u32 = u32::MAX;
const NONE: u32 = u32::MAX - 1;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `BPF_FIB_LOOKUP_SRC`: name this node's address on the way.
const WITH_SOURCE: u32 = 16;

/// Where a packet goes from here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Out of an interface to a neighbour that is known.
    Out,
    /// To a neighbour that the stack has to find, or by a way that only the stack can go.
    Stack,
    /// To this node itself.
    Here,
    /// There is none.
    None,
}

/// `struct bpf_fib_lookup`.
#[repr(C)]
struct Question {
    family: u8,
    protocol: u8,
    ports: [u16; 2],
    /// Length of the packet; in the answer what fits.
    mtu: u16,
    interface: u32,
    class: u32,
    source: [u32; 4],
    destination: [u32; 4],
    vlan: u32,
    /// Source and destination of the frame.
    ends: [u16; 6],
}

/// Whether the way to an endpoint need not be looked for again.
#[inline(always)]
pub(crate) fn is_believed(hop: &ForwardHop, endpoint: &ForwardEndpoint) -> bool {
    // SAFETY: the helper takes nothing.
    hop.serial == endpoint.serial && hop.until_ns >= unsafe { bpf_ktime_get_coarse_ns() }
}

/// Finds the way to an endpoint.
#[inline(always)]
pub(crate) fn to_endpoint(
    context: *mut xdp_md,
    hop: &mut ForwardHop,
    endpoint: &ForwardEndpoint,
    is_v4: bool,
) {
    if hop.serial != endpoint.serial {
        *hop = ForwardHop { serial: endpoint.serial, ..ForwardHop::ZERO };
    }
    // SAFETY: the helper takes nothing.
    hop.until_ns = unsafe { bpf_ktime_get_coarse_ns() } + BELIEVED_NS;
    let flags = if endpoint.forwarding == Forwarding::Ipip as u8 { WITH_SOURCE } else { 0 };
    find(context, hop, &endpoint.address, is_v4, flags);
}

/// To the client that a packet is for.
#[inline(always)]
pub(crate) fn to_client(context: *mut xdp_md, hop: &mut ForwardHop, packet: &Packet) -> Way {
    find(context, hop, &packet.destination, packet.destination.is_v4(), 0);
    way(hop)
}

/// What is kept of it.
#[inline(always)]
pub(crate) fn way(hop: &ForwardHop) -> Way {
    match hop.interface {
        STACK => Way::Stack,
        HERE => Way::Here,
        NONE => Way::None,
        _ => Way::Out,
    }
}

#[inline(never)]
fn find(context: *mut xdp_md, hop: &mut ForwardHop, address: &Address, is_v4: bool, flags: u32) {
    // SAFETY: the context of this run.
    let ingress = unsafe { (*context).ingress_ifindex };
    let mut question = Question {
        family: if is_v4 { AF_INET } else { AF_INET6 },
        protocol: 0,
        ports: [0; 2],
        // Asked with any length, the answer says what fits.
        mtu: 1,
        interface: ingress,
        class: 0,
        source: [0; 4],
        destination: [0; 4],
        vlan: 0,
        ends: [0; 6],
    };
    if is_v4 {
        question.destination[0] = address.words[3];
    } else {
        question.destination = address.words;
    }
    // SAFETY: the structure has the kernel's shape and size.
    let answer = unsafe {
        bpf_fib_lookup(context.cast(), (&raw mut question).cast(), size_of::<Question>() as i32, flags)
    };
    // enum BPF_FIB_LKUP_RET_*.
    hop.interface = match answer {
        0 => {
            let is_reachable =
                question.interface == ingress || FORWARD_DEVICES.get_ifindex(question.interface).is_some();
            if is_reachable { question.interface } else { STACK }
        }
        1..=3 => NONE,
        // Not forwarded: it is an address of this node, or no unicast at all.
        4 => HERE,
        _ => STACK,
    };
    hop.mtu = u32::from(question.mtu);
    let [a, b, c, d, e, f] = question.ends;
    hop.ends = [d, e, f, a, b, c];
    hop.local =
        if is_v4 { Address::from_v4_word(question.source[0]) } else { Address { words: question.source } };
}
