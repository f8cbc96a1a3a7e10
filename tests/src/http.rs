//! A client of HTTP/1.1 that keeps its connection.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::netns::Namespace;

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Client {
    /// Connects from a namespace.
    pub fn connect(namespace: &Namespace, to: SocketAddr) -> Result<Self> {
        namespace.within(|| {
            let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))
                .with_context(|| format!("cannot connect to {to}"))?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            stream.set_nodelay(true)?;
            Ok(Self { stream, rest: Vec::new() })
        })
    }

    /// Status and body of `GET http://host/path`; `headers` end in CR LF each.
    pub fn get(&mut self, host: &str, path: &str, headers: &str) -> Result<(u16, String)> {
        self.send(host, path, headers)?;
        self.read()
    }

    /// Sends the request.
    pub fn send(&mut self, host: &str, path: &str, headers: &str) -> Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        self.stream.write_all(request.as_bytes()).context("cannot send a request")
    }

    /// Reads a response that has a length.
    pub fn read(&mut self) -> Result<(u16, String)> {
        loop {
            let text = String::from_utf8_lossy(&self.rest).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let lower = head.to_ascii_lowercase();
                let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.unwrap_or("0").parse()?;
                if let Some(whole) = body.get(..length) {
                    let status = head.get(9..12).unwrap_or_default().parse().context("no status")?;
                    self.rest.drain(..head.len() + 4 + length);
                    return Ok((status, whole.to_owned()));
                }
            }
            let mut piece = [0; 4096];
            let count = self.stream.read(&mut piece).context("no response came")?;
            ensure!(count > 0, "the connection ended after {text:?}");
            self.rest.extend_from_slice(&piece[..count]);
        }
    }
}

/// One request on a connection of its own.
pub fn get(namespace: &Namespace, to: SocketAddr, host: &str, path: &str) -> Result<(u16, String)> {
    Client::connect(namespace, to)?.get(host, path, "Connection: close\r\n")
}
