//! The actor's side of the script: takes orders from stdin, answers on stdout.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use socket2::Socket;

use crate::script::{Act, Answer, Order, Outcome, Protocol};

mod client;
mod load;
mod raw;
mod server;

/// An outcome and a count.
type Done = io::Result<u64>;

/// Protocol and port; a raw one has no protocol, and its protocol's number for a port.
type Server = (Option<Protocol>, u16);

/// What an actor has open.
#[derive(Debug, Default)]
struct Props {
    connections: Mutex<HashMap<u32, Arc<Socket>>>,
    loads: Mutex<HashMap<u32, Arc<load::Load>>>,
    /// What each server has accepted or received.
    received: Mutex<HashMap<Server, Arc<AtomicU64>>>,
}

/// Moves into a cgroup, then obeys until stdin ends; everything that is open ends with the process.
pub fn run(processes: Option<&str>) -> Result<()> {
    if let Some(processes) = processes {
        fs::write(processes, "0").with_context(|| format!("cannot move into {processes}"))?;
    }
    let props = Arc::new(Props::default());
    for line in io::stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?).context("an order is no order")?;
        let props = Arc::clone(&props);
        thread::Builder::new().stack_size(256 << 10).spawn(move || {
            let (outcome, count) = match props.perform(order.act) {
                Ok(count) => (Outcome::Passed, count),
                Err(error) => (Outcome::from(error), 0),
            };
            answer(&Answer { number: order.number, outcome, count });
        })?;
    }
    Ok(())
}

fn answer(answer: &Answer) {
    let Ok(mut line) = serde_json::to_vec(answer) else { return };
    line.push(b'\n');
    // The director may be gone.
    let _ = io::stdout().lock().write_all(&line);
}

impl Props {
    fn perform(&self, act: Act) -> Done {
        match act {
            Act::Listen { protocol, at, is_dual, manner } => {
                server::listen(&self.counter(Some(protocol), at.port()), protocol, at, is_dual, manner)
            }
            Act::ListenRaw { protocol, is_v6 } => {
                raw::listen(&self.counter(None, u16::from(protocol)), protocol, is_v6)
            }
            Act::Received { protocol, port } => {
                Ok(self.counter(protocol, port).load(std::sync::atomic::Ordering::SeqCst))
            }
            Act::Connect { connection, protocol, to, from_port, patience_ms } => {
                let socket = client::connect(protocol, to, from_port, patience_ms)?;
                lock(&self.connections).insert(connection, Arc::new(socket));
                Ok(0)
            }
            Act::Exchange { connection, bytes, patience_ms } => {
                client::exchange(&*self.connection(connection)?, bytes, patience_ms)
            }
            Act::Load { connection, bytes } => {
                let load = load::start(self.connection(connection)?, bytes)?;
                lock(&self.loads).insert(connection, load);
                Ok(0)
            }
            Act::LoadSoFar { connection } => self.load(connection)?.so_far(),
            Act::StopLoad { connection } => self.load(connection)?.stop(),
            Act::HalfClose { connection, bytes, patience_ms } => {
                client::half_close(&*self.connection(connection)?, bytes, patience_ms)
            }
            Act::Close { connection } => {
                lock(&self.connections).remove(&connection);
                Ok(0)
            }
            Act::Peer { connection, is } => client::peer(&*self.connection(connection)?, is),
            Act::OpenUdp { connection, is_v6 } => {
                let socket = client::open_udp(is_v6)?;
                lock(&self.connections).insert(connection, Arc::new(socket));
                Ok(0)
            }
            Act::SendTo { connection, to, bytes, patience_ms } => {
                client::send_to(&*self.connection(connection)?, to, bytes, patience_ms)
            }
            Act::AwaitEnd { connection, patience_ms } => {
                client::await_end(&*self.connection(connection)?, patience_ms)
            }
            Act::Probe { protocol, to, from_port, bytes, is_connected, patience_ms } => {
                client::probe(protocol, to, from_port, bytes, is_connected, patience_ms)
            }
            Act::Ping { to, bytes, patience_ms } => raw::ping(to, bytes, patience_ms),
            Act::SendRaw { protocol, to, bytes } => raw::send(protocol, to, bytes),
            Act::SendPacket { to, packet } => raw::send_packet(to, &packet),
            Act::Join { processes } => fs::write(processes, "0").map(|()| 0),
        }
    }

    fn connection(&self, connection: u32) -> io::Result<Arc<Socket>> {
        let found = lock(&self.connections).get(&connection).cloned();
        found.ok_or_else(|| io::Error::other(format!("no connection {connection}")))
    }

    fn load(&self, connection: u32) -> io::Result<Arc<load::Load>> {
        let found = lock(&self.loads).get(&connection).cloned();
        found.ok_or_else(|| io::Error::other(format!("no load on {connection}")))
    }

    fn counter(&self, protocol: Option<Protocol>, port: u16) -> Arc<AtomicU64> {
        Arc::clone(lock(&self.received).entry((protocol, port)).or_default())
    }
}

/// What a lock guards; a panic elsewhere does not make it wrong.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
