//! Faults of policy files: what is wrong, where, and what was perhaps meant.

use std::fmt;

use crate::place::Place;

mod near;

pub(crate) use near::{nearest, quoted};

#[cfg(test)]
mod tests;

/// So many errors, and so many warnings, are kept; a hostile megabyte must not become a
/// gigabyte of messages. The rest are counted.
const KEPT: usize = 1_000;

/// Something to say about a place in a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// Whether it refuses the policy.
    pub severity: Severity,
    /// What is wrong, and where a near name exists, `; did you mean ...?`. One line, without
    /// control characters.
    pub message: String,
}

/// How grave a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// The policy is taken; it may not mean what its author thinks.
    Warning,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for Fault {}

/// Faults as they are found: bounded in number, and put in order at the end.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    errors: Kept,
    warnings: Kept,
}

/// The faults of one severity.
#[derive(Debug, Default)]
struct Kept {
    faults: Vec<Fault>,
    dropped: usize,
}

impl Faults {
    /// Records an error.
    pub(crate) fn error(&mut self, place: Place, message: impl Into<String>) {
        self.errors.push(Fault { place, severity: Severity::Error, message: message.into() });
    }

    /// Records a warning.
    pub(crate) fn warn(&mut self, place: Place, message: impl Into<String>) {
        self.warnings.push(Fault { place, severity: Severity::Warning, message: message.into() });
    }

    /// Whether the policy is refused.
    pub(crate) fn is_refusal(&self) -> bool {
        !self.errors.faults.is_empty()
    }

    /// Whether a further error would only be counted.
    pub(crate) fn is_full_of_errors(&self) -> bool {
        self.errors.faults.len() >= KEPT
    }

    /// Whether a further warning would be dropped.
    pub(crate) fn is_full_of_warnings(&self) -> bool {
        self.warnings.faults.len() >= KEPT
    }

    /// How many were recorded, kept or not.
    pub(crate) fn count(&self) -> usize {
        let count = |kept: &Kept| kept.faults.len() + kept.dropped;
        count(&self.errors) + count(&self.warnings)
    }

    /// Takes over the faults of another collection.
    pub(crate) fn append(&mut self, other: Self) {
        self.errors.append(other.errors);
        self.warnings.append(other.warnings);
    }

    /// All faults by place, an error before a warning of the same place.
    pub(crate) fn into_sorted(self) -> Vec<Fault> {
        let mut all = self.errors.close("errors");
        all.extend(self.warnings.close("warnings"));
        // Stable, so that faults of one place stay as they were found. A "so many more" has
        // line 0 and the name of the last file; it must stay last.
        all.sort_by(|a, b| {
            let key = |fault: &Fault| (fault.place.line == u32::MAX, fault.place.clone(), fault.severity);
            key(a).cmp(&key(b))
        });
        for fault in &mut all {
            if fault.place.line == u32::MAX {
                fault.place.line = 0;
            }
        }
        all
    }
}

impl Kept {
    fn push(&mut self, fault: Fault) {
        if self.faults.len() < KEPT {
            self.faults.push(fault);
        } else {
            self.dropped += 1;
        }
    }

    fn append(&mut self, other: Self) {
        self.dropped += other.dropped;
        for fault in other.faults {
            self.push(fault);
        }
    }

    fn close(mut self, what: &str) -> Vec<Fault> {
        if self.dropped > 0
            && let Some(last) = self.faults.last()
        {
            // Line `u32::MAX` sorts it behind the others; `into_sorted` takes it away again.
            let place = Place { file: last.place.file.clone(), line: u32::MAX, column: 0 };
            let message = format!("and at least {} more {what}", self.dropped);
            self.faults.push(Fault { place, severity: last.severity, message });
        }
        self.faults
    }
}
