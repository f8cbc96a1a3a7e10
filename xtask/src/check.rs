//! `cargo xtask check`: everything that can be said about the code without running it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::arrows;
use crate::command;
use crate::ebpf;
use crate::fuzz;
use crate::source_rules;
use crate::workspace::Workspace;

/// The version of cargo-deny that is installed where none is found.
const DENY_VERSION: &str = "0.20.2";

/// Check format, lints on host and BPF target, docs, dependencies and their arrows, and the rules of a file.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

type Step = (&'static str, fn(&Workspace) -> Result<()>);

/// Cheap ones first.
const STEPS: [Step; 7] = [
    ("rules of a source file", source_rules::check),
    ("dependency arrows", arrows::check),
    ("format", format),
    ("clippy, host", lint),
    ("clippy, BPF", ebpf::lint),
    ("docs", document),
    ("cargo deny", deny),
];

/// Runs every step, also after one failed, and fails naming those that did.
pub(crate) fn run(workspace: &Workspace, _: &Arguments) -> Result<()> {
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        eprintln!("check: {name}");
        if let Err(error) = step(workspace) {
            eprintln!("error: {name}: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("check failed: {}", failed.join(", "));
    }
    println!("check: all {} steps passed", STEPS.len());
    Ok(())
}

/// The checkout holds three cargo workspaces; these are their roots.
fn roots(workspace: &Workspace) -> [PathBuf; 3] {
    [workspace.root().to_owned(), workspace.programs(), fuzz::package(workspace)]
}

fn format(workspace: &Workspace) -> Result<()> {
    let mut unformatted = Vec::new();
    for root in roots(workspace) {
        if command::run(command::cargo(&root).args(["fmt", "--", "--check", "-l"])).is_err() {
            unformatted.push(root.display().to_string());
        }
    }
    if !unformatted.is_empty() {
        bail!("run `cargo fmt` in {}", unformatted.join(" and in "));
    }
    Ok(())
}

fn lint(workspace: &Workspace) -> Result<()> {
    let rest = ["--locked", "--all-targets", "--", "-D", "warnings"];
    command::run(command::cargo(workspace.root()).args(["clippy", "--workspace"]).args(rest))?;
    command::run(fuzz::cargo(workspace, "clippy").args(rest))
}

fn document(workspace: &Workspace) -> Result<()> {
    command::run(
        command::cargo(workspace.root())
            .args(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

fn deny(workspace: &Workspace) -> Result<()> {
    let root = workspace.target().join("tools").join(format!("cargo-deny-{DENY_VERSION}"));
    let own = root.join("bin/cargo-deny");
    let program = if command::is_installed("cargo-deny") { PathBuf::from("cargo-deny") } else { own.clone() };
    if program == own && !own.is_file() {
        eprintln!("installing cargo-deny {DENY_VERSION} (two or three minutes, once)");
        command::run(
            command::clean_cargo(workspace.root())
                .args([
                    "install",
                    "cargo-deny",
                    "--version",
                    DENY_VERSION,
                    "--locked",
                    "--no-default-features",
                ])
                .arg("--root")
                .arg(&root)
                .arg("--target-dir")
                .arg(workspace.target().join("tools/build"))
                // It runs for a second: the time to optimise it would never be won back.
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "256")
                .env("CARGO_PROFILE_RELEASE_DEBUG", "false"),
        )?;
    }
    for root in roots(workspace) {
        command::run(
            Command::new(&program)
                .current_dir(workspace.root())
                .arg("--manifest-path")
                .arg(root.join("Cargo.toml"))
                .arg("--config")
                .arg(workspace.root().join("deny.toml"))
                // One list for three workspaces: not each of them has all that it names.
                .args([
                    "check",
                    "--hide-inclusion-graph",
                    "--allow",
                    "unused-wrapper",
                    "--allow",
                    "unmatched-skip",
                ])
                .args(["licenses", "bans", "sources"]),
        )?;
    }
    Ok(())
}
