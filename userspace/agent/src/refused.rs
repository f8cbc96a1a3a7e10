//! A policy or configuration that is refused, with every fault.

use std::fmt;

use serde::{Deserialize, Serialize};
use windrose_policy::fault::{Fault, Severity};
use windrose_policy::place::Place;
use windrose_policy::tables::CompileError;
use windrose_policy::verify::Mismatch;

/// What is wrong, each with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// What was refused: a policy, a configuration.
    pub(crate) what: &'static str,
    /// The faults, errors and warnings, by place.
    pub(crate) faults: Vec<FaultView>,
}

/// A fault as JSON shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FaultView {
    /// `error` or `warning`.
    pub(crate) severity: String,
    /// The file; absent when it is none in particular.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) file: Option<String>,
    /// From 1; 0 means the file as a whole.
    pub(crate) line: u32,
    /// From 1; 0 means the file as a whole.
    pub(crate) column: u32,
    /// What is wrong.
    pub(crate) message: String,
}

impl FaultView {
    /// A fault without a place.
    pub(crate) fn without_place(message: String) -> Self {
        Self { severity: "error".to_owned(), file: None, line: 0, column: 0, message }
    }

    /// Whether it is only a warning.
    pub(crate) fn is_warning(&self) -> bool {
        self.severity == "warning"
    }
}

impl From<&Fault> for FaultView {
    fn from(fault: &Fault) -> Self {
        let severity = match fault.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        Self {
            severity: severity.to_owned(),
            file: Some(fault.place.file.to_string()),
            line: fault.place.line,
            column: fault.place.column,
            message: fault.message.clone(),
        }
    }
}

impl From<&CompileError> for FaultView {
    fn from(error: &CompileError) -> Self {
        Self {
            file: error.place.as_ref().map(|place| place.file.to_string()),
            line: error.place.as_ref().map_or(0, |place| place.line),
            column: error.place.as_ref().map_or(0, |place| place.column),
            ..Self::without_place(error.message.clone())
        }
    }
}

impl fmt::Display for FaultView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) if self.line == 0 => write!(f, "{file}: ")?,
            Some(file) => write!(f, "{file}:{}:{}: ", self.line, self.column)?,
            None => {}
        }
        if self.is_warning() {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.message)
    }
}

impl Refused {
    /// Of a policy's faults.
    pub(crate) fn policy(faults: &[Fault]) -> Self {
        Self { what: "policy", faults: faults.iter().map(FaultView::from).collect() }
    }

    /// Of what the compiler says.
    pub(crate) fn compile(errors: &[CompileError]) -> Self {
        Self { what: "policy", faults: errors.iter().map(FaultView::from).collect() }
    }

    /// Of tables that do not say what the policy says.
    pub(crate) fn mismatch(mismatch: &Mismatch) -> Self {
        let Place { file, line, column } = &mismatch.place;
        let fault = FaultView {
            file: Some(file.to_string()),
            line: *line,
            column: *column,
            ..FaultView::without_place(mismatch.to_string())
        };
        Self { what: "policy", faults: vec![fault] }
    }

    /// Of a configuration's faults.
    pub(crate) fn configuration(faults: &[Fault]) -> Self {
        Self { what: "configuration", faults: faults.iter().map(FaultView::from).collect() }
    }

    /// Of one fault without a place.
    pub(crate) fn because(message: String) -> Self {
        Self { what: "policy", faults: vec![FaultView::without_place(message)] }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.faults.iter().filter(|fault| !fault.is_warning()).count();
        write!(f, "the {} is refused: {}", self.what, count(errors, "error"))?;
        for fault in &self.faults {
            write!(f, "\n{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

/// `1 error`, `2 errors`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let ending = match (number, noun.strip_suffix('y')) {
        (1, _) => return format!("1 {noun}"),
        (_, Some(stem)) => return format!("{number} {stem}ies"),
        (_, None) => "s",
    };
    format!("{number} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_nouns_agree() {
        assert_eq!(count(1, "policy"), "1 policy");
        assert_eq!(count(2, "policy"), "2 policies");
        assert_eq!(count(0, "error"), "0 errors");
    }
}
