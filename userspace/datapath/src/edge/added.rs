//! Entries that operators and the gateway add, each with a reason and perhaps an end.

use std::collections::BTreeMap;
use std::time::Duration;

use windrose_abi::edge::{FOREVER, NOTE_BYTES};
use windrose_abi::{Address, DenyNote, DenyOrigin, DenyRow, PrefixKey};

use super::Edge;
use super::rows::{HOST, cut, now_ns};
use crate::error::DatapathError;
use crate::maps::Table;

/// What was added, as the maps hold it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The claims of additions; those of lists are in the maps only.
    pub(super) added: BTreeMap<PrefixKey, Claim>,
    /// Rows of `DENY_HOSTS`.
    pub(super) hosts: usize,
    /// Rows of `DENY_PREFIXES`.
    pub(super) prefixes: usize,
}

/// The half of a row that is of an addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) until_ns: u64,
    pub(super) origin: u8,
}

impl Ledger {
    pub(super) fn read(
        hosts: &Table<Address, DenyRow>,
        prefixes: &Table<PrefixKey, DenyRow>,
    ) -> Result<Self, DatapathError> {
        let mut ledger = Self::default();
        let mut note = |prefix: PrefixKey, row: DenyRow| {
            if row.added_until_ns != 0 {
                let claim = Claim { until_ns: row.added_until_ns, origin: row.origin };
                ledger.added.insert(prefix, claim);
            }
        };
        let (mut host_rows, mut prefix_rows) = (0, 0);
        hosts.for_each(|address, row| {
            host_rows += 1;
            note(PrefixKey { length: HOST, address }, row);
        })?;
        prefixes.for_each(|prefix, row| {
            prefix_rows += 1;
            note(prefix, row);
        })?;
        (ledger.hosts, ledger.prefixes) = (host_rows, prefix_rows);
        Ok(ledger)
    }

    /// The number of rows in the table of a prefix.
    pub(super) fn rows(&mut self, prefix: &PrefixKey) -> &mut usize {
        if prefix.length == HOST { &mut self.hosts } else { &mut self.prefixes }
    }
}

/// An entry that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// What it denies.
    pub prefix: PrefixKey,
    /// Monotonic clock of its end; `u64::MAX`: never.
    pub until_ns: u64,
    /// Who added it.
    pub origin: DenyOrigin,
    /// Why, in its words.
    pub reason: String,
    /// Monotonic clock when it was added.
    pub since_ns: u64,
}

/// What adding an entry did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddedNow {
    /// It is new.
    New,
    /// There was one: its end, origin and reason are the new ones.
    Changed,
}

/// An entry around an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it denies.
    pub prefix: PrefixKey,
    /// Number of the list that it is on, and its end there.
    pub listed: Option<(u32, u64)>,
    /// It was added.
    pub added: Option<Added>,
}

impl Edge {
    /// Denies a host or prefix from now on: for so long, or until it is removed. This is how an
    /// operator's command and what the gateway sees in requests become drops at the interface.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Allowed`] if the allow list has all of it; [`DatapathError::NoRoom`].
    pub fn deny(
        &self,
        prefix: PrefixKey,
        ttl: Option<Duration>,
        origin: DenyOrigin,
        reason: &str,
    ) -> Result<AddedNow, DatapathError> {
        let prefix = cut(&prefix, prefix.length);
        if self.is_allowed(&prefix) {
            return Err(DatapathError::Allowed { prefix: text(&prefix) });
        }
        let now_ns = now_ns();
        let until_ns = ttl.map_or(FOREVER, |ttl| {
            now_ns.saturating_add(u64::try_from(ttl.as_nanos()).unwrap_or(FOREVER)).max(1)
        });
        let claim = Claim { until_ns, origin: origin as u8 };
        let mut ledger = self.ledger();
        let found = self.row(&prefix)?;
        // The note first: an entry without its reason would be worse than a reason without entry.
        self.notes.put(&prefix, &note(reason, now_ns)).map_err(self.full("DENY_NOTES"))?;
        let row = DenyRow {
            added_until_ns: claim.until_ns,
            origin: claim.origin,
            length: length(&prefix),
            ..found.unwrap_or_default()
        };
        let map = if prefix.length == HOST { "DENY_HOSTS" } else { "DENY_PREFIXES" };
        self.put_row(&prefix, &row).map_err(self.full(map))?;
        *ledger.rows(&prefix) += usize::from(found.is_none());
        Ok(match ledger.added.insert(prefix, claim) {
            None => AddedNow::New,
            Some(_) => AddedNow::Changed,
        })
    }

    /// Ends an addition. False: there was none. A list that has the prefix goes on denying it; see
    /// [`Edge::find`].
    pub fn undeny(&self, prefix: PrefixKey) -> Result<bool, DatapathError> {
        let prefix = cut(&prefix, prefix.length);
        let mut ledger = self.ledger();
        let Some(claim) = ledger.added.get(&prefix).copied() else { return Ok(false) };
        self.forget(&mut ledger, &prefix)?;
        // One that has ended and is not swept yet is gone to everybody.
        Ok(claim.until_ns > now_ns())
    }

    /// Removes additions that have ended; says how many. The program heeds their ends by itself.
    pub fn sweep(&self) -> Result<usize, DatapathError> {
        let now_ns = now_ns();
        let mut ledger = self.ledger();
        let ended: Vec<PrefixKey> = ledger
            .added
            .iter()
            .filter(|(_, claim)| claim.until_ns <= now_ns)
            .map(|(prefix, _)| *prefix)
            .collect();
        for prefix in &ended {
            self.forget(&mut ledger, prefix)?;
        }
        Ok(ended.len())
    }

    /// Every addition that has not ended, by prefix.
    pub fn added(&self) -> Result<Vec<Added>, DatapathError> {
        let now_ns = now_ns();
        let ledger = self.ledger();
        let live = ledger.added.iter().filter(|(_, claim)| claim.until_ns > now_ns);
        live.map(|(prefix, claim)| self.describe(*prefix, *claim)).collect()
    }

    /// Every entry around a host or prefix that has not ended, the narrowest first.
    pub fn find(&self, prefix: PrefixKey) -> Result<Vec<Found>, DatapathError> {
        let now_ns = now_ns();
        let ledger = self.ledger();
        let mut found = Vec::new();
        let mut offer = |prefix: PrefixKey, row: &DenyRow| -> Result<(), DatapathError> {
            let listed = (row.listed_until_ns > now_ns).then_some((row.list, row.listed_until_ns));
            let claim = ledger.added.get(&prefix).filter(|claim| claim.until_ns > now_ns);
            let added = claim.map(|claim| self.describe(prefix, *claim)).transpose()?;
            if listed.is_some() || added.is_some() {
                found.push(Found { prefix, listed, added });
            }
            Ok(())
        };
        let mut rest = cut(&prefix, prefix.length);
        if rest.length == HOST
            && let Some(row) = self.hosts.get(&rest.address)?
        {
            offer(rest, &row)?;
        }
        while let Some(row) = self.prefixes.get(&rest)? {
            let around = cut(&rest, u32::from(row.length));
            offer(around, &row)?;
            let Some(shorter) = around.length.checked_sub(1) else { break };
            rest = cut(&around, shorter);
        }
        Ok(found)
    }

    /// Ends the addition's half of a row, and the row if no list has it.
    fn forget(&self, ledger: &mut Ledger, prefix: &PrefixKey) -> Result<(), DatapathError> {
        match self.row(prefix)? {
            Some(row) if row.listed_until_ns != 0 => {
                self.put_row(prefix, &DenyRow { added_until_ns: 0, origin: 0, ..row })?;
            }
            Some(_) => {
                self.delete_row(prefix)?;
                *ledger.rows(prefix) -= 1;
            }
            None => {}
        }
        ledger.added.remove(prefix);
        self.notes.delete(prefix)
    }

    fn describe(&self, prefix: PrefixKey, claim: Claim) -> Result<Added, DatapathError> {
        let note = self.notes.get(&prefix)?.unwrap_or_default();
        let end = note.text.iter().position(|byte| *byte == 0).unwrap_or(note.text.len());
        Ok(Added {
            prefix,
            until_ns: claim.until_ns,
            origin: DenyOrigin::try_from(claim.origin).unwrap_or(DenyOrigin::None),
            reason: String::from_utf8_lossy(&note.text[..end]).into_owned(),
            since_ns: note.since_ns,
        })
    }

    /// Says of a map that has no room that it has none.
    fn full(&self, map: &'static str) -> impl FnOnce(DatapathError) -> DatapathError {
        let capacity = self.capacities.of(map);
        move |error| match error {
            DatapathError::Call { source, .. } if source.raw_os_error() == Some(libc::E2BIG) => {
                DatapathError::NoRoom { map, capacity }
            }
            other => other,
        }
    }
}

/// As much of a reason as there is room for, to the end of a character.
fn note(reason: &str, now_ns: u64) -> DenyNote {
    let mut note = DenyNote { since_ns: now_ns, ..DenyNote::ZERO };
    let end = reason.floor_char_boundary(NOTE_BYTES);
    note.text[..end].copy_from_slice(&reason.as_bytes()[..end]);
    note
}

/// A prefix's length as its row says it.
pub(super) fn length(prefix: &PrefixKey) -> u8 {
    u8::try_from(prefix.length).unwrap_or(128)
}

/// A prefix as people write it.
pub(super) fn text(prefix: &PrefixKey) -> String {
    let address = std::net::Ipv6Addr::from(prefix.address.to_bytes());
    match (address.to_ipv4_mapped(), prefix.length) {
        (Some(v4), HOST) => v4.to_string(),
        (Some(v4), 96..) => format!("{v4}/{}", prefix.length - 96),
        (_, HOST) => address.to_string(),
        (_, length) => format!("{address}/{length}"),
    }
}
