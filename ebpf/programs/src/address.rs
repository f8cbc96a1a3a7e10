//! The address that a process names in connect, sendmsg and their like, and how it is changed.

use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};
use windrose_abi::Address;

/// The family of a hook: each may touch its own words of the context only.
pub(crate) trait Family {
    fn address(ctx: *mut bpf_sock_addr) -> Address;
    fn set_address(ctx: *mut bpf_sock_addr, address: &Address);
}

/// `connect4` and its like.
pub(crate) struct V4;

/// `connect6` and its like; v4-mapped addresses come here, too.
pub(crate) struct V6;

impl Family for V4 {
    #[inline(always)]
    fn address(ctx: *mut bpf_sock_addr) -> Address {
        // SAFETY: the kernel passes a live context. Volatile: it may have been changed before.
        Address::from_v4_word(unsafe { core::ptr::read_volatile(&raw const (*ctx).user_ip4) })
    }

    #[inline(always)]
    fn set_address(ctx: *mut bpf_sock_addr, address: &Address) {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(&raw mut (*ctx).user_ip4, address.words[3]) };
    }
}

impl Family for V6 {
    #[inline(always)]
    fn address(ctx: *mut bpf_sock_addr) -> Address {
        let mut words = [0; 4];
        // Word by word: the verifier admits only 4-byte reads of this field.
        for (n, word) in words.iter_mut().enumerate() {
            // SAFETY: as above.
            *word = unsafe { core::ptr::read_volatile(&raw const (*ctx).user_ip6[n]) };
        }
        Address { words }
    }

    #[inline(always)]
    fn set_address(ctx: *mut bpf_sock_addr, address: &Address) {
        for (n, word) in address.words.iter().enumerate() {
            // SAFETY: as above.
            unsafe { core::ptr::write_volatile(&raw mut (*ctx).user_ip6[n], *word) };
        }
    }
}

/// Host order.
#[inline(always)]
pub(crate) fn port_of(ctx: *mut bpf_sock_addr) -> u16 {
    // SAFETY: as above.
    u16::from_be(unsafe { core::ptr::read_volatile(&raw const (*ctx).user_port) } as u16)
}

#[inline(always)]
pub(crate) fn protocol_of(ctx: *mut bpf_sock_addr) -> u8 {
    // SAFETY: as above.
    unsafe { (*ctx).protocol as u8 }
}

/// The socket; the hooks run for full sockets only.
#[inline(always)]
pub(crate) fn socket(ctx: *mut bpf_sock_addr) -> Option<*mut bpf_sock> {
    // SAFETY: as above.
    let sk = unsafe { (*ctx).__bindgen_anon_1.sk };
    (!sk.is_null()).then_some(sk)
}

/// Puts an address and a port in the place of those that the process named or is shown.
#[inline(always)]
pub(crate) fn give<F: Family>(ctx: *mut bpf_sock_addr, address: &Address, port: u16) {
    F::set_address(ctx, address);
    // SAFETY: as above.
    unsafe { core::ptr::write_volatile(&raw mut (*ctx).user_port, u32::from(port.to_be())) };
}
