//! The two ends of a measurement, as their director sees them.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::SocketAddrV4;
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

/// Where the server listens, and what the client calls; often the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) listen: SocketAddrV4,
    pub(crate) address: SocketAddrV4,
}

impl Call {
    /// Straight to where the server listens.
    pub(crate) const fn direct(address: SocketAddrV4) -> Self {
        Self { listen: address, address }
    }
}

/// Processes between or beside the ends whose time counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Others {
    /// Counted by itself.
    pub(crate) agent: Option<u32>,
    /// Counted as if they were ends; of one thread each.
    pub(crate) between: Vec<u32>,
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
    /// Starts both.
    pub(crate) fn start(ground: &Ground, homes: &Homes, call: Call, others: &Others) -> Result<Self> {
        let (listen, address) = (call.listen.to_string(), call.address.to_string());
        let server_processor = homes.processors.of_server().to_string();
        let mut server = end(super::SERVER, &ground.server, &[&listen, &server_processor], &homes.server)?;
        let mut said = lines(&mut server)?;
        said.next().context("the server ended before it listened")??;
        let mut client = end(super::CLIENT, &ground.client, &[&address, "0"], &homes.client)?;
        let answers = lines(&mut client)?;
        let orders = client.stdin.take().context("the client has no input")?;
        let counted = [&[client.id(), server.id()], others.between.as_slice()].concat();
        Ok(Self { client, server, orders, answers, tasks: Tasks::new(&counted), agent: others.agent })
    }

    /// Tries to connect to another port; fails where it does not end as expected.
    pub(crate) fn check(&mut self, port: u16, expected: Attempt) -> Result<()> {
        match self.obey(Order::Probe { port, patience_ms: SILENCE_MS })? {
            Outcome::Probed(attempt) => {
                ensure!(attempt == expected, "port {port}: {attempt:?}, expected {expected:?}");
                Ok(())
            }
            other => bail!("the client answered a probe by {other:?}"),
        }
    }

    /// A load, after a short one of its kind to warm up.
    pub(crate) fn measure(&mut self, load: LoadKind, slice: Duration) -> Result<Measured> {
        self.once(load, slice / 8)?;
        self.once(load, slice)
    }

    /// One load.
    pub(crate) fn once(&mut self, load: LoadKind, time: Duration) -> Result<Measured> {
        let most = match load {
            LoadKind::Connections => MOST_CONNECTIONS,
            LoadKind::Exchanges { .. } => MOST_EXCHANGES,
            LoadKind::Stream { .. } => MOST_BYTES,
        };
        self.load(Order::Load(load, Bounds { time_ms: nanoseconds(time) / 1_000_000, most }))
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
