//! Raw bpf(2) calls that aya 0.14 does not offer: links of any kind, link update, iterators, batches.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

pub(crate) mod batch;
pub(crate) mod xdp;

const MAP_LOOKUP: u32 = 1;
const MAP_UPDATE: u32 = 2;
const MAP_DELETE: u32 = 3;
const MAP_NEXT_KEY: u32 = 4;
const PROG_LOAD: u32 = 5;
const OBJ_PIN: u32 = 6;
const OBJ_GET: u32 = 7;
const PROG_TEST_RUN: u32 = 10;
const PROG_GET_FD_BY_ID: u32 = 13;
const MAP_BY_ID: u32 = 14;
const OBJ_INFO: u32 = 15;
const RAW_TRACEPOINT_OPEN: u32 = 17;
const MAP_UPDATE_BATCH: u32 = 26;
const LINK_CREATE: u32 = 28;
const LINK_UPDATE: u32 = 29;
const ITER_CREATE: u32 = 33;
const LINK_DETACH: u32 = 34;
const ENABLE_STATS: u32 = 32;

/// `union bpf_attr` is 144 bytes and more on newer kernels; unused bytes must be zero.
/// Elements in one batch call.
const BATCH: usize = 4096;

const ATTR_BYTES: usize = 152;

/// An attribute block that fields are written into by offset.
#[repr(C, align(8))]
struct Attr([u8; ATTR_BYTES]);

impl Attr {
    const fn new() -> Self {
        Self([0; ATTR_BYTES])
    }

    fn u32(mut self, at: usize, value: u32) -> Self {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn u64(mut self, at: usize, value: u64) -> Self {
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn fd(self, at: usize, fd: RawFd) -> Self {
        self.u32(at, u32::from_ne_bytes(fd.to_ne_bytes()))
    }

    fn call(&mut self, command: u32) -> io::Result<i64> {
        // SAFETY: the block outlives the call and is as long as said; every pointer written into it
        // by the functions below outlives the call, too.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), ATTR_BYTES) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
    }

    fn call_for_fd(&mut self, command: u32) -> io::Result<OwnedFd> {
        let fd = self.call(command)?;
        let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the kernel has just given us this descriptor.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

fn address_of<T>(value: &T) -> u64 {
    std::ptr::from_ref(value) as u64
}

/// Attaches a program to a cgroup or another target that is a file descriptor.
pub(crate) fn link_create(
    program: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    Attr::new()
        .fd(0, program.as_raw_fd())
        .fd(4, target.as_raw_fd())
        .u32(8, attach_type)
        .call_for_fd(LINK_CREATE)
}

/// Makes an iterator, over the elements of a map if there is one.
pub(crate) fn iterator_link(program: BorrowedFd<'_>, map: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    const TRACE_ITER: u32 = 28;
    let attr = Attr::new().fd(0, program.as_raw_fd()).u32(8, TRACE_ITER);
    let Some(map) = map else { return { attr }.call_for_fd(LINK_CREATE) };
    // union bpf_iter_link_info { struct { __u32 map_fd; } map; ... }
    let info: [u32; 4] = [u32::from_ne_bytes(map.as_raw_fd().to_ne_bytes()), 0, 0, 0];
    attr.u64(16, address_of(&info)).u32(24, 16).call_for_fd(LINK_CREATE)
}

/// Starts one walk of an iterator; reading the descriptor to its end runs it.
pub(crate) fn iterator_start(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Attr::new().fd(0, link.as_raw_fd()).call_for_fd(ITER_CREATE)
}

/// Puts another program behind a link, atomically.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    Attr::new().fd(0, link.as_raw_fd()).fd(4, program.as_raw_fd()).call(LINK_UPDATE).map(drop)
}

/// The id of the program behind a link: `prog_id` of `struct bpf_link_info`.
pub(crate) fn linked_program(link: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = [0_u32; 32];
    Attr::new()
        .fd(0, link.as_raw_fd())
        .u32(4, 128)
        .u64(8, std::ptr::from_mut(&mut info) as u64)
        .call(OBJ_INFO)?;
    Ok(info[2])
}

/// Takes a link off its hook at once; dropping its last reference would do so some time later.
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    Attr::new().fd(0, link.as_raw_fd()).call(LINK_DETACH).map(drop)
}

/// Pins a program, link or map.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    Attr::new().u64(0, path.as_ptr() as u64).fd(8, object.as_raw_fd()).call(OBJ_PIN).map(drop)
}

/// Opens a pinned object.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    Attr::new().u64(0, path.as_ptr() as u64).call_for_fd(OBJ_GET)
}

/// Reads one element; `None` if there is none.
pub(crate) fn map_lookup<K: Copy, V: Copy>(map: BorrowedFd<'_>, key: &K, zero: V) -> io::Result<Option<V>> {
    let mut value = zero;
    let result = Attr::new()
        .fd(0, map.as_raw_fd())
        .u64(8, address_of(key))
        .u64(16, std::ptr::from_mut(&mut value) as u64)
        .call(MAP_LOOKUP);
    match result {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes one element.
pub(crate) fn map_update<K: Copy, V: Copy>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    Attr::new()
        .fd(0, map.as_raw_fd())
        .u64(8, address_of(key))
        .u64(16, address_of(value))
        .call(MAP_UPDATE)
        .map(drop)
}

/// Removes one element; one that is not there is no error.
pub(crate) fn map_delete<K: Copy>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    match Attr::new().fd(0, map.as_raw_fd()).u64(8, address_of(key)).call(MAP_DELETE) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The key after another one (`None`: the first); `None` at the end.
pub(crate) fn map_next_key<K: Copy>(map: BorrowedFd<'_>, key: Option<&K>, zero: K) -> io::Result<Option<K>> {
    let mut next = zero;
    let result = Attr::new()
        .fd(0, map.as_raw_fd())
        .u64(8, key.map_or(0, address_of))
        .u64(16, std::ptr::from_mut(&mut next) as u64)
        .call(MAP_NEXT_KEY);
    match result {
        Ok(_) => Ok(Some(next)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads one element of a size that only the map knows, in words of 8 bytes.
pub(crate) fn map_lookup_words(map: BorrowedFd<'_>, key: u32, words: &mut [u64]) -> io::Result<()> {
    Attr::new()
        .fd(0, map.as_raw_fd())
        .u64(8, address_of(&key))
        .u64(16, words.as_mut_ptr() as u64)
        .call(MAP_LOOKUP)
        .map(drop)
}

/// `struct bpf_prog_info`, as far as it is read here.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ProgramInfo {
    pub(crate) bytes: [u8; 232],
}

impl ProgramInfo {
    fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]])
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) | u64::from(self.u32(at + 4)) << 32
    }

    /// The program's id.
    pub(crate) fn id(&self) -> u32 {
        self.u32(4)
    }

    /// Bytes of machine code.
    pub(crate) fn machine_code_bytes(&self) -> u32 {
        self.u32(16)
    }

    /// Instructions that the verifier left, 8 bytes each.
    pub(crate) fn instructions(&self) -> u32 {
        self.u32(20) / 8
    }

    /// Time spent in it, nanoseconds, while statistics were on.
    pub(crate) fn run_time_ns(&self) -> u64 {
        self.u64(192)
    }

    /// How often it ran, while statistics were on.
    pub(crate) fn run_count(&self) -> u64 {
        self.u64(200)
    }

    /// Instructions that the verifier walked.
    pub(crate) fn verified_instructions(&self) -> u32 {
        self.u32(216)
    }
}

/// Runs a packet program once on a frame, on behalf of the calling task. Answers its return code.
pub(crate) fn test_run(program: BorrowedFd<'_>, frame: &[u8]) -> io::Result<i32> {
    let mut out = [0_u8; 4096];
    let mut attr = Attr::new()
        .fd(0, program.as_raw_fd())
        .u32(8, u32::try_from(frame.len()).map_err(io::Error::other)?)
        .u32(12, 4096)
        .u64(16, frame.as_ptr() as u64)
        .u64(24, out.as_mut_ptr() as u64)
        .u32(32, 1);
    attr.call(PROG_TEST_RUN)?;
    let code = [attr.0[4], attr.0[5], attr.0[6], attr.0[7]];
    Ok(i32::from_ne_bytes(code))
}

/// Runs a packet program so many times on a frame; the nanoseconds of a run, in the mean.
pub(crate) fn test_run_cost(program: BorrowedFd<'_>, frame: &[u8], runs: u32) -> io::Result<u32> {
    let mut attr = Attr::new()
        .fd(0, program.as_raw_fd())
        .u32(8, u32::try_from(frame.len()).map_err(io::Error::other)?)
        .u64(16, frame.as_ptr() as u64)
        .u32(32, runs);
    attr.call(PROG_TEST_RUN)?;
    Ok(u32::from_ne_bytes([attr.0[36], attr.0[37], attr.0[38], attr.0[39]]))
}

/// A program by its id.
pub(crate) fn program_of(id: u32) -> io::Result<OwnedFd> {
    Attr::new().u32(0, id).call_for_fd(PROG_GET_FD_BY_ID)
}

/// What the kernel knows of a program.
pub(crate) fn program_info(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    let mut info = ProgramInfo { bytes: [0; 232] };
    Attr::new()
        .fd(0, program.as_raw_fd())
        .u32(4, 232)
        .u64(8, std::ptr::from_mut(&mut info) as u64)
        .call(OBJ_INFO)?;
    Ok(info)
}

/// Ids of the maps that a program uses, at most 64.
pub(crate) fn program_maps(program: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; 64];
    let mut info = ProgramInfo { bytes: [0; 232] };
    info.bytes[52..56].copy_from_slice(&64_u32.to_ne_bytes());
    info.bytes[56..64].copy_from_slice(&(ids.as_mut_ptr() as u64).to_ne_bytes());
    Attr::new()
        .fd(0, program.as_raw_fd())
        .u32(4, 232)
        .u64(8, std::ptr::from_mut(&mut info) as u64)
        .call(OBJ_INFO)?;
    ids.truncate(info.u32(52) as usize);
    Ok(ids)
}

/// Opens a map by its id.
pub(crate) fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    Attr::new().u32(0, id).call_for_fd(MAP_BY_ID)
}

/// `struct bpf_map_info`, as far as it is read here.
#[derive(Debug, Clone)]
pub(crate) struct MapInfo {
    pub(crate) id: u32,
    pub(crate) key_bytes: u32,
    pub(crate) value_bytes: u32,
    /// Entries it has room for.
    pub(crate) room: u32,
    /// At most 15 bytes of it.
    pub(crate) name: String,
}

/// What the kernel knows of a map.
pub(crate) fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut info = [0_u32; 20];
    Attr::new()
        .fd(0, map.as_raw_fd())
        .u32(4, 80)
        .u64(8, std::ptr::from_mut(&mut info) as u64)
        .call(OBJ_INFO)?;
    let name: Vec<u8> = info[6..10].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    Ok(MapInfo {
        id: info[1],
        key_bytes: info[2],
        value_bytes: info[3],
        room: info[4],
        name: String::from_utf8_lossy(&name[..end]).into_owned(),
    })
}

/// A program for packets that passes every one and does nothing else.
pub(crate) fn load_empty_program() -> io::Result<OwnedFd> {
    const CGROUP_SKB: u32 = 8;
    // mov r0, 1; exit
    let instructions: [u64; 2] = [0x0000_0001_0000_00b7, 0x0000_0000_0000_0095];
    Attr::new()
        .u32(0, CGROUP_SKB)
        .u32(4, 2)
        .u64(8, address_of(&instructions))
        .u64(16, c"GPL".as_ptr() as u64)
        .call_for_fd(PROG_LOAD)
}

/// Bytes of memory that the kernel accounts for a map or program: `memlock` of its fdinfo.
pub(crate) fn memory_bytes(object: BorrowedFd<'_>) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", object.as_raw_fd()))?;
    let value = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    value
        .and_then(|value| value.trim().parse().ok())
        .ok_or_else(|| io::Error::other("the kernel's fdinfo of a BPF object has no `memlock`"))
}

/// Turns the kernel's run-time statistics on for as long as the descriptor lives.
pub(crate) fn enable_statistics() -> io::Result<OwnedFd> {
    Attr::new().u32(0, 0).call_for_fd(ENABLE_STATS)
}

/// Waits until no program that was running at the call runs any more.
pub(crate) fn wait_for_programs() -> io::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: the call takes no pointers. The global command waits for an RCU grace period, and
    // programs on sockets run inside RCU read-side sections.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Attaches a raw tracepoint program.
pub(crate) fn raw_tracepoint_link(
    program: BorrowedFd<'_>,
    tracepoint: &std::ffi::CStr,
) -> io::Result<OwnedFd> {
    Attr::new().u64(0, tracepoint.as_ptr() as u64).fd(8, program.as_raw_fd()).call_for_fd(RAW_TRACEPOINT_OPEN)
}

/// Writes many elements; says how many were written before a failure.
pub(crate) fn map_update_batch<K: Copy, V: Copy>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> io::Result<()> {
    debug_assert_eq!(keys.len(), values.len());
    let mut done = 0;
    while done < keys.len() {
        let count = u32::try_from((keys.len() - done).min(BATCH)).unwrap_or(u32::MAX);
        let mut attr = Attr::new()
            .u64(16, keys[done..].as_ptr() as u64)
            .u64(24, values[done..].as_ptr() as u64)
            .u32(32, count)
            .fd(36, map.as_raw_fd());
        attr.call(MAP_UPDATE_BATCH)?;
        done += count as usize;
    }
    Ok(())
}

/// Reads every element of a map. Elements that come or go meanwhile may be missed or not.
pub(crate) fn map_entries<K: Copy, V: Copy>(
    map: BorrowedFd<'_>,
    key: K,
    value: V,
) -> io::Result<Vec<(K, V)>> {
    let mut entries = Vec::new();
    let mut last = None;
    while let Some(next) = map_next_key(map, last.as_ref(), key)? {
        if let Some(found) = map_lookup(map, &next, value)? {
            entries.push((next, found));
        }
        last = Some(next);
    }
    Ok(entries)
}

/// Runs an iterator to its end and reads what it wrote: values of one type.
pub(crate) fn iterate<V: Copy + Default>(link: &OwnedFd) -> io::Result<Vec<V>> {
    use std::io::Read as _;
    use std::os::fd::AsFd as _;
    let mut bytes = Vec::new();
    std::fs::File::from(iterator_start(link.as_fd())?).read_to_end(&mut bytes)?;
    let values = bytes
        .chunks_exact(size_of::<V>())
        // SAFETY: the chunk has the size of a `V`, which the callers instantiate with layouts only,
        // and the read does not ask for alignment.
        .map(|chunk| unsafe { chunk.as_ptr().cast::<V>().read_unaligned() })
        .collect();
    Ok(values)
}
