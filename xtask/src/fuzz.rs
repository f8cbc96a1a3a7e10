//! `cargo xtask fuzz`: runs the libFuzzer targets of tests/fuzz, each for a bounded time.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command;
use crate::packages;
use crate::workspace::Workspace;

/// LLVM's coverage instrumentation, as `cargo fuzz` sets it. No sanitizer: the code under test forbids unsafe
/// code, and without one no flag is unstable.
const FLAGS: [&str; 8] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
];

/// Fuzz one target, or each in turn.
///
/// Inputs worth keeping gather in target/fuzz/corpus; an input that fails is kept in target/fuzz/artifacts and
/// belongs in tests/fuzz/corpus with the fix.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The target; all if absent.
    pub(crate) target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u32,
}

/// The package of the fuzz targets: a workspace of its own, since its flags instrument every dependency.
pub(crate) fn package(workspace: &Workspace) -> PathBuf {
    workspace.root().join("tests/fuzz")
}

/// `cargo VERB` for the fuzz targets, without the flags of an outer build.
pub(crate) fn cargo(workspace: &Workspace, verb: &str) -> Command {
    let mut cargo = command::clean_cargo(&package(workspace));
    cargo.arg(verb).env("CARGO_TARGET_DIR", workspace.target().join("fuzz"));
    cargo
}

/// Builds the targets and runs the one asked for, or all; fails after the first that finds something.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    packages::ensure(packages::FUZZ)?;
    let known = targets(workspace)?;
    let chosen = match &arguments.target {
        None => known,
        Some(target) if known.contains(target) => vec![target.clone()],
        Some(target) => bail!("no fuzz target {target}; there are: {}", known.join(", ")),
    };
    // With a target triple the flags are not applied to build scripts and macros.
    let host = host()?;
    command::run(
        cargo(workspace, "build")
            .args(["--release", "--locked", "--bins", "--target", &host])
            .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f")),
    )?;
    for target in chosen {
        fuzz(workspace, &host, &target, arguments.seconds)?;
    }
    Ok(())
}

/// Runs `target` for `seconds`.
fn fuzz(workspace: &Workspace, host: &str, target: &str, seconds: u32) -> Result<()> {
    let folder = workspace.target().join("fuzz");
    let corpus = folder.join("corpus").join(target);
    let artifacts = folder.join("artifacts").join(target);
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    // The first corpus is the one that grows; the committed ones are only read.
    let mut seeds = vec![package(workspace).join("corpus").join(target)];
    if target == "policy_text" {
        seeds.push(workspace.root().join("policies"));
    }
    let mut command = Command::new(folder.join(host).join("release").join(target));
    command
        .current_dir(&folder)
        .arg(&corpus)
        .args(seeds.iter().filter(|folder| folder.is_dir()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-max_len=65536",
            "-print_final_stats=1",
            "-verbosity=0",
        ]);
    command::run(&mut command).with_context(|| {
        format!("fuzz target {target} failed: the input is in {}", workspace.relative(&artifacts))
    })
}

/// The names of the targets, from their package.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let text = command::output(cargo(workspace, "metadata").args(["--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata gave no JSON")?;
    let targets = metadata["packages"][0]["targets"].as_array().context("cargo metadata named no targets")?;
    Ok(targets
        .iter()
        .filter(|target| target["kind"][0] == "bin")
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect())
}

/// The host's triple.
fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = command::output(Command::new(rustc).arg("-vV"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("`rustc -vV` names no host")
}
