//! The actor as a client of TCP and UDP.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::Done;
use crate::script::Protocol;

/// Opens a connection; for UDP a connected socket.
pub(super) fn connect(
    protocol: Protocol,
    to: SocketAddr,
    from_port: u16,
    patience_ms: u64,
) -> io::Result<Socket> {
    let socket = open(protocol, to, from_port)?;
    match protocol {
        Protocol::Tcp => {
            socket.connect_timeout(&to.into(), Duration::from_millis(patience_ms))?;
            socket.set_tcp_nodelay(true)?;
        }
        Protocol::Udp => socket.connect(&to.into())?,
    }
    Ok(socket)
}

fn open(protocol: Protocol, to: SocketAddr, from_port: u16) -> io::Result<Socket> {
    let kind = match protocol {
        Protocol::Tcp => Type::STREAM,
        Protocol::Udp => Type::DGRAM,
    };
    let socket = Socket::new(Domain::for_address(to), kind, None)?;
    if from_port != 0 {
        socket.set_reuse_address(true)?;
        let any: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, from_port).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, from_port).into(),
        };
        socket.bind(&any.into())?;
    }
    Ok(socket)
}

/// Sends and waits for the same bytes to come back; for UDP one datagram.
pub(super) fn exchange(mut socket: &Socket, bytes: usize, patience_ms: u64) -> Done {
    socket.set_read_timeout(Some(Duration::from_millis(patience_ms)))?;
    let is_datagram = socket.r#type()? == Type::DGRAM;
    // Bytes that are missing, or in another place, are seen.
    let sent: Vec<u8> = (0..=250).cycle().take(bytes.min(65_000)).collect();
    let mut block = sent.clone();
    let mut back = 0;
    // No more on its way than a block: both ends would block on full buffers.
    while back < bytes {
        let size = block.len().min(bytes - back);
        if is_datagram {
            socket.send(&sent[..size])?;
            if socket.read(&mut block)? != size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        } else {
            socket.write_all(&sent[..size])?;
            socket.read_exact(&mut block[..size])?;
        }
        if block[..size] != sent[..size] {
            return Err(io::Error::other("other bytes came back than were sent"));
        }
        back += size;
    }
    Ok(back as u64)
}

/// Sends, ends sending, reads to the end.
pub(super) fn half_close(mut socket: &Socket, bytes: usize, patience_ms: u64) -> Done {
    socket.set_read_timeout(Some(Duration::from_millis(patience_ms)))?;
    socket.write_all(&vec![0x5a; bytes])?;
    socket.shutdown(Shutdown::Write)?;
    io::copy(&mut socket, &mut io::sink())
}

/// Reads until the connection is no more.
pub(super) fn await_end(mut socket: &Socket, patience_ms: u64) -> Done {
    socket.set_read_timeout(Some(Duration::from_millis(patience_ms)))?;
    io::copy(&mut socket, &mut io::sink())
}

/// Opens, exchanges and closes.
pub(super) fn probe(
    protocol: Protocol,
    to: SocketAddr,
    from_port: u16,
    bytes: usize,
    is_connected: bool,
    patience_ms: u64,
) -> Done {
    if protocol == Protocol::Udp && !is_connected {
        return sendto(to, from_port, bytes, patience_ms);
    }
    exchange(&connect(protocol, to, from_port, patience_ms)?, bytes, patience_ms)
}

/// One datagram by a new unconnected socket, and its echo from where it was sent to.
fn sendto(to: SocketAddr, from_port: u16, bytes: usize, patience_ms: u64) -> Done {
    send_to(&open(Protocol::Udp, to, from_port)?, to, bytes, patience_ms)
}

/// A socket of UDP that is not connected.
pub(super) fn open_udp(is_v6: bool) -> io::Result<Socket> {
    Socket::new(if is_v6 { Domain::IPV6 } else { Domain::IPV4 }, Type::DGRAM, None)
}

/// One datagram, and its echo from where it was sent to.
pub(super) fn send_to(socket: &Socket, to: SocketAddr, bytes: usize, patience_ms: u64) -> Done {
    let mut block = vec![0x5a; bytes.max(1)];
    let to = SockAddr::from(to);
    socket.send_to(&block[..bytes], &to)?;
    let deadline = Instant::now() + Duration::from_millis(patience_ms);
    let socket = std::net::UdpSocket::from(socket.try_clone()?);
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left))?;
        let (size, from) = socket.recv_from(&mut block)?;
        if SockAddr::from(from) == to && size == bytes {
            return Ok(size as u64);
        }
    }
}

/// Fails unless the kernel names this peer.
pub(super) fn peer(socket: &Socket, is: SocketAddr) -> Done {
    match socket.peer_addr()?.as_socket() {
        Some(peer) if peer == is => Ok(0),
        other => Err(io::Error::other(format!("the peer is {other:?} and not {is}"))),
    }
}
