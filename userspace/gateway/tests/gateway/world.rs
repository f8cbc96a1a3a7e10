//! A gateway and its upstreams, on loopback ports that the kernel picks.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use windrose_gateway::{Limits, Published, Server, Snapshot};
use windrose_policy::model::Model;
use windrose_policy::source::{Source, parse};

/// Nothing here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// What an upstream read of each request, up to the end of its head and the body by its length.
pub(crate) type Seen = Arc<Mutex<Vec<String>>>;

/// A running gateway.
pub(crate) struct World {
    pub(crate) at: SocketAddr,
    pub(crate) server: Server,
    pub(crate) published: Arc<Published>,
    pub(crate) lines: mpsc::Receiver<String>,
    stop: watch::Sender<bool>,
    done: tokio::task::JoinHandle<()>,
}

pub(crate) fn model(text: &str) -> Model {
    let source = Source { name: "shop.yaml".to_owned(), text: text.to_owned() };
    parse(&[source]).unwrap_or_else(|faults| panic!("{faults:#?}")).model
}

/// Routes at the one listener, and services `a`, `b`, ... at these addresses.
pub(crate) fn policy(routes: &str, upstreams: &[SocketAddr]) -> String {
    let mut text = String::from(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\n\
         spec: {gatewayClassName: windrose, listeners: [{name: web, port: 80, protocol: HTTP}]}\n",
    );
    for (index, upstream) in upstreams.iter().enumerate() {
        let name = char::from(b'a' + u8::try_from(index).unwrap());
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, annotations: {{windrose.dev/endpoints: \
             '{}'}}}}\nspec: {{clusterIP: 10.9.0.{}, ports: [{{port: 80, targetPort: {}}}]}}\n",
            upstream.ip(),
            index + 1,
            upstream.port()
        );
    }
    text + routes
}

pub(crate) fn route(spec: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r}}\n\
         spec: {{parentRefs: [{{name: g}}], {spec}}}\n"
    )
}

impl World {
    pub(crate) async fn start(text: &str) -> Self {
        let published = Arc::new(Published::new(Snapshot::new(&model(text))));
        let (sender, lines) = mpsc::channel(1_000);
        let server = Server::new(published.clone(), Some(sender.into()), Limits::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let running = server.clone();
        let done = tokio::spawn(async move {
            running.serve(listener, (Vec::new(), 80), stopped).await.unwrap();
        });
        Self { at, server, published, lines, stop, done }
    }

    /// A world of one route to one upstream that answers `ok`.
    pub(crate) async fn with_route(spec: &str) -> (Self, Seen) {
        let (upstream, seen) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        (Self::start(&policy(&route(spec), &[upstream])).await, seen)
    }

    /// Sends bytes and reads until the gateway closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        raw(self.at, bytes).await
    }

    /// Sends one request that asks to close, and reads all.
    pub(crate) async fn ask(&self, head: &str) -> String {
        self.raw(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).await
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: shop.example")).await
    }

    /// The next line of the access log.
    pub(crate) async fn line(&mut self) -> String {
        tokio::time::timeout(PATIENCE, self.lines.recv())
            .await
            .expect("no line came")
            .expect("the log has ended")
    }

    pub(crate) async fn stop(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(PATIENCE, self.done).await.expect("the gateway does not stop").unwrap();
    }
}

pub(crate) async fn raw(at: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    // The gateway may have refused and closed before all was sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "no end: {:?}", String::from_utf8_lossy(&answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// An upstream that gives every request the same answer, over connections that it keeps.
pub(crate) async fn upstream(answer: &'static str) -> (SocketAddr, Seen) {
    upstream_with(move |_| answer.to_owned(), false).await
}

/// An upstream that answers each request by what it reads; `closes` after each without a word.
pub(crate) async fn upstream_with(
    answer: impl Fn(&str) -> String + Send + Sync + 'static,
    closes: bool,
) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let seen = Seen::default();
    let (answer, all) = (Arc::new(answer), seen.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (answer, all) = (answer.clone(), all.clone());
            tokio::spawn(async move {
                while let Some(request) = read_request(&mut stream).await {
                    all.lock().unwrap().push(request.clone());
                    let bytes = answer(&request);
                    if bytes.is_empty() || stream.write_all(bytes.as_bytes()).await.is_err() || closes {
                        return;
                    }
                }
            });
        }
    });
    (at, seen)
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let is_whole = |bytes: &[u8]| match text.split("content-length: ").nth(1) {
        Some(rest) => bytes.len() >= head + rest.split("\r\n").next().unwrap().parse::<usize>().unwrap(),
        None => !text.contains("transfer-encoding: chunked") || bytes.ends_with(b"0\r\n\r\n"),
    };
    while !is_whole(&bytes) {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
