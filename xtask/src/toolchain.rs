//! The BPF toolchain: rustc's own LLVM, the standard library's sources, bpf-linker; found or provisioned.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command;
use crate::workspace::Workspace;

mod rust_src;

/// The version of bpf-linker that is installed and recorded with the object.
pub(crate) const LINKER_VERSION: &str = "0.13.0";

/// Everything that a BPF build needs, in place.
#[derive(Debug)]
pub(crate) struct Toolchain {
    rustc: Rustc,
    library: PathBuf,
    linker: PathBuf,
}

/// The compiler in force, as `rustc -vV` describes it.
#[derive(Debug)]
struct Rustc {
    /// Such as `1.95.0 (59807616e 2026-04-14)`.
    version: String,
    /// Such as `1.95.0`.
    release: String,
    /// The major version of its LLVM, such as `22`.
    llvm: String,
    /// Such as `x86_64-unknown-linux-gnu`.
    host: String,
    sysroot: PathBuf,
}

impl Toolchain {
    /// Finds the parts and provisions those that are missing under `target/bpf-toolchain`.
    pub(crate) fn provision(workspace: &Workspace) -> Result<Self> {
        let rustc = Rustc::ask(workspace.root())?;
        let folder = workspace.target().join("bpf-toolchain").join(format!("rustc-{}", rustc.release));
        let library = rust_src::provision(workspace, &rustc, &folder)?;
        let linker = provision_linker(workspace, &rustc, &folder)?;
        Ok(Self { rustc, library, linker })
    }

    /// The compiler's version as `rustc --version` gives it, without the name.
    pub(crate) fn rustc_version(&self) -> &str {
        &self.rustc.version
    }

    /// The `library` folder of the standard library's sources.
    pub(crate) fn library(&self) -> &Path {
        &self.library
    }

    /// The bpf-linker program.
    pub(crate) fn linker(&self) -> &Path {
        &self.linker
    }

    /// The folders that hold the unpacked sources of registry crates.
    pub(crate) fn registry_sources() -> Result<Vec<PathBuf>> {
        let home = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
            .context("neither CARGO_HOME nor HOME is set: cannot tell where cargo keeps crates")?;
        let sources = home.join("registry/src");
        let mut folders = entries(&sources)?;
        // One registry or many, in whatever order the file system names them: the flags stay the same.
        folders.sort();
        Ok(folders)
    }

    /// Copies the object at `from` to `to` without its DWARF; BTF stays.
    pub(crate) fn strip(&self, from: &Path, to: &Path) -> Result<()> {
        // Rustc brings llvm-objcopy of its own LLVM, so the result does not depend on the machine's binutils.
        let objcopy = self.rustc.sysroot.join("lib/rustlib").join(&self.rustc.host).join("bin/rust-objcopy");
        if !objcopy.is_file() {
            bail!("this Rust toolchain has no {}; use one of rustup's", objcopy.display());
        }
        command::run(
            Command::new(objcopy)
                .env("LD_LIBRARY_PATH", self.rustc.sysroot.join("lib"))
                .arg("--strip-debug")
                .arg(from)
                .arg(to),
        )
    }
}

impl Rustc {
    fn ask(folder: &Path) -> Result<Self> {
        let rustc =
            |arguments: &[&str]| command::output(Command::new("rustc").current_dir(folder).args(arguments));
        let text = rustc(&["-vV"])?;
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(str::to_owned)
                .with_context(|| format!("`rustc -vV` names no {name}"))
        };
        let version = text.lines().next().and_then(|line| line.strip_prefix("rustc ")).unwrap_or_default();
        Ok(Self {
            version: version.to_owned(),
            release: field("release")?,
            llvm: field("LLVM version")?.split('.').next().unwrap_or_default().to_owned(),
            host: field("host")?,
            sysroot: PathBuf::from(rustc(&["--print", "sysroot"])?),
        })
    }

    /// The file name of rustc's own LLVM library, for the linker's `-l:NAME`.
    fn llvm_library(&self) -> Result<String> {
        let folder = self.sysroot.join("lib");
        let mut names: Vec<String> = entries(&folder)?
            .iter()
            .filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
            .filter(|name| name.starts_with("libLLVM") && name.contains(".so"))
            .collect();
        // `libLLVM.so.22.1-…` is the library; `libLLVM-22-….so`, where there is one, a script that names it.
        names.sort_by_key(|name| !name.starts_with("libLLVM.so"));
        names.into_iter().next().with_context(|| {
            format!(
                "no libLLVM*.so* in {}: bpf-linker needs a Rust toolchain with a shared LLVM",
                folder.display()
            )
        })
    }
}

/// Installs bpf-linker against rustc's own LLVM, so that no other LLVM is needed and both agree on bitcode.
fn provision_linker(workspace: &Workspace, rustc: &Rustc, folder: &Path) -> Result<PathBuf> {
    let root = folder.join(format!("bpf-linker-{LINKER_VERSION}"));
    let linker = root.join("bin/bpf-linker");
    // Asked to run, not just looked for: it is bound to the path of the LLVM library it was linked with.
    if command::output(Command::new(&linker).arg("--version")).is_ok() {
        return Ok(linker);
    }
    eprintln!("installing bpf-linker {LINKER_VERSION} (a minute or two, once)");
    let library = rustc.sysroot.join("lib");
    let flags = [
        format!("-Clink-arg=-L{}", library.display()),
        format!("-Clink-arg=-l:{}", rustc.llvm_library()?),
        format!("-Clink-arg=-Wl,-rpath,{}", library.display()),
    ];
    command::run(
        command::clean_cargo(workspace.root())
            .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force"])
            .args(["--no-default-features", "--features"])
            .arg(format!("llvm-{},no-llvm-linking", rustc.llvm))
            .arg("--root")
            .arg(&root)
            .arg("--target-dir")
            .arg(folder.join("build"))
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env("CARGO_PROFILE_RELEASE_DEBUG", "false"),
    )?;
    Ok(linker)
}

/// The paths in `folder`.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .with_context(|| format!("cannot list {}", folder.display()))
}
