//! Frames that are sent back to where they came from, with another content.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::generated::{
    bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use core::ffi::c_void;
use windrose_engine::unreachable::{self, Because, V4_QUOTE, V6_QUOTE};

/// Shorter frames are not sent on a wire (IEEE 802.3, without the check sequence).
const SHORTEST: u32 = 60;

/// Sends so many words of an answer back, in place of everything behind the Ethernet header and its
/// tags; `XDP_PASS` where there is no room, and then the frame is as it was.
#[inline(never)]
pub(crate) fn send<const WORDS: usize>(
    context: *mut xdp_md,
    network: u32,
    answer: &mut [u16; WORDS],
    words: usize,
) -> u32 {
    let bytes = 2 * words as u32;
    let wanted = network + bytes;
    let wanted = if wanted < SHORTEST { SHORTEST } else { wanted };
    // SAFETY: the helper takes this program's context.
    let present = unsafe { bpf_xdp_get_buff_len(context) } as u32;
    // SAFETY: as above; the kernel checks the room.
    if unsafe { bpf_xdp_adjust_tail(context, wanted as i32 - present as i32) } != 0 {
        return xdp_action::XDP_PASS;
    }
    // From here on the frame is another one: what fails now is dropped.
    if bytes > 2 * WORDS as u32 {
        return xdp_action::XDP_DROP;
    }
    // SAFETY: the answer has the bytes said.
    let is_written = unsafe { bpf_xdp_store_bytes(context, network, answer.as_mut_ptr().cast(), bytes) == 0 };
    if is_written && turn_round(context) { xdp_action::XDP_TX } else { xdp_action::XDP_DROP }
}

/// Where a frame's answer is written: the frames of the stack would not fit.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Room {
    quote: [u16; V6_QUOTE],
    answer: [u16; unreachable::V6_WORDS],
}

/// Answers a packet with an ICMP error; drops it where that cannot be done.
#[inline(never)]
pub(crate) fn unreachable(context: *mut xdp_md, network: u32, is_v4: bool, mtu: u32, room: &mut Room) -> u32 {
    let Room { quote, answer } = room;
    let bytes = if is_v4 { 2 * V4_QUOTE } else { 2 * V6_QUOTE };
    // SAFETY: `quote` has room for them.
    let read =
        unsafe { bpf_xdp_load_bytes(context, network, quote.as_mut_ptr().cast::<c_void>(), bytes as u32) };
    // With options the quotation would end before the ports.
    if read != 0 || is_v4 && quote[0].to_ne_bytes()[0] != 0x45 {
        return xdp_action::XDP_DROP;
    }
    let because = if mtu == 0 { Because::NoPort } else { Because::TooBig(mtu) };
    let words = if is_v4 {
        unreachable::write_v4(answer, quote, because);
        unreachable::V4_WORDS
    } else {
        unreachable::write_v6(answer, quote, because);
        unreachable::V6_WORDS
    };
    match send(context, network, answer, words) {
        xdp_action::XDP_TX => xdp_action::XDP_TX,
        _ => xdp_action::XDP_DROP,
    }
}

/// Sends the frame to where it came from.
#[inline(never)]
fn turn_round(context: *mut xdp_md) -> bool {
    let mut ends = [0_u16; 6];
    // SAFETY: `ends` has room for 12 bytes.
    if unsafe { bpf_xdp_load_bytes(context, 0, ends.as_mut_ptr().cast(), 12) } != 0 {
        return false;
    }
    let mut turned = [ends[3], ends[4], ends[5], ends[0], ends[1], ends[2]];
    // SAFETY: `turned` has 12 bytes.
    unsafe { bpf_xdp_store_bytes(context, 0, turned.as_mut_ptr().cast(), 12) == 0 }
}
