//! Answers a SYN with a cookie, before the listener spends anything on it.
//!
//! The kernel makes the cookie and remembers that the listener is flooded (`tcp_v4_get_syncookie` in
//! net/ipv4/tcp_ipv4.c), so that it takes the ACK that brings the cookie back. It makes none for a
//! listener whose queue has room, unless `net.ipv4.tcp_syncookies` is 2: then the SYN goes on.

use aya_ebpf::bindings::{bpf_sock_tuple, xdp_action, xdp_md};
use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::generated::{
    bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_gen_syncookie, bpf_xdp_load_bytes,
};
use aya_ebpf::macros::btf_map;
use core::ffi::c_void;
use windrose_abi::codes::protocol;
use windrose_engine::cookie::{V4_WORDS, V6_WORDS, answer_v4, answer_v6};

use crate::edge_answer;

const LISTEN: u32 = 10; // TCP_LISTEN
const CURRENT_NETNS: u64 = u64::MAX; // BPF_F_CURRENT_NETNS
/// A TCP header with all options is 60 bytes; the verifier cannot see that there are not more.
const TCP_WORDS: usize = 40;

/// In a map: the frames of the stack would not fit.
#[btf_map]
static EDGE_SYN: PerCpuArray<Syn, 1> = PerCpuArray::new();

/// The headers of a SYN, in words as they stand in memory.
#[repr(C)]
#[derive(Clone, Copy)]
struct Syn {
    ip: [u16; 20],
    tcp: [u16; TCP_WORDS],
    tcp_bytes: u32,
    /// Source, destination, source port, destination port: `struct bpf_sock_tuple`.
    tuple: [u16; 18],
}

/// Answers the SYN whose IP header is at `network`; `XDP_PASS` where it cannot or need not.
#[inline(never)]
pub(crate) fn answer(context: *mut xdp_md, network: u32, is_v4: bool) -> u32 {
    let Some(syn) = EDGE_SYN.get_ptr_mut(0) else { return xdp_action::XDP_PASS };
    // SAFETY: this processor's own; a program is not interrupted by itself.
    let syn = unsafe { &mut *syn };
    // One after the other, not one inside the other: their frames would not fit.
    if !read(context, network, is_v4, syn) {
        return xdp_action::XDP_PASS;
    }
    let made = cookie(context, is_v4, syn);
    if made <= 0 {
        return xdp_action::XDP_PASS;
    }
    send(context, network, is_v4, syn, made)
}

/// Reads the headers. False: they have another shape than that of nearly every SYN.
#[inline(never)]
fn read(context: *mut xdp_md, network: u32, is_v4: bool, syn: &mut Syn) -> bool {
    let ip = syn.ip.as_mut_ptr().cast::<c_void>();
    let ip_bytes = if is_v4 { 20 } else { 40 };
    // SAFETY: `ip` has room for 40 bytes.
    if unsafe { bpf_xdp_load_bytes(context, network, ip, ip_bytes) } != 0 {
        return false;
    }
    let ports = network + ip_bytes;
    let mut offset = [0_u8; 2];
    // SAFETY: `offset` has room for 2 bytes.
    if unsafe { bpf_xdp_load_bytes(context, ports + 12, offset.as_mut_ptr().cast(), 2) } != 0 {
        return false;
    }
    let words = u32::from(offset[0] >> 4);
    if words < 5 {
        return false;
    }
    let options = words - 5;
    // Read from memory, so that LLVM does not fold the sum and hide its lower bound.
    // SAFETY: a live local.
    let tcp_bytes = 20 + (unsafe { core::ptr::read_volatile(&raw const options) } & 0xf) * 4;
    // SAFETY: that is at most the 80 bytes of `tcp`.
    if unsafe { bpf_xdp_load_bytes(context, ports, syn.tcp.as_mut_ptr().cast(), tcp_bytes) } != 0 {
        return false;
    }
    syn.tcp_bytes = tcp_bytes;
    // No options, no extension headers.
    if is_v4 {
        syn.tuple[..4].copy_from_slice(&syn.ip[6..10]);
        syn.tuple[4..6].copy_from_slice(&syn.tcp[..2]);
        syn.ip[0].to_ne_bytes()[0] == 0x45 && syn.ip[4].to_ne_bytes()[1] == protocol::TCP
    } else {
        syn.tuple[..16].copy_from_slice(&syn.ip[4..20]);
        syn.tuple[16..18].copy_from_slice(&syn.tcp[..2]);
        syn.ip[3].to_ne_bytes()[0] == protocol::TCP
    }
}

/// The cookie of the listener that a SYN is for, the segment size that it stands for above it; 0 or
/// less if there is no listener or it wants none.
#[inline(never)]
fn cookie(context: *mut xdp_md, is_v4: bool, syn: &mut Syn) -> i64 {
    let tuple = syn.tuple.as_mut_ptr().cast::<bpf_sock_tuple>();
    let (tuple_bytes, ip_bytes) = if is_v4 { (12, 20) } else { (36, 40) };
    // SAFETY: the tuple has as many bytes, by which the kernel knows its family.
    let sk = unsafe { bpf_skc_lookup_tcp(context.cast::<c_void>(), tuple, tuple_bytes, CURRENT_NETNS, 0) };
    if sk.is_null() {
        return 0;
    }
    let tcp_bytes = 20 + (syn.tcp_bytes.wrapping_sub(20) & 0x3f);
    // SAFETY: checked above; the reference is held.
    let made = if unsafe { (*sk).state } == LISTEN {
        let (ip, tcp) = (syn.ip.as_mut_ptr(), syn.tcp.as_mut_ptr());
        // SAFETY: both headers have the bytes said.
        unsafe { bpf_tcp_gen_syncookie(sk.cast(), ip.cast(), ip_bytes, tcp.cast(), tcp_bytes) }
    } else {
        0
    };
    // SAFETY: the reference from above, given back once.
    unsafe { bpf_sk_release(sk.cast()) };
    made
}

/// Turns the frame round, puts the answer into it and sends it back.
#[inline(never)]
fn send(context: *mut xdp_md, network: u32, is_v4: bool, syn: &Syn, made: i64) -> u32 {
    let mut answer = [0; V6_WORDS];
    let (cookie, mss) = (made as u32, (made >> 32) as u16);
    let Some(tcp) = syn.tcp.first_chunk() else { return xdp_action::XDP_PASS };
    let words = if is_v4 {
        answer_v4(&mut answer, &syn.ip, tcp, cookie, mss);
        V4_WORDS
    } else {
        answer_v6(&mut answer, &syn.ip, tcp, cookie, mss);
        V6_WORDS
    };
    edge_answer::send(context, network, &mut answer, words)
}
