//! Asking an agent's admin address, from the network namespace in which it listens.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::netns::Namespace;

/// Where agents of test worlds listen.
pub const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

/// Status and body of `GET path`.
pub fn get(namespace: &Namespace, path: &str) -> Result<(u16, String)> {
    let mut stream = open(namespace, path)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).with_context(|| format!("GET {path} broke off"))?;
    let text = String::from_utf8(bytes).with_context(|| format!("GET {path} answered no UTF-8"))?;
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("GET {path}: no head"))?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.with_context(|| format!("GET {path}: no status in {head:?}"))?;
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok((status, if is_chunked { unchunk(body)? } else { body.to_owned() }))
}

/// Sends `GET path`; the answer is still to be read.
pub fn open(namespace: &Namespace, path: &str) -> Result<TcpStream> {
    namespace.within(|| {
        let mut stream = TcpStream::connect_timeout(&ADDRESS, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {ADDRESS}\r\nConnection: close\r\n\r\n")?;
        Ok(stream)
    })
}

/// RFC 9112, section 7.1, without extensions and trailers.
fn unchunk(mut body: &str) -> Result<String> {
    let mut text = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").context("a chunk without a size")?;
        let size = usize::from_str_radix(size, 16).context("a chunk's size is no number")?;
        if size == 0 {
            return Ok(text);
        }
        let (Some(chunk), Some(next)) = (rest.get(..size), rest.get(size + 2..)) else {
            bail!("a chunk is shorter than its size");
        };
        text.push_str(chunk);
        body = next;
    }
}
