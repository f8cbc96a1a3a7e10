//! Network namespaces of the machine, and what must be done inside them.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use windrose_abi::{Address, BalancedRow, ConnectionRow, codes::protocol};

use crate::error::DatapathError;

const SOCK_DESTROY: u16 = 21;
/// Attribute of the request that carries a protocol above 255; unused here.
const DIAG_REQUEST_BYTES: usize = 16 + 56;

/// A socket that is to be ended, as the kernel finds it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    protocol: u8,
    local: Address,
    local_port: u16,
    peer: Address,
    peer_port: u16,
    cookie: u64,
}

impl From<&ConnectionRow> for Ending {
    fn from(row: &ConnectionRow) -> Self {
        Self {
            protocol: protocol::TCP,
            local: row.local,
            local_port: row.local_port,
            peer: row.peer,
            peer_port: row.peer_port,
            cookie: row.cookie,
        }
    }
}

impl From<&BalancedRow> for Ending {
    fn from(row: &BalancedRow) -> Self {
        Self {
            protocol: row.protocol,
            local: row.local,
            local_port: row.local_port,
            peer: row.endpoint_address,
            peer_port: row.endpoint_port,
            cookie: row.cookie,
        }
    }
}

/// Every network namespace that a process or a bind mount below /run/netns holds, once each.
fn namespaces() -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let mut offer = |path: PathBuf| {
        if let Ok(meta) = fs::metadata(&path)
            && seen.insert((meta.dev(), meta.ino()))
        {
            found.push(path);
        }
    };
    offer(PathBuf::from("/proc/self/ns/net"));
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        offer(entry.path());
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            offer(entry.path().join("ns/net"));
        }
    }
    found
}

/// Runs `work` in each network namespace until it answers false, on a thread of its own.
pub(crate) fn in_each<T: Send>(
    mut work: impl FnMut(u64) -> io::Result<(bool, T)> + Send,
) -> Result<Vec<T>, DatapathError> {
    on_a_thread(move || {
        let mut results = Vec::new();
        for path in namespaces() {
            let Ok(cookie) = enter(&path) else { continue };
            let (go_on, result) =
                work(cookie).map_err(DatapathError::call(format!("working in {}", path.display())))?;
            results.push(result);
            if !go_on {
                break;
            }
        }
        Ok(results)
    })?
}

/// Where each network namespace is, by its cookie. The calling thread is in any of them afterwards.
pub(crate) fn by_cookie() -> HashMap<u64, PathBuf> {
    namespaces().into_iter().filter_map(|path| Some((enter(&path).ok()?, path))).collect()
}

/// Runs `work` on a thread that ends after it: one that changed its network namespace is not used
/// for anything else.
pub(crate) fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, DatapathError> {
    let failed = DatapathError::call("working in network namespaces");
    std::thread::scope(|scope| {
        match std::thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, work) {
            Ok(thread) => thread.join().map_err(|_| failed(io::Error::other("thread ended"))),
            Err(error) => Err(failed(error)),
        }
    })
}

/// Moves the calling thread into a network namespace. Answers its cookie.
pub(crate) fn enter(path: &Path) -> io::Result<u64> {
    let file = fs::File::open(path)?;
    // SAFETY: the descriptor is open; only this thread's namespace changes.
    if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    netns_cookie()
}

pub(crate) fn socket(domain: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The cookie of this process' network namespace.
pub(crate) fn own_cookie() -> Result<u64, DatapathError> {
    netns_cookie().map_err(DatapathError::call("asking for the network namespace's cookie"))
}

/// The cookie of this thread's network namespace.
fn netns_cookie() -> io::Result<u64> {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let probe = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let mut cookie = 0_u64;
    let mut length: libc::socklen_t = 8;
    // SAFETY: `cookie` has the 8 bytes that `length` says.
    let result = unsafe {
        libc::getsockopt(
            probe.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Ends connections, each in its network namespace. Says how many were ended; one that has ended
/// by itself is not counted.
pub(crate) fn end_connections(by_netns: &HashMap<u64, Vec<Ending>>) -> Result<usize, DatapathError> {
    let mut left = by_netns.len();
    let ended = in_each(|cookie| {
        let Some(rows) = by_netns.get(&cookie) else { return Ok((true, 0)) };
        left -= 1;
        let diag = socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_SOCK_DIAG)?;
        let mut ended = 0;
        for row in rows {
            ended += usize::from(destroy(&diag, row)?);
        }
        Ok((left != 0, ended))
    })?;
    Ok(ended.into_iter().sum())
}

/// Asks the kernel to abort one socket. False: it is gone already.
fn destroy(diag: &OwnedFd, row: &Ending) -> io::Result<bool> {
    let request = destroy_request(row);
    // SAFETY: the buffer outlives the call and has the length said.
    let sent = unsafe { libc::send(diag.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut answer = [0_u8; 1024];
    // SAFETY: as above.
    let length = unsafe { libc::recv(diag.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) };
    if length < 20 {
        return Err(io::Error::last_os_error());
    }
    // struct nlmsghdr is 16 bytes; an NLMSG_ERROR carries the errno behind it, 0 for success.
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    match -code {
        0 => Ok(true),
        libc::ENOENT => Ok(false),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2` for one socket, named by addresses, ports and
/// cookie.
fn destroy_request(row: &Ending) -> [u8; DIAG_REQUEST_BYTES] {
    const NLM_F_REQUEST: u16 = 1;
    const NLM_F_ACK: u16 = 4;
    let mut m = [0_u8; DIAG_REQUEST_BYTES];
    m[0..4].copy_from_slice(&72_u32.to_ne_bytes());
    m[4..6].copy_from_slice(&SOCK_DESTROY.to_ne_bytes());
    m[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    let is_v4 = row.peer.is_v4() && row.local.is_v4();
    // The kernel looks a v4-mapped pair up among v4 sockets, whatever the family of the socket
    // (`inet_diag_find_one_icsk` in net/ipv4/inet_diag.c), so v4 is asked for as v4.
    m[16] = if is_v4 { 2 } else { 10 };
    m[17] = row.protocol;
    m[20..24].copy_from_slice(&u32::MAX.to_ne_bytes()); // every state
    m[24..26].copy_from_slice(&row.local_port.to_be_bytes());
    m[26..28].copy_from_slice(&row.peer_port.to_be_bytes());
    let (local, peer) = (row.local.to_bytes(), row.peer.to_bytes());
    if is_v4 {
        m[28..32].copy_from_slice(&local[12..]);
        m[44..48].copy_from_slice(&peer[12..]);
    } else {
        m[28..44].copy_from_slice(&local);
        m[44..60].copy_from_slice(&peer);
    }
    // idiag_if 0, then the cookie in two halves.
    m[64..72].copy_from_slice(&row.cookie.to_ne_bytes());
    m
}
