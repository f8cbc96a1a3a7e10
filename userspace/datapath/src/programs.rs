//! The programs, where each is attached, and how a new version takes the place of an old one.

use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use aya::programs::Program;
use aya::{Btf, Ebpf};

use crate::error::DatapathError;
use crate::machine::Machine;
use crate::pins::Pins;
use crate::sys;

/// Where a program is attached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hook {
    /// The cgroup v2 root, with this attach type of bpf(2).
    Cgroup(u32),
    /// A raw tracepoint.
    RawTracepoint(&'static CStr),
    /// An iterator: started when needed, never pinned.
    Iterator(&'static str),
}

impl Hook {
    /// For people: the kind of hook and which of them.
    fn text(self) -> String {
        match self {
            Self::Cgroup(attach_type) => match attach_type {
                0 => "cgroup ingress".to_owned(),
                1 => "cgroup egress".to_owned(),
                3 => "cgroup sock_ops".to_owned(),
                10 => "cgroup connect4".to_owned(),
                11 => "cgroup connect6".to_owned(),
                14 => "cgroup sendmsg4".to_owned(),
                15 => "cgroup sendmsg6".to_owned(),
                19 => "cgroup recvmsg4".to_owned(),
                20 => "cgroup recvmsg6".to_owned(),
                29 => "cgroup getpeername4".to_owned(),
                30 => "cgroup getpeername6".to_owned(),
                other => format!("cgroup attach type {other}"),
            },
            Self::RawTracepoint(name) => format!("raw tracepoint {}", name.to_string_lossy()),
            Self::Iterator(kind) => format!("iterator {kind}"),
        }
    }
}

/// A program and its hook.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) hook: Hook,
}

/// Every program, in the order in which they are attached: what reads state comes after what
/// writes it.
pub(crate) const PROGRAMS: &[Spec] = &[
    Spec { name: "cgroup_made", hook: Hook::RawTracepoint(c"cgroup_mkdir") },
    Spec { name: "cgroup_removed", hook: Hook::RawTracepoint(c"cgroup_rmdir") },
    Spec { name: "connection_life", hook: Hook::Cgroup(3) },
    Spec { name: "connect4", hook: Hook::Cgroup(10) },
    Spec { name: "connect6", hook: Hook::Cgroup(11) },
    Spec { name: "sendmsg4", hook: Hook::Cgroup(14) },
    Spec { name: "sendmsg6", hook: Hook::Cgroup(15) },
    Spec { name: "recvmsg4", hook: Hook::Cgroup(19) },
    Spec { name: "recvmsg6", hook: Hook::Cgroup(20) },
    Spec { name: "getpeername4", hook: Hook::Cgroup(29) },
    Spec { name: "getpeername6", hook: Hook::Cgroup(30) },
    Spec { name: "packet_ingress", hook: Hook::Cgroup(0) },
    Spec { name: "packet_egress", hook: Hook::Cgroup(1) },
    Spec { name: "walk_connections", hook: Hook::Iterator("bpf_sk_storage_map") },
    Spec { name: "walk_balanced", hook: Hook::Iterator("bpf_sk_storage_map") },
    Spec { name: "adopt_connections", hook: Hook::Iterator("tcp") },
];

/// What the kernel says of one program.
#[derive(Debug, Clone)]
pub struct ProgramStatus {
    /// Its name.
    pub name: &'static str,
    /// Where it is attached, for people.
    pub hook: String,
    /// Its id in the kernel.
    pub id: u32,
    /// Instructions that the verifier walked.
    pub verified_instructions: u32,
    /// Instructions that it has.
    pub instructions: u32,
    /// Bytes of machine code that the kernel made of them.
    pub machine_code_bytes: u32,
    /// How often it ran while statistics were on.
    pub run_count: u64,
    /// Time spent in it while statistics were on, nanoseconds.
    pub run_time_ns: u64,
}

/// Loads every program; nothing is attached yet.
pub(crate) fn load(ebpf: &mut Ebpf) -> Result<(), DatapathError> {
    let btf = Btf::from_sys_fs().map_err(|error| DatapathError::Kernel {
        missing: format!("readable BTF ({error})"),
        remedy: "use a kernel built with CONFIG_DEBUG_INFO_BTF=y".to_owned(),
    })?;
    for spec in PROGRAMS {
        let program =
            ebpf.program_mut(spec.name).ok_or(DatapathError::Object { what: "program", name: spec.name })?;
        let loaded = match (program, spec.hook) {
            (Program::CgroupSockAddr(program), _) => program.load(),
            (Program::CgroupSkb(program), _) => program.load(),
            (Program::SockOps(program), _) => program.load(),
            (Program::RawTracePoint(program), _) => program.load(),
            (Program::Iter(program), Hook::Iterator(kind)) => program.load(kind, &btf),
            _ => return Err(DatapathError::Object { what: "program of the expected type", name: spec.name }),
        };
        loaded.map_err(|source| DatapathError::Program { program: spec.name, source })?;
    }
    Ok(())
}

/// The descriptor of a loaded program.
pub(crate) fn descriptor<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<BorrowedFd<'a>, DatapathError> {
    let program = ebpf.program(name).ok_or(DatapathError::Object { what: "program", name })?;
    let fd = program.fd().map_err(|source| DatapathError::Program { program: name, source })?;
    Ok(fd.as_fd())
}

/// Attaches every program, or puts it behind the link that is pinned already: at the end exactly
/// one of each is attached.
pub(crate) fn attach(ebpf: &Ebpf, machine: &Machine, pins: &Pins) -> Result<(), DatapathError> {
    for spec in PROGRAMS {
        let program = descriptor(ebpf, spec.name)?;
        let path = pins.link(spec.name);
        let what = |verb: &str| format!("{verb} program `{}`", spec.name);
        match spec.hook {
            Hook::Cgroup(attach_type) => {
                if path.exists() {
                    let link = sys::open_pin(&path).map_err(DatapathError::file(&path))?;
                    sys::link_update(link.as_fd(), program)
                        .map_err(DatapathError::call(what("replacing")))?;
                } else {
                    let link = sys::link_create(program, machine.cgroup(), attach_type)
                        .map_err(DatapathError::call(what("attaching")))?;
                    sys::pin(link.as_fd(), &path).map_err(DatapathError::file(&path))?;
                }
            }
            Hook::RawTracepoint(tracepoint) => {
                // These links cannot be updated. For a moment both programs run: they write the
                // same rows.
                let link = sys::raw_tracepoint_link(program, tracepoint)
                    .map_err(DatapathError::call(what("attaching")))?;
                if path.exists() {
                    fs::remove_file(&path).map_err(DatapathError::file(&path))?;
                }
                sys::pin(link.as_fd(), &path).map_err(DatapathError::file(&path))?;
            }
            Hook::Iterator(_) => {}
        }
    }
    Ok(())
}

/// Puts programs behind the links that are pinned, and attaches nothing where there is none. Programs
/// at raw tracepoints make no verdicts and stay.
pub(crate) fn replace(ebpf: &Ebpf, pins: &Pins) -> Result<(), DatapathError> {
    for spec in PROGRAMS.iter().filter(|spec| matches!(spec.hook, Hook::Cgroup(_))) {
        let path = pins.link(spec.name);
        if path.exists() {
            let link = sys::open_pin(&path).map_err(DatapathError::file(&path))?;
            sys::link_update(link.as_fd(), descriptor(ebpf, spec.name)?)
                .map_err(DatapathError::call(format!("replacing program `{}`", spec.name)))?;
        }
    }
    Ok(())
}

/// Whether programs behind pinned links are others than these, as far as the verifier tells: it walks
/// more of those that measure.
pub(crate) fn are_others(ebpf: &Ebpf, pins: &Pins) -> Result<bool, DatapathError> {
    let attached = attached(pins)?;
    for spec in PROGRAMS.iter().filter(|spec| matches!(spec.hook, Hook::Cgroup(_))) {
        let Some((_, id)) = attached.iter().find(|(name, _)| *name == spec.name) else { continue };
        let reading = || DatapathError::call(format!("reading program `{}`", spec.name));
        let program = sys::program_of(*id).map_err(reading())?;
        let theirs = sys::program_info(program.as_fd()).map_err(reading())?;
        let ours = sys::program_info(descriptor(ebpf, spec.name)?).map_err(reading())?;
        if theirs.verified_instructions() != ours.verified_instructions() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The id of the program behind each link that is pinned.
pub(crate) fn attached(pins: &Pins) -> Result<Vec<(&'static str, u32)>, DatapathError> {
    let mut attached = Vec::new();
    for spec in PROGRAMS {
        let path = pins.link(spec.name);
        if path.exists() {
            let link = sys::open_pin(&path).map_err(DatapathError::file(&path))?;
            let id = sys::linked_program(link.as_fd())
                .map_err(DatapathError::call(format!("reading the link of program `{}`", spec.name)))?;
            attached.push((spec.name, id));
        }
    }
    Ok(attached)
}

/// An iterator, ready to be started: over a map, or over what its program says.
pub(crate) fn iterator(
    ebpf: &Ebpf,
    name: &'static str,
    map: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, DatapathError> {
    sys::iterator_link(descriptor(ebpf, name)?, map)
        .map_err(DatapathError::call(format!("attaching iterator `{name}`")))
}

/// Status of every program.
pub(crate) fn status(ebpf: &Ebpf) -> Result<Vec<ProgramStatus>, DatapathError> {
    PROGRAMS.iter().map(|spec| status_of(ebpf, spec.name, spec.hook.text())).collect()
}

/// Status of one program.
pub(crate) fn status_of(
    ebpf: &Ebpf,
    name: &'static str,
    hook: String,
) -> Result<ProgramStatus, DatapathError> {
    let info = sys::program_info(descriptor(ebpf, name)?)
        .map_err(DatapathError::call(format!("reading program `{name}`")))?;
    Ok(ProgramStatus {
        name,
        hook,
        id: info.id(),
        verified_instructions: info.verified_instructions(),
        instructions: info.instructions(),
        machine_code_bytes: info.machine_code_bytes(),
        run_count: info.run_count(),
        run_time_ns: info.run_time_ns(),
    })
}
