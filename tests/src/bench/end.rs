//! The two processes of a measurement: one accepts, one opens and times.

mod many;

use std::fs;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::numbers::{nanoseconds, quantile};
use super::report::LoadKind;

/// Bytes that the server reads of a stream at once.
const READ_BYTES: usize = 128 << 10;

/// Of one message, and of one write.
const MOST_BYTES: usize = 1 << 20;

/// First byte of a connection: what it is for. A kept one says then how long its messages are and how
/// many connections there are of its kind, as words of four bytes, and is answered by one byte.
const SHORT: u8 = b's';
const KEPT: u8 = b'k';
const STREAM: u8 = b'b';

/// What the client is to do.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Try to connect to another port.
    Probe { port: u16, patience_ms: u64 },
    /// A load; of streams, `most` is in bytes.
    Load(LoadKind, Bounds),
}

/// How long, and how much at most.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Bounds {
    pub(crate) time_ms: u64,
    pub(crate) most: u64,
}

/// What came of an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Numbers of a load.
    Done(Load),
    /// How an attempt ended.
    Probed(Attempt),
    /// It went wrong.
    Failed(String),
}

/// Numbers of a load.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Connections, exchanges or received bytes.
    pub(crate) count: u64,
    pub(crate) elapsed_ns: u64,
    /// Of one connection or exchange; 0 of a stream.
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
}

impl Load {
    /// By how long each took, and all of them together.
    fn of(mut times: Vec<u64>, elapsed: Duration) -> Self {
        times.sort_unstable();
        Self {
            count: times.len() as u64,
            elapsed_ns: nanoseconds(elapsed),
            p50_ns: quantile(&times, 500),
            p99_ns: quantile(&times, 990),
        }
    }
}

/// How an attempt to connect ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Attempt {
    Connected,
    /// A reset: it reached a host where nobody listens.
    NobodyListens,
    /// EPERM.
    NotPermitted,
    /// No answer in time.
    Silence,
}

/// `ADDRESS:PORT PROCESSOR CGROUP_PROCS`: accepts one connection after the other until stdin ends.
pub fn serve(words: &[&str]) -> Result<()> {
    let (address, listener) = start(words, TcpListener::bind)?;
    // A thread of its own, so that the time of the first one is that of the work.
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        process::exit(0);
    });
    println!("listening on {address}");
    let mut buffer = vec![0_u8; READ_BYTES];
    loop {
        let (mut stream, _) = listener.accept().context("cannot accept")?;
        // A client that breaks off (a probe) is no reason to end.
        let _ = answer(&listener, &mut stream, &mut buffer);
    }
}

fn answer(listener: &TcpListener, stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut kind = [0_u8];
    stream.read_exact(&mut kind)?;
    match kind[0] {
        // Closed here first: the client's ports are free again at once.
        SHORT => stream.write_all(&kind),
        KEPT => match read_head(stream)? {
            (bytes, 1) => {
                let mut message = vec![0_u8; bytes];
                loop {
                    stream.read_exact(&mut message)?;
                    stream.write_all(&message)?;
                }
            }
            (bytes, connections) => {
                let mut streams = vec![stream.try_clone()?];
                while streams.len() < connections {
                    let (mut stream, _) = listener.accept()?;
                    stream.set_nodelay(true)?;
                    stream.read_exact(&mut kind)?;
                    read_head(&mut stream)?;
                    streams.push(stream);
                }
                many::echo(streams, bytes)
            }
        },
        _ => {
            let (mut count, mut start) = (0_u64, None);
            loop {
                let read = stream.read(buffer)?;
                if read == 0 {
                    break;
                }
                start.get_or_insert_with(Instant::now);
                count += read as u64;
            }
            let elapsed_ns = start.map_or(0, |start| nanoseconds(start.elapsed()));
            stream.write_all(&count.to_be_bytes())?;
            stream.write_all(&elapsed_ns.to_be_bytes())
        }
    }
}

/// Bytes of a message, and number of connections.
fn read_head(stream: &mut TcpStream) -> io::Result<(usize, usize)> {
    let mut words = [[0_u8; 4]; 2];
    for word in &mut words {
        stream.read_exact(word)?;
    }
    let [bytes, connections] = words.map(|word| u32::from_be_bytes(word) as usize);
    if !(1..=MOST_BYTES).contains(&bytes) {
        return Err(io::Error::other(format!("messages of {bytes} bytes")));
    }
    stream.write_all(&[KEPT])?;
    Ok((bytes, connections))
}

/// `ADDRESS:PORT PROCESSOR CGROUP_PROCS`: obeys orders, a line of JSON each, until stdin ends.
pub fn call(words: &[&str]) -> Result<()> {
    let (server, ()) = start(words, |_| Ok(()))?;
    for line in io::stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?).context("an order is no order")?;
        let outcome = match obey(server, order) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        println!("{}", serde_json::to_string(&outcome)?);
    }
    Ok(())
}

/// Into its cgroup and onto its processor, before it opens anything.
fn start<T>(words: &[&str], open: impl FnOnce(SocketAddrV4) -> io::Result<T>) -> Result<(SocketAddrV4, T)> {
    let &[address, processor, processes] = words else { bail!("an end is started by the benchmark only") };
    fs::write(processes, "0").with_context(|| format!("cannot move into {processes}"))?;
    let mut set = CpuSet::new();
    set.set(processor.parse().context("no processor's number")?)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("cannot choose a processor")?;
    let address: SocketAddrV4 = address.parse().context("no address")?;
    let opened = open(address).with_context(|| format!("cannot listen on {address}"))?;
    Ok((address, opened))
}

fn obey(server: SocketAddrV4, order: Order) -> Result<Outcome> {
    Ok(match order {
        Order::Probe { port, patience_ms } => Outcome::Probed(probe(*server.ip(), port, patience_ms)?),
        Order::Load(LoadKind::Connections, bounds) => Outcome::Done(repeat(bounds, || connection(server))?),
        Order::Load(LoadKind::Exchanges { bytes, connections: 1 }, bounds) => {
            let mut stream = open_kept(server, bytes, 1)?;
            let mut message = vec![7_u8; bytes];
            Outcome::Done(repeat(bounds, || {
                stream.write_all(&message)?;
                stream.read_exact(&mut message)
            })?)
        }
        Order::Load(LoadKind::Exchanges { bytes, connections }, bounds) => {
            let streams: io::Result<Vec<_>> =
                (0..connections).map(|_| open_kept(server, bytes, connections)).collect();
            Outcome::Done(many::exchange(streams.context("cannot open all connections")?, bytes, bounds)?)
        }
        Order::Load(LoadKind::Stream { bytes }, bounds) => Outcome::Done(stream(server, bytes, bounds)?),
    })
}

fn open(server: SocketAddrV4, kind: u8) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(server)?;
    // Who waits for an answer wants it at once; who streams does as by default.
    stream.set_nodelay(kind != STREAM)?;
    stream.write_all(&[kind])?;
    Ok(stream)
}

/// A connection of `connections` whose messages are as long as said; the server has accepted it.
fn open_kept(server: SocketAddrV4, bytes: usize, connections: usize) -> io::Result<TcpStream> {
    let mut stream = open(server, KEPT)?;
    for word in [bytes, connections] {
        stream.write_all(&u32::try_from(word).map_err(io::Error::other)?.to_be_bytes())?;
    }
    stream.read_exact(&mut [0])?;
    Ok(stream)
}

fn connection(server: SocketAddrV4) -> io::Result<()> {
    let mut stream = open(server, SHORT)?;
    let mut answer = [0_u8; 2];
    stream.read_exact(&mut answer[..1])?;
    // The server closes first: this waits for it.
    match stream.read(&mut answer)? {
        0 => Ok(()),
        more => Err(io::Error::other(format!("{more} bytes more than asked for"))),
    }
}

fn repeat(bounds: Bounds, mut once: impl FnMut() -> io::Result<()>) -> Result<Load> {
    let time = Duration::from_millis(bounds.time_ms);
    let mut times = Vec::with_capacity(1 << 16);
    let start = Instant::now();
    let mut last = Duration::ZERO;
    while last < time && (times.len() as u64) < bounds.most {
        once()?;
        let now = start.elapsed();
        times.push(nanoseconds(now.saturating_sub(last)));
        last = now;
    }
    Ok(Load::of(times, last))
}

fn stream(server: SocketAddrV4, bytes: usize, bounds: Bounds) -> Result<Load> {
    let mut stream = open(server, STREAM)?;
    let chunk = vec![7_u8; bytes];
    let time = Duration::from_millis(bounds.time_ms);
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < time && sent < bounds.most {
        stream.write_all(&chunk)?;
        sent += chunk.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut words = [[0_u8; 8]; 2];
    for word in &mut words {
        stream.read_exact(word)?;
    }
    let [count, elapsed_ns] = words.map(u64::from_be_bytes);
    ensure!(count == sent, "{sent} bytes were sent and {count} received");
    Ok(Load { count, elapsed_ns, ..Load::default() })
}

fn probe(address: Ipv4Addr, port: u16, patience_ms: u64) -> Result<Attempt> {
    let patience = Duration::from_millis(patience_ms);
    match TcpStream::connect_timeout(&SocketAddrV4::new(address, port).into(), patience) {
        Ok(_) => Ok(Attempt::Connected),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Ok(Attempt::NobodyListens),
            io::ErrorKind::PermissionDenied => Ok(Attempt::NotPermitted),
            io::ErrorKind::TimedOut => Ok(Attempt::Silence),
            _ => Err(error.into()),
        },
    }
}
