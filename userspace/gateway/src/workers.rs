//! A gateway as a whole: its workers, and which addresses they listen on.
//!
//! A worker is a thread with a runtime of one thread, a listening socket of its own for each address
//! (the kernel spreads connections over them), and its own connections to endpoints. Nothing that a
//! request needs is another worker's but the snapshot.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use windrose_policy::model::Model;
use windrose_policy::routing::{ConditionType, Reason, Statuses};

use crate::conditions;
use crate::counters::Counters;
use crate::lines::Lines;
use crate::series::Reading;
use crate::server::{Limits, Server};
use crate::snapshot::{Kept, Place, Published, Snapshot};
use crate::sockets::{self, Failure};

/// Orders that a worker has not come to yet: one for each socket that a reload opens.
const ORDERS: usize = 64;

/// How a gateway runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads; 0 is one for each processor.
    pub workers: usize,
    /// What clients may ask of it.
    pub limits: Limits,
    /// Where lines of the access log go.
    pub lines: Option<Lines>,
}

/// A running gateway. Dropped, it ends as by [`Gateway::stop`], and nobody waits for it.
#[derive(Debug)]
pub struct Gateway {
    published: Arc<Published>,
    kept: Kept,
    workers: Vec<Worker>,
    limits: Limits,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Worker {
    orders: mpsc::Sender<Socket>,
    counters: Arc<Counters>,
    thread: JoinHandle<()>,
}

/// A socket for a worker to serve.
#[derive(Debug)]
struct Socket {
    listener: std::net::TcpListener,
    place: Place,
    stop: watch::Receiver<bool>,
    /// Dropped when the socket is closed.
    is_open: Arc<AtomicBool>,
}

/// What is listened on.
#[derive(Debug, Default)]
struct Open {
    binds: BTreeMap<Place, Bound>,
    /// Sockets that may not have been closed yet.
    closing: Vec<(SocketAddr, Weak<AtomicBool>)>,
}

#[derive(Debug)]
struct Bound {
    stop: watch::Sender<bool>,
    sockets: BTreeMap<SocketAddr, Weak<AtomicBool>>,
    failures: Vec<Failure>,
}

impl Gateway {
    /// Starts the workers, with nothing to serve yet.
    ///
    /// # Errors
    ///
    /// A thread or its runtime could not be started.
    pub fn start(options: Options) -> io::Result<Self> {
        let Options { workers, limits, lines } = options;
        let count = match workers {
            0 => thread::available_parallelism().map_or(1, std::num::NonZero::get),
            count => count,
        };
        let kept = Kept::new(count);
        let published = Arc::new(Published::new(Snapshot::compile(&Model::default(), &kept)));
        let room = Arc::new(Semaphore::new(limits.connections));
        let start = |number| {
            let server =
                Server::of_worker(published.clone(), lines.clone(), limits, (number, Arc::clone(&room)));
            Worker::start(number, server)
        };
        let workers = (0..count).map(start).collect::<io::Result<_>>()?;
        Ok(Self { published, kept, workers, limits, open: Mutex::default() })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what a model says of gateways in force. Sockets of binds that stay are kept, those that are
    /// gone stop accepting and finish what has begun. What cannot be opened harms nothing else: its
    /// conditions tell, and [`Gateway::retry`] tries again. Blocks for as long as it takes to compile.
    pub fn publish(&self, model: &Model) {
        let snapshot = Snapshot::compile(model, &self.kept);
        let wanted: Vec<Place> = snapshot.routing().binds.iter().map(|bind| bind.point.clone()).collect();
        let mut open = self.open();
        // New sockets first, so that a port that moves to another bind is never without one. Nobody
        // accepts from them before the snapshot that they are of is in force.
        let mut sockets = Vec::new();
        for place in &wanted {
            open.binds.entry(place.clone()).or_insert_with(|| Bound {
                stop: watch::channel(false).0,
                sockets: BTreeMap::new(),
                failures: Vec::new(),
            });
            sockets.extend(self.listen(&mut open, place));
        }
        self.published.publish(snapshot);
        self.hand_out(sockets);
        let gone: Vec<Place> = open.binds.keys().filter(|place| !wanted.contains(place)).cloned().collect();
        for place in gone {
            let Some(bound) = open.binds.remove(&place) else { continue };
            // Sockets that a worker has not come to yet read it, too.
            bound.stop.send_replace(true);
            tracing::info!(place = %told(&place), "no longer listening");
            open.closing.extend(bound.sockets);
        }
    }

    /// Tries again to open what could not be opened.
    pub fn retry(&self) {
        let mut open = self.open();
        let failed: Vec<Place> = open
            .binds
            .iter()
            .filter(|(_, bound)| !bound.failures.is_empty())
            .map(|(place, _)| place.clone())
            .collect();
        let mut sockets = Vec::new();
        for place in failed {
            sockets.extend(self.listen(&mut open, &place));
        }
        self.hand_out(sockets);
    }

    /// Opens what of a bind is not open.
    fn listen(&self, open: &mut Open, place: &Place) -> Vec<Socket> {
        open.closing.retain(|(_, socket)| socket.strong_count() > 0);
        let ours: Vec<SocketAddr> = open
            .binds
            .values()
            .flat_map(|bound| bound.sockets.keys())
            .chain(open.closing.iter().map(|(at, _)| at))
            .copied()
            .collect();
        let Some(bound) = open.binds.get_mut(place) else { return Vec::new() };
        let before = std::mem::take(&mut bound.failures);
        let mut sockets = Vec::new();
        for at in sockets::addresses(place) {
            if bound.sockets.contains_key(&at) {
                continue;
            }
            let is_ours = ours.iter().any(|other| sockets::overlap(*other, at));
            match sockets::open(at, self.workers.len(), is_ours) {
                Ok(None) => {}
                Ok(Some(listeners)) => {
                    tracing::info!(%at, workers = listeners.len(), "listening");
                    let is_open = Arc::new(AtomicBool::new(true));
                    bound.sockets.insert(at, Arc::downgrade(&is_open));
                    sockets.extend(listeners.into_iter().map(|listener| Socket {
                        listener,
                        place: place.clone(),
                        stop: bound.stop.subscribe(),
                        is_open: is_open.clone(),
                    }));
                }
                Err(failure) => {
                    if !before.contains(&failure) {
                        tracing::error!(%at, "{}; it is tried again", failure.message);
                    }
                    bound.failures.push(failure);
                }
            }
        }
        sockets
    }

    /// `sockets` are those of the workers in turn.
    fn hand_out(&self, sockets: Vec<Socket>) {
        for (socket, worker) in sockets.into_iter().zip(self.workers.iter().cycle()) {
            let at = told(&socket.place);
            if worker.orders.blocking_send(socket).is_err() {
                tracing::error!(place = %at, "a worker of the gateway has ended: its share is not served");
            }
        }
    }

    /// What could not be opened.
    pub fn failures(&self) -> Vec<Failure> {
        self.open().binds.values().flat_map(|bound| bound.failures.clone()).collect()
    }

    /// The addresses that are listened on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.open().binds.values().flat_map(|bound| bound.sockets.keys().copied()).collect()
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.load()
    }

    /// The conditions of every object, with what became of sockets and certificates.
    pub fn statuses(&self) -> Statuses {
        let snapshot = self.published.load();
        let mut statuses = snapshot.routing().statuses.clone();
        let open = self.open();
        for bind in &snapshot.routing().binds {
            let Some(bound) = open.binds.get(&bind.point) else { continue };
            let Some(first) = bound.failures.first() else { continue };
            // Addresses that are open are served, and the others are told of.
            let all: Vec<&str> = bound.failures.iter().map(|failure| failure.message.as_str()).collect();
            for listener in &bind.listeners {
                let which = (&listener.gateway, listener.name.as_str());
                let why: (Reason, String) = (first.reason, all.join("; "));
                conditions::refuse(&mut statuses, which, ConditionType::Programmed, why);
            }
        }
        statuses
    }

    /// What is counted by names from policy.
    pub fn series(&self) -> Vec<Reading> {
        self.kept.series.read()
    }

    /// A counter of all workers added up.
    pub fn total<T: std::iter::Sum>(&self, of: impl Fn(&Counters) -> T) -> T {
        self.workers.iter().map(|worker| of(&worker.counters)).sum()
    }

    /// How many threads serve.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Stops accepting, finishes exchanges that have begun as far as [`Limits::drain`] allows, and ends
    /// the workers.
    pub fn stop(self) {
        let Self { workers, open, limits, .. } = self;
        tracing::info!(
            exchanges = workers
                .iter()
                .map(|worker| worker.counters.exchanges_open.load(std::sync::atomic::Ordering::Relaxed))
                .sum::<i64>(),
            at_most_seconds = limits.drain.as_secs(),
            "the gateway finishes its exchanges"
        );
        // Senders that are gone say the same as `true`.
        drop(open);
        let threads: Vec<JoinHandle<()>> = workers.into_iter().map(|worker| worker.thread).collect();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker of the gateway has panicked");
            }
        }
    }
}

impl Worker {
    fn start(number: usize, server: Server) -> io::Result<Self> {
        let (orders, waiting) = mpsc::channel(ORDERS);
        let counters = server.counters().clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name(format!("gateway-{number}")).spawn(move || {
            runtime.block_on(work(server, waiting));
            // Connections to endpoints and look-ups that nobody waits for any more.
            runtime.shutdown_timeout(Duration::from_millis(100));
        })?;
        Ok(Self { orders, counters, thread })
    }
}

/// Serves sockets until nobody can hand out more, and all have ended.
async fn work(server: Server, mut orders: mpsc::Receiver<Socket>) {
    let mut sockets = JoinSet::new();
    loop {
        let Socket { listener, place, stop, is_open } = tokio::select! {
            socket = orders.recv() => match socket {
                Some(socket) => socket,
                None => break,
            },
            Some(_) = sockets.join_next() => continue,
        };
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(place = %told(&place), %error, "a listening socket cannot be served");
                continue;
            }
        };
        let server = server.clone();
        sockets.spawn(async move {
            let at = told(&place);
            if let Err(error) = server.serve_while((listener, is_open), place, stop).await {
                tracing::error!(place = %at, %error, "a listening socket has failed");
            }
        });
    }
    while sockets.join_next().await.is_some() {}
}

/// A place for logs.
fn told((addresses, port): &Place) -> String {
    match addresses.as_slice() {
        [] => format!("*:{port}"),
        addresses => {
            let all: Vec<String> =
                addresses.iter().map(|address| SocketAddr::new(*address, *port).to_string()).collect();
            all.join(",")
        }
    }
}
