//! The standard library's sources, which `-Z build-std` compiles for BPF: five places, in order of trust.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Rustc;
use crate::command;
use crate::workspace::Workspace;

/// Names a `library` folder; wins over every other place.
const VARIABLE: &str = "WINDROSE_RUST_SRC";

/// The `library` folder of exactly the compiler in force; what it had to unpack is under `folder`.
pub(super) fn provision(workspace: &Workspace, rustc: &Rustc, folder: &Path) -> Result<PathBuf> {
    if let Some(named) = env::var_os(VARIABLE) {
        let library = PathBuf::from(named);
        if !is_library(&library) {
            bail!("{VARIABLE} names {}, which holds no core/src/lib.rs", library.display());
        }
        return Ok(library);
    }
    let component = rustc.sysroot.join("lib/rustlib/src/rust/library");
    let unpacked = folder.join("rust-src/library");
    if let Some(library) = [&component, &unpacked].into_iter().find(|library| is_library(library)) {
        return Ok(library.clone());
    }

    let mut tried = Vec::new();
    eprintln!("the standard library's sources are missing: asking rustup for its component rust-src");
    match from_rustup(workspace) {
        Ok(()) if is_library(&component) => return Ok(component),
        Ok(()) => tried.push(format!("rustup: has rust-src, but not in {}", component.display())),
        Err(error) => tried.push(format!("rustup: {error:#}")),
    }
    eprintln!("rustup cannot give it: asking Debian's package pool");
    match from_debian(rustc, folder) {
        Ok(source) => return adopt(&source, &unpacked),
        Err(error) => tried.push(format!("Debian's package rust-src: {error:#}")),
    }
    eprintln!("the pool cannot give it: looking for an archive beside the checkout");
    match from_archive(workspace, rustc, folder) {
        Ok(source) => return adopt(&source, &unpacked),
        Err(error) => tried.push(format!("archive: {error:#}")),
    }
    bail!(
        "no sources of the standard library of Rust {release}, which a BPF build compiles. Give them in one of \
         these ways: `rustup component add rust-src`; the Debian package rust-src of version {release}; or set \
         {VARIABLE} to the `library` folder of Rust {release}'s sources. Tried:\n  {}",
        tried.join("\n  "),
        release = rustc.release,
    );
}

fn is_library(folder: &Path) -> bool {
    folder.join("core/src/lib.rs").is_file()
}

/// Moves a complete tree to where the next run looks, so that an interrupted unpacking is never taken for one.
fn adopt(source: &Path, unpacked: &Path) -> Result<PathBuf> {
    if !is_library(source) {
        bail!("what was unpacked in {} holds no core/src/lib.rs", source.display());
    }
    if let Some(parent) = unpacked.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    }
    fs::rename(source, unpacked).with_context(|| format!("cannot move {} into place", source.display()))?;
    Ok(unpacked.to_owned())
}

fn from_rustup(workspace: &Workspace) -> Result<()> {
    command::output(Command::new("rustup").current_dir(workspace.root()).args([
        "component",
        "add",
        "rust-src",
    ]))?;
    Ok(())
}

/// Fetches the package of this very version with apt, from the machine's own mirror of Debian.
///
/// A stable release has an older one; backports has a new one for each Rust release. So apt is given a list
/// of its own, with the machine's mirror and the suites below; the system's lists and packages are not
/// touched, and apt's signature checks stay in force.
fn from_debian(rustc: &Rustc, folder: &Path) -> Result<PathBuf> {
    const SUITES: [&str; 3] = ["trixie-backports", "forky", "sid"];
    let mirror = debian_mirror()?;
    let apt = folder.join("apt");
    for part in ["lists/partial", "cache/archives/partial", "package"] {
        let part = apt.join(part);
        fs::create_dir_all(&part).with_context(|| format!("cannot create {}", part.display()))?;
    }
    let list = apt.join("sources.list");
    let lines: String = SUITES.map(|suite| format!("deb {mirror} {suite} main\n")).concat();
    fs::write(&list, lines).with_context(|| format!("cannot write {}", list.display()))?;
    let private = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(apt.join("package")).env("LC_ALL", "C");
        for (option, value) in [
            ("Dir::Etc::SourceList", list.clone()),
            ("Dir::Etc::SourceParts", PathBuf::from("/dev/null")),
            ("Dir::State::Lists", apt.join("lists")),
            ("Dir::Cache", apt.join("cache")),
            ("Acquire::Languages", PathBuf::from("none")),
            ("APT::Sandbox::User", PathBuf::from("root")),
        ] {
            command.arg("-o").arg(format!("{option}={}", value.display()));
        }
        command
    };
    command::output(private("apt-get").arg("update"))?;
    let known = command::output(private("apt-cache").args(["madison", "rust-src"]))?;
    let versions: Vec<&str> =
        known.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim).collect();
    let wanted = format!("{}+", rustc.release);
    let Some(version) = versions.iter().find(|version| version.starts_with(&wanted)) else {
        bail!("the pool has {}, but not {}", versions.join(", "), rustc.release);
    };
    command::output(private("apt-get").arg("download").arg(format!("rust-src={version}")))?;
    let package = super::entries(&apt.join("package"))?
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download left no package")?;
    let tree = apt.join("tree");
    command::output(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&tree))?;
    Ok(tree.join("usr/src").join(format!("rustc-{}", rustc.release)).join("library"))
}

/// The address of the machine's Debian mirror, from apt's own configuration.
fn debian_mirror() -> Result<String> {
    let text = command::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(ORIGIN)|$(LABEL)|$(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    text.lines()
        .find_map(|line| line.strip_prefix("Debian|Debian|"))
        .map(str::to_owned)
        .context("apt knows no mirror of Debian (run `apt-get update` if this machine is one of Debian)")
}

/// The archive that a workplace without either may put beside the checkout.
fn from_archive(workspace: &Workspace, rustc: &Rustc, folder: &Path) -> Result<PathBuf> {
    let archive =
        workspace.root().join("../shared/toolchain").join(format!("rust-src-{}.tar.xz", rustc.release));
    if !archive.is_file() {
        bail!("{} does not exist", archive.display());
    }
    let tree = folder.join("archive");
    fs::create_dir_all(&tree).with_context(|| format!("cannot create {}", tree.display()))?;
    command::output(Command::new("tar").arg("-xJf").arg(&archive).arg("-C").arg(&tree))?;
    Ok(tree.join("library"))
}
