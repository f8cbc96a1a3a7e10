//! `cargo xtask bless`: rewrites the golden files from what the code now says.

use std::process::Command;

use anyhow::Result;

use crate::command;
use crate::workspace::Workspace;

/// Rewrite the golden files; read the difference before you commit it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Passed on to `cargo test`, such as `--package windrose-policy`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs the tests that have `golden` in their name with `BLESS=1`, under which they write instead of compare.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let mut cargo = command::cargo(workspace.root());
    cargo.arg("test").env("BLESS", "1");
    if arguments.rest.is_empty() {
        cargo.args(["--workspace", "golden"]);
    } else {
        cargo.args(&arguments.rest);
    }
    command::run(&mut cargo)?;
    command::run(Command::new("git").current_dir(workspace.root()).args(["status", "--short"]))
}
