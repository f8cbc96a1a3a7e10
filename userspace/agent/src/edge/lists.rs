//! The deny lists of the configuration: read, put in force, left as they were when broken.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use windrose_datapath::abi::edge::FOREVER;
use windrose_datapath::{DatapathError, Edge, Listed, Synced};
use windrose_policy::fault::{Fault, Severity};
use windrose_policy::place::Place;

use super::ListView;
use super::config::{ListChoice, MOST_BYTES};
use super::fetch::{Fetch, Read};
use super::list::{self, Entry};
use crate::clock::{Clock, rfc3339};
use crate::refused::FaultView;

/// Ended entries are taken off this often at most; the program heeds their ends by itself.
const ENDED_EVERY: Duration = Duration::from_mins(1);

/// Every list and what is known of it.
#[derive(Debug)]
pub(super) struct Lists {
    all: Vec<List>,
    failures: u64,
    /// When an entry ends next.
    next_end: Option<SystemTime>,
}

#[derive(Debug)]
struct List {
    choice: ListChoice,
    number: u32,
    /// `None`: never read by this agent.
    content: Option<Arc<[Entry]>>,
    read_at: Option<String>,
    faults: Vec<FaultView>,
}

impl Lists {
    pub(super) fn new(choices: &[ListChoice]) -> Self {
        let mut lists: Vec<List> = Vec::with_capacity(choices.len());
        for choice in choices {
            let mut number = number(&choice.key());
            while number == 0 || lists.iter().any(|list| list.number == number) {
                number = number.wrapping_add(1);
            }
            lists.push(List {
                choice: choice.clone(),
                number,
                content: None,
                read_at: None,
                faults: Vec::new(),
            });
        }
        Self { all: lists, failures: 0, next_end: None }
    }

    /// Puts in force what is new and good: what came of lists that are fetched and, if `has_files`,
    /// what files have now. A list that is broken stays as it is in force; so do all of them if the
    /// new ones do not fit.
    pub(super) fn load(&mut self, edge: &Edge, fetches: &[Option<Arc<Fetch>>], has_files: bool) {
        let read: Vec<Option<Read>> = self
            .all
            .iter()
            .zip(fetches)
            .map(|(list, fetch)| match fetch {
                Some(fetch) => fetch.take_due(),
                None => has_files.then(|| read(&list.choice.name, &list.choice.path)),
            })
            .collect();
        let contents: Vec<Option<Arc<[Entry]>>> = self
            .all
            .iter()
            .zip(&read)
            .map(|(list, read)| match read {
                Some(Ok(content)) => Some(Arc::clone(content)),
                Some(Err(_)) | None => list.content.clone(),
            })
            .collect();
        let is_new = self
            .all
            .iter()
            .zip(&contents)
            .any(|(list, content)| !is_same(list.content.as_ref(), content.as_ref()));
        // An edge without lists is cleared of those that an earlier agent had.
        let synced = if is_new || has_files { self.sync(edge, &contents).map(Some) } else { Ok(None) };
        let at = rfc3339(SystemTime::now());
        for ((list, read), content) in self.all.iter_mut().zip(read).zip(contents) {
            let faults = match (read, &synced) {
                (None, _) => continue,
                (Some(Err(faults)), _) => faults,
                (Some(Ok(_)), Err(error)) => vec![FaultView {
                    file: Some(list.choice.name.clone()),
                    ..FaultView::without_place(error.with_causes())
                }],
                (Some(Ok(_)), Ok(_)) => {
                    if !is_same(list.content.as_ref(), content.as_ref()) {
                        (list.content, list.read_at) = (content, Some(at.clone()));
                    }
                    Vec::new()
                }
            };
            if !faults.is_empty() {
                self.failures += 1;
            }
            if faults != list.faults {
                tell(&list.choice.name, &faults);
            }
            list.faults = faults;
        }
        if let Ok(Some(Synced { new, changed, gone, took })) = synced {
            tracing::info!(new, changed, gone, took_ms = took.as_millis(), "deny lists in force");
        }
    }

    /// Takes off what has ended meanwhile.
    pub(super) fn drop_ended(&mut self, edge: &Edge) {
        if self.next_end.is_none_or(|end| end > SystemTime::now()) {
            return;
        }
        let contents: Vec<_> = self.all.iter().map(|list| list.content.clone()).collect();
        if let Err(error) = self.sync(edge, &contents) {
            tracing::warn!(error = error.with_causes(), "cannot take ended entries off");
        }
    }

    fn sync(&mut self, edge: &Edge, contents: &[Option<Arc<[Entry]>>]) -> Result<Synced, DatapathError> {
        let clock = Clock::now();
        let now = SystemTime::now();
        let mut kept = Vec::new();
        let mut listed = Vec::with_capacity(contents.iter().flatten().map(|content| content.len()).sum());
        let mut next_end: Option<SystemTime> = None;
        for (list, content) in self.all.iter().zip(contents) {
            let Some(content) = content else {
                kept.push(list.number);
                continue;
            };
            for entry in content.iter() {
                let until_ns = entry.until.map_or(FOREVER, |until| clock.ns_of(until));
                listed.push(Listed { prefix: entry.prefix, until_ns, list: list.number });
                if let Some(until) = entry.until.filter(|until| *until > now) {
                    next_end = Some(next_end.map_or(until, |next| next.min(until)));
                }
            }
        }
        let synced = edge.sync(listed, &kept)?;
        self.next_end = next_end.map(|end| end.max(now + ENDED_EVERY));
        Ok(synced)
    }

    pub(super) fn views(&self) -> Vec<ListView> {
        let view = |list: &List| ListView {
            list: list.choice.name.clone(),
            entries: list.content.as_ref().map(|content| content.len()),
            read_at: list.read_at.clone(),
            faults: list.faults.clone(),
            fetch: None,
        };
        self.all.iter().map(view).collect()
    }

    pub(super) const fn failures(&self) -> u64 {
        self.failures
    }
}

/// Which list has a number.
pub(super) fn index_of(choices: &[ListChoice], wanted: u32) -> Option<usize> {
    Lists::new(choices).all.iter().position(|list| list.number == wanted)
}

/// Whether both are one and the same.
fn is_same(one: Option<&Arc<[Entry]>>, other: Option<&Arc<[Entry]>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

/// Reads a list; faults name it as `name`.
pub(super) fn read(name: &str, path: &Path) -> Read {
    let fault = |message: String| {
        let place = Place { file: name.into(), line: 0, column: 0 };
        vec![FaultView::from(&Fault { place, severity: Severity::Error, message })]
    };
    let cannot = |error: std::io::Error| fault(format!("cannot read it: {error}"));
    let meta = fs::metadata(path).map_err(cannot)?;
    if meta.len() > MOST_BYTES {
        return Err(fault(format!("{} bytes are no list: the most is {MOST_BYTES}", meta.len())));
    }
    let changed = meta.modified().map_err(cannot)?;
    let text = fs::read_to_string(path).map_err(cannot)?;
    match list::parse(name, &text, changed) {
        Ok(entries) => Ok(entries.into()),
        Err(faults) => Err(faults.iter().map(FaultView::from).collect()),
    }
}

fn tell(list: &str, faults: &[FaultView]) {
    if faults.is_empty() {
        tracing::info!(list, "the deny list is mended");
        return;
    }
    for fault in faults {
        tracing::error!("{fault}");
    }
    tracing::error!(list, "the deny list is refused; what is in force of it stays until it is mended");
}

/// FNV-1a: a list keeps its number when others come and go.
fn number(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
