//! `cargo xtask demo`: provisions, builds the agent and becomes `windrose demo`.

use std::os::unix::process::CommandExt as _;

use anyhow::{Result, anyhow};

use crate::command;
use crate::packages;
use crate::workspace::Workspace;

/// Build the agent and run its demo.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Passed on to `windrose demo`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Returns only if the demo could not be started.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    packages::ensure(packages::DEMO)?;
    // Built apart from the run, so that a fault in the build is told as one.
    command::run(command::cargo(workspace.root()).args(["build", "--release", "--package", "windrose"]))?;
    let error = command::cargo(workspace.root())
        .args(["run", "--quiet", "--release", "--package", "windrose", "--", "demo"])
        .args(&arguments.rest)
        .exec();
    Err(anyhow!(error).context("cannot run cargo"))
}
