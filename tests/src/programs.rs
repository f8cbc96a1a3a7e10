//! Where the programs are that the tests start.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, bail};

/// The actor: a binary of this package, which cargo builds before it runs the tests.
pub fn actor() -> Result<PathBuf> {
    let path = profile_folder()?.join("actor");
    if !path.is_file() {
        bail!("{} is missing: cargo builds it with the tests of windrose-tests", path.display());
    }
    Ok(path)
}

/// The agent: `WINDROSE_BIN`, or built now, since cargo does not build the binaries of other packages
/// for a test.
pub fn agent() -> Result<PathBuf> {
    static AGENT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    AGENT
        .get_or_init(|| build_agent().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow!("no agent to test: {error}"))
}

fn build_agent() -> Result<PathBuf> {
    if let Some(path) = env::var_os("WINDROSE_BIN") {
        return Ok(path.into());
    }
    let folder = profile_folder()?;
    let target = folder.parent().context("the profile's folder has no parent")?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The whole workspace is named so that features unify as in `cargo test --workspace`, and
    // nothing is built twice.
    cargo.args(["build", "--quiet", "--workspace", "--bin", "windrose", "--target-dir"]).arg(target);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    let status = cargo.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo build --bin windrose ended with {status}");
    }
    Ok(folder.join("windrose"))
}

/// `target/<profile>`: a test runs from its folder `deps`.
fn profile_folder() -> Result<PathBuf> {
    let test = env::current_exe().context("cannot name the running test")?;
    Ok(test.ancestors().nth(2).context("the running test is in no target folder")?.to_owned())
}
