//! Lists named by URL: fetched at the start and every so often; what was good stays when that fails.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;
use windrose_policy::fault::Fault;

use super::Guard;
use super::config::ListChoice;
use super::keeper::Signal;
use super::list::{self, Entry};
use crate::clock::rfc3339;
use crate::refused::FaultView;

mod copy;
mod error;
mod get;
mod trust;
mod url;

use copy::Copy;
use error::{FetchError, Kind};
pub(crate) use get::Limits;
use get::{Answer, Body, Validators};
pub(crate) use url::Url;

/// After a failure it is tried again so soon, then after twice as long, up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// What is known of a list's fetching, as JSON shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FetchView {
    /// When the server last said that what is in force is its list, RFC 3339; absent: never.
    pub(crate) confirmed_at: Option<String>,
    /// Seconds since then.
    pub(crate) age_seconds: Option<u64>,
    /// Why the last fetch failed; absent if it did not.
    pub(crate) error: Option<String>,
    /// Since when every fetch has failed, RFC 3339.
    pub(crate) failing_since: Option<String>,
    /// Fetches that failed since the agent started, by why.
    pub(crate) failures: BTreeMap<String, u64>,
}

/// A list that is fetched.
#[derive(Debug)]
pub(super) struct Fetch {
    /// As it may be shown.
    name: String,
    url: Url,
    interval: Duration,
    limits: Limits,
    /// Where its last good copy is.
    copy: PathBuf,
    /// Held for a moment only.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What was good last.
    good: Option<Good>,
    /// For the keeper to put in force, or to tell.
    due: Option<Read>,
    failing: Option<Failing>,
    failures: BTreeMap<Kind, u64>,
}

#[derive(Debug, Clone)]
struct Good {
    entries: Arc<[Entry]>,
    /// Of its text.
    digest: u64,
    validators: Validators,
    confirmed: SystemTime,
}

#[derive(Debug, Clone)]
struct Failing {
    since: SystemTime,
    times: u32,
    error: FetchError,
}

/// A list's entries, or all that is wrong with it.
pub(super) type Read = Result<Arc<[Entry]>, Vec<FaultView>>;

impl Fetch {
    /// One for a list that is named by URL; its copy is read, which blocks.
    pub(super) fn open(choice: &ListChoice, state: &Path) -> Option<Arc<Self>> {
        let url = choice.url.as_ref()?;
        let fetch = Self {
            name: choice.name.clone(),
            url: url.clone(),
            interval: choice.interval,
            limits: choice.limits.clone(),
            copy: copy::path(state, url),
            state: Mutex::default(),
        };
        let list = &fetch.name;
        match copy::read(&fetch.copy) {
            Ok(None) => {}
            Ok(Some(Copy { text, validators, changed, confirmed })) => {
                match list::parse(list, &text, changed) {
                    Ok(entries) => {
                        let entries: Arc<[Entry]> = entries.into();
                        let good = Good {
                            entries: Arc::clone(&entries),
                            digest: digest(&text),
                            validators,
                            confirmed,
                        };
                        let mut state = fetch.state();
                        (state.good, state.due) = (Some(good), Some(Ok(entries)));
                    }
                    Err(_) => {
                        tracing::warn!(list, "the kept copy of a deny list is damaged; it is passed over");
                    }
                }
            }
            Err(error) => tracing::warn!(list, %error, "the kept copy of a deny list cannot be read"),
        }
        Some(Arc::new(fetch))
    }

    /// What is to be put in force, or told, since the last call.
    pub(super) fn take_due(&self) -> Option<Read> {
        self.state().due.take()
    }

    /// The list as its copy has it.
    pub(super) fn text(&self) -> Option<String> {
        Some(copy::read(&self.copy).ok()??.text)
    }

    pub(super) fn view(&self) -> FetchView {
        let state = self.state();
        let confirmed = state.good.as_ref().map(|good| good.confirmed);
        let age = confirmed.map(|at| SystemTime::now().duration_since(at).unwrap_or_default().as_secs());
        let failures = state.failures.iter().map(|(kind, count)| (kind.as_str().to_owned(), *count));
        FetchView {
            confirmed_at: confirmed.map(rfc3339),
            age_seconds: age,
            error: state.failing.as_ref().map(|failing| failing.error.to_string()),
            failing_since: state.failing.as_ref().map(|failing| rfc3339(failing.since)),
            failures: failures.collect(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches once, and says after how long to do so again.
    async fn once(self: &Arc<Self>) -> Duration {
        let known = self.state().good.as_ref().map(|good| good.validators.clone()).unwrap_or_default();
        let outcome = match get::get(&self.url, &known, &self.limits).await {
            Ok(answer) => {
                let fetch = Arc::clone(self);
                // It parses and writes files.
                let taken = spawn_blocking(move || fetch.take(answer)).await;
                taken.unwrap_or_else(|error| {
                    Err(FetchError::caused(Kind::Encoding, "it cannot be read", &error))
                })
            }
            Err(error) => Err(error),
        };
        let times = match outcome {
            Ok(()) => self.has_come(),
            Err(error) => self.has_failed(error),
        };
        wait(times, self.interval)
    }

    /// Takes what a server says. Blocks.
    fn take(&self, answer: Answer) -> Result<(), FetchError> {
        let now = SystemTime::now();
        let body = match answer {
            Answer::Unchanged => {
                self.confirmed(now);
                return Ok(());
            }
            Answer::Body(body) => body,
        };
        let validators = body.validators.clone();
        let bytes = unpacked(body, self.limits.max_bytes)?;
        let read = text_of(&self.name, bytes).and_then(|text| {
            let digest = digest(&text);
            if self
                .state()
                .good
                .as_ref()
                .is_some_and(|good| good.digest == digest && good.validators == validators)
            {
                return Ok(None);
            }
            let changed = changed(&validators, now);
            let entries = list::parse(&self.name, &text, changed)?;
            let copy = Copy { text, validators, changed, confirmed: now };
            Ok(Some((Arc::from(entries), copy, digest)))
        });
        match read {
            Ok(None) => self.confirmed(now),
            Ok(Some((entries, copy, digest))) => {
                if let Err(error) = copy::write(&self.copy, &copy) {
                    let (list, copy) = (&self.name, self.copy.display());
                    tracing::warn!(list, %copy, %error, "no copy of a deny list is kept: a start without network has none");
                }
                let good = Good {
                    entries: Arc::clone(&entries),
                    digest,
                    validators: copy.validators,
                    confirmed: now,
                };
                let mut state = self.state();
                (state.good, state.due) = (Some(good), Some(Ok(entries)));
            }
            Err(faults) => self.state().due = Some(Err(faults.iter().map(FaultView::from).collect())),
        }
        Ok(())
    }

    /// The server has what was good last.
    fn confirmed(&self, now: SystemTime) {
        let mut state = self.state();
        let Some(good) = &mut state.good else { return };
        good.confirmed = now;
        // In force already, or refused in between.
        let entries = Arc::clone(&good.entries);
        state.due = Some(Ok(entries));
        drop(state);
        if let Err(error) = copy::confirm(&self.copy, now) {
            tracing::debug!(list = self.name, %error, "cannot note that a deny list is confirmed");
        }
    }

    fn has_come(&self) -> u32 {
        if let Some(failing) = self.state().failing.take() {
            let since = rfc3339(failing.since);
            tracing::info!(list = self.name, since, "the deny list can be fetched again");
        }
        0
    }

    /// How many times in a row that is.
    fn has_failed(&self, error: FetchError) -> u32 {
        let mut state = self.state();
        *state.failures.entry(error.kind).or_default() += 1;
        let before = state.failing.take();
        let is_new = before.as_ref().is_none_or(|before| before.error != error);
        let failing = Failing {
            since: before.as_ref().map_or_else(SystemTime::now, |before| before.since),
            times: before.as_ref().map_or(0, |before| before.times).saturating_add(1),
            error,
        };
        let times = failing.times;
        let kept = state.good.as_ref().map(|good| rfc3339(good.confirmed));
        if is_new {
            let error = &failing.error;
            tracing::warn!(list = self.name, %error, kept, "cannot fetch a deny list; what is in force of it stays");
        }
        state.failing = Some(failing);
        times
    }
}

/// Fetches lists until it is told to stop.
pub(crate) async fn fetch(guard: Arc<Guard>, mut ended: watch::Receiver<bool>) -> Result<()> {
    let mut tasks = JoinSet::new();
    for fetch in guard.fetches.iter().flatten() {
        tasks.spawn(keep_fetching(Arc::clone(&guard), Arc::clone(fetch)));
    }
    loop {
        tokio::select! {
            _ = ended.changed() => break,
            // They end by a panic only.
            Some(Err(error)) = tasks.join_next() => tracing::error!(%error, "a deny list is no longer fetched"),
        }
    }
    tasks.shutdown().await;
    Ok(())
}

async fn keep_fetching(guard: Arc<Guard>, fetch: Arc<Fetch>) {
    let mut again = guard.fetch_again.subscribe();
    loop {
        again.mark_unchanged();
        let wait = fetch.once().await;
        guard.tell(Signal::Fetched);
        tokio::select! {
            () = sleep(wait) => {}
            // The sender lives as long as the guard.
            _ = again.changed() => {}
        }
    }
}

/// Fetches a list and says all that is wrong with it; nothing is kept.
pub(super) async fn check(name: &str, url: &Url, limits: &Limits) -> Result<Vec<Entry>, Vec<FaultView>> {
    let failed = |error: FetchError| {
        vec![FaultView { file: Some(name.to_owned()), ..FaultView::without_place(error.to_string()) }]
    };
    let refused = |faults: Vec<Fault>| faults.iter().map(FaultView::from).collect::<Vec<_>>();
    let known = Validators::default();
    let Answer::Body(body) = get::get(url, &known, limits).await.map_err(failed)? else {
        return Ok(Vec::new());
    };
    let changed = changed(&body.validators, SystemTime::now());
    let bytes = unpacked(body, limits.max_bytes).map_err(failed)?;
    let text = text_of(name, bytes).map_err(refused)?;
    list::parse(name, &text, changed).map_err(refused)
}

/// After so many failures in a row; a tenth more or less, so that not everybody asks at once.
fn wait(times: u32, interval: Duration) -> Duration {
    let wait = match times.checked_sub(1) {
        None => interval,
        Some(doublings) => FIRST_RETRY.saturating_mul(1 << doublings.min(20)).min(interval),
    };
    // Its seeds are random.
    let lot = RandomState::new().hash_one(0_u8) % 201;
    wait.saturating_mul(900 + u32::try_from(lot).unwrap_or(0)) / 1000
}

/// When a list changed, from which `for` counts.
fn changed(validators: &Validators, now: SystemTime) -> SystemTime {
    let said = validators.last_modified.as_deref().and_then(|text| httpdate::parse_http_date(text).ok());
    said.unwrap_or(now).min(now)
}

fn unpacked(body: Body, max_bytes: u64) -> Result<Vec<u8>, FetchError> {
    if !body.is_gzip {
        return Ok(body.bytes);
    }
    let mut bytes = Vec::new();
    // One more tells that there are more.
    let mut reader = flate2::read::MultiGzDecoder::new(body.bytes.as_slice()).take(max_bytes + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| FetchError::caused(Kind::Encoding, "it cannot be unpacked", &error))?;
    if bytes.len() as u64 > max_bytes { Err(get::too_large(max_bytes)) } else { Ok(bytes) }
}

/// The text of a list. An empty one is no list: a server that has lost it would let everybody in.
fn text_of(name: &str, bytes: Vec<u8>) -> Result<String, Vec<Fault>> {
    if bytes.is_empty() {
        let message = "it is empty; a list without entries has a comment at least".to_owned();
        return Err(vec![list::fault(name, 0, 0, message)]);
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let before = String::from_utf8_lossy(good);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        vec![list::fault(name, line, column, "this is no UTF-8".to_owned())]
    })
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
