//! `cargo xtask bench`.

use anyhow::Result;

use crate::workspace::Workspace;

/// Not yet.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

/// Not yet.
pub(crate) fn run(_workspace: &Workspace, _arguments: &Arguments) -> Result<()> {
    anyhow::bail!("not yet")
}
