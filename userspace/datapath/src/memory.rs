//! What maps and programs take of the kernel's memory, by the kernel's own account.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;

use aya::Ebpf;

use crate::datapath::Datapath;
use crate::error::DatapathError;
use crate::programs::{self, PROGRAMS};
use crate::sys;

/// A map in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapMemory {
    /// Its name, at most 15 bytes of it.
    pub map: String,
    /// Bytes of a key.
    pub key_bytes: u32,
    /// Bytes of a value; of one processor's where each has its own.
    pub value_bytes: u32,
    /// Entries that it has room for; 0 where there is no limit.
    pub capacity: u32,
    /// Bytes that it takes. Of socket storage only the heads: its values are accounted for with their
    /// sockets.
    pub memory_bytes: u64,
}

/// A program in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramMemory {
    /// Its name.
    pub program: &'static str,
    /// Bytes that its instructions take, in whole pages.
    pub memory_bytes: u64,
}

impl Datapath {
    /// Every map that a program uses, constants of the object among them, by name.
    pub fn map_memory(&self) -> Result<Vec<MapMemory>, DatapathError> {
        maps_of(&self.loaded().ebpf, PROGRAMS.iter().map(|spec| spec.name))
    }

    /// Every program.
    pub fn program_memory(&self) -> Result<Vec<ProgramMemory>, DatapathError> {
        PROGRAMS.iter().map(|spec| memory_of(&self.loaded().ebpf, spec.name)).collect()
    }

    /// A number of the pinned state: another one than before tells that counters began anew.
    pub fn epoch(&self) -> Result<u32, DatapathError> {
        self.maps.edges.id()
    }
}

/// Every map that some of these programs use, by name.
pub(crate) fn maps_of(
    ebpf: &Ebpf,
    programs: impl Iterator<Item = &'static str>,
) -> Result<Vec<MapMemory>, DatapathError> {
    let mut ids = BTreeSet::new();
    for name in programs {
        let used = sys::program_maps(programs::descriptor(ebpf, name)?);
        ids.extend(used.map_err(DatapathError::call(format!("listing the maps of program `{name}`")))?);
    }
    let mut maps = Vec::with_capacity(ids.len());
    for id in ids {
        let failed = || DatapathError::call(format!("reading map number {id}"));
        let map = sys::map_by_id(id).map_err(failed())?;
        let info = sys::map_info(map.as_fd()).map_err(failed())?;
        let memory_bytes = sys::memory_bytes(map.as_fd()).map_err(failed())?;
        maps.push(MapMemory {
            map: info.name,
            key_bytes: info.key_bytes,
            value_bytes: info.value_bytes,
            capacity: info.room,
            memory_bytes,
        });
    }
    maps.sort_by(|a, b| a.map.cmp(&b.map));
    Ok(maps)
}

/// One program.
pub(crate) fn memory_of(ebpf: &Ebpf, program: &'static str) -> Result<ProgramMemory, DatapathError> {
    let memory_bytes = sys::memory_bytes(programs::descriptor(ebpf, program)?)
        .map_err(DatapathError::call(format!("reading program `{program}`")))?;
    Ok(ProgramMemory { program, memory_bytes })
}
