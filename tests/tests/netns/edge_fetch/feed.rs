//! A server of lists: HTTP/1.1, a request a connection, by TLS if need be.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::SockRef;
use windrose_tests::netns::Namespace;

/// A server on the loopback address of a network namespace; it ends on drop.
pub(crate) struct Feed {
    namespace: Arc<Namespace>,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Mutex<Shared>>,
    running: Option<(TcpListener, JoinHandle<()>)>,
}

#[derive(Default)]
struct Shared {
    replies: HashMap<String, Reply>,
    /// Heads of requests.
    asked: Vec<String>,
    /// Requests answered by 304.
    unchanged: usize,
    changes: usize,
}

#[derive(Clone)]
enum Reply {
    List { body: Vec<u8>, etag: String, is_gzip: bool },
    Redirect(String),
}

/// An authority, its certificate in PEM, and a server's configuration that it vouches for.
pub(crate) struct Authority {
    pub(crate) pem: String,
    server: Arc<ServerConfig>,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate()?;
        let certificate =
            CertificateParams::new([Ipv4Addr::LOCALHOST.to_string()])?.signed_by(&key, &issuer)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|why| anyhow::anyhow!("{why}"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        Ok(Self { pem, server: Arc::new(server) })
    }
}

impl Feed {
    /// Starts one without lists.
    pub(crate) fn start(namespace: &Arc<Namespace>, authority: Option<&Authority>) -> Result<Self> {
        let mut feed = Self {
            namespace: Arc::clone(namespace),
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            tls: authority.map(|authority| Arc::clone(&authority.server)),
            shared: Arc::default(),
            running: None,
        };
        feed.resume()?;
        Ok(feed)
    }

    /// Listens, where it did before if it did.
    pub(crate) fn resume(&mut self) -> Result<()> {
        let address = self.address;
        let listener = self.namespace.within(|| TcpListener::bind(address).context("cannot listen"))?;
        self.address = listener.local_addr()?;
        let (accepting, tls, shared) = (listener.try_clone()?, self.tls.clone(), Arc::clone(&self.shared));
        let thread = thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                // A client that refuses what it is shown breaks off.
                let _ = serve(stream, tls.as_ref(), &shared);
            }
        });
        self.running = Some((listener, thread));
        Ok(())
    }

    /// Nobody listens any more.
    pub(crate) fn stop(&mut self) {
        if let Some((listener, thread)) = self.running.take() {
            // Ends `accept` (`inet_shutdown` of a listener).
            let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
            let _ = thread.join();
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Has this list at a path from now on.
    pub(crate) fn put(&self, path: &str, body: &str) {
        self.put_bytes(path, body.as_bytes().to_vec(), false);
    }

    /// Likewise, packed.
    pub(crate) fn put_packed(&self, path: &str, body: &str) -> Result<()> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        writer.write_all(body.as_bytes())?;
        self.put_bytes(path, writer.finish()?, true);
        Ok(())
    }

    fn put_bytes(&self, path: &str, body: Vec<u8>, is_gzip: bool) {
        let mut shared = lock(&self.shared);
        shared.changes += 1;
        let etag = format!("\"{}\"", shared.changes);
        shared.replies.insert(path.to_owned(), Reply::List { body, etag, is_gzip });
    }

    /// Redirects from a path.
    pub(crate) fn redirect(&self, path: &str, to: &str) {
        lock(&self.shared).replies.insert(path.to_owned(), Reply::Redirect(to.to_owned()));
    }

    /// How many requests were answered by 304.
    pub(crate) fn unchanged(&self) -> usize {
        lock(&self.shared).unchanged
    }

    /// Heads of requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        lock(&self.shared).asked.clone()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(stream: TcpStream, tls: Option<&Arc<ServerConfig>>, shared: &Mutex<Shared>) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    match tls {
        None => answer(stream, shared),
        Some(config) => {
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(config))?, stream);
            answer(&mut stream, shared)?;
            stream.conn.send_close_notify();
            stream.flush().context("cannot end TLS")
        }
    }
}

fn answer(stream: impl Read + Write, shared: &Mutex<Shared>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let target = head.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let mut shared = lock(shared);
    shared.asked.push(head.clone());
    let reply = shared.replies.get(&path).cloned();
    let (status, fields, body) = match reply {
        None => ("404 Not Found", String::new(), Vec::new()),
        Some(Reply::Redirect(to)) => ("302 Found", format!("location: {to}\r\n"), Vec::new()),
        Some(Reply::List { etag, .. }) if head.contains(&format!("if-none-match: {etag}\r\n")) => {
            shared.unchanged += 1;
            ("304 Not Modified", format!("etag: {etag}\r\n"), Vec::new())
        }
        Some(Reply::List { body, etag, is_gzip }) => {
            let encoding = if is_gzip { "content-encoding: gzip\r\n" } else { "" };
            ("200 OK", format!("etag: {etag}\r\n{encoding}"), body)
        }
    };
    drop(shared);
    let length = body.len();
    let stream = stream.get_mut();
    write!(stream, "HTTP/1.1 {status}\r\n{fields}content-length: {length}\r\nconnection: close\r\n\r\n")?;
    stream.write_all(&body)?;
    stream.flush().context("cannot answer")
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
