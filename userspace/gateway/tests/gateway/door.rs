//! A whole gateway on a loopback address of the test's own, and blocking clients.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use windrose_gateway::workers::Options;
use windrose_gateway::{Gateway, Limits};
use windrose_policy::routing::Condition;

use crate::world::model;

/// Nothing here takes longer, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The port of the listener `web`.
pub(crate) const WEB: u16 = 18_080;

pub(crate) struct Door {
    pub(crate) gateway: Gateway,
    pub(crate) address: IpAddr,
    /// For upstreams and clients.
    pub(crate) runtime: Runtime,
}

/// An address of 127.0.0.0/8 that no other test has, in this process or another.
fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id();
    let part = |number: u32| u8::try_from(number % 250 + 2).unwrap();
    IpAddr::V4(Ipv4Addr::new(127, part(process), part(process / 250), NEXT.fetch_add(1, Ordering::SeqCst)))
}

impl Door {
    pub(crate) fn open() -> Self {
        Self::open_with(Limits::default())
    }

    pub(crate) fn open_with(limits: Limits) -> Self {
        let gateway = Gateway::start(Options { workers: 2, limits, lines: None }).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { gateway, address: own_address(), runtime }
    }

    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }

    /// A Gateway with these listeners (YAML, in flow style).
    pub(crate) fn listeners(&self, listeners: &str) -> String {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: g}}\n\
             spec: {{gatewayClassName: windrose, addresses: [{{type: IPAddress, value: {}}}], \
             listeners: [{listeners}]}}\n",
            self.address
        )
    }

    /// The listener `web` alone.
    pub(crate) fn web(&self) -> String {
        self.listeners(&format!("{{name: web, port: {WEB}, protocol: HTTP}}"))
    }

    pub(crate) fn publish(&self, text: &str) {
        self.gateway.publish(&model(text));
    }

    pub(crate) fn connect(&self, port: u16) -> TcpStream {
        let stream = TcpStream::connect(self.at(port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// One request on a connection of its own; everything until the gateway closes.
    pub(crate) fn get(&self, port: u16, path: &str) -> String {
        let mut stream = self.connect(port);
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// A condition of the Gateway, or of one of its listeners.
    pub(crate) fn condition(&self, listener: Option<&str>, kind: &str) -> Condition {
        let statuses = self.gateway.statuses();
        let gateway = statuses.gateways.values().next().unwrap();
        let conditions = match listener {
            None => &gateway.conditions,
            Some(name) => {
                &gateway.listeners.iter().find(|listener| listener.name == name).unwrap().conditions
            }
        };
        conditions.iter().find(|condition| condition.kind.name() == kind).unwrap().clone()
    }
}

/// A Service at this address.
pub(crate) fn service(name: &str, at: SocketAddr) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, annotations: {{windrose.dev/endpoints: '{}'}}}}\n\
         spec: {{clusterIP: 10.9.0.{}, ports: [{{port: 80, targetPort: {}}}]}}\n",
        at.ip(),
        name.as_bytes()[0],
        at.port()
    )
}

pub(crate) fn until_true(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "{what} does not come true");
        std::thread::yield_now();
    }
}

/// Reads one response with a length.
pub(crate) fn response(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_ascii_lowercase()
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ").map(|n| n.parse::<usize>().unwrap()));
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "the connection ended after {text:?}");
        bytes.extend_from_slice(&piece[..count]);
    }
}
