//! `cargo xtask ebpf`: builds the BPF object, or checks that the committed one is what the sources give.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command;
use crate::digest::{self, Record};
use crate::rustc_wrapper;
use crate::toolchain::{self, Toolchain};
use crate::workspace::Workspace;

const TARGET: &str = "bpfel-unknown-none";

/// Build the BPF object that userspace embeds, and write it where it is committed.
///
/// Provisions what is missing: the standard library's sources and bpf-linker.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail unless the committed object is byte for byte what the sources give.
    #[arg(long)]
    pub(crate) check: bool,
}

/// Builds, then writes or compares.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let toolchain = Toolchain::provision(workspace)?;
    let bytes = build(workspace, &toolchain)?;
    let record = Record {
        sources: digest::of_sources(&workspace.ebpf()).context("cannot read the BPF sources")?,
        object: digest::of_bytes(&bytes),
        rustc: toolchain.rustc_version().to_owned(),
        linker: toolchain::LINKER_VERSION.to_owned(),
    };
    if arguments.check { compare(workspace, &bytes, &record) } else { write(workspace, &bytes, &record) }
}

/// Runs clippy on the BPF programs, warnings denied.
pub(crate) fn lint(workspace: &Workspace) -> Result<()> {
    let toolchain = Toolchain::provision(workspace)?;
    command::run(cargo(workspace, &toolchain, "clippy")?.args(["--", "-D", "warnings"]))
}

/// `cargo VERB` for the BPF programs, set up so that the result does not depend on the folder.
fn cargo(workspace: &Workspace, toolchain: &Toolchain, verb: &str) -> Result<Command> {
    let mut flags = vec!["-Cdebuginfo=2".to_owned(), "-Clink-arg=--btf".to_owned()];
    // Paths reach the object as BTF line info and panic locations. The last prefix that fits wins.
    let mut remap = |from: &str, to: &str| flags.push(format!("--remap-path-prefix={from}={to}"));
    remap(&workspace.root().to_string_lossy(), "/windrose");
    for folder in Toolchain::registry_sources()? {
        remap(&folder.to_string_lossy(), "/crates");
    }
    remap(&toolchain.library().to_string_lossy(), "/rust/library");

    let mut cargo = command::clean_cargo(&workspace.programs());
    cargo
        .args([verb, "--release", "--locked", "--target", TARGET, "-Z", "build-std=core"])
        // build-std is the one unstable thing that a BPF target needs.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("__CARGO_TESTS_ONLY_SRC_ROOT", toolchain.library())
        .env("CARGO_TARGET_DIR", target(workspace))
        // Not among the flags: those are hashed into every symbol, and this is a path.
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", toolchain.linker())
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // aya-ebpf takes the host's architecture unless told; the object is the same wherever it is built.
        .env("AYA_BPF_TARGET_ARCH", "x86_64")
        .env("RUSTC_WRAPPER", env::current_exe().context("cannot find this program's own path")?)
        .env(rustc_wrapper::SWITCH, "1");
    Ok(cargo)
}

/// The object's bytes, freshly built.
fn build(workspace: &Workspace, toolchain: &Toolchain) -> Result<Vec<u8>> {
    command::run(&mut cargo(workspace, toolchain, "build")?)?;
    let folder = target(workspace).join(TARGET).join("release");
    let built = folder.join("windrose-ebpf");
    let stripped = folder.join("windrose.bpf.o");
    // The kernel reads BTF; nobody reads the DWARF beside it, which is three quarters of the file.
    toolchain.strip(&built, &stripped)?;
    fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))
}

fn write(workspace: &Workspace, bytes: &[u8], record: &Record) -> Result<()> {
    let object = workspace.object();
    let digest = workspace.object_record();
    if let Some(folder) = object.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(&object, bytes).with_context(|| format!("cannot write {}", object.display()))?;
    fs::write(&digest, record.to_string()).with_context(|| format!("cannot write {}", digest.display()))?;
    println!("wrote {} ({} bytes) and its digest", workspace.relative(&object), bytes.len());
    Ok(())
}

fn compare(workspace: &Workspace, bytes: &[u8], record: &Record) -> Result<()> {
    let object = workspace.object();
    let digest = workspace.object_record();
    let remedy = "run `cargo xtask ebpf` and commit what it writes";
    let committed =
        fs::read(&object).with_context(|| format!("cannot read {}; {remedy}", object.display()))?;
    let text =
        fs::read_to_string(&digest).with_context(|| format!("cannot read {}; {remedy}", digest.display()))?;
    let described = Record::parse(&text)
        .map_err(|fault| anyhow::anyhow!("{}: {fault}; {remedy}", workspace.relative(&digest)))?;
    let mut faults = Vec::new();
    if described.sources != record.sources {
        faults.push(format!("{} is of other sources than those in ebpf/", workspace.relative(&digest)));
    }
    if committed != bytes {
        let at = committed.iter().zip(bytes).take_while(|(old, new)| old == new).count();
        faults.push(format!(
            "{} ({} bytes) differs from what the sources give ({} bytes, in {}) from byte {at} on",
            workspace.relative(&object),
            committed.len(),
            bytes.len(),
            target(workspace).join(TARGET).join("release/windrose.bpf.o").display(),
        ));
    }
    if described.object != digest::of_bytes(&committed) {
        faults.push(format!("{} describes another object", workspace.relative(&digest)));
    }
    // Another compiler gives other bytes and that is nobody's fault: say so, since it explains the rest.
    if !faults.is_empty() && described.rustc != record.rustc {
        faults.push(format!("the committed one is by rustc {}, this is {}", described.rustc, record.rustc));
    }
    if !faults.is_empty() {
        bail!("{}; {remedy}", faults.join("; "));
    }
    println!("{} is byte for byte what the sources give", workspace.relative(&object));
    Ok(())
}

fn target(workspace: &Workspace) -> PathBuf {
    workspace.target().join("bpf")
}
