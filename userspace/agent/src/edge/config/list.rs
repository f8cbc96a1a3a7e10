//! What the configuration says of a deny list.

use std::path::{Path, PathBuf};
use std::time::Duration;

use windrose_policy::place::Place;

use super::prefix::short;
use crate::clock::parse_duration;
use crate::edge::fetch::{Limits, Url};

/// A fetched list may have so many bytes: three million entries or so.
const MAX_BYTES: u64 = 64 << 20;

/// The most that `max_bytes` takes.
pub(crate) const MOST_BYTES: u64 = 1 << 30;

/// `edge.deny[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListChoice {
    /// As written; of a URL what may be shown. No two lists have the same.
    pub(crate) name: String,
    /// `file`, as found; empty where a URL is named.
    pub(crate) path: PathBuf,
    /// `url`.
    pub(crate) url: Option<Url>,
    /// `interval`: a URL is fetched so often; 1h.
    pub(crate) interval: Duration,
    /// `timeout` (1m), `max_bytes` (64 MiB) and `ca_file` (the system's authorities) of a fetch.
    pub(crate) limits: Limits,
    pub(super) place: Place,
    /// Well or not.
    is_named: bool,
    /// Of the first key that only a URL has.
    url_only: Option<Place>,
    /// Of a key that names the list, by a second one.
    named_twice: Option<Place>,
}

impl ListChoice {
    pub(super) fn new(place: Place) -> Self {
        Self {
            name: String::new(),
            path: PathBuf::new(),
            url: None,
            interval: Duration::from_hours(1),
            limits: default_limits(),
            place,
            is_named: false,
            url_only: None,
            named_twice: None,
        }
    }

    /// Takes one setting. Paths are from `folder`.
    pub(super) fn set(
        &mut self,
        field: &str,
        text: &str,
        place: &Place,
        folder: &Path,
    ) -> Result<(), String> {
        if !matches!(field, "file" | "url") {
            self.url_only.get_or_insert_with(|| place.clone());
        } else if self.is_named {
            self.named_twice = Some(place.clone());
            return Ok(());
        } else {
            self.is_named = true;
        }
        match field {
            // Not repeated: it may hold a secret.
            "file" if Url::is_meant(text) => return Err("file is a URL; did you mean `url`?".to_owned()),
            "file" => (self.name, self.path) = (text.to_owned(), folder.join(text)),
            "url" => {
                let url = Url::parse(text).map_err(|why| format!("url is wrong: {why}"))?;
                self.name = url.to_string();
                self.url = Some(url);
            }
            "interval" => self.interval = time(field, text, Duration::from_hours(24 * 7), "7d")?,
            "timeout" => self.limits.timeout = time(field, text, Duration::from_hours(1), "1h")?,
            "max_bytes" => {
                let bytes = text.parse().ok().filter(|bytes| (1..=MOST_BYTES).contains(bytes));
                self.limits.max_bytes = bytes.ok_or_else(|| {
                    format!(
                        "max_bytes is `{}`; it must be a whole number from 1 to {MOST_BYTES}",
                        short(text)
                    )
                })?;
            }
            _ => self.limits.ca_file = Some(folder.join(text)),
        }
        Ok(())
    }

    /// Whether both are the same list.
    pub(super) fn is(&self, other: &Self) -> bool {
        (&self.path, &self.url) == (&other.path, &other.url)
    }

    /// What is missing or does not go together.
    pub(super) fn fault(&self, index: usize) -> Option<(Place, String)> {
        if let Some(place) = &self.named_twice {
            let message = format!("`edge.deny[{index}]` has a `file` and a `url`: they are two lists");
            return Some((place.clone(), message));
        }
        if !self.is_named {
            let message =
                format!("`edge.deny[{index}]` has no `file` and no `url`, one of which is required");
            return Some((self.place.clone(), message));
        }
        let place = self.url_only.as_ref().filter(|_| self.url.is_none() && !self.name.is_empty())?;
        Some((
            place.clone(),
            format!("`edge.deny[{index}]` is a file, of which there is nothing to be fetched"),
        ))
    }

    /// What its number is made of: it differs between lists whose names are shown alike.
    pub(crate) fn key(&self) -> String {
        self.url.as_ref().map_or_else(|| self.name.clone(), Url::secret_text)
    }
}

/// How a list is fetched unless said otherwise.
pub(crate) fn default_limits() -> Limits {
    Limits { timeout: Duration::from_mins(1), max_bytes: MAX_BYTES, ca_file: None }
}

fn time(field: &str, text: &str, most: Duration, most_text: &str) -> Result<Duration, String> {
    let found = parse_duration(text).filter(|found| *found <= most);
    found.ok_or_else(|| format!("{field} is `{}`; it must be from 1s to {most_text}", short(text)))
}
