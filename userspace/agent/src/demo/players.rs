//! The players: servers and clients as processes of their own, each in the network and the cgroup of its workload.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;

use super::actor::{Held, Outcome};
use super::interrupt;
use super::stage::{Stage, netns};

/// So long a player may take to begin, or to report.
const MOST: Duration = Duration::from_secs(10);

/// A process on the stage, and the lines it says.
struct Player {
    child: Child,
    lines: Receiver<String>,
}

impl Player {
    /// Enters the network first, then the cgroup (see `actor::run`), then acts.
    fn enter(stage: &Stage, host: &str, arguments: &[&str]) -> Result<Self> {
        let program = env::current_exe().context("cannot find this program's file")?;
        let mut child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", netns(host)))
            .arg(program)
            .args(["demo", "actor", "--cgroup"])
            .arg(stage.cgroup(host))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Out of reach of the terminal's Ctrl-C, which is for the demo alone.
            .process_group(0)
            .spawn()
            .context("cannot run nsenter")?;
        let out = child.stdout.take().context("a player has no standard output")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The next line, or `None` when it took longer than `most`.
    fn hear<T: DeserializeOwned>(&self, most: Duration) -> Result<Option<T>> {
        let line = interrupt::wait_for(most, || match self.lines.try_recv() {
            Ok(line) => Ok(Some(line)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => bail!("a player ended without a word"),
        })?;
        line.map(|line| serde_json::from_str(&line).with_context(|| format!("a player said `{line}`")))
            .transpose()
    }

    fn must_hear<T: DeserializeOwned>(&self) -> Result<T> {
        self.hear(MOST)?.context("a player said nothing for ten seconds")
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // A client that has reported is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server; it ends when it is dropped.
pub(super) struct Server(#[expect(dead_code, reason = "held for its end")] Player);

impl Server {
    /// Starts it and waits until it listens.
    pub(super) fn start(stage: &Stage, host: &str) -> Result<Self> {
        let player = Player::enter(stage, host, &["serve", host])?;
        let _: String = player.must_hear().with_context(|| format!("the server {host} does not listen"))?;
        Ok(Self(player))
    }
}

/// One HTTP request on a new connection.
pub(super) fn get(
    stage: &Stage,
    host: &str,
    to: &str,
    from: Option<&str>,
    patience: Duration,
) -> Result<Outcome> {
    let patience = patience.as_millis().to_string();
    let mut arguments = vec!["--patience-ms", &patience, "get", to];
    if let Some(from) = from {
        arguments.extend(["--from", from]);
    }
    Player::enter(stage, host, &arguments)?.must_hear()
}

/// One datagram and its answer.
pub(super) fn ask(stage: &Stage, host: &str, to: &str, patience: Duration) -> Result<Outcome> {
    let patience = patience.as_millis().to_string();
    Player::enter(stage, host, &["--patience-ms", &patience, "ask", to])?.must_hear()
}

/// A connection that is kept busy.
pub(super) struct Connection(Player);

impl Connection {
    /// Opens it and waits for its first answer.
    pub(super) fn open(stage: &Stage, host: &str, to: &str) -> Result<Self> {
        let player = Player::enter(stage, host, &["hold", to])?;
        match player.must_hear()? {
            Held::Begun => Ok(Self(player)),
            other => bail!("a connection from {host} to {to} did not begin: {other:?}"),
        }
    }

    /// Waits for its end: how many requests were answered, and the error. `None`: it lives on.
    pub(super) fn await_break(&self, most: Duration) -> Result<Option<(u64, String)>> {
        match self.0.hear(most)? {
            None => Ok(None),
            Some(Held::Broken { requests, error }) => Ok(Some((requests, error))),
            Some(other) => bail!("a held connection said {other:?}"),
        }
    }

    /// Ends it: how many requests were answered. Fails if it broke, or if an answer was wrong or missing.
    pub(super) fn finish(mut self) -> Result<u64> {
        drop(self.0.child.stdin.take());
        match self.0.must_hear()? {
            Held::Whole { requests } => Ok(requests),
            other => bail!("a connection that must live has ended: {other:?}"),
        }
    }
}
