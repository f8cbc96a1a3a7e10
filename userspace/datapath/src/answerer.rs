//! Sends answers, each from inside the network namespace of the workload in whose name it speaks.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::answer::{Answer, AnswerKind};
use crate::error::DatapathError;
use crate::netns;

/// The part of its time, one in so many, that may go into the search for network namespaces.
const SEARCH_SHARE: u32 = 10;

/// The sender. Namespaces are not held open, so that they end when their processes do.
#[derive(Debug, Default)]
pub struct Answerer {
    /// Where namespaces were when they were last searched for, by cookie.
    paths: HashMap<u64, PathBuf>,
    search_again: Option<Instant>,
}

/// What became of answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Resets sent.
    pub resets: u64,
    /// ICMP errors sent.
    pub unreachables: u64,
    /// Not sent: the namespace is gone or not found, an address is a broadcast or no longer there,
    /// or there is no way.
    pub failed: u64,
}

impl Answerer {
    /// Sends answers and says what became of them. Blocks for some microseconds an answer, and for
    /// milliseconds when a namespace is met for the first time.
    ///
    /// # Errors
    ///
    /// The thread that does it cannot be started, or has panicked.
    pub fn send(&mut self, answers: Vec<Answer>) -> Result<Sent, DatapathError> {
        // A thread that changed its namespace is not used for anything else.
        netns::on_a_thread(|| self.send_from_here(answers))
    }

    fn send_from_here(&mut self, answers: Vec<Answer>) -> Sent {
        let mut by_netns: HashMap<u64, Vec<Answer>> = HashMap::new();
        for answer in answers {
            by_netns.entry(answer.netns).or_default().push(answer);
        }
        let mut sent = Sent::default();
        let mut left = self.deliver(by_netns, &mut sent);
        if !left.is_empty() && self.may_search() {
            self.search();
            left = self.deliver(left, &mut sent);
        }
        sent.failed += left.values().map(|answers| answers.len() as u64).sum::<u64>();
        sent
    }

    /// Sends what it can; the answers of namespaces that are not where they were are left.
    fn deliver(&mut self, by_netns: HashMap<u64, Vec<Answer>>, sent: &mut Sent) -> HashMap<u64, Vec<Answer>> {
        let mut left = HashMap::new();
        for (cookie, answers) in by_netns {
            let path = self.paths.get(&cookie);
            // A process id, and so a path, can be used again: the cookie tells.
            if !path.is_some_and(|path| netns::enter(path).is_ok_and(|found| found == cookie)) {
                self.paths.remove(&cookie);
                left.insert(cookie, answers);
                continue;
            }
            for answer in answers {
                match send(&answer) {
                    Ok(()) if answer.kind == AnswerKind::Reset => sent.resets += 1,
                    Ok(()) => sent.unreachables += 1,
                    Err(error) => {
                        sent.failed += 1;
                        let Answer { source, destination, .. } = answer;
                        tracing::debug!(%error, %source, %destination, "cannot answer a refused packet");
                    }
                }
            }
        }
        left
    }

    /// Packets from a namespace that nobody finds must not make this search all the time.
    fn may_search(&self) -> bool {
        self.search_again.is_none_or(|at| Instant::now() >= at)
    }

    fn search(&mut self) {
        let began = Instant::now();
        self.paths = netns::by_cookie();
        let took = began.elapsed().max(Duration::from_millis(1));
        self.search_again = Some(Instant::now() + took * (SEARCH_SHARE - 1));
    }
}

/// Sends one answer from this thread's namespace.
fn send(answer: &Answer) -> io::Result<()> {
    let (source, destination) = (answer.source, answer.destination);
    refuse_broadcast(source)?;
    // A socket whose packets bring their own IP header, in both families (raw(7), RFC 3542 section
    // 3). `answers.rs` of the programs knows the agent's answers by this protocol.
    let raw = Protocol::from(libc::IPPROTO_RAW);
    let socket = Socket::new(Domain::for_address(named(source, 0, 0)), Type::RAW, Some(raw))?;
    // The route may depend on the source.
    socket.bind(&named(source, 0, answer.scope).into())?;
    // The kernel refuses a broadcast as destination (EACCES) while SO_BROADCAST is not set.
    let to = named(destination, 0, answer.scope).into();
    socket.send_to_with_flags(&answer.packet, &to, libc::MSG_DONTWAIT).map(drop)
}

/// Fails for what is a broadcast here: connecting a datagram socket to one is refused (EACCES,
/// `__ip4_datagram_connect` in net/ipv4/datagram.c).
fn refuse_broadcast(address: IpAddr) -> io::Result<()> {
    /// Any will do: nothing is sent.
    const PORT: u16 = 9;
    if address.is_ipv6() {
        return Ok(());
    }
    Socket::new(Domain::IPV4, Type::DGRAM, None)?.connect(&named(address, PORT, 0).into())
}

/// An address for a call; `scope` says where a link-local one is.
fn named(ip: IpAddr, port: u16, scope: u32) -> SocketAddr {
    match ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => SocketAddrV6::new(ip, port, 0, scope).into(),
        ip => (ip, port).into(),
    }
}
