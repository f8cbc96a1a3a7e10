//! The cyclonus conformance cases for `NetworkPolicy`, on real sockets: every pod is a process in a
//! network namespace and a cgroup.

use std::process::ExitCode;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use windrose_tests::trial;

#[path = "conformance/cases.rs"]
mod cases;
#[path = "conformance/cluster.rs"]
mod cluster;

use cluster::Cluster;

/// How many cases there are.
const CASES: usize = 230;

/// Several clusters at once: each waits more than it computes.
const CLUSTERS: usize = 4;

windrose_tests::tests![
    the_first_quarter_of_the_cases_is_decided_as_expected,
    the_second_quarter_of_the_cases_is_decided_as_expected,
    the_third_quarter_of_the_cases_is_decided_as_expected,
    the_last_quarter_of_the_cases_is_decided_as_expected,
];

fn main() -> ExitCode {
    let path = cases::path();
    let needs = if path.is_file() {
        Vec::new()
    } else {
        vec![format!("{} (or WINDROSE_CONFORMANCE)", path.display())]
    };
    trial::run(tests(), &needs)
}

fn the_first_quarter_of_the_cases_is_decided_as_expected() -> Result<()> {
    quarter(0)
}

fn the_second_quarter_of_the_cases_is_decided_as_expected() -> Result<()> {
    quarter(1)
}

fn the_third_quarter_of_the_cases_is_decided_as_expected() -> Result<()> {
    quarter(2)
}

fn the_last_quarter_of_the_cases_is_decided_as_expected() -> Result<()> {
    quarter(3)
}

/// Runs every fourth case on a cluster of its own.
fn quarter(which: usize) -> Result<()> {
    let cases = all()?;
    ensure!(cases.len() == CASES, "{} cases", cases.len());
    let mut cluster = Cluster::new()?;
    let mut wrong = Vec::new();
    for case in cases.iter().skip(which).step_by(CLUSTERS) {
        let steps = case["Steps"].as_array().context("a case without steps")?;
        for (index, step) in steps.iter().enumerate() {
            let name = format!("case {} step {index}: {}", case["N"], case["Description"]);
            wrong.extend(
                cluster
                    .check(step)
                    .with_context(|| name.clone())?
                    .into_iter()
                    .map(|it| format!("{name}: {it}")),
            );
            ensure!(wrong.len() < 20, "too much is wrong:\n{}", wrong.join("\n"));
        }
    }
    eprintln!("quarter {which}: {} probes; ignored, needs SCTP: {} probes", cluster.probes, cluster.skipped);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(cluster.probes > 10_000, "only {} probes", cluster.probes);
    Ok(())
}

/// The cases, read once.
fn all() -> Result<&'static [Value]> {
    static ALL: OnceLock<Result<Vec<Value>, String>> = OnceLock::new();
    match ALL.get_or_init(|| cases::read().map_err(|error| format!("{error:#}"))) {
        Ok(cases) => Ok(cases),
        Err(error) => Err(anyhow!("{error}")),
    }
}
