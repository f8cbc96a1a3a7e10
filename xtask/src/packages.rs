//! Programs that the tests and the demo call, and the Debian packages that bring them.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command;
use crate::workspace::Workspace;

/// A program and the package that has it, under the same name in Debian and Ubuntu.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    name: &'static str,
    package: &'static str,
}

/// What lays out namespaces and sends traffic in the demo.
pub(crate) const DEMO: &[Program] =
    &[Program { name: "ip", package: "iproute2" }, Program { name: "nsenter", package: "util-linux" }];

/// What the tests call, beyond [`DEMO`].
pub(crate) const TESTS: &[Program] = &[
    Program { name: "curl", package: "curl" },
    Program { name: "nft", package: "nftables" },
    Program { name: "ping", package: "iputils-ping" },
    Program { name: "tcpdump", package: "tcpdump" },
];

/// What benchmarks with a proxy in them call, beyond [`TESTS`].
pub(crate) const PROXY: &[Program] = &[Program { name: "haproxy", package: "haproxy" }];

/// What the benchmark of the gateway calls, beyond [`PROXY`].
pub(crate) const HTTP: &[Program] = &[
    Program { name: "nginx", package: "nginx-light" },
    Program { name: "h2load", package: "nghttp2-client" },
];

/// libFuzzer's runtime is C++.
pub(crate) const FUZZ: &[Program] = &[Program { name: "c++", package: "g++" }];

/// Whether this process is root, which loading BPF programs and installing packages need.
pub(crate) fn is_root() -> bool {
    // Fields: real, effective, saved, file system. Read from /proc, since asking the C library is unsafe code.
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return false };
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}

/// Installs the packages of those `programs` that are missing, or says which to install.
pub(crate) fn ensure(programs: &[Program]) -> Result<()> {
    let mut missing = missing(programs);
    if missing.is_empty() {
        return Ok(());
    }
    missing.sort_unstable();
    missing.dedup();
    let packages = missing.join(" ");
    if !is_root() || !command::is_installed("apt-get") {
        bail!("programs are missing: install the packages {packages} (`apt-get install {packages}` as root)");
    }
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq").args(arguments);
        apt
    };
    // A third-party list that is down must not stop us: what counts is whether the packages install.
    if let Err(error) = command::run(&mut apt(&["update"])) {
        eprintln!("warning: {error:#}");
    }
    command::run(apt(&["install", "--yes", "--no-install-recommends"]).args(&missing))
        .with_context(|| format!("cannot install {packages}"))
}

fn missing(programs: &[Program]) -> Vec<&'static str> {
    programs
        .iter()
        .filter(|program| !command::is_installed(program.name))
        .map(|program| program.package)
        .collect()
}

/// The folder of promtool, the linter of metrics.
///
/// Debian ships it in the package of the Prometheus server, and installing that starts a server; so the
/// package is unpacked and not installed.
pub(crate) fn promtool(workspace: &Workspace) -> Result<Option<PathBuf>> {
    if command::is_installed("promtool") {
        return Ok(None);
    }
    let folder = workspace.target().join("tools/prometheus");
    let programs = folder.join("usr/bin");
    if !programs.join("promtool").is_file() {
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let apt = |arguments: &[&str]| {
            let mut apt = Command::new("apt-get");
            // Without this, apt warns that its own user cannot write here, and goes on as root anyway.
            apt.current_dir(&folder).args(["-qq", "-o", "APT::Sandbox::User=root"]).args(arguments);
            apt
        };
        let remedy = "promtool is missing: install the package prometheus, or put promtool on the path";
        if command::run(apt(&["download", "prometheus"]).env("LC_ALL", "C")).is_err() {
            // Lists may be absent or name a version that is gone.
            command::run(&mut apt(&["update"])).context(remedy)?;
            command::run(&mut apt(&["download", "prometheus"])).context(remedy)?;
        }
        let package = fs::read_dir(&folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .context(remedy)?;
        command::run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&folder)).context(remedy)?;
    }
    Ok(Some(programs))
}

/// The search path with `folder` before the rest.
pub(crate) fn path_with(folder: PathBuf) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(std::iter::once(folder).chain(env::split_paths(&path))).context("cannot extend PATH")
}
