//! The agent under measurement: a release build.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::netns::Namespace;
use crate::{admin, cgroup, wait};

/// Name of the folder of pins; so begin the names of all that benchmarks make.
const PINS: &str = "windrose-bench";

/// How long reading and applying 100,000 rules may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Where agents are started, and what they are started from.
#[derive(Debug)]
pub(crate) struct Launcher {
    program: PathBuf,
    namespace: Arc<Namespace>,
    log: PathBuf,
}

/// An agent that enforces; detached on drop.
#[derive(Debug)]
pub(crate) struct Agent<'a> {
    launcher: &'a Launcher,
    process: Child,
    /// From its start to its first policy in force.
    pub(crate) took: Duration,
}

impl Launcher {
    /// For agents in a network namespace of their own.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        Self::within(Arc::new(Namespace::new()?), folder)
    }

    /// Finds the agent beside this program (or in `WINDROSE_BIN`) and removes what an earlier run left.
    pub(crate) fn within(namespace: Arc<Namespace>, folder: &Path) -> Result<Self> {
        let beside = || Ok::<_, anyhow::Error>(env::current_exe()?.with_file_name("windrose"));
        let program = env::var_os("WINDROSE_BIN").map_or_else(beside, |path| Ok(path.into()))?;
        ensure!(
            program.is_file(),
            "{} is missing: `cargo xtask bench` builds it, or name one in WINDROSE_BIN",
            program.display()
        );
        let launcher = Self { program, namespace, log: folder.join("agent.log") };
        launcher.detach()?;
        Ok(launcher)
    }

    /// Starts an agent on a folder of policy and waits until it is enforced.
    pub(crate) fn start(&self, policy: &Path, config: Option<&Path>) -> Result<Agent<'_>> {
        let log = File::create(&self.log)?;
        let mut command = Command::new(&self.program);
        command.args(["run", "--policy"]).arg(policy);
        command.args(["--admin", &admin::ADDRESS.to_string(), "--pins", PINS]);
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let begun = Instant::now();
        let process = self.namespace.within(|| command.spawn().context("cannot start the agent"))?;
        let mut agent = Agent { launcher: self, process, took: Duration::ZERO };
        let ready = wait::until_true("the agent is ready", PATIENCE, || {
            if let Some(status) = agent.process.try_wait()? {
                bail!("the agent ended with {status}");
            }
            Ok(admin::get(&self.namespace, "/readyz").is_ok_and(|(status, _)| status == 200))
        });
        ready.with_context(|| format!("its log:\n{}", fs::read_to_string(&self.log).unwrap_or_default()))?;
        agent.took = begun.elapsed();
        Ok(agent)
    }

    fn detach(&self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["detach", "--force", "--pins", PINS]).stdin(Stdio::null());
        let output = command.output().context("cannot run the agent's binary")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cannot detach {PINS}: {said}");
        Ok(())
    }
}

impl Agent<'_> {
    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.process.id()
    }

    /// `GET path`.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        let (status, body) = admin::get(&self.launcher.namespace, path)?;
        ensure!(status == 200, "GET {path}: {status} {body}");
        Ok(body)
    }

    /// Its status.
    pub(crate) fn status(&self) -> Result<Value> {
        serde_json::from_str(&self.get("/status")?).context("GET /status answered no JSON")
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Err(error) = self.launcher.detach() {
            eprintln!("warning: {error:#}");
        }
    }
}

/// Other agents that enforce on this machine: each costs whatever is measured here.
pub(crate) fn others() -> Vec<String> {
    let Some(folder) = cgroup::mount_of("bpf") else { return Vec::new() };
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("windrose") && !name.starts_with(PINS))
        .collect()
}
