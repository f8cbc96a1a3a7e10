//! Links of programs on interfaces, and what a link of another kind would be in the way of.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use super::{Attr, LINK_CREATE, OBJ_INFO, PROG_TEST_RUN, ProgramInfo, program_info, program_of};

const ATTACH_XDP: u32 = 37;
const ATTACH_TCX_INGRESS: u32 = 46;
const ATTACH_TCX_EGRESS: u32 = 47;

/// The kernel's generic hook, behind the allocation of a socket buffer.
pub(crate) const SKB_MODE: u32 = 2;
/// The driver's hook.
pub(crate) const DRIVER_MODE: u32 = 4;

/// Attaches a program to an interface of this thread's network namespace.
pub(crate) fn link_create(program: BorrowedFd<'_>, ifindex: u32, mode: u32) -> io::Result<OwnedFd> {
    Attr::new()
        .fd(0, program.as_raw_fd())
        .u32(4, ifindex)
        .u32(8, ATTACH_XDP)
        .u32(12, mode)
        .call_for_fd(LINK_CREATE)
}

/// Attaches a program of the traffic control hook, behind those that are there.
pub(crate) fn tcx_link_create(
    program: BorrowedFd<'_>,
    ifindex: u32,
    is_ingress: bool,
) -> io::Result<OwnedFd> {
    Attr::new()
        .fd(0, program.as_raw_fd())
        .u32(4, ifindex)
        .u32(8, if is_ingress { ATTACH_TCX_INGRESS } else { ATTACH_TCX_EGRESS })
        .call_for_fd(LINK_CREATE)
}

/// The interface that a link is attached to; 0: it is gone, and the link with it.
pub(crate) fn link_interface(link: BorrowedFd<'_>) -> io::Result<u32> {
    // struct bpf_link_info: type, id, prog_id, padding, then for XDP and TCX the interface.
    let mut info = [0_u32; 16];
    Attr::new()
        .fd(0, link.as_raw_fd())
        .u32(4, 64)
        .u64(8, std::ptr::from_mut(&mut info) as u64)
        .call(OBJ_INFO)?;
    Ok(info[4])
}

/// The name of a program, whoever loaded it.
pub(crate) fn program_name(id: u32) -> io::Result<String> {
    Ok(name_of(&program_info(program_of(id)?.as_fd())?))
}

fn name_of(info: &ProgramInfo) -> String {
    let name = &info.bytes[64..80];
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end]).into_owned()
}

/// What a test run gave.
#[derive(Debug)]
pub(crate) struct TestRun {
    /// The last return code.
    pub(crate) code: u32,
    /// The mean time of a run.
    pub(crate) mean_ns: u32,
    /// The frame as it was left.
    pub(crate) frame: Vec<u8>,
}

/// Runs a program on a frame so many times.
pub(crate) fn test_run(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> io::Result<TestRun> {
    let mut out = vec![0_u8; 4096];
    let mut attr = Attr::new()
        .fd(0, program.as_raw_fd())
        .u32(8, u32::try_from(frame.len()).map_err(io::Error::other)?)
        .u32(12, 4096)
        .u64(16, frame.as_ptr() as u64)
        .u64(24, out.as_mut_ptr() as u64)
        .u32(32, repeat);
    attr.call(PROG_TEST_RUN)?;
    let word = |at: usize| u32::from_ne_bytes([attr.0[at], attr.0[at + 1], attr.0[at + 2], attr.0[at + 3]]);
    out.truncate(word(12) as usize);
    Ok(TestRun { code: word(4), mean_ns: word(36), frame: out })
}
