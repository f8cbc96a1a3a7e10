//! The agent under show: this very program as `windrose run`, and what it answers.

use std::env;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::interrupt;
use super::stage::{NAME, Stage};
use crate::record::{ConnectionView, EventView};

/// So long the agent may take to enforce its first policy.
const START: Duration = Duration::from_secs(30);

/// So long the agent may take to answer a request.
const ANSWER: Duration = Duration::from_secs(5);

/// A running agent.
pub(super) struct Agent {
    child: Child,
    admin: SocketAddr,
}

impl Agent {
    /// Starts it and waits until the policy is enforced.
    pub(super) fn start(stage: &Stage) -> Result<Self> {
        // Free now; if it is taken before the agent has it, the agent's log says so.
        let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .context("cannot find a free port for the agent")?;
        let path = Stage::log();
        let log = File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot open {}", path.display()))?;
        let copy = log.try_clone().context("cannot share the agent's log")?;
        let child = windrose()?
            .args(["run", "--pins", NAME, "--admin", &admin.to_string(), "--policy"])
            .arg(Stage::policies())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy)
            // Out of reach of the terminal's Ctrl-C, which is for the demo alone.
            .process_group(0)
            .spawn()
            .context("cannot start the agent")?;
        let mut agent = Self { child, admin };
        // With the other processes of the demo, so that it goes with them whatever happens to this one.
        let procs = stage.cgroup("agent").join("cgroup.procs");
        fs::write(&procs, agent.child.id().to_string())
            .with_context(|| format!("cannot write {}", procs.display()))?;
        agent.await_ready()?;
        Ok(agent)
    }

    fn await_ready(&mut self) -> Result<()> {
        let child = &mut self.child;
        let admin = self.admin;
        let ready = interrupt::wait_for(START, || {
            if let Some(status) = child.try_wait().context("cannot ask for the agent's state")? {
                bail!("the agent ended before it enforced a policy ({status}); its log:\n{}", log());
            }
            // Nobody listens until it is up: no answer is no fault yet.
            Ok(matches!(fetch(admin, "/readyz"), Ok((200, _))).then_some(()))
        })?;
        ready
            .with_context(|| format!("the agent was not ready in {} s; its log:\n{}", START.as_secs(), log()))
    }

    /// An answer of the admin address.
    pub(super) fn get(&self, path: &str) -> Result<Value> {
        let (status, body) = fetch(self.admin, path)?;
        ensure!(status == 200, "GET {path} was answered {status}: {}", body.trim());
        serde_json::from_str(&body).with_context(|| format!("the answer of GET {path} is no JSON"))
    }

    /// The generation in force.
    pub(super) fn generation(&self) -> Result<u64> {
        self.get("/status")?["generation"].as_u64().context("/status names no generation")
    }

    /// Waits for a generation to be in force.
    pub(super) fn await_generation(&self, wanted: u64) -> Result<()> {
        let seen = interrupt::wait_for(ANSWER, || Ok((self.generation()? >= wanted).then_some(())))?;
        seen.with_context(|| format!("generation {wanted} is not in force after {} s", ANSWER.as_secs()))
    }

    fn events(&self) -> Result<Vec<EventView>> {
        serde_json::from_value(self.get("/flows")?).context("/flows lists no events")
    }

    /// When the last event was; empty if there is none. Such times sort as texts.
    pub(super) fn time_of_last_event(&self) -> Result<String> {
        Ok(self.events()?.into_iter().filter_map(|event| event.decided.time).max().unwrap_or_default())
    }

    /// The first event after a time that is wanted; `None` if there is none for some seconds.
    pub(super) fn await_event(
        &self,
        after: &str,
        is_wanted: impl Fn(&EventView) -> bool,
    ) -> Result<Option<EventView>> {
        interrupt::wait_for(ANSWER, || {
            let is_new = |event: &EventView| event.decided.time.as_deref().is_some_and(|time| time > after);
            Ok(self.events()?.into_iter().find(|event| is_new(event) && is_wanted(event)))
        })
    }

    /// Every live connection, from each of its ends.
    pub(super) fn all_connections(&self) -> Result<Vec<ConnectionView>> {
        serde_json::from_value(self.get("/connections")?).context("/connections lists no connections")
    }

    /// The live TCP connections from one workload to another; each of its ends is one.
    pub(super) fn connections(&self, source: &str, destination: &str) -> Result<Vec<ConnectionView>> {
        let is_between = |end: &ConnectionView| {
            let end = &end.decided;
            end.protocol == "TCP" && end.source.name() == source && end.destination.name() == destination
        };
        Ok(self.all_connections()?.into_iter().filter(is_between).collect())
    }

    /// What a command says that asks the agent.
    pub(super) fn show(&self, arguments: &[&str]) -> Result<String> {
        let admin = self.admin.to_string();
        say(windrose()?.args(arguments).args(["--admin", &admin]))
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: it has no chance to do anything.
    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill().context("cannot kill the agent")?;
        let status = self.child.wait().context("cannot wait for the agent")?;
        ensure!(status.code().is_none(), "the agent ended by itself ({status}); its log:\n{}", log());
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends enforcement; what `windrose detach` said.
pub(super) fn detach() -> Result<String> {
    say(windrose()?.args(["detach", "--pins", NAME]))
}

/// What a command prints.
fn say(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// This very program.
fn windrose() -> Result<Command> {
    Ok(Command::new(env::current_exe().context("cannot find this program's file")?))
}

/// The end of the agent's log.
fn log() -> String {
    let text = fs::read_to_string(Stage::log()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// One request. HTTP/1.0, so that the answer ends with the connection.
fn fetch(admin: SocketAddr, path: &str) -> Result<(u16, String)> {
    let exchange = || {
        let mut stream = TcpStream::connect_timeout(&admin, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {admin}\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    let answer = exchange().with_context(|| format!("cannot GET http://{admin}{path}"))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("the agent's answer has no head")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.context("the agent's answer has no status")?, body.to_owned()))
}
