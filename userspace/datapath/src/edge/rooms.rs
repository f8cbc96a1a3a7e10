//! Which indices of an array are taken.

use std::collections::BTreeMap;

/// Free ranges of indices, first to count; neighbours are one.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    free: BTreeMap<u32, u32>,
    capacity: u32,
}

impl Rooms {
    pub(super) fn new(capacity: u32) -> Self {
        let free = if capacity == 0 { BTreeMap::new() } else { BTreeMap::from([(0, capacity)]) };
        Self { free, capacity }
    }

    pub(super) const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The first free range of so many.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        let (first, _) = self.free.iter().find(|(_, free)| **free >= count)?;
        let first = *first;
        self.claim(first, count);
        Some(first)
    }

    /// Takes this range, as far as it is free.
    pub(super) fn claim(&mut self, first: u32, count: u32) {
        let end = first.saturating_add(count);
        let overlapping: Vec<(u32, u32)> = self
            .free
            .range(..end)
            .map(|(start, length)| (*start, start + length))
            .filter(|(_, stop)| *stop > first)
            .collect();
        for (start, stop) in overlapping {
            self.free.remove(&start);
            if start < first {
                self.free.insert(start, first - start);
            }
            if stop > end {
                self.free.insert(end, stop - end);
            }
        }
    }

    /// Gives a range back.
    pub(super) fn free(&mut self, first: u32, count: u32) {
        if count == 0 {
            return;
        }
        let (mut start, mut end) = (first, first + count);
        if let Some((before, length)) = self.free.range(..first).next_back()
            && before + length == first
        {
            start = *before;
        }
        if let Some(length) = self.free.remove(&end) {
            end += length;
        }
        self.free.insert(start, end - start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_one_with_its_neighbours() {
        let mut rooms = Rooms::new(10);
        assert_eq!((rooms.take(3), rooms.take(3), rooms.take(3)), (Some(0), Some(3), Some(6)));
        assert_eq!(rooms.take(2), None);
        rooms.free(3, 3);
        rooms.free(0, 3);
        assert_eq!(rooms.take(6), Some(0));
        rooms.free(6, 3);
        assert_eq!(rooms.take(4), Some(6));
        assert_eq!(rooms.take(1), None);
    }

    #[test]
    fn what_is_claimed_is_not_given_out() {
        let mut rooms = Rooms::new(4);
        rooms.claim(1, 1);
        assert_eq!((rooms.take(2), rooms.take(1), rooms.take(1)), (Some(2), Some(0), None));
    }
}
