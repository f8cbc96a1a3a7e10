//! Requests and responses on many connections at once, by one thread at each end.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{Bounds, Load};
use crate::bench::numbers::nanoseconds;

/// Sockets that are told of at once.
const EVENTS: usize = 64;

/// Longer silence on all connections is a fault.
const SILENCE_MS: u16 = 5_000;

/// A connection on which one message goes one way, then the other.
struct Turns {
    stream: TcpStream,
    message: Vec<u8>,
    /// Bytes of the message that are through.
    at: usize,
    is_writing: bool,
}

/// Many of them.
struct Crowd {
    epoll: Epoll,
    members: Vec<Turns>,
}

/// Sends back what comes, until every client has gone.
pub(super) fn echo(streams: Vec<TcpStream>, bytes: usize) -> io::Result<()> {
    let mut crowd = Crowd::new(streams, bytes, false)?;
    let mut present = vec![true; crowd.members.len()];
    while present.contains(&true) {
        crowd.wait(|number, turns| {
            while present[number] {
                match turns.pass() {
                    Ok(true) if turns.is_writing => {}
                    Ok(_) => break,
                    // Gone; its socket stays silent and is closed with the others.
                    Err(_) => present[number] = false,
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Keeps one request under way on each connection, as long as the bounds say.
pub(super) fn exchange(streams: Vec<TcpStream>, bytes: usize, bounds: Bounds) -> Result<Load> {
    let mut crowd = Crowd::new(streams, bytes, true)?;
    let time = Duration::from_millis(bounds.time_ms);
    let mut times = Vec::with_capacity(1 << 16);
    let start = Instant::now();
    let mut last = Duration::ZERO;
    // When each request was sent; `None` where there is to be no other.
    let mut begun = Vec::with_capacity(crowd.members.len());
    for turns in &mut crowd.members {
        begun.push(Some(start.elapsed()));
        turns.pass().context("cannot send a request")?;
    }
    let mut under_way = crowd.members.len();
    while under_way > 0 {
        let heard = crowd.wait(|number, turns| {
            while let Some(sent) = begun[number] {
                if !turns.pass()? || !turns.is_writing {
                    // What is missing of the response will be a change.
                    break;
                }
                last = start.elapsed();
                times.push(nanoseconds(last.saturating_sub(sent)));
                let is_over = last >= time || times.len() as u64 >= bounds.most;
                begun[number] = (!is_over).then_some(last);
                under_way -= usize::from(is_over);
            }
            Ok(())
        })?;
        ensure!(heard > 0, "{under_way} requests stay without a response");
    }
    Ok(Load::of(times, last))
}

impl Crowd {
    fn new(streams: Vec<TcpStream>, bytes: usize, is_writing: bool) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // Told once of each change: a connection is used until it lets nothing through.
        let changes = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        for (number, stream) in (0_u64..).zip(&streams) {
            stream.set_nonblocking(true)?;
            epoll.add(stream, EpollEvent::new(changes, number))?;
        }
        let members = streams
            .into_iter()
            .map(|stream| Turns { stream, message: vec![7; bytes], at: 0, is_writing })
            .collect();
        Ok(Self { epoll, members })
    }

    /// Waits for changes and does `work` on each connection that has some; how many had.
    fn wait(&mut self, mut work: impl FnMut(usize, &mut Turns) -> io::Result<()>) -> io::Result<usize> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = self.epoll.wait(&mut events, EpollTimeout::from(SILENCE_MS))?;
        for event in &events[..count] {
            let number = usize::try_from(event.data()).map_err(io::Error::other)?;
            if let Some(turns) = self.members.get_mut(number) {
                work(number, turns)?;
            }
        }
        Ok(count)
    }
}

impl Turns {
    /// Goes on as far as the socket lets it, at most to the end of the message: then it is `true`, and
    /// the other way is next.
    fn pass(&mut self) -> io::Result<bool> {
        loop {
            let rest = &mut self.message[self.at..];
            let passed = if self.is_writing { self.stream.write(rest) } else { self.stream.read(rest) };
            match passed {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.at += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if self.at == self.message.len() {
                self.at = 0;
                self.is_writing = !self.is_writing;
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn messages_larger_than_a_socket_buffer_come_back_on_every_connection() {
        const CONNECTIONS: usize = 3;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let bytes = 8 << 20;
        let server = thread::spawn(move || {
            let accepted = (0..CONNECTIONS).map(|_| listener.accept().unwrap().0).collect();
            echo(accepted, bytes)
        });
        let streams = (0..CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
        // One exchange each: the bound is reached by the first.
        let load = exchange(streams, bytes, Bounds { time_ms: 60_000, most: 1 }).unwrap();
        assert_eq!(load.count, CONNECTIONS as u64);
        assert!(load.p50_ns <= load.p99_ns && load.p99_ns <= load.elapsed_ns, "{load:?}");
        server.join().unwrap().unwrap();
    }
}
