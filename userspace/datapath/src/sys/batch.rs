//! Many elements of a map in one call.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::{Attr, map_delete};

const MAP_LOOKUP_BATCH: u32 = 24;
const MAP_DELETE_BATCH: u32 = 27;

/// Elements in one call: more than any bucket of a hash holds.
const BATCH: usize = 4096;

/// Bytes of a map's own position between calls: a key at most (a bucket's number for a hash).
const POSITION_WORDS: usize = 8;

/// Calls `each` with every element of a map. Elements that come or go meanwhile may be missed or not.
pub(crate) fn for_each<K: Copy, V: Copy>(
    map: BorrowedFd<'_>,
    key: K,
    value: V,
    mut each: impl FnMut(K, V),
) -> io::Result<()> {
    const { assert!(size_of::<K>() <= POSITION_WORDS * 8, "a key has room in the position") }
    let (mut keys, mut values) = (vec![key; BATCH], vec![value; BATCH]);
    let (mut from, mut to) = ([0_u64; POSITION_WORDS], [0_u64; POSITION_WORDS]);
    let mut is_first = true;
    loop {
        let mut attr = Attr::new()
            .u64(0, if is_first { 0 } else { from.as_ptr() as u64 })
            .u64(8, to.as_mut_ptr() as u64)
            .u64(16, keys.as_mut_ptr() as u64)
            .u64(24, values.as_mut_ptr() as u64)
            .u32(32, u32::try_from(BATCH).unwrap_or(u32::MAX))
            .fd(36, map.as_raw_fd());
        let result = attr.call(MAP_LOOKUP_BATCH);
        let count = u32::from_ne_bytes([attr.0[32], attr.0[33], attr.0[34], attr.0[35]]) as usize;
        let is_last = match result {
            Ok(_) => false,
            // Nothing is left behind these.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        for (key, value) in keys.iter().zip(&values).take(count) {
            each(*key, *value);
        }
        if is_last {
            return Ok(());
        }
        (from, is_first) = (to, false);
    }
}

/// Removes many elements; those that are not there are no error.
pub(crate) fn delete<K: Copy>(map: BorrowedFd<'_>, keys: &[K]) -> io::Result<()> {
    for keys in keys.chunks(BATCH) {
        let mut done = 0;
        while done < keys.len() {
            let rest = &keys[done..];
            let mut attr = Attr::new()
                .u64(16, rest.as_ptr() as u64)
                .u32(32, u32::try_from(rest.len()).unwrap_or(u32::MAX))
                .fd(36, map.as_raw_fd());
            match attr.call(MAP_DELETE_BATCH) {
                Ok(_) => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    // The call ended at a key that is not there, and says how many came before it.
                    let count = u32::from_ne_bytes([attr.0[32], attr.0[33], attr.0[34], attr.0[35]]) as usize;
                    map_delete(map, &rest[count.min(rest.len() - 1)])?;
                    done += count + 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
