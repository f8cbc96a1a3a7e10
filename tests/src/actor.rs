//! A process in a world, directed by its script: one thread of the test per order if need be.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::netns::Namespace;
use crate::probe::Probe;
use crate::programs;
use crate::script::{Act, Answer, Manner, Order, Outcome, Protocol};
use crate::world::Stage;

/// How long something that is to succeed may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

type Waiting = Arc<Mutex<HashMap<u64, Sender<Answer>>>>;

/// Who and where an actor is.
#[derive(Debug, Clone)]
pub struct Place {
    /// `namespace/name`, or a plain name for who is no workload.
    pub name: String,
    /// Its address.
    pub v4: Ipv4Addr,
    /// Its other address.
    pub v6: Ipv6Addr,
    /// The path of its cgroup below the root.
    pub cgroup: String,
}

/// A running actor; ends on drop.
#[derive(Debug)]
pub struct Actor {
    place: Place,
    process: Child,
    orders: Mutex<Option<ChildStdin>>,
    waiting: Waiting,
    numbers: AtomicU64,
    connections: AtomicU32,
    namespace: Arc<Namespace>,
    // Its cgroup is removed after it.
    _stage: Arc<Stage>,
}

/// An order under way.
#[derive(Debug)]
pub struct Pending {
    who: String,
    act: Act,
    answer: Receiver<Answer>,
}

/// A connection that an actor holds open.
#[derive(Debug)]
pub struct Connection<'a> {
    actor: &'a Actor,
    number: u32,
}

impl Actor {
    /// Starts one in a network namespace; its first act is to move into its cgroup.
    pub(crate) fn start(
        place: Place,
        processes: &std::path::Path,
        namespace: Arc<Namespace>,
        stage: Arc<Stage>,
    ) -> Result<Self> {
        let mut command = Command::new(programs::actor()?);
        command.arg(processes).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = namespace.within(|| command.spawn().context("cannot start an actor"))?;
        let orders = process.stdin.take().context("an actor has no input")?;
        let answers = process.stdout.take().context("an actor has no output")?;
        let waiting = Waiting::default();
        let table = Arc::clone(&waiting);
        thread::spawn(move || {
            for line in BufReader::new(answers).lines() {
                let Ok(answer) = serde_json::from_str::<Answer>(&line.unwrap_or_default()) else { break };
                if let Some(to) = lock(&table).remove(&answer.number) {
                    // Who asked may have given up.
                    let _ = to.send(answer);
                }
            }
            // Whoever still waits sees the channel close.
            lock(&table).clear();
        });
        let actor = Self {
            place,
            process,
            orders: Mutex::new(Some(orders)),
            waiting,
            numbers: AtomicU64::new(1),
            connections: AtomicU32::new(1),
            namespace,
            _stage: stage,
        };
        // An answer tells that it is in its cgroup.
        actor.must(Act::Received { protocol: None, port: 0 })?;
        Ok(actor)
    }

    /// `namespace/name`.
    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// Its v4 address and a port.
    pub fn v4(&self, port: u16) -> SocketAddr {
        (self.place.v4, port).into()
    }

    /// Its v6 address and a port.
    pub fn v6(&self, port: u16) -> SocketAddr {
        (self.place.v6, port).into()
    }

    /// Its v4 address mapped into v6, and a port.
    pub fn mapped(&self, port: u16) -> SocketAddr {
        (self.place.v4.to_ipv6_mapped(), port).into()
    }

    /// Both families.
    pub fn both(&self, port: u16) -> [SocketAddr; 2] {
        [self.v4(port), self.v6(port)]
    }

    /// The path of its cgroup below the root.
    pub fn cgroup(&self) -> &str {
        &self.place.cgroup
    }

    /// The process.
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// The network namespace it is in.
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// Gives an order without waiting for its answer.
    pub fn begin(&self, act: Act) -> Result<Pending> {
        let number = self.numbers.fetch_add(1, Ordering::SeqCst);
        let (to, answer) = channel();
        lock(&self.waiting).insert(number, to);
        let mut line = serde_json::to_vec(&Order { number, act: act.clone() })?;
        line.push(b'\n');
        let mut orders = lock(&self.orders);
        let orders = orders.as_mut().with_context(|| format!("{} has ended", self.name()))?;
        orders.write_all(&line).with_context(|| format!("{} takes no orders", self.name()))?;
        Ok(Pending { who: self.name().to_owned(), act, answer })
    }

    /// Gives an order and waits for its answer.
    pub fn perform(&self, act: Act) -> Result<Answer> {
        self.begin(act)?.wait()
    }

    /// Gives an order that must succeed; its count.
    pub fn must(&self, act: Act) -> Result<u64> {
        let pending = self.begin(act)?;
        let act = pending.act.clone();
        let answer = pending.wait()?;
        if answer.outcome != Outcome::Passed {
            bail!("{}: {act:?}: {:?}", self.name(), answer.outcome);
        }
        Ok(answer.count)
    }

    /// Serves echoes at a port of both families and both protocols.
    pub fn serve(&self, port: u16) -> Result<()> {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for ip in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
                self.listen(protocol, (ip, port).into(), false, Manner::Echo)?;
            }
        }
        Ok(())
    }

    /// Serves at one address.
    pub fn listen(&self, protocol: Protocol, at: SocketAddr, is_dual: bool, manner: Manner) -> Result<()> {
        self.must(Act::Listen { protocol, at, is_dual, manner }).map(drop)
    }

    /// How many connections or datagrams its servers at a port have got.
    pub fn received(&self, protocol: Protocol, port: u16) -> Result<u64> {
        self.must(Act::Received { protocol: Some(protocol), port })
    }

    /// A connection on a new socket, to be described further and then expected of.
    pub fn tcp(&self, to: SocketAddr) -> Probe<'_> {
        Probe::new(self, Protocol::Tcp, to)
    }

    /// A datagram by a new unconnected socket, likewise.
    pub fn udp(&self, to: SocketAddr) -> Probe<'_> {
        Probe::new(self, Protocol::Udp, to)
    }

    /// Opens a connection that stays.
    pub fn connect(&self, protocol: Protocol, to: SocketAddr) -> Result<Connection<'_>> {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        let patience_ms = millis(PATIENCE);
        self.must(Act::Connect { connection: number, protocol, to, from_port: 0, patience_ms })?;
        Ok(Connection { actor: self, number })
    }

    /// A socket of UDP that is never connected.
    pub fn open_udp(&self, is_v6: bool) -> Result<Connection<'_>> {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        self.must(Act::OpenUdp { connection: number, is_v6 })?;
        Ok(Connection { actor: self, number })
    }

    /// Pings; the outcome after `patience`.
    pub fn ping(&self, to: SocketAddr, patience: Duration) -> Result<Outcome> {
        let act = Act::Ping { to, bytes: 56, patience_ms: millis(patience) };
        Ok(self.perform(act)?.outcome)
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        drop(lock(&self.orders).take());
        // It ends with its input; if not, by force.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Pending {
    /// The answer. Acts end by themselves after their own patience.
    pub fn wait(self) -> Result<Answer> {
        let Self { who, act, answer } = self;
        answer.recv_timeout(Duration::from_mins(1)).with_context(|| format!("{who} did not answer {act:?}"))
    }
}

impl Connection<'_> {
    /// Its name for orders.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Sends bytes and gets them back.
    pub fn exchange(&self, bytes: usize) -> Result<()> {
        let outcome = self.try_exchange(bytes, PATIENCE)?;
        if outcome != Outcome::Passed {
            bail!("{}: an exchange of {bytes} bytes: {outcome:?}", self.actor.name());
        }
        Ok(())
    }

    /// Sends bytes and says what came of it.
    pub fn try_exchange(&self, bytes: usize, patience: Duration) -> Result<Outcome> {
        let act = Act::Exchange { connection: self.number, bytes, patience_ms: millis(patience) };
        Ok(self.actor.perform(act)?.outcome)
    }

    /// Sends a datagram by an unconnected socket and gets it back from there.
    pub fn send_to(&self, to: SocketAddr) -> Result<Outcome> {
        let act = Act::SendTo { connection: self.number, to, bytes: 32, patience_ms: millis(PATIENCE) };
        Ok(self.actor.perform(act)?.outcome)
    }

    /// Fails unless the kernel names this peer.
    pub fn has_peer(&self, is: SocketAddr) -> Result<()> {
        self.actor.must(Act::Peer { connection: self.number, is }).map(drop)
    }

    /// Begins to exchange over and over.
    pub fn load(&self, bytes: usize) -> Result<()> {
        self.actor.must(Act::Load { connection: self.number, bytes }).map(drop)
    }

    /// How many exchanges the load has made; an error if one failed.
    pub fn load_so_far(&self) -> Result<u64> {
        self.actor.must(Act::LoadSoFar { connection: self.number })
    }

    /// Ends the load; how many exchanges it made, all of which succeeded.
    pub fn stop_load(&self) -> Result<u64> {
        self.actor.must(Act::StopLoad { connection: self.number })
    }

    /// Waits for somebody else to end it, and says how.
    pub fn await_end(&self, patience: Duration) -> Result<Outcome> {
        let act = Act::AwaitEnd { connection: self.number, patience_ms: millis(patience) };
        Ok(self.actor.perform(act)?.outcome)
    }

    /// Sends bytes, ends sending, and reads to the end; how many bytes came.
    pub fn half_close(&self, bytes: usize) -> Result<u64> {
        self.actor.must(Act::HalfClose { connection: self.number, bytes, patience_ms: millis(PATIENCE) })
    }

    /// Closes it.
    pub fn close(self) -> Result<()> {
        self.actor.must(Act::Close { connection: self.number }).map(drop)
    }
}

/// As the script wants it.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
