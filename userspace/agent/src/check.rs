//! `windrose check`: whether policy files are valid.

use std::io::{self, Write as _};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde::Serialize;
use windrose_policy::source;
use windrose_policy::tables::{Compiler, Settings};

use crate::cli::{CheckArgs, Format};
use crate::compile::{VerifiedView, compile};
use crate::output;
use crate::refused::{FaultView, Refused, count};
use crate::snapshot::Counts;

/// What `check --output json` writes.
#[derive(Debug, Serialize)]
struct Report {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
    /// How much of the compiled tables was verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<VerifiedView>,
    faults: Vec<FaultView>,
}

/// Reads, compiles and verifies, and applies nothing.
pub(crate) fn run(args: &CheckArgs) -> Result<()> {
    let checked = check(args);
    if args.output == Format::Json {
        let report = match &checked {
            Ok(Checked { counts, verified, warnings }) => Report {
                valid: true,
                counts: Some(*counts),
                verified: Some(*verified),
                faults: warnings.clone(),
            },
            Err(refused) => {
                Report { valid: false, counts: None, verified: None, faults: refused.faults.clone() }
            }
        };
        output::print_json(&report)?;
    }
    let Checked { counts, warnings, .. } = checked?;
    if args.output == Format::Text {
        let text = warnings.iter().fold(String::new(), |text, warning| text + &format!("{warning}\n"));
        io::stderr().write_all(text.as_bytes()).context("cannot write to standard error")?;
        output::print(&summary(counts, warnings.len()))?;
    }
    Ok(())
}

/// A policy that is valid.
struct Checked {
    counts: Counts,
    verified: VerifiedView,
    warnings: Vec<FaultView>,
}

fn check(args: &CheckArgs) -> Result<Checked, Refused> {
    let loaded = source::load(&args.paths).map_err(|faults| Refused::policy(&faults))?;
    let mut compiler = Compiler::new();
    let compilation = compile(&mut compiler, Arc::new(loaded.model), &Settings::default(), 0)?;
    Ok(Checked {
        counts: Counts::of(compiler.model()),
        verified: compilation.verified,
        warnings: loaded.warnings.iter().map(FaultView::from).collect(),
    })
}

fn summary(counts: Counts, warnings: usize) -> String {
    let also = if warnings == 0 { String::new() } else { format!("; {}", count(warnings, "warning")) };
    let services = match counts.services {
        0 => String::new(),
        services => format!(", {} with {}", count(services, "service"), count(counts.endpoints, "endpoint")),
    };
    format!(
        "valid: {}, {}, {}, {}{services}{also}\n",
        count(counts.namespaces, "namespace"),
        count(counts.workloads, "workload"),
        count(counts.policies, "policy"),
        count(counts.rules, "rule"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn args(name: &str) -> CheckArgs {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        CheckArgs { paths: vec![path], output: Format::Text }
    }

    #[test]
    fn golden_check_of_a_valid_policy() {
        let Checked { counts, warnings, verified } = check(&args("shop.yaml")).unwrap();
        assert!(verified.complete, "{verified:?}");
        output::golden::assert("check-shop.txt", &summary(counts, warnings.len()));
    }

    #[test]
    fn golden_check_of_every_shipped_policy() {
        let mut folders: Vec<_> =
            std::fs::read_dir("../../policies").unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        assert!(!folders.is_empty());
        let said = folders.into_iter().fold(String::new(), |said, folder| {
            let name = folder.display().to_string();
            let Checked { counts, warnings, .. } =
                check(&CheckArgs { paths: vec![folder], output: Format::Text }).unwrap();
            let warned =
                warnings.iter().fold(String::new(), |said, warning| said + &format!("  {warning}\n"));
            said + &format!("{name}: {}{warned}", summary(counts, warnings.len()))
        });
        output::golden::assert("check-shipped.txt", &said);
    }

    #[test]
    fn golden_check_of_a_bad_policy() {
        let refused = check(&args("bad.yaml")).err().unwrap().to_string();
        let folder = format!("{}/tests/fixtures/", env!("CARGO_MANIFEST_DIR"));
        output::golden::assert("check-bad.txt", &(refused.replace(&folder, "") + "\n"));
    }
}
