//! An agent under test: started on a world, told policies, asked, killed; detached on drop.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::metrics::Metrics;
use crate::world::{Stage, World};
use crate::{admin, cgroup, programs, wait};

/// How long a debug build on a busy machine may take to load and attach.
const PATIENCE: Duration = Duration::from_mins(1);

/// The user and group of nobody.
const NOBODY: u32 = 65_534;

/// A running (or killed) agent and what it enforces.
#[derive(Debug)]
pub struct Agent {
    stage: Arc<Stage>,
    process: Option<Child>,
    arguments: Vec<String>,
    policy: String,
    round: u32,
    /// As `nobody`, and a gateway alone.
    is_alone: bool,
}

impl Agent {
    /// Starts one with a policy and waits until it is enforced.
    pub fn start(world: &World, policy: &str) -> Result<Self> {
        Self::start_with(world, policy, &[])
    }

    /// Likewise with more arguments.
    pub fn start_with(world: &World, policy: &str, arguments: &[&str]) -> Result<Self> {
        let mut agent = Self::prepare(world, policy, arguments)?;
        agent.run()?;
        agent.await_ready()?;
        Ok(agent)
    }

    /// Starts one without root and without the kernel half, and waits until it is ready.
    pub fn start_alone(world: &World, policy: &str, arguments: &[&str]) -> Result<Self> {
        let mut agent = Self::prepare(world, policy, arguments)?;
        agent.is_alone = true;
        agent.run()?;
        agent.await_ready()?;
        Ok(agent)
    }

    /// Its process.
    pub fn process(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("the agent is not running")?.id())
    }

    /// Writes the policy and starts nothing.
    pub fn prepare(world: &World, policy: &str, arguments: &[&str]) -> Result<Self> {
        let mut agent = Self {
            stage: Arc::clone(world.stage()),
            process: None,
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            policy: String::new(),
            round: 0,
            is_alone: false,
        };
        agent.write(policy)?;
        Ok(agent)
    }

    /// Starts its process without waiting for anything.
    pub fn run(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = if self.is_alone {
            // Where nobody may read it.
            let copy = self.stage.folder.join("windrose");
            if !copy.is_file() {
                fs::copy(programs::agent()?, &copy).context("cannot copy the agent")?;
            }
            let mut command = Command::new(copy);
            command.uid(NOBODY).gid(NOBODY);
            command
        } else {
            Command::new(programs::agent()?)
        };
        command.args(["run", "--policy"]).arg(self.policy_folder());
        command.args(["--admin", &admin::ADDRESS.to_string(), "--pins", &self.stage.name]);
        if self.is_alone {
            command.arg("--gateway-only");
        }
        command.args(&self.arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(self.stage.host.within(|| command.spawn().context("cannot start the agent"))?);
        Ok(())
    }

    /// Waits until a policy is enforced.
    pub fn await_ready(&mut self) -> Result<()> {
        let Self { process, stage, .. } = self;
        let process = process.as_mut().context("the agent was not started")?;
        let ready = wait::until_true("the agent is ready", PATIENCE, || {
            if let Some(status) = process.try_wait()? {
                bail!("the agent ended with {status}");
            }
            Ok(admin::get(&stage.host, "/readyz").is_ok_and(|(status, _)| status == 200))
        });
        ready.with_context(|| format!("its log:\n{}", self.log()))
    }

    /// Waits for a process that is to end by itself.
    pub fn await_exit(&mut self) -> Result<std::process::ExitStatus> {
        let process = self.process.as_mut().context("the agent was not started")?;
        let status = wait::until("the agent ends", PATIENCE, || Ok(process.try_wait()?))?;
        self.process = None;
        Ok(status)
    }

    /// Puts another policy in force and waits until it is.
    pub fn apply(&mut self, policy: &str) -> Result<()> {
        let before = self.generation()?;
        self.write(policy)?;
        // A generation alone does not tell which: what was written before may be read twice.
        let applied = wait::until_true("the new policy is in force", Duration::from_secs(20), || {
            Ok(self.generation()? > before && self.knows_round()?)
        });
        applied.with_context(|| format!("its log:\n{}", self.log()))
    }

    /// Writes a policy that is to be refused, and waits until the counter of failures has grown.
    pub fn apply_refused(&mut self, policy: &str) -> Result<()> {
        let failures = |agent: &Self| {
            let status = agent.json("/status")?;
            status["reload_failures"].as_u64().with_context(|| format!("no reload_failures in {status}"))
        };
        let before = failures(self)?;
        self.write(policy)?;
        wait::until_true("the refusal is counted", Duration::from_secs(20), || Ok(failures(self)? > before))
            .with_context(|| format!("its log:\n{}", self.log()))?;
        ensure!(!self.knows_round()?, "a refused policy is in force");
        Ok(())
    }

    /// Whether the policy in force is the one that was written last, by its marker.
    fn knows_round(&self) -> Result<bool> {
        let marker = format!("harness/round-{}", self.round);
        let (status, _) = self.get(&format!("/explain?from={marker}&to={marker}&port=1"))?;
        Ok(status == 200)
    }

    /// Writes the policy file as one change: readers see all of the old or all of the new.
    pub fn write(&mut self, policy: &str) -> Result<()> {
        policy.clone_into(&mut self.policy);
        self.round += 1;
        let mut text = policy.trim_start_matches('\n').to_owned();
        // Its name differs each time: it tells which policy is in force.
        let marker = serde_json::json!({
            "apiVersion": "windrose.dev/v1alpha1",
            "kind": "Workload",
            "metadata": {"name": format!("round-{}", self.round), "namespace": "harness"},
            "spec": {"addresses": ["10.77.255.254"]},
        });
        let documents = self.stage.documents.lock().unwrap_or_else(PoisonError::into_inner);
        for document in documents.iter().chain([&marker]) {
            text.push_str("\n---\n");
            text.push_str(&document.to_string());
        }
        drop(documents);
        text.push('\n');
        let draft = self.stage.folder.join("draft");
        fs::write(&draft, text)?;
        fs::rename(&draft, self.policy_file()).context("cannot write the policy")
    }

    /// The policy file.
    pub fn policy_file(&self) -> PathBuf {
        self.policy_folder().join("policy.yaml")
    }

    fn policy_folder(&self) -> PathBuf {
        self.stage.folder.join("policy")
    }

    fn log_path(&self) -> PathBuf {
        self.stage.folder.join("agent.log")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A folder that ends with the world.
    pub fn folder(&self) -> PathBuf {
        self.stage.folder.clone()
    }

    /// `GET path`.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        admin::get(&self.stage.host, path)
    }

    /// `GET path`, to be read as it comes.
    pub fn open(&self, path: &str) -> Result<std::net::TcpStream> {
        admin::open(&self.stage.host, path)
    }

    /// `GET path` as JSON.
    pub fn json(&self, path: &str) -> Result<Value> {
        let (status, body) = self.get(path)?;
        ensure!(status == 200, "GET {path}: {status} {body}");
        serde_json::from_str(&body).with_context(|| format!("GET {path} answered no JSON: {body}"))
    }

    /// The number of the policy in force.
    pub fn generation(&self) -> Result<u64> {
        let status = self.json("/status")?;
        status["generation"].as_u64().with_context(|| format!("no integer generation in {status}"))
    }

    /// A scrape.
    pub fn metrics(&self) -> Result<Metrics> {
        let (status, body) = self.get("/metrics")?;
        ensure!(status == 200, "GET /metrics: {status} {body}");
        Ok(Metrics::new(body))
    }

    /// Waits until an event in /flows has all these members (numbers and strings compared as text).
    pub fn await_event(&self, members: &[(&str, &str)]) -> Result<Value> {
        let found = wait::until(&format!("an event {members:?}"), Duration::from_secs(10), || {
            Ok(self.events()?.into_iter().find(|event| has(event, members)))
        });
        found.with_context(|| format!("the last events: {:#?}", self.events().unwrap_or_default()))
    }

    /// Recent events.
    pub fn events(&self) -> Result<Vec<Value>> {
        rows(self.json("/flows")?)
    }

    /// The live table.
    pub fn connections(&self) -> Result<Vec<Value>> {
        rows(self.json("/connections")?)
    }

    /// Sends a signal to its process.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref().context("the agent is not running")?;
        kill(Pid::from_raw(i32::try_from(process.id())?), signal).context("cannot signal the agent")
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Starts it again after it was killed.
    pub fn restart(&mut self) -> Result<()> {
        self.run()?;
        self.await_ready()
    }

    /// Likewise with other arguments.
    pub fn restart_with(&mut self, arguments: &[&str]) -> Result<()> {
        self.arguments = arguments.iter().map(|&word| word.to_owned()).collect();
        self.restart()
    }

    /// Runs another verb of the binary with these arguments and the world's pins.
    pub fn verb(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(programs::agent()?);
        command.args(arguments).stdin(Stdio::null());
        self.stage.host.within(|| command.output().context("cannot run the agent's binary"))
    }

    /// Starts another verb of the binary with its output thrown away; it ends by itself or is killed.
    pub fn begin(&self, arguments: &[&str]) -> Result<Child> {
        let mut command = Command::new(programs::agent()?);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.stage.host.within(|| command.spawn().context("cannot run the agent's binary"))
    }

    /// Ends enforcement.
    pub fn detach(&self) -> Result<Output> {
        self.verb(&["detach", "--pins", &self.stage.name])
    }

    /// The folder of its pins.
    pub fn pins(&self) -> Result<PathBuf> {
        Ok(cgroup::mount_of("bpf").context("no BPF file system")?.join(&self.stage.name))
    }

    /// The names of its pinned links: one for each program attached.
    pub fn links(&self) -> Result<Vec<String>> {
        let mut links = Vec::new();
        for version in fs::read_dir(self.pins()?)? {
            for link in fs::read_dir(version?.path().join("links"))? {
                links.push(link?.file_name().to_string_lossy().into_owned());
            }
        }
        links.sort();
        Ok(links)
    }

    /// Detaches one program by its pinned link, which nobody else holds when the agent is dead.
    pub fn unpin_link(&self, name: &str) -> Result<()> {
        for version in fs::read_dir(self.pins()?)? {
            let link = version?.path().join("links").join(name);
            fs::remove_file(&link).with_context(|| format!("cannot remove {}", link.display()))?;
        }
        Ok(())
    }
}

/// A list that may be wrapped in an object.
fn rows(answer: Value) -> Result<Vec<Value>> {
    match answer {
        Value::Array(rows) => Ok(rows),
        Value::Object(members) => {
            let rows = members.into_iter().find_map(|(_, value)| match value {
                Value::Array(rows) => Some(rows),
                _ => None,
            });
            rows.context("the answer holds no list")
        }
        other => bail!("the answer is no list: {other}"),
    }
}

/// Whether an object has members with these texts.
pub fn has(object: &Value, members: &[(&str, &str)]) -> bool {
    members.iter().all(|(key, expected)| match object.pointer(&format!("/{}", key.replace('.', "/"))) {
        Some(Value::String(text)) => text == expected,
        Some(other) => other == &serde_json::from_str::<Value>(expected).unwrap_or_default(),
        None => false,
    })
}

impl Drop for Agent {
    fn drop(&mut self) {
        let killed = self.kill();
        let is_pinned = self.pins().is_ok_and(|folder| folder.exists());
        if is_pinned {
            match self.detach() {
                Ok(output) if output.status.success() => {}
                outcome => eprintln!("warning: cannot detach {}: {outcome:?}", self.stage.name),
            }
        }
        if let Err(error) = killed {
            eprintln!("warning: the agent of {} may run on: {error:#}", self.stage.name);
        }
    }
}
