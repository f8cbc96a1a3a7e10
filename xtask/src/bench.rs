//! `cargo xtask bench`: side-by-side measurements, by the tests' own bench program.

use anyhow::Result;

use crate::command;
use crate::packages;
use crate::workspace::Workspace;

/// Benchmarks that have a proxy among what they compare.
const PROXIED: [&str; 3] = ["edge", "sidecar", "redirect"];

/// Measure, side by side in one run, and write docs/benchmarks.md.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to measure: `policy`, `service`, `edge`, `sidecar` or `gateway`, then options of that benchmark; nothing lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds the agent, which is what is measured, then runs the bench program.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    packages::ensure(packages::DEMO)?;
    packages::ensure(packages::TESTS)?;
    if arguments.rest.first().is_some_and(|name| PROXIED.contains(&name.as_str())) {
        packages::ensure(packages::PROXY)?;
    }
    if arguments.rest.first().is_some_and(|name| name == "gateway") {
        packages::ensure(packages::PROXY)?;
        packages::ensure(packages::HTTP)?;
    }
    command::run(command::cargo(workspace.root()).args(["build", "--release", "--package", "windrose"]))?;
    command::run(
        command::cargo(workspace.root())
            .args(["run", "--release", "--package", "windrose-tests", "--bin", "bench", "--"])
            .args(&arguments.rest),
    )
}
