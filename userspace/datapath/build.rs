//! Embeds the committed BPF object, after checking that it was built from the sources of this checkout.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[path = "object/digest.rs"]
mod digest;

const REMEDY: &str = "run `cargo xtask ebpf` and commit what it writes";

fn main() -> ExitCode {
    match object() {
        Ok(path) => {
            println!("cargo:rustc-env=WINDROSE_OBJECT={}", path.display());
            ExitCode::SUCCESS
        }
        Err(fault) => {
            // `cargo:error` is what cargo shows first; the exit code is what stops the build.
            println!("cargo::error={fault}");
            ExitCode::FAILURE
        }
    }
}

/// The path of the object, if it is the one that belongs to the sources; else what is wrong and the remedy.
fn object() -> Result<PathBuf, String> {
    let package =
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets no CARGO_MANIFEST_DIR")?);
    let object = package.join("object/windrose.bpf.o");
    let record = package.join("object/windrose.bpf.o.sources");
    let sources = package.join("../../ebpf");
    for path in [&object, &record, &package.join("object/digest.rs"), &package.join("build.rs")] {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    watch(&sources)?;

    let bytes = fs::read(&object)
        .map_err(|error| format!("no BPF object at {}: {error}; {REMEDY}", object.display()))?;
    let text = fs::read_to_string(&record).map_err(|error| {
        format!("no digest of the BPF sources at {}: {error}; {REMEDY}", record.display())
    })?;
    let record =
        digest::Record::parse(&text).map_err(|fault| format!("{}: {fault}; {REMEDY}", record.display()))?;
    let now = digest::of_sources(&sources)
        .map_err(|error| format!("cannot read the BPF sources in {}: {error}", sources.display()))?;
    if now != record.sources {
        return Err(format!(
            "the committed BPF object was built from other sources than those in ebpf/ (digest {} there, {now} here); {REMEDY}",
            record.sources
        ));
    }
    if digest::of_bytes(&bytes) != record.object {
        return Err(format!(
            "{} is not the object that its digest file describes; {REMEDY}",
            object.display()
        ));
    }
    Ok(object)
}

/// Asks cargo to run this script again when a source changes.
///
/// Cargo looks at a folder recursively, so the crates' folders are named by their children: else a `target`
/// folder that an editor's language server makes would cause endless rebuilds.
fn watch(sources: &Path) -> Result<(), String> {
    let children = |folder: &Path| -> Result<Vec<PathBuf>, String> {
        fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .map_err(|error| format!("cannot list {}: {error}", folder.display()))
    };
    for package in children(sources)?.into_iter().filter(|path| path.is_dir()) {
        for path in children(&package)?.into_iter().filter(|path| digest::is_source(path)) {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    Ok(())
}
