//! Memory by words: the `memset` of this target writes a byte a turn.

/// Zeroes a value whose zero bytes are a value.
#[inline(always)]
pub(crate) fn clear<T>(value: *mut T) {
    const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
    for n in 0..size_of::<T>() / 8 {
        // SAFETY: inside the value, which the callers own. Volatile, or it becomes `memset` again.
        unsafe { value.cast::<u64>().add(n).write_volatile(0) };
    }
}
