//! Entries that are added and removed while the agent runs, and what is known of an address.

use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use windrose_datapath::abi::edge::FOREVER;
use windrose_datapath::abi::{DenyOrigin, PrefixKey};
use windrose_datapath::{Added, AddedNow, DatapathError};

use super::{Guard, ListView, list, lists, prefix};
use crate::clock::Clock;

/// Everything that was added, and the lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DenyView {
    pub(crate) added: Vec<AddedView>,
    pub(crate) lists: Vec<ListView>,
}

/// An entry that was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AddedView {
    pub(crate) prefix: String,
    /// `operator` or `gateway`.
    pub(crate) origin: String,
    pub(crate) reason: String,
    /// RFC 3339.
    pub(crate) since: Option<String>,
    /// RFC 3339; absent: until it is removed.
    pub(crate) until: Option<String>,
}

/// What is known of an address or prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AnswerView {
    pub(crate) prefix: String,
    pub(crate) denied: bool,
    /// It is in the allow list, so that no entry counts.
    pub(crate) allowed: bool,
    /// The narrowest first.
    pub(crate) entries: Vec<EntryView>,
}

/// An entry around an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryView {
    pub(crate) prefix: String,
    pub(crate) added: Option<AddedView>,
    pub(crate) listed: Option<ListedView>,
}

/// What a list says of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListedView {
    /// As the configuration names it; absent for one that it no longer names.
    pub(crate) list: Option<String>,
    /// RFC 3339; absent: as long as it is on the list.
    pub(crate) until: Option<String>,
    /// As the list has it now.
    pub(crate) reason: Option<String>,
}

/// What removing an entry left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// False: nothing was added under exactly this prefix.
    pub(crate) removed: bool,
    /// What is still known of it.
    pub(crate) left: AnswerView,
}

impl Guard {
    /// Denies a prefix at an operator's word.
    pub(crate) fn deny(
        &self,
        prefix: PrefixKey,
        ttl: Option<Duration>,
        reason: &str,
    ) -> Result<AnswerView, DatapathError> {
        let now = self.edge.deny(prefix, ttl, DenyOrigin::Operator, reason)?;
        let is_new = now == AddedNow::New;
        tracing::info!(prefix = prefix::text(&prefix), ?ttl, reason, is_new, "denied by an operator");
        self.answer(prefix)
    }

    /// Takes an addition back.
    pub(crate) fn undeny(&self, prefix: PrefixKey) -> Result<Ended, DatapathError> {
        let removed = self.edge.undeny(prefix)?;
        if removed {
            tracing::info!(prefix = prefix::text(&prefix), "no longer denied by an operator");
        }
        Ok(Ended { removed, left: self.answer(prefix)? })
    }

    /// Everything that was added, and the lists.
    pub(crate) fn denied(&self) -> Result<DenyView, DatapathError> {
        let clock = Clock::now();
        let added = self.edge.added()?.iter().map(|added| view(added, &clock)).collect();
        Ok(DenyView { added, lists: self.view().lists })
    }

    /// What is known of an address or prefix.
    pub(crate) fn answer(&self, prefix: PrefixKey) -> Result<AnswerView, DatapathError> {
        let clock = Clock::now();
        let found = self.edge.find(prefix)?;
        let allowed = self.edge.is_allowed(&prefix);
        let entries: Vec<EntryView> = found
            .iter()
            .map(|entry| EntryView {
                prefix: prefix::text(&entry.prefix),
                added: entry.added.as_ref().map(|added| view(added, &clock)),
                listed: entry
                    .listed
                    .map(|(list, until_ns)| self.listed(&entry.prefix, list, until_ns, &clock)),
            })
            .collect();
        Ok(AnswerView {
            prefix: prefix::text(&prefix),
            denied: !allowed && !entries.is_empty(),
            allowed,
            entries,
        })
    }

    fn listed(&self, prefix: &PrefixKey, number: u32, until_ns: u64, clock: &Clock) -> ListedView {
        let index = lists::index_of(&self.choices.lists, number);
        let choice = index.and_then(|index| self.choices.lists.get(index));
        let fetch = index.and_then(|index| self.fetches.get(index)?.as_ref());
        let text = match fetch {
            Some(fetch) => fetch.text(),
            None => choice.and_then(|choice| fs::read_to_string(&choice.path).ok()),
        };
        let reason = text.and_then(|text| list::reason(&text, prefix));
        ListedView { list: choice.map(|choice| choice.name.clone()), until: until(until_ns, clock), reason }
    }
}

fn view(added: &Added, clock: &Clock) -> AddedView {
    AddedView {
        prefix: prefix::text(&added.prefix),
        origin: added.origin.as_str().to_owned(),
        reason: added.reason.clone(),
        since: clock.text_of(added.since_ns),
        until: until(added.until_ns, clock),
    }
}

fn until(until_ns: u64, clock: &Clock) -> Option<String> {
    if until_ns == FOREVER { None } else { clock.text_of(until_ns) }
}
