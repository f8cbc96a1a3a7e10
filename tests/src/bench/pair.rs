//! The two ends of a measurement, as their director sees them.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::cpu::{self, Tasks};
use super::end::{Attempt, Bounds, Load, Order, Outcome};
use super::ground::Ground;
use super::numbers::nanoseconds;
use super::options::Processors;
use super::report::LoadKind;
use super::rules::{CLOSED_PORT, HALF_OPEN_PORT, PORT};
use crate::cgroup::Cgroup;
use crate::netns::Namespace;

/// More connections than this in one load would leave few free ports.
const MOST_CONNECTIONS: u64 = 20_000;

const MOST_EXCHANGES: u64 = 1_000_000;

const MOST_BYTES: u64 = 8 << 30;

/// How long silence is waited for.
const SILENCE_MS: u64 = 100;

/// Cgroups of both ends, and the processors they run on.
#[derive(Debug)]
pub(crate) struct Homes {
    pub(crate) client: Cgroup,
    pub(crate) server: Cgroup,
    pub(crate) processors: Processors,
}

/// What a load took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Measured {
    #[serde(flatten)]
    pub(crate) load: Load,
    /// Processor time of both ends and of ksoftirqd.
    pub(crate) cpu_ns: u64,
    /// Processor time of the agent; 0 without one.
    pub(crate) agent_ns: u64,
}

/// All loads of one configuration in one place.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Loads {
    pub(crate) connections: Measured,
    pub(crate) exchanges: Measured,
    pub(crate) stream: Measured,
}

/// Which traffic passes: shows what is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// All.
    Open,
    /// Only what is allowed, refused with EPERM at connect.
    Refused,
    /// Only what is allowed, the rest dropped.
    Dropped,
}

/// Running ends; they end on drop.
#[derive(Debug)]
pub(crate) struct Pair {
    client: Child,
    server: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    tasks: Tasks,
    agent: Option<u32>,
}

impl Pair {
    /// Starts both; `agent` is the process whose time is counted beside theirs.
    pub(crate) fn start(ground: &Ground, homes: &Homes, agent: Option<u32>) -> Result<Self> {
        let address = format!("{}:{PORT}", ground.place.server());
        let server_processor = if homes.processors == Processors::Apart { "1" } else { "0" };
        let mut server = end(super::SERVER, &ground.server, &[&address, server_processor], &homes.server)?;
        let mut said = lines(&mut server)?;
        said.next().context("the server ended before it listened")??;
        let mut client = end(super::CLIENT, &ground.client, &[&address, "0"], &homes.client)?;
        let answers = lines(&mut client)?;
        let orders = client.stdin.take().context("the client has no input")?;
        let tasks = Tasks::new(&[client.id(), server.id()]);
        Ok(Self { client, server, orders, answers, tasks, agent })
    }

    /// Tries what must not pass; says so if it does.
    pub(crate) fn check(&mut self, expected: Expected) -> Result<()> {
        let outcomes = match expected {
            Expected::Open => {
                [(HALF_OPEN_PORT, Attempt::NobodyListens), (CLOSED_PORT, Attempt::NobodyListens)]
            }
            Expected::Refused => [(HALF_OPEN_PORT, Attempt::Silence), (CLOSED_PORT, Attempt::NotPermitted)],
            Expected::Dropped => [(HALF_OPEN_PORT, Attempt::Silence), (CLOSED_PORT, Attempt::Silence)],
        };
        for (port, expected) in outcomes {
            match self.obey(Order::Probe { port, patience_ms: SILENCE_MS })? {
                Outcome::Probed(attempt) => {
                    ensure!(attempt == expected, "port {port}: {attempt:?}, expected {expected:?}");
                }
                other => bail!("the client answered a probe by {other:?}"),
            }
        }
        Ok(())
    }

    /// Every load, each after a short one of its kind to warm up.
    pub(crate) fn measure(&mut self, slice: Duration) -> Result<Loads> {
        let mut warm = |kind| {
            self.once(kind, slice / 8)?;
            self.once(kind, slice)
        };
        Ok(Loads {
            connections: warm(LoadKind::Connections)?,
            exchanges: warm(LoadKind::Exchanges)?,
            stream: warm(LoadKind::Stream)?,
        })
    }

    /// One load.
    pub(crate) fn once(&mut self, kind: LoadKind, time: Duration) -> Result<Measured> {
        let bounds = |most| Bounds { time_ms: nanoseconds(time) / 1_000_000, most };
        self.load(match kind {
            LoadKind::Connections => Order::Connections(bounds(MOST_CONNECTIONS)),
            LoadKind::Exchanges => Order::Exchanges(bounds(MOST_EXCHANGES)),
            LoadKind::Stream => Order::Stream(bounds(MOST_BYTES)),
        })
    }

    fn load(&mut self, order: Order) -> Result<Measured> {
        let before = self.used()?;
        let outcome = self.obey(order)?;
        let after = self.used()?;
        let cpu_ns = nanoseconds(after.0.saturating_sub(before.0));
        let agent_ns = nanoseconds(after.1.saturating_sub(before.1));
        match outcome {
            Outcome::Done(load) => {
                ensure!(load.count > 0 && load.elapsed_ns > 0, "{order:?} measured nothing");
                Ok(Measured { load, cpu_ns, agent_ns })
            }
            Outcome::Failed(why) => bail!("{order:?} failed: {why}"),
            Outcome::Probed(_) => bail!("the client answered {order:?} as a probe"),
        }
    }

    /// By the ends and by the agent.
    fn used(&self) -> Result<(Duration, Duration)> {
        let agent = self.agent.map_or(Ok(Duration::ZERO), cpu::used_by_threads)?;
        Ok((self.tasks.used()?, agent))
    }

    fn obey(&mut self, order: Order) -> Result<Outcome> {
        let mut line = serde_json::to_vec(&order)?;
        line.push(b'\n');
        self.orders.write_all(&line).context("the client takes no orders")?;
        let answer = self.answers.next().context("the client ended")??;
        serde_json::from_str(&answer).with_context(|| format!("the client answered {answer:?}"))
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for process in [&mut self.client, &mut self.server] {
            // Either may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn end(role: &str, namespace: &Namespace, words: &[&str], home: &Cgroup) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe().context("cannot name this program")?);
    command.arg(role).args(words).arg(home.processes());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    namespace.within(|| command.spawn().with_context(|| format!("cannot start {role}")))
}

fn lines(process: &mut Child) -> Result<Lines<BufReader<ChildStdout>>> {
    Ok(BufReader::new(process.stdout.take().context("a process has no output")?).lines())
}
