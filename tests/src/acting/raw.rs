//! The actor below TCP and UDP: ICMP echoes, and packets of protocols without ports.

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::Done;
use crate::wire::checksum;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

fn open(is_v6: bool, protocol: u8) -> io::Result<Socket> {
    let domain = if is_v6 { Domain::IPV6 } else { Domain::IPV4 };
    Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(protocol))))
}

/// Counts packets of a protocol that arrive.
pub(super) fn listen(received: &Arc<AtomicU64>, protocol: u8, is_v6: bool) -> Done {
    let mut socket = open(is_v6, protocol)?;
    let received = Arc::clone(received);
    thread::Builder::new().spawn(move || {
        let mut block = vec![0; 65_536];
        while socket.read(&mut block).is_ok() {
            received.fetch_add(1, Ordering::SeqCst);
        }
    })?;
    Ok(0)
}

/// Sends one packet.
pub(super) fn send(protocol: u8, to: SocketAddr, bytes: usize) -> Done {
    let socket = open(to.is_ipv6(), protocol)?;
    socket.send_to(&vec![0x5a; bytes], &without_port(to)).map(|size| size as u64)
}

/// Sends a packet that brings its own IP header.
pub(super) fn send_packet(to: SocketAddr, packet: &[u8]) -> Done {
    /// `IPPROTO_RAW`: the header is the sender's, in both families (raw(7), RFC 3542 section 3).
    const RAW: u8 = 255;
    let socket = open(to.is_ipv6(), RAW)?;
    socket.set_broadcast(true)?;
    socket.send_to(packet, &without_port(to)).map(|size| size as u64)
}

/// A raw v6 socket takes the port for a protocol number.
fn without_port(mut to: SocketAddr) -> SockAddr {
    to.set_port(0);
    to.into()
}

/// Sends an echo request and waits for its reply.
pub(super) fn ping(to: SocketAddr, bytes: usize, patience_ms: u64) -> Done {
    static SEQUENCE: AtomicU64 = AtomicU64::new(1);
    let is_v6 = to.is_ipv6();
    let (request, reply) = if is_v6 { (128, 129) } else { (8, 0) };
    let mut socket = open(is_v6, if is_v6 { ICMPV6 } else { ICMP })?;
    let identifier = std::process::id().to_be_bytes();
    let sequence = SEQUENCE.fetch_add(1, Ordering::SeqCst).to_be_bytes();
    let mut packet = vec![request, 0, 0, 0, identifier[2], identifier[3], sequence[6], sequence[7]];
    packet.resize(8 + bytes, 0x5a);
    if !is_v6 {
        // The kernel fills the checksum in for v6 only (RFC 3542, section 3.1).
        let sum = checksum(&packet).to_be_bytes();
        packet[2..4].copy_from_slice(&sum);
    }
    socket.send_to(&packet, &without_port(to))?;
    let deadline = Instant::now() + Duration::from_millis(patience_ms);
    let mut block = vec![0; 65_536];
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left))?;
        let size = socket.read(&mut block)?;
        // A raw v4 socket gets the IP header too.
        let header = if is_v6 { 0 } else { usize::from(block[0] & 15) * 4 };
        let Some(answer) = block.get(header..size) else { continue };
        if answer.len() == packet.len() && answer[0] == reply && answer[4..8] == packet[4..8] {
            return Ok(bytes as u64);
        }
    }
}
