//! Lists of numbers, each kept once: peer lists and policy sets.

use std::collections::HashMap;
use std::sync::Arc;

use super::number::{Content, Digest, Numbers, Space};
use super::record::Touched;

/// The number of the empty list, which has no entry.
pub(super) const EMPTY: u32 = 0;

impl Content for Arc<[u32]> {
    fn digest(&self, digest: &mut Digest) {
        for number in self.iter() {
            digest.word(*number);
        }
    }
}

/// The lists in use. An entry goes at the end of the update that leaves it unused.
#[derive(Debug)]
pub(super) struct Lists {
    numbers: Numbers<Arc<[u32]>>,
}

impl Lists {
    pub(super) fn new() -> Self {
        Self { numbers: Numbers::new(Space::ALL) }
    }

    /// Keeps a number for a list that nobody holds yet, until the next sweep.
    pub(super) fn adopt(&mut self, number: u32, list: Arc<[u32]>) {
        self.numbers.reserve(number, list);
    }

    /// Puts `list` in the place of the list that `holder` has. Whether it is another one.
    pub(super) fn replace(
        &mut self,
        holder: &mut u32,
        list: &[u32],
        entries: &mut HashMap<u32, Arc<[u32]>>,
        touched: &mut Touched<u32, Arc<[u32]>>,
    ) -> bool {
        if self.content(*holder) == list {
            return false;
        }
        let number = if list.is_empty() {
            EMPTY
        } else {
            let list: Arc<[u32]> = list.into();
            // 2^32 lists do not fit into memory.
            let number = self.numbers.acquire(&list).unwrap_or(EMPTY);
            if !entries.contains_key(&number) {
                touched.set(entries, number, Some(list));
            }
            number
        };
        self.numbers.release(*holder);
        *holder = number;
        true
    }

    /// The list behind a number; empty for [`EMPTY`].
    pub(super) fn content(&self, number: u32) -> &[u32] {
        self.numbers.content(number).map_or(&[], |list| list)
    }

    /// Removes what nobody holds.
    pub(super) fn sweep(
        &mut self,
        entries: &mut HashMap<u32, Arc<[u32]>>,
        touched: &mut Touched<u32, Arc<[u32]>>,
    ) {
        for number in self.numbers.sweep() {
            // One that was adopted and never held has no entry.
            if entries.contains_key(&number) {
                touched.set(entries, number, None);
            }
        }
    }
}
