//! Deny lists in the maps: what a list no longer has goes, what is new comes, the rest stays.

use std::time::{Duration, Instant};

use windrose_abi::{Address, DenyRow, PrefixKey};

use super::added::{Claim, length};
use super::rows::{HOST, now_ns};
use super::{Edge, Ledger};
use crate::error::{DatapathError, Overflow};
use crate::maps::Table;

/// Rows that are written while additions wait: some milliseconds.
const CHUNK: usize = 4096;

/// An entry of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// What it denies; host bits are zero.
    pub prefix: PrefixKey,
    /// Monotonic clock of its end; `u64::MAX`: never.
    pub until_ns: u64,
    /// The list's number; not 0.
    pub list: u32,
}

/// What putting lists in force did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Synced {
    /// Entries that are new.
    pub new: usize,
    /// Entries with another end or another list.
    pub changed: usize,
    /// Entries that are gone.
    pub gone: usize,
    /// How long it took.
    pub took: Duration,
}

/// A key of one of the two tables.
trait Key: Copy + Default + Ord {
    fn of(prefix: PrefixKey) -> Self;
    fn prefix(self) -> PrefixKey;
}

impl Key for Address {
    fn of(prefix: PrefixKey) -> Self {
        prefix.address
    }

    fn prefix(self) -> PrefixKey {
        PrefixKey { length: HOST, address: self }
    }
}

impl Key for PrefixKey {
    fn of(prefix: PrefixKey) -> Self {
        prefix
    }

    fn prefix(self) -> PrefixKey {
        self
    }
}

/// What is to be done to one table.
#[derive(Debug)]
struct Plan<K> {
    /// With the list's half of the row, and whether there is no such half yet.
    put: Vec<(K, u64, u32, bool)>,
    gone: Vec<K>,
}

impl Edge {
    /// Makes the lists' halves of all rows say what `listed` says. Entries that are in the old
    /// lists and in the new ones are denied at every moment in between. Rows of a list that
    /// `kept` names stay as they are: its content is not known now.
    ///
    /// One caller at a time; additions may come meanwhile.
    ///
    /// # Errors
    ///
    /// [`DatapathError::ListsDoNotFit`] with the numbers, before anything is written.
    pub fn sync(&self, mut listed: Vec<Listed>, kept: &[u32]) -> Result<Synced, DatapathError> {
        let began = Instant::now();
        let now_ns = now_ns();
        listed.retain(|entry| entry.until_ns > now_ns);
        // Of one prefix on several lists the latest end holds.
        listed.sort_unstable_by(|a, b| (a.prefix, b.until_ns, a.list).cmp(&(b.prefix, a.until_ns, b.list)));
        listed.dedup_by_key(|entry| entry.prefix);
        let is_host = |entry: &&Listed| entry.prefix.length == HOST;
        let hosts = plan(&self.hosts, listed.iter().filter(is_host), kept)?;
        let prefixes = plan(&self.prefixes, listed.iter().filter(|entry| !is_host(entry)), kept)?;
        let (host_rows, prefix_rows) = {
            let ledger = self.ledger();
            (room(&hosts, ledger.hosts, &ledger), room(&prefixes, ledger.prefixes, &ledger))
        };
        let overflows: Vec<Overflow> = [("DENY_HOSTS", host_rows.1), ("DENY_PREFIXES", prefix_rows.1)]
            .into_iter()
            .map(|(map, needed)| Overflow { map, needed, capacity: self.capacities.of(map) })
            .filter(|overflow| overflow.needed > overflow.capacity)
            .collect();
        if !overflows.is_empty() {
            return Err(DatapathError::ListsDoNotFit { overflows });
        }
        let mut synced = Synced::default();
        self.carry_out(&self.hosts, &hosts, host_rows.0, &mut synced)?;
        self.carry_out(&self.prefixes, &prefixes, prefix_rows.0, &mut synced)?;
        synced.took = began.elapsed();
        Ok(synced)
    }

    /// `peak` is how many rows there are while both the new and those that go are there.
    fn carry_out<K: Key>(
        &self,
        table: &Table<K, DenyRow>,
        plan: &Plan<K>,
        peak: usize,
        synced: &mut Synced,
    ) -> Result<(), DatapathError> {
        // New ones first, so that a failure leaves too much rather than too little; the other way
        // round where there is not room for both.
        let is_tight = peak > self.capacities.of(table.name);
        if is_tight {
            self.take_off(table, &plan.gone, synced)?;
        }
        for chunk in plan.put.chunks(CHUNK) {
            let mut ledger = self.ledger();
            let (mut keys, mut rows) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
            for (key, until_ns, list, is_new) in chunk {
                let prefix = key.prefix();
                let claim = ledger.added.get(&prefix).copied();
                keys.push(*key);
                rows.push(row(&prefix, *until_ns, *list, claim));
                if *is_new {
                    synced.new += 1;
                    *ledger.rows(&prefix) += usize::from(claim.is_none());
                } else {
                    synced.changed += 1;
                }
            }
            table.put_all(&keys, &rows)?;
        }
        if !is_tight {
            self.take_off(table, &plan.gone, synced)?;
        }
        Ok(())
    }

    fn take_off<K: Key>(
        &self,
        table: &Table<K, DenyRow>,
        gone: &[K],
        synced: &mut Synced,
    ) -> Result<(), DatapathError> {
        for chunk in gone.chunks(CHUNK) {
            let mut ledger = self.ledger();
            let mut deleted = Vec::with_capacity(CHUNK);
            for key in chunk {
                let prefix = key.prefix();
                match ledger.added.get(&prefix) {
                    Some(claim) => table.put(key, &row(&prefix, 0, 0, Some(*claim)))?,
                    None => deleted.push(*key),
                }
            }
            table.delete_all(&deleted)?;
            if let Some(first) = deleted.first() {
                *ledger.rows(&first.prefix()) -= deleted.len();
            }
            synced.gone += chunk.len();
        }
        Ok(())
    }
}

fn row(prefix: &PrefixKey, until_ns: u64, list: u32, claim: Option<Claim>) -> DenyRow {
    DenyRow {
        listed_until_ns: until_ns,
        added_until_ns: claim.map_or(0, |claim| claim.until_ns),
        list,
        length: length(prefix),
        origin: claim.map_or(0, |claim| claim.origin),
        reserved: 0,
    }
}

/// An end that a list gives by the calendar comes out a little different at each reading.
const fn is_same_end(before_ns: u64, after_ns: u64) -> bool {
    before_ns.abs_diff(after_ns) < 1_000_000_000
}

/// Compares sorted entries with what a table holds.
fn plan<'a, K: Key>(
    table: &Table<K, DenyRow>,
    listed: impl Iterator<Item = &'a Listed>,
    kept: &[u32],
) -> Result<Plan<K>, DatapathError> {
    let mut held: Vec<(K, u64, u32)> = Vec::new();
    table.for_each(|key, row| {
        if row.listed_until_ns != 0 {
            held.push((key, row.listed_until_ns, row.list));
        }
    })?;
    held.sort_unstable();
    let mut plan = Plan { put: Vec::new(), gone: Vec::new() };
    let mut held = held.into_iter().peekable();
    let leave = |(key, _, list): (K, u64, u32), plan: &mut Plan<K>| {
        if !kept.contains(&list) {
            plan.gone.push(key);
        }
    };
    for entry in listed {
        let key = K::of(entry.prefix);
        while let Some(before) = held.next_if(|held| held.0 < key) {
            leave(before, &mut plan);
        }
        match held.next_if(|held| held.0 == key) {
            Some((_, until_ns, list)) if list == entry.list && is_same_end(until_ns, entry.until_ns) => {}
            same => plan.put.push((key, entry.until_ns, entry.list, same.is_none())),
        }
    }
    held.for_each(|rest| leave(rest, &mut plan));
    Ok(plan)
}

/// Rows while both the new and those that go are there, and in the end.
fn room<K: Key>(plan: &Plan<K>, now: usize, ledger: &Ledger) -> (usize, usize) {
    let is_bare = |key: &K| !ledger.added.contains_key(&key.prefix());
    let new = plan.put.iter().filter(|(key, _, _, is_new)| *is_new && is_bare(key)).count();
    let gone = plan.gone.iter().filter(|key| is_bare(key)).count();
    (now + new, now + new - gone)
}
