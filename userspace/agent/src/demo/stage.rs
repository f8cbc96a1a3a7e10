//! The stage: network namespaces, cgroups and a copy of the policy, made for the demo and cleared away after it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use windrose_datapath::{Machine, Pins};

use super::interrupt;

/// Name of the folder of pins, of the cgroup and of the run folder, and first part of every network namespace's.
pub(super) const NAME: &str = "windrose-demo";

/// Where a copy of the policy lies. Readable by root alone, and gone after the demo.
const RUN_FOLDER: &str = "/run/windrose-demo";

/// Held while a demo runs.
const LOCK: &str = "/run/windrose-demo.lock";

/// The network that joins the others.
const FABRIC: &str = "fabric";

/// So long a killed process may take to go.
const FAREWELL: Duration = Duration::from_secs(5);

/// One host of the stage.
struct Host {
    name: &'static str,
    addresses: &'static [&'static str],
    /// Networks that it reaches though no address of its own is in them.
    routes: &'static [&'static str],
}

const OUTSIDE: [&str; 2] = ["203.0.113.0/24", "2001:db8:77::/64"];
const INSIDE: [&str; 2] = ["10.77.0.0/24", "fd77::/64"];

/// The addresses are those of `policies/demo`.
const HOSTS: [Host; 5] = [
    Host { name: "web", addresses: &["10.77.0.10/24", "fd77::10/64"], routes: &OUTSIDE },
    Host { name: "cart", addresses: &["10.77.0.11/24", "fd77::11/64"], routes: &OUTSIDE },
    Host { name: "payments", addresses: &["10.77.0.12/24", "fd77::12/64"], routes: &OUTSIDE },
    Host { name: "intruder", addresses: &["10.77.0.66/24", "fd77::66/64"], routes: &OUTSIDE },
    Host {
        name: "outside",
        addresses: &["203.0.113.10/24", "203.0.113.66/24", "2001:db8:77::10/64"],
        routes: &INSIDE,
    },
];

/// The policy files, as they lie in `policies/demo` of the sources.
const POLICY: [(&str, &str); 4] = [
    ("workloads.yaml", include_str!("../../../../policies/demo/workloads.yaml")),
    ("shop.yaml", include_str!("../../../../policies/demo/shop.yaml")),
    ("bank.yaml", include_str!("../../../../policies/demo/bank.yaml")),
    ("cluster.yaml", include_str!("../../../../policies/demo/cluster.yaml")),
];

/// What was made, and must go again.
pub(super) struct Stage {
    machine: Machine,
    is_standing: bool,
    /// Its lock ends with it.
    _lock: File,
}

impl Stage {
    /// Clears what an earlier demo left behind, then builds everything.
    pub(super) fn build() -> Result<Self> {
        let machine = Machine::inspect()?;
        for (program, package) in [("ip", "iproute2"), ("nsenter", "util-linux")] {
            let found =
                Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            // Older versions of ip know -V only: what counts is that there is one.
            found.with_context(|| format!("cannot run {program}: install {package}"))?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(LOCK)
            .with_context(|| format!("cannot open {LOCK}"))?;
        if lock.try_lock().is_err() {
            bail!("another `windrose demo` runs on this machine ({LOCK} is locked): wait for its end");
        }
        let mut stage = Self { machine, is_standing: true, _lock: lock };
        stage.strike().context("cannot clear away what an earlier demo left behind")?;
        stage.is_standing = true;
        stage.lay_out()?;
        Ok(stage)
    }

    fn lay_out(&self) -> Result<()> {
        let policies = Self::policies();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&policies)
            .with_context(|| format!("cannot make {}", policies.display()))?;
        for (name, text) in POLICY {
            Self::write_policy(name, text)?;
        }
        for name in HOSTS.map(|host| host.name).into_iter().chain(["agent"]) {
            let cgroup = self.cgroup(name);
            fs::create_dir_all(&cgroup)
                .with_context(|| format!("cannot make the cgroup {}", cgroup.display()))?;
        }
        for name in HOSTS.map(|host| host.name).into_iter().chain([FABRIC]) {
            interrupt::check()?;
            ip(&["netns", "add", &netns(name)], "")?;
        }
        // Without snooping: a group's member is heard at once, not after its first report.
        let bridge = "link add bridge type bridge mcast_snooping 0\nlink set bridge up\n";
        ip(&["-netns", &netns(FABRIC), "-batch", "-"], bridge)?;
        for host in HOSTS {
            interrupt::check()?;
            host.connect()?;
        }
        Ok(())
    }

    /// Ends every process, enforcement included, and removes everything. Once is enough; twice is no harm.
    pub(super) fn strike(&mut self) -> Result<()> {
        if !self.is_standing {
            return Ok(());
        }
        self.is_standing = false;
        let results = [
            self.remove_cgroups(),
            Pins::below(&self.machine.bpffs, NAME).remove().map(|_| ()).context("cannot remove the pins"),
            remove_namespaces(),
            match fs::remove_dir_all(RUN_FOLDER) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("cannot remove {RUN_FOLDER}"))
                }
                _ => Ok(()),
            },
        ];
        // Each is tried, whatever came of the others.
        results.into_iter().collect()
    }

    /// Kills every process of the demo and removes the cgroups, in the order in which that can be done.
    fn remove_cgroups(&self) -> Result<()> {
        let root = self.machine.cgroup_root.join(NAME);
        if !root.exists() {
            return Ok(());
        }
        let kill = root.join("cgroup.kill");
        fs::write(&kill, "1").with_context(|| format!("cannot write {}", kill.display()))?;
        let entries = fs::read_dir(&root).with_context(|| format!("cannot list {}", root.display()))?;
        let mut folders: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        folders.push(root);
        for folder in folders {
            remove_when_empty(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        Ok(())
    }

    /// The cgroup of a host, as a folder.
    pub(super) fn cgroup(&self, host: &str) -> PathBuf {
        self.machine.cgroup_root.join(NAME).join(host)
    }

    /// The folder of the policy in force.
    pub(super) fn policies() -> PathBuf {
        Path::new(RUN_FOLDER).join("policies/demo")
    }

    /// The agent's log.
    pub(super) fn log() -> PathBuf {
        Path::new(RUN_FOLDER).join("agent.log")
    }

    /// The text of a policy file as it is shipped.
    pub(super) fn shipped(file: &str) -> Result<&'static str> {
        let found = POLICY.iter().find(|(name, _)| *name == file);
        found.map(|(_, text)| *text).with_context(|| format!("no policy file {file}"))
    }

    /// Puts a policy file in place as editors do: another agent would never see half of it.
    pub(super) fn write_policy(file: &str, text: &str) -> Result<()> {
        let path = Self::policies().join(file);
        // Not a name that the agent reads as a policy's.
        let new = Self::policies().join(format!(".{file}.new"));
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Text with places as the sources have them: the copies have the same lines.
    pub(super) fn places(text: &str) -> String {
        text.replace(&format!("{RUN_FOLDER}/"), "")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Only after a panic: `run` strikes and reports.
        let _ = self.strike();
    }
}

impl Host {
    /// Gives the host an interface, its addresses and its routes, and joins it to the fabric.
    fn connect(&self) -> Result<()> {
        let (name, netns) = (self.name, netns(self.name));
        let link = format!(
            "link add {name} type veth peer name eth0 netns {netns}\nlink set {name} master bridge\nlink set {name} up\n"
        );
        ip(&["-netns", &self::netns(FABRIC), "-batch", "-"], &link)?;
        let mut lines = vec!["link set lo up".to_owned(), "link set eth0 up".to_owned()];
        for address in self.addresses {
            // Nobody else can have it: no need to wait for duplicate address detection, which v4 has not.
            let nodad = if address.contains(':') { " nodad" } else { "" };
            lines.push(format!("address add {address} dev eth0{nodad}"));
        }
        lines.extend(self.routes.iter().map(|route| format!("route add {route} dev eth0")));
        ip(&["-netns", &netns, "-batch", "-"], &lines.join("\n"))
    }
}

/// The network namespace of a host.
pub(super) fn netns(host: &str) -> String {
    format!("{NAME}-{host}")
}

/// Runs `ip`, with lines for `-batch -`.
fn ip(arguments: &[&str], lines: &str) -> Result<()> {
    let what = || format!("`ip {}`", arguments.join(" "));
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C must not end it half-way.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run {}", what()))?;
    if let Some(mut input) = child.stdin.take() {
        // If it ends early, its status says why.
        let _ = input.write_all(lines.as_bytes());
    }
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {}", what()))?;
    ensure!(
        output.status.success(),
        "{} failed: {}",
        what(),
        String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")
    );
    Ok(())
}

fn remove_namespaces() -> Result<()> {
    let Ok(entries) = fs::read_dir("/run/netns") else { return Ok(()) };
    let mut result = Ok(());
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.strip_prefix(NAME).is_some_and(|rest| rest.starts_with('-')) {
            result = result.and(ip(&["netns", "delete", &name], ""));
        }
    }
    result
}

/// A cgroup can be removed when its last process is gone, which is soon after it was killed.
fn remove_when_empty(folder: &Path) -> io::Result<()> {
    let deadline = std::time::Instant::now() + FAREWELL;
    loop {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && std::time::Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => return other,
        }
    }
}
