//! A deny list: one address or prefix a line, with an end or a reason if need be.
//!
//! ```text
//! 192.0.2.7
//! 198.51.100.0/24 until 2027-01-31T12:00:00Z  scanners
//! 2001:db8::/32 for 12h  # from the time of the file's last change
//! ```

use std::time::SystemTime;

use windrose_datapath::abi::PrefixKey;
use windrose_policy::fault::{Fault, Severity};
use windrose_policy::place::Place;

use super::prefix::{self, short};
use crate::clock;

/// So many faults are told; the rest are counted.
const FAULTS: usize = 100;

/// An entry of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What is denied.
    pub(crate) prefix: PrefixKey,
    /// Until when; `None`: as long as it is on the list.
    pub(crate) until: Option<SystemTime>,
}

/// Reads a list that was last changed at `changed`.
///
/// # Errors
///
/// Every fault with its place, up to [`FAULTS`] of them.
pub(crate) fn parse(name: &str, text: &str, changed: SystemTime) -> Result<Vec<Entry>, Vec<Fault>> {
    let mut entries = Vec::new();
    let mut faults = Vec::new();
    let mut untold = 0_usize;
    for (number, line) in text.lines().enumerate() {
        let written = line.split('#').next().unwrap_or_default();
        match entry(written, changed) {
            Ok(None) => {}
            Ok(Some(entry)) => entries.push(entry),
            Err(_) if faults.len() >= FAULTS => untold += 1,
            Err((rest, message)) => {
                let column = written[..written.len() - rest.len()].chars().count() + 1;
                faults.push(fault(name, number + 1, column, message));
            }
        }
    }
    if untold > 0 {
        faults.push(fault(name, 0, 0, format!("{untold} faults more")));
    }
    if faults.is_empty() { Ok(entries) } else { Err(faults) }
}

/// The reason that a list gives for a prefix, if it has the prefix and a reason.
pub(crate) fn reason(text: &str, wanted: &PrefixKey) -> Option<String> {
    text.lines().find_map(|line| {
        let (written, comment) = line.split_once('#').unwrap_or((line, ""));
        let mut words = written.split_whitespace();
        if prefix::parse(words.next()?).ok()? != *wanted {
            return None;
        }
        let mut words = words.peekable();
        if matches!(words.peek(), Some(&("until" | "for"))) {
            words.nth(1);
        }
        let reason = words.collect::<Vec<_>>().join(" ");
        Some(if reason.is_empty() { comment.trim().to_owned() } else { reason })
    })
}

/// The entry on a line; `None` if there is none. An error comes with the rest of the line from
/// where it is.
fn entry(line: &str, changed: SystemTime) -> Result<Option<Entry>, (&str, String)> {
    let Some((what, rest)) = word(line) else { return Ok(None) };
    let prefix = prefix::parse(what).map_err(|message| (from(line, what), message))?;
    let Some((keyword, after)) = word(rest) else { return Ok(Some(Entry { prefix, until: None })) };
    let until = match keyword {
        "until" | "for" => {
            let Some((value, _)) = word(after) else {
                return Err((from(line, keyword), format!("nothing comes behind `{keyword}`")));
            };
            let until =
                if keyword == "until" { clock::parse_rfc3339(value) } else { after_change(value, changed) };
            Some(until.ok_or_else(|| (from(line, value), wrong_end(keyword, value)))?)
        }
        // A reason.
        _ => None,
    };
    Ok(Some(Entry { prefix, until }))
}

fn after_change(value: &str, changed: SystemTime) -> Option<SystemTime> {
    clock::parse_duration(value).and_then(|duration| changed.checked_add(duration))
}

fn wrong_end(keyword: &str, value: &str) -> String {
    let value = short(value);
    match keyword {
        "until" => format!("`{value}` is no time such as 2027-01-31T12:00:00Z"),
        _ => format!("`{value}` is no duration such as 30s, 10m, 12h or 7d"),
    }
}

/// The first word and what is behind it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    if text.is_empty() {
        return None;
    }
    Some(text.split_at(text.find(char::is_whitespace).unwrap_or(text.len())))
}

/// The rest of a line from one of its words on.
fn from<'a>(line: &'a str, word: &'a str) -> &'a str {
    let at = word.as_ptr().addr().saturating_sub(line.as_ptr().addr());
    line.get(at..).unwrap_or(word)
}

/// A fault at a place of a list; 0 is the list as a whole.
pub(super) fn fault(name: &str, line: usize, column: usize, message: String) -> Fault {
    let number = |n| u32::try_from(n).unwrap_or(u32::MAX);
    Fault {
        place: Place { file: name.into(), line: number(line), column: number(column) },
        severity: Severity::Error,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed() -> SystemTime {
        clock::parse_rfc3339("2026-11-23T12:00:00Z").unwrap()
    }

    fn said(text: &str) -> Vec<String> {
        match parse("l.txt", text, changed()) {
            Ok(entries) => entries
                .iter()
                .map(|entry| {
                    let until = entry.until.map(|until| format!(" until {}", clock::rfc3339(until)));
                    prefix::text(&entry.prefix) + &until.unwrap_or_default()
                })
                .collect(),
            Err(faults) => faults.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn entries_are_read_with_their_ends() {
        let text = "# all of it\n\n192.0.2.7\n  198.51.100.9/24\tuntil 2027-01-31T12:00:00Z scanners # seen\r\n\
                    2001:db8::/32 for 12h\n203.0.113.0/24 ; SBL1\n203.0.113.9#x\n";
        assert_eq!(
            said(text),
            [
                "192.0.2.7",
                "198.51.100.0/24 until 2027-01-31T12:00:00.000000Z",
                "2001:db8::/32 until 2026-11-24T00:00:00.000000Z",
                "203.0.113.0/24",
                "203.0.113.9",
            ]
        );
    }

    #[test]
    fn every_fault_has_its_place() {
        let text = "192.0.2.7\n 192.0.2.777 x\n192.0.2.0/33\n192.0.2.1 until tomorrow\n192.0.2.1  for 1y\n192.0.2.1 for\n";
        assert_eq!(
            said(text),
            [
                "l.txt:2:2: `192.0.2.777` is no IP address or prefix such as 192.0.2.7 or 2001:db8::/32",
                "l.txt:3:1: `192.0.2.0/33` has a length that is no number from 0 to 32",
                "l.txt:4:17: `tomorrow` is no time such as 2027-01-31T12:00:00Z",
                "l.txt:5:16: `1y` is no duration such as 30s, 10m, 12h or 7d",
                "l.txt:6:11: nothing comes behind `for`",
            ]
        );
    }

    #[test]
    fn a_million_faults_are_a_hundred_and_a_number() {
        let faults = said(&"x\n".repeat(1000));
        assert_eq!(faults.len(), FAULTS + 1);
        assert_eq!(faults.last().unwrap(), "l.txt: 900 faults more");
    }

    #[test]
    fn the_reason_of_an_entry_is_found_again() {
        let text = "192.0.2.7 bad bot\n192.0.2.8 for 1h worse # c\n192.0.2.9 # note\n";
        let of = |address| reason(text, &prefix::parse(address).unwrap());
        assert_eq!(of("192.0.2.7").as_deref(), Some("bad bot"));
        assert_eq!(of("192.0.2.8").as_deref(), Some("worse"));
        assert_eq!(of("192.0.2.9").as_deref(), Some("note"));
        assert_eq!(of("192.0.2.10"), None);
    }
}
