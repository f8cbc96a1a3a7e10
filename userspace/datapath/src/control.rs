//! The control word, mapped into memory: a policy comes into force with one store.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use windrose_abi::{Control, ControlSlot, slot};

use crate::error::DatapathError;

const PAGE: usize = 4096;

/// The one entry of `CONTROL`.
#[derive(Debug)]
pub(crate) struct ControlWord(NonNull<Control>);

// SAFETY: the mapping is shared memory that belongs to this value; it is written through `&mut`.
unsafe impl Send for ControlWord {}

impl ControlWord {
    pub(crate) fn map(map: BorrowedFd<'_>) -> Result<Self, DatapathError> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        let mapped = if address == libc::MAP_FAILED { None } else { NonNull::new(address.cast()) };
        mapped.map(Self).ok_or_else(|| DatapathError::call("mapping map CONTROL")(io::Error::last_os_error()))
    }

    fn field<T>(&self, offset: usize) -> *mut T {
        // SAFETY: the callers pass offsets of fields of `Control`, so that the result stays in the
        // mapping.
        unsafe { self.0.as_ptr().byte_add(offset) }.cast()
    }

    fn slot_field(&self, generation: u64) -> *mut ControlSlot {
        self.field(offset_of!(Control, slots) + slot(generation) * size_of::<ControlSlot>())
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: the mapping lives as long as `self` and the word is 8-aligned at its start.
        unsafe { AtomicU64::from_ptr(self.field(offset_of!(Control, generation))) }
    }

    /// The policy in force; 0 before the first.
    pub(crate) fn generation(&self) -> u64 {
        self.word().load(Ordering::Acquire)
    }

    /// The settings that a generation reads.
    pub(crate) fn slot(&self, generation: u64) -> ControlSlot {
        // SAFETY: in bounds of the mapping; only this process writes it.
        unsafe { self.slot_field(generation).read_volatile() }
    }

    /// Writes the settings of a generation that nobody reads.
    pub(crate) fn write_slot(&mut self, generation: u64, settings: ControlSlot) {
        // SAFETY: as above.
        unsafe { self.slot_field(generation).write_volatile(settings) }
    }

    /// Sets for how long a flow may be idle.
    pub(crate) fn set_flow_idle_ns(&mut self, idle_ns: u64) {
        // SAFETY: as above; the field is 8-aligned and programs read it whole.
        unsafe { self.field::<u64>(offset_of!(Control, flow_idle_ns)).write_volatile(idle_ns) }
    }

    /// Puts a generation in force. Everything written before is visible to who sees it.
    pub(crate) fn flip(&mut self, generation: u64) {
        self.word().store(generation, Ordering::Release);
    }
}

impl Drop for ControlWord {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing borrows from it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), PAGE) };
    }
}
