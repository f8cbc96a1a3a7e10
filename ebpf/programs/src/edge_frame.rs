//! A frame in place, as XDP and traffic control have it.

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use core::mem::MaybeUninit;
use windrose_engine::Bytes;

/// The first buffer of a frame, read in place. Drivers and the kernel's generic hook put at least
/// its headers there (`skb_pp_cow_data` in net/core/skbuff.c).
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    start: usize,
    end: usize,
}

/// Far behind the last header that is followed: 8 extension headers of 2 KiB.
const FARTHEST: u32 = 0x7fff;

/// An offset that the verifier sees the bound of. As an instruction: what the compiler knows it
/// compares in ways that tell the verifier nothing.
#[inline(always)]
fn bounded(at: u32) -> usize {
    let mut at = at as usize;
    // SAFETY: an operation on a register.
    unsafe {
        core::arch::asm!("{0} &= {1}", inout(reg) at, const FARTHEST, options(pure, nomem, nostack));
    }
    at
}

impl Frame {
    /// Of this run; to be taken again after a helper has moved its ends.
    #[inline(always)]
    pub(crate) fn of(context: *mut xdp_md) -> Self {
        // SAFETY: the context of this run.
        unsafe { Self { start: (*context).data as usize, end: (*context).data_end as usize } }
    }

    /// The linear part of a socket buffer, which has the headers of nearly all packets.
    #[inline(always)]
    pub(crate) fn of_skb(skb: *mut __sk_buff) -> Self {
        // SAFETY: the context of this run.
        unsafe { Self { start: (*skb).data as usize, end: (*skb).data_end as usize } }
    }

    /// Where an object of so many bytes begins, if it ends before the buffer does. Offsets are cut
    /// to [`FARTHEST`], where no header is.
    #[inline(always)]
    fn place(&self, at: u32, bytes: usize) -> Option<usize> {
        let from = self.start + bounded(at);
        (from + bytes <= self.end).then_some(from)
    }

    /// A word as it stands in memory.
    #[inline(always)]
    pub(crate) fn get<T: Word>(&self, at: u32) -> Option<T> {
        let from = self.place(at, size_of::<T>())?;
        // SAFETY: inside the buffer, see `word`.
        Some(unsafe { word(from) })
    }

    /// Writes a word as it stands in memory; `None`: it would be behind the end.
    #[inline(always)]
    pub(crate) fn put<T: Word>(&self, at: u32, value: T) -> Option<()> {
        let from = self.place(at, size_of::<T>())?;
        // SAFETY: inside the buffer, which this run alone writes; for alignment see `word`.
        unsafe { *(from as *mut T) = value };
        Some(())
    }
}

/// What is loaded and stored at once.
pub(crate) trait Word: Copy {}
impl Word for u16 {}
impl Word for u32 {}

impl Bytes for Frame {
    #[inline(always)]
    fn read<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let from = self.place(at, N)?;
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        let to = bytes.as_mut_ptr().cast::<u8>();
        let mut done = 0;
        // By words: of a pointer to bytes the compiler makes a load for each of them.
        while done + 4 <= N {
            // SAFETY: see `word`.
            let word = unsafe { word::<u32>(from + done) };
            // SAFETY: these bytes end within the N of the array.
            unsafe { to.add(done).cast::<u32>().write_unaligned(word) };
            done += 4;
        }
        while done + 2 <= N {
            // SAFETY: see `word`.
            let word = unsafe { word::<u16>(from + done) };
            // SAFETY: as above.
            unsafe { to.add(done).cast::<u16>().write_unaligned(word) };
            done += 2;
        }
        const { assert!(N.is_multiple_of(2), "headers are read by pairs of bytes") };
        // SAFETY: all N bytes are written.
        Some(unsafe { bytes.assume_init() })
    }
}

/// One load. Headers in a frame are aligned to two bytes only; a load of BPF has no need of more,
/// where the verifier lets it be (it does where the processor can, `HAVE_EFFICIENT_UNALIGNED_ACCESS`).
///
/// # Safety
///
/// The caller has compared the end of the word with the end of the buffer.
#[inline(always)]
unsafe fn word<T: Copy>(from: usize) -> T {
    // SAFETY: as said.
    unsafe { *(from as *const T) }
}
