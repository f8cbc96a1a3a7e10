//! What an actor can be told and what it answers, a JSON object a line.

use std::io;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A numbered command.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// Comes back with the answer.
    pub number: u64,
    /// What to do.
    pub act: Act,
}

/// The answer to an [`Order`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// Of the order.
    pub number: u64,
    /// How it went.
    pub outcome: Outcome,
    /// What was counted; its meaning is the act's.
    pub count: u64,
}

/// How a server treats what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Manner {
    /// Sends it back.
    Echo,
    /// Reads to the end, then answers with as many bytes as the text of the count has.
    Sink,
    /// Speaks HTTP/1.1: each request is answered with the server's address and the request's first line.
    Http,
}

/// What an actor can do. Each act runs on a thread of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Act {
    /// Serve. A wildcard v6 address serves v4 too if `is_dual`.
    Listen {
        /// TCP or UDP.
        protocol: Protocol,
        /// Where.
        at: SocketAddr,
        /// A v6 socket takes v4 as well.
        is_dual: bool,
        /// How.
        manner: Manner,
    },
    /// Receive packets of an IP protocol without ports.
    ListenRaw {
        /// IP protocol number.
        protocol: u8,
        /// IPv6 instead of IPv4.
        is_v6: bool,
    },
    /// Answers how many connections were accepted, or packets received, by the server at a port (or
    /// of a raw protocol number).
    Received {
        /// TCP or UDP; `None` is raw.
        protocol: Option<Protocol>,
        /// Port or protocol number.
        port: u16,
    },
    /// Open a connection and keep it under a name. UDP: a connected socket; nothing is sent.
    Connect {
        /// Its name from now on.
        connection: u32,
        /// TCP or UDP.
        protocol: Protocol,
        /// Whither.
        to: SocketAddr,
        /// The local port; 0 is any.
        from_port: u16,
        /// When to give up.
        patience_ms: u64,
    },
    /// Send bytes and wait for their echo. UDP: one datagram. Counts the bytes that came back.
    Exchange {
        /// Which.
        connection: u32,
        /// How many.
        bytes: usize,
        /// When to give up.
        patience_ms: u64,
    },
    /// Exchange over and over in the background until told to stop.
    Load {
        /// Which.
        connection: u32,
        /// How many bytes an exchange.
        bytes: usize,
    },
    /// How many exchanges a load has made so far; its outcome is the first failure.
    LoadSoFar {
        /// Which.
        connection: u32,
    },
    /// End a load. Counts its exchanges; the outcome is the first failure.
    StopLoad {
        /// Which.
        connection: u32,
    },
    /// Send bytes, end sending, read to the end. Counts the bytes read.
    HalfClose {
        /// Which.
        connection: u32,
        /// How many to send first.
        bytes: usize,
        /// When to give up.
        patience_ms: u64,
    },
    /// Close it.
    Close {
        /// Which.
        connection: u32,
    },
    /// Fails unless this is the peer that the kernel names.
    Peer {
        /// Which.
        connection: u32,
        /// The peer that it must be.
        is: SocketAddr,
    },
    /// Open a socket of UDP that is never connected, and keep it under a name.
    OpenUdp {
        /// Its name from now on.
        connection: u32,
        /// An IPv6 socket, which sends to v4-mapped addresses as well.
        is_v6: bool,
    },
    /// Send a datagram and wait for its echo; it must come from where the datagram was sent to.
    SendTo {
        /// Which.
        connection: u32,
        /// Whither.
        to: SocketAddr,
        /// How many bytes.
        bytes: usize,
        /// When to give up.
        patience_ms: u64,
    },
    /// Wait until the other end, or the kernel, ends the connection; `Reset` or `Passed` (an orderly end).
    AwaitEnd {
        /// Which.
        connection: u32,
        /// When to give up.
        patience_ms: u64,
    },
    /// Open, exchange and close on a new socket.
    Probe {
        /// TCP or UDP.
        protocol: Protocol,
        /// Whither.
        to: SocketAddr,
        /// The local port; 0 is any.
        from_port: u16,
        /// How many bytes.
        bytes: usize,
        /// UDP: connect instead of naming the destination with each send.
        is_connected: bool,
        /// When to give up.
        patience_ms: u64,
    },
    /// An ICMP echo by a raw socket.
    Ping {
        /// Whither; the port means nothing.
        to: SocketAddr,
        /// Payload.
        bytes: usize,
        /// When to give up.
        patience_ms: u64,
    },
    /// Send one packet of an IP protocol without ports.
    SendRaw {
        /// IP protocol number.
        protocol: u8,
        /// Whither; the port means nothing.
        to: SocketAddr,
        /// Payload.
        bytes: usize,
    },
    /// Send a whole IP packet, header and all.
    SendPacket {
        /// Whither; the port means nothing.
        to: SocketAddr,
        /// The packet.
        packet: Vec<u8>,
    },
    /// Move into a cgroup.
    Join {
        /// Its `cgroup.procs`.
        processes: String,
    },
}

/// How an act ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// As asked.
    Passed,
    /// EPERM.
    NotPermitted,
    /// Nothing came within the deadline.
    Silence,
    /// The connection was there and was cut.
    Reset,
    /// Nobody listens (a reset, or ICMP port unreachable).
    NobodyListens,
    /// ICMP says that there is no way.
    Unreachable,
    /// The other end closed before everything came back.
    Short,
    /// Anything else.
    Failed(String),
}

impl From<io::Error> for Outcome {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Silence,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Self::Reset
            }
            io::ErrorKind::ConnectionRefused => Self::NobodyListens,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable,
            io::ErrorKind::UnexpectedEof => Self::Short,
            _ => Self::Failed(error.to_string()),
        }
    }
}
