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
pub(crate) struct ControlWord {
    mapped: NonNull<Control>,
    /// Bits of [`ControlSlot::RUNTIME`] that are set in every slot.
    runtime: u32,
}

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
        let mapped =
            mapped.ok_or_else(|| DatapathError::call("mapping map CONTROL")(io::Error::last_os_error()))?;
        let mut control = Self { mapped, runtime: 0 };
        // An agent that was killed may have left some set.
        control.set_runtime(0);
        Ok(control)
    }

    fn field<T>(&self, offset: usize) -> *mut T {
        // SAFETY: the callers pass offsets of fields of `Control`, so that the result stays in the
        // mapping.
        unsafe { self.mapped.as_ptr().byte_add(offset) }.cast()
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

    /// The settings that a generation reads, as policy has made them.
    pub(crate) fn slot(&self, generation: u64) -> ControlSlot {
        // SAFETY: in bounds of the mapping; only this process writes it.
        let settings = unsafe { self.slot_field(generation).read_volatile() };
        ControlSlot { flags: settings.flags & !ControlSlot::RUNTIME, ..settings }
    }

    /// Writes the settings of a generation that nobody reads.
    pub(crate) fn write_slot(&mut self, generation: u64, settings: ControlSlot) {
        let flags = settings.flags & !ControlSlot::RUNTIME | self.runtime;
        // SAFETY: as above.
        unsafe { self.slot_field(generation).write_volatile(ControlSlot { flags, ..settings }) }
    }

    /// Sets the bits of [`ControlSlot::RUNTIME`], from now on and whatever policy comes.
    pub(crate) fn set_runtime(&mut self, runtime: u32) {
        self.runtime = runtime & ControlSlot::RUNTIME;
        for generation in [0, 1] {
            let flags = self.slot(generation).flags | self.runtime;
            let at = offset_of!(Control, slots) + slot(generation) * size_of::<ControlSlot>();
            let field = self.field::<u32>(at + offset_of!(ControlSlot, flags));
            // SAFETY: as above; programs read the aligned word whole.
            unsafe { field.write_volatile(flags) }
        }
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
        unsafe { libc::munmap(self.mapped.as_ptr().cast(), PAGE) };
    }
}
