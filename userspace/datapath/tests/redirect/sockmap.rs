//! A socket map whose `sk_msg` program redirects or passes, as a word in a map says. Assembled by
//! hand: the product has no such program.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

const MAP_CREATE: i64 = 0;
const MAP_UPDATE: i64 = 2;
const MAP_DELETE: i64 = 3;
const PROG_LOAD: i64 = 5;
const PROG_ATTACH: i64 = 8;

const ARRAY: u32 = 2;
const SOCKHASH: u32 = 18;
const SK_MSG: u32 = 16;
const SK_MSG_VERDICT: u32 = 7;
const ATTR_WORDS: usize = 20;

/// Sockets by their local port; the program finds a peer by the remote one.
#[derive(Debug)]
pub(crate) struct SockMap {
    sockets: OwnedFd,
    redirects: OwnedFd,
}

impl SockMap {
    /// The map and its program.
    pub(crate) fn new() -> io::Result<Self> {
        let (sockets, redirects) = (map(SOCKHASH, 64)?, map(ARRAY, 1)?);
        let code = program(sockets.as_raw_fd(), redirects.as_raw_fd());
        let license = c"GPL";
        let mut attr = [0; ATTR_WORDS];
        attr[0] = word(SK_MSG, u32::try_from(code.len()).map_err(io::Error::other)?);
        attr[1] = code.as_ptr() as u64;
        attr[2] = license.as_ptr() as u64;
        let program = descriptor(PROG_LOAD, &attr)?;
        attr = [0; ATTR_WORDS];
        attr[0] = word(number(sockets.as_raw_fd()), number(program.as_raw_fd()));
        attr[1] = word(SK_MSG_VERDICT, 0);
        call(PROG_ATTACH, &attr)?;
        Ok(Self { sockets, redirects })
    }

    /// Whether messages of sockets in the map are redirected from now on.
    pub(crate) fn redirect(&self, is_on: bool) -> io::Result<()> {
        update(&self.redirects, 0, u32::from(is_on))
    }

    /// Puts a socket into the map.
    pub(crate) fn insert(&self, port: u16, socket: RawFd) -> io::Result<()> {
        update(&self.sockets, u32::from(port), number(socket))
    }

    /// Takes one out.
    pub(crate) fn remove(&self, port: u16) -> io::Result<()> {
        let key = u32::from(port);
        let mut attr = [0; ATTR_WORDS];
        attr[0] = word(number(self.sockets.as_raw_fd()), 0);
        attr[1] = ptr::from_ref(&key) as u64;
        call(MAP_DELETE, &attr).map(drop)
    }
}

/// `if *redirects[0] { msg_redirect_hash(msg, sockets, msg.remote_port, BPF_F_INGRESS) } SK_PASS`.
fn program(sockets: RawFd, redirects: RawFd) -> Vec<u64> {
    const LOAD_MAP: u8 = 0x18;
    let [sockets, redirects] = [sockets, redirects].map(number);
    vec![
        insn(0xbf, 6, 1, 0, 0),                        // r6 = the message
        insn(0x62, 10, 0, -4, 0),                      // key = 0
        insn(LOAD_MAP, 1, 1, 0, redirects),            // r1 = redirects
        0,                                             //
        insn(0xbf, 2, 10, 0, 0),                       // r2 = &key
        insn(0x07, 2, 0, 0, (-4_i32).cast_unsigned()), //
        insn(0x85, 0, 0, 0, 1),                        // map_lookup_elem
        insn(0x15, 0, 0, 12, 0),                       // none: pass
        insn(0x61, 0, 0, 0, 0),                        // r0 = the word
        insn(0x15, 0, 0, 10, 0),                       // 0: pass
        insn(0x61, 1, 6, 60, 0),                       // r1 = remote port, network order
        insn(0xdc, 1, 0, 0, 32),                       // to host order
        insn(0x63, 10, 1, -4, 0),                      // key = it
        insn(0xbf, 1, 6, 0, 0),                        // r1 = the message
        insn(LOAD_MAP, 2, 1, 0, sockets),              // r2 = sockets
        0,                                             //
        insn(0xbf, 3, 10, 0, 0),                       // r3 = &key
        insn(0x07, 3, 0, 0, (-4_i32).cast_unsigned()), //
        insn(0xb7, 4, 0, 0, 1),                        // r4 = BPF_F_INGRESS
        insn(0x85, 0, 0, 0, 71),                       // msg_redirect_hash
        insn(0xb7, 0, 0, 0, 1),                        // SK_PASS
        insn(0x95, 0, 0, 0, 0),                        // exit
    ]
}

/// `struct bpf_insn`.
fn insn(code: u8, destination: u8, source: u8, offset: i16, immediate: u32) -> u64 {
    let [low, high] = offset.to_le_bytes();
    let [a, b, c, d] = immediate.to_le_bytes();
    u64::from_le_bytes([code, destination | source << 4, low, high, a, b, c, d])
}

fn map(kind: u32, entries: u32) -> io::Result<OwnedFd> {
    let mut attr = [0; ATTR_WORDS];
    (attr[0], attr[1]) = (word(kind, 4), word(4, entries));
    descriptor(MAP_CREATE, &attr)
}

fn update(map: &OwnedFd, key: u32, value: u32) -> io::Result<()> {
    let mut attr = [0; ATTR_WORDS];
    attr[0] = word(number(map.as_raw_fd()), 0);
    attr[1] = ptr::from_ref(&key) as u64;
    attr[2] = ptr::from_ref(&value) as u64;
    call(MAP_UPDATE, &attr).map(drop)
}

fn number(fd: RawFd) -> u32 {
    fd.cast_unsigned()
}

/// Two `u32` that follow each other in `union bpf_attr`.
fn word(first: u32, second: u32) -> u64 {
    u64::from(first) | u64::from(second) << 32
}

fn call(command: i64, attr: &[u64; ATTR_WORDS]) -> io::Result<i64> {
    // SAFETY: the block is as long as said, and what it points to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(attr)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn descriptor(command: i64, attr: &[u64; ATTR_WORDS]) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(call(command, attr)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
