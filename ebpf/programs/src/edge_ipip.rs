//! A packet inside another one (RFC 2003, RFC 2473).

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use windrose_abi::{ForwardEndpoint, ForwardHop};
use windrose_engine::forward::Delta;

use crate::edge_frame::Frame;
use crate::edge_translate::put_ends;

const HOPS: u8 = 64;
const IPV4_INSIDE: u8 = 4;
const IPV6_INSIDE: u8 = 41;
const NETWORK: u32 = 14;

/// Puts the untagged frame's packet into one to an endpoint. `None`: nobody may see the frame any more.
#[inline(always)]
pub(crate) fn encapsulate(
    context: *mut xdp_md,
    is_v4: bool,
    endpoint: &ForwardEndpoint,
    hop: &ForwardHop,
) -> Option<()> {
    let more = if is_v4 { 20 } else { 40 };
    // SAFETY: the helper takes this program's context; the kernel checks the room.
    if unsafe { bpf_xdp_adjust_head(context, -more) } != 0 {
        return None;
    }
    let frame = Frame::of(context);
    put_ends(&frame, &hop.ends)?;
    if is_v4 { outer_v4(&frame, endpoint, hop) } else { outer_v6(&frame, endpoint, hop) }
}

#[inline(always)]
fn outer_v4(frame: &Frame, endpoint: &ForwardEndpoint, hop: &ForwardHop) -> Option<()> {
    let first = frame.get::<u16>(NETWORK + 20)?;
    let bytes = frame.get::<u16>(NETWORK + 22)?;
    let class = first.to_ne_bytes()[1];
    let head = u16::from_ne_bytes([0x45, class]);
    let total = u16::from_be(bytes).wrapping_add(20).to_be();
    let whole = 0x4000_u16.to_be(); // Not to be fragmented.
    let next = u16::from_ne_bytes([HOPS, IPV4_INSIDE]);
    let (from, to) = (hop.local.words[3], endpoint.address.words[3]);
    // From a header of zeros, whose checksum is all ones.
    let check = Delta::NONE
        .word(0, head)
        .word(0, total)
        .word(0, whole)
        .word(0, next)
        .words(0, from)
        .words(0, to)
        .applied(0xffff);
    frame.put(12, 0x0800_u16.to_be())?;
    frame.put(NETWORK, head)?;
    frame.put(NETWORK + 2, total)?;
    frame.put(NETWORK + 4, 0_u16)?;
    frame.put(NETWORK + 6, whole)?;
    frame.put(NETWORK + 8, next)?;
    frame.put(NETWORK + 10, check)?;
    frame.put(NETWORK + 12, from)?;
    frame.put(NETWORK + 16, to)
}

#[inline(always)]
fn outer_v6(frame: &Frame, endpoint: &ForwardEndpoint, hop: &ForwardHop) -> Option<()> {
    let head = frame.get::<u32>(NETWORK + 40)?;
    let bytes = frame.get::<u16>(NETWORK + 44)?;
    let total = u16::from_be(bytes).wrapping_add(40).to_be();
    frame.put(12, 0x86dd_u16.to_be())?;
    frame.put(NETWORK, head)?;
    frame.put(NETWORK + 4, total)?;
    frame.put(NETWORK + 6, u16::from_ne_bytes([IPV6_INSIDE, HOPS]))?;
    for n in 0..4 {
        frame.put(NETWORK + 8 + 4 * n as u32, hop.local.words[n])?;
        frame.put(NETWORK + 24 + 4 * n as u32, endpoint.address.words[n])?;
    }
    Some(())
}
