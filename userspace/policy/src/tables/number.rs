//! Numbers for names: hashes of content, so that a restarted agent comes to the same ones.

use std::collections::HashMap;
use std::hash::Hash;

/// FNV-1a over a stable encoding, mixed at the end (splitmix64): FNV's high bits are weak.
#[derive(Debug, Clone)]
pub(super) struct Digest(u64);

impl Digest {
    pub(super) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(super) fn word(&mut self, word: u32) {
        self.bytes(&word.to_le_bytes());
    }

    /// A text and where it ends: 0xff is in no UTF-8.
    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
        self.bytes(&[0xff]);
    }

    pub(super) const fn finish(&self) -> u64 {
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Something that a number stands for.
pub(super) trait Content: Eq + Hash + Clone {
    /// Feeds a stable encoding: what is unequal is fed unequal.
    fn digest(&self, digest: &mut Digest);
}

impl Content for String {
    fn digest(&self, digest: &mut Digest) {
        digest.text(self);
    }
}

/// Which numbers may be given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Space {
    lowest: u32,
    highest: u32,
}

impl Space {
    /// All but 0.
    pub(super) const ALL: Self = Self { lowest: 1, highest: u32::MAX };
    /// Identities of workloads: above those of the reserved and of the prefixes.
    pub(super) const IDENTITY: Self = Self { lowest: 0x0200_0000, highest: u32::MAX };
    /// Port names: `u16`, not 0.
    pub(super) const PORT_NAME: Self = Self { lowest: 1, highest: 0xffff };

    fn first(self, hash: u64) -> u32 {
        let size = u64::from(self.highest - self.lowest) + 1;
        self.lowest + u32::try_from((hash >> 16) % size).unwrap_or(0)
    }

    const fn next(self, number: u32) -> u32 {
        if number == self.highest { self.lowest } else { number + 1 }
    }

    fn is_full(self, count: usize) -> bool {
        count as u64 > u64::from(self.highest - self.lowest)
    }
}

/// The two-way table of one kind of thing. A number that nobody uses any more stays taken until
/// [`Numbers::sweep`]: inside one update the same thing keeps its number, and no other gets it.
#[derive(Debug)]
pub(super) struct Numbers<K> {
    space: Space,
    by_content: HashMap<K, u32>,
    by_number: HashMap<u32, Numbered<K>>,
    idle: Vec<u32>,
}

#[derive(Debug)]
struct Numbered<K> {
    content: K,
    uses: u32,
}

impl<K: Content> Numbers<K> {
    pub(super) fn new(space: Space) -> Self {
        Self { space, by_content: HashMap::new(), by_number: HashMap::new(), idle: Vec::new() }
    }

    /// The number of `content`, used once more. `None` when all are taken.
    pub(super) fn acquire(&mut self, content: &K) -> Option<u32> {
        let number = match self.by_content.get(content) {
            Some(&number) => number,
            None => self.assign(content)?,
        };
        if let Some(numbered) = self.by_number.get_mut(&number) {
            numbered.uses += 1;
        }
        Some(number)
    }

    fn assign(&mut self, content: &K) -> Option<u32> {
        if self.space.is_full(self.by_number.len()) {
            return None;
        }
        let mut digest = Digest::new();
        content.digest(&mut digest);
        let mut number = self.space.first(digest.finish());
        while self.by_number.contains_key(&number) {
            number = self.space.next(number);
        }
        self.by_content.insert(content.clone(), number);
        self.by_number.insert(number, Numbered { content: content.clone(), uses: 0 });
        Some(number)
    }

    /// Gives `content` a number of the caller's choice until the next sweep, unless either is taken.
    pub(super) fn reserve(&mut self, number: u32, content: K) {
        if number == 0 || self.by_number.contains_key(&number) || self.by_content.contains_key(&content) {
            return;
        }
        self.by_content.insert(content.clone(), number);
        self.by_number.insert(number, Numbered { content, uses: 0 });
        self.idle.push(number);
    }

    /// One use less. A number that was never given is ignored.
    pub(super) fn release(&mut self, number: u32) {
        let Some(numbered) = self.by_number.get_mut(&number) else { return };
        numbered.uses = numbered.uses.saturating_sub(1);
        if numbered.uses == 0 {
            self.idle.push(number);
        }
    }

    /// Whether somebody uses it.
    pub(super) fn is_used(&self, number: u32) -> bool {
        self.by_number.get(&number).is_some_and(|numbered| numbered.uses != 0)
    }

    /// Frees what nobody uses, and tells which that were.
    pub(super) fn sweep(&mut self) -> Vec<u32> {
        let mut freed = std::mem::take(&mut self.idle);
        freed.sort_unstable();
        freed.dedup();
        freed.retain(|number| !self.is_used(*number));
        for number in &freed {
            if let Some(numbered) = self.by_number.remove(number) {
                self.by_content.remove(&numbered.content);
            }
        }
        freed
    }

    pub(super) fn number(&self, content: &K) -> Option<u32> {
        self.by_content.get(content).copied()
    }

    pub(super) fn content(&self, number: u32) -> Option<&K> {
        self.by_number.get(&number).map(|numbered| &numbered.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All alike to the digest.
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct Clash(u32);

    impl Content for Clash {
        fn digest(&self, _: &mut Digest) {}
    }

    #[test]
    fn things_that_clash_get_numbers_of_their_own() {
        let mut numbers = Numbers::new(Space::ALL);
        let given: Vec<u32> = (0..5).filter_map(|n| numbers.acquire(&Clash(n))).collect();
        assert_eq!(given, (given[0]..given[0] + 5).collect::<Vec<_>>());
        assert_eq!(numbers.content(given[3]), Some(&Clash(3)));
    }

    #[test]
    fn a_released_number_is_kept_until_the_sweep() {
        let mut numbers = Numbers::new(Space::ALL);
        let first = numbers.acquire(&Clash(1)).unwrap();
        numbers.release(first);
        assert_ne!(numbers.acquire(&Clash(2)), Some(first), "another one took it in the same update");
        assert_eq!(numbers.acquire(&Clash(1)), Some(first));
        assert!(numbers.sweep().is_empty());
        numbers.release(first);
        assert_eq!(numbers.sweep(), [first]);
        assert_eq!(numbers.number(&Clash(1)), None);
    }

    #[test]
    fn a_full_space_gives_nothing() {
        let mut numbers = Numbers::new(Space { lowest: 7, highest: 9 });
        for n in 0..3 {
            assert!(numbers.acquire(&Clash(n)).is_some_and(|number| (7..=9).contains(&number)));
        }
        assert_eq!(numbers.acquire(&Clash(3)), None);
    }

    #[test]
    fn numbers_do_not_depend_on_the_machine() {
        let mut numbers = Numbers::new(Space::ALL);
        assert_eq!(numbers.acquire(&"shop/cart".to_owned()), Some(PINNED));
    }

    /// A changed digest renumbers everything that is pinned; it must be meant.
    const PINNED: u32 = 3_159_518_437;
}
