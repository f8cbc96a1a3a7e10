//! The actor as a server of TCP and UDP.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use socket2::{Domain, Socket, Type};

use super::Done;
use crate::script::{Manner, Protocol};

/// Serves from a thread of its own until the process ends.
pub(super) fn listen(
    received: &Arc<AtomicU64>,
    protocol: Protocol,
    at: SocketAddr,
    is_dual: bool,
    manner: Manner,
) -> Done {
    let kind = match protocol {
        Protocol::Tcp => Type::STREAM,
        Protocol::Udp => Type::DGRAM,
    };
    let socket = Socket::new(Domain::for_address(at), kind, None)?;
    if at.is_ipv6() {
        socket.set_only_v6(!is_dual)?;
    }
    if protocol == Protocol::Tcp {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&at.into())?;
    let received = Arc::clone(received);
    match protocol {
        Protocol::Tcp => {
            socket.listen(1024)?;
            spawn(move || accept(&received, &socket.into(), manner))?;
        }
        Protocol::Udp => spawn(move || echo_datagrams(&received, &socket.into()))?,
    }
    Ok(0)
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().stack_size(256 << 10).spawn(work).map(drop)
}

fn accept(received: &AtomicU64, listener: &TcpListener, manner: Manner) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        received.fetch_add(1, Ordering::SeqCst);
        let _ = stream.set_nodelay(true);
        // A connection that is cut is its client's affair.
        let _ = spawn(move || {
            let _ = match manner {
                Manner::Echo => echo(stream),
                Manner::Sink => sink(stream),
                Manner::Http => http(stream),
            };
        });
    }
}

/// Requests have no bodies.
fn http(mut stream: TcpStream) -> io::Result<()> {
    let own = stream.local_addr()?;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            bytes.drain(..end + 4);
            let body = format!("{own} {}", head.lines().next().unwrap_or_default());
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes())?;
        }
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            count => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut block = vec![0; 65_536];
    loop {
        let size = stream.read(&mut block)?;
        if size == 0 {
            return Ok(());
        }
        stream.write_all(&block[..size])?;
    }
}

fn sink(mut stream: TcpStream) -> io::Result<()> {
    let count = io::copy(&mut stream, &mut io::sink())?;
    stream.write_all(count.to_string().as_bytes())
}

fn echo_datagrams(received: &AtomicU64, socket: &UdpSocket) {
    let mut block = vec![0; 65_536];
    loop {
        // Errors are those of earlier answers (ICMP, EPERM); the socket goes on.
        let Ok((size, from)) = socket.recv_from(&mut block) else { continue };
        received.fetch_add(1, Ordering::SeqCst);
        let _ = socket.send_to(&block[..size], from);
    }
}
