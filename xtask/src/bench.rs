//! `cargo xtask bench`: side-by-side measurements, by the tests' own bench program.

use anyhow::Result;

use crate::command;
use crate::packages;
use crate::workspace::Workspace;

/// Measure, side by side in one run, and write docs/benchmarks.md.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to measure, such as `policy`, then options of that benchmark; nothing lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds the agent, which is what is measured, then runs the bench program.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    packages::ensure(packages::DEMO)?;
    packages::ensure(packages::TESTS)?;
    command::run(command::cargo(workspace.root()).args(["build", "--release", "--package", "windrose"]))?;
    command::run(
        command::cargo(workspace.root())
            .args(["run", "--release", "--package", "windrose-tests", "--bin", "bench", "--"])
            .args(&arguments.rest),
    )
}
