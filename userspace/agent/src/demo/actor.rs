//! `windrose demo actor`: one process of the demo, a server or a client, in the cgroup of its workload.

use std::fs;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// Between two requests on a held connection.
const BEAT: Duration = Duration::from_millis(20);

/// Operation not permitted.
const EPERM: i32 = 1;

/// Who acts, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The cgroup to enter before anything else, as a folder.
    #[arg(long)]
    cgroup: PathBuf,
    /// So long a client waits for an answer.
    #[arg(long, default_value_t = 5_000)]
    patience_ms: u64,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Answer HTTP over TCP on 8080 and datagrams on UDP 9000 and 9001.
    Serve {
        /// How the server calls itself.
        name: String,
    },
    /// Send one HTTP request on a connection of its own.
    Get {
        /// The server.
        to: SocketAddr,
        /// The source address, if the kernel is not to choose it.
        #[arg(long)]
        from: Option<IpAddr>,
    },
    /// Send one datagram and wait for its answer.
    Ask {
        /// The server.
        to: SocketAddr,
    },
    /// Keep one connection busy until it breaks or standard input ends.
    Hold {
        /// The server.
        to: SocketAddr,
    },
}

/// What became of a request: one line of JSON on the client's standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It was answered.
    Answered {
        /// The first line of the answer.
        text: String,
        /// From connect to the answer.
        elapsed_us: u64,
    },
    /// A call failed.
    Failed {
        /// The error's text.
        error: String,
        /// `EPERM`: the kernel refused at once.
        is_refused: bool,
    },
    /// Nothing came back.
    Silence,
}

/// What became of a held connection: one line of JSON on the client's standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Held {
    /// The first answer came.
    Begun,
    /// Standard input ended; every request so far was answered, in order.
    Whole {
        /// How many.
        requests: u64,
    },
    /// The connection broke.
    Broken {
        /// How many requests had been answered.
        requests: u64,
        /// The error's text.
        error: String,
    },
}

/// Enters the cgroup, then acts.
///
/// # Errors
///
/// The cgroup cannot be entered, or a server cannot listen. What befalls a client is its outcome, not an error.
pub(crate) fn run(args: Args) -> Result<()> {
    let procs = args.cgroup.join("cgroup.procs");
    fs::write(&procs, "0").with_context(|| format!("cannot enter the cgroup: {}", procs.display()))?;
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot make a runtime")?;
    let patience = Duration::from_millis(args.patience_ms);
    runtime.block_on(async {
        match args.act {
            Act::Serve { name } => serve(&name).await,
            Act::Get { to, from } => say(&outcome(get(to, from), patience).await),
            Act::Ask { to } => say(&outcome(ask(to), patience).await),
            Act::Hold { to } => hold(to, patience).await,
        }
    })
}

/// One line, at once.
fn say(line: &impl Serialize) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, line).context("cannot report")?;
    out.write_all(b"\n").and_then(|()| out.flush()).context("cannot report")
}

async fn serve(name: &str) -> Result<()> {
    let any = IpAddr::from([0_u16; 8]);
    let listener = TcpListener::bind((any, 8080)).await.context("cannot listen on TCP port 8080")?;
    let stock = UdpSocket::bind((any, 9000)).await.context("cannot listen on UDP port 9000")?;
    let other = UdpSocket::bind((any, 9001)).await.context("cannot listen on UDP port 9001")?;
    say(&"listening")?;
    let answer = format!("{name} says hello");
    let tcp = async {
        loop {
            let (stream, _) = listener.accept().await.context("cannot accept")?;
            let answer = answer.clone();
            // It ends with its connection.
            tokio::spawn(async move { answer_requests(stream, &answer).await });
        }
    };
    tokio::select! {
        ended = tcp => ended,
        ended = answer_datagrams(&stock, &answer) => ended,
        ended = answer_datagrams(&other, &answer) => ended,
    }
}

async fn answer_datagrams(socket: &UdpSocket, answer: &str) -> Result<()> {
    let mut buffer = [0; 64];
    loop {
        // An ICMP error to an earlier answer ends nothing.
        if let Ok((_, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(answer.as_bytes(), from).await;
        }
    }
}

/// Answers requests until the client closes.
async fn answer_requests(stream: TcpStream, answer: &str) -> io::Result<()> {
    let mut stream = BufStream::new(stream);
    while let Some(path) = read_head(&mut stream).await? {
        let body = format!("{answer} {path}\n");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.flush().await?;
    }
    Ok(())
}

/// Reads a head up to its blank line; the second word of its first line, `None` at the end.
async fn read_head(stream: &mut BufStream<TcpStream>) -> io::Result<Option<String>> {
    let mut first = None;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => return Ok(first),
            line if first.is_none() => {
                first = Some(line.split(' ').nth(1).unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }
}

/// Sends a request and reads its answer: status and body.
async fn exchange(
    stream: &mut BufStream<TcpStream>,
    to: SocketAddr,
    path: &str,
) -> io::Result<(String, String)> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await?;
    stream.flush().await?;
    let mut status = None;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(text) = line.strip_prefix("Content-Length: ") {
            length = text.parse().unwrap_or(0);
        }
        status.get_or_insert_with(|| line.trim_start_matches("HTTP/1.1 ").to_owned());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((status.unwrap_or_default(), String::from_utf8_lossy(&body).trim_end().to_owned()))
}

async fn connect(to: SocketAddr, from: Option<IpAddr>) -> io::Result<BufStream<TcpStream>> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(BufStream::new(stream))
}

async fn get(to: SocketAddr, from: Option<IpAddr>) -> io::Result<String> {
    let mut stream = connect(to, from).await?;
    exchange(&mut stream, to, "/").await.map(|(status, _)| status)
}

async fn ask(to: SocketAddr) -> io::Result<String> {
    let any = IpAddr::from([0_u16; 8]);
    let any = if to.is_ipv4() { IpAddr::from([0_u8; 4]) } else { any };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.send_to(b"how many?", to).await?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).await?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

async fn outcome(request: impl Future<Output = io::Result<String>>, patience: Duration) -> Outcome {
    let start = Instant::now();
    match timeout(patience, request).await {
        Ok(Ok(text)) => {
            let elapsed_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
            Outcome::Answered { text, elapsed_us }
        }
        Ok(Err(error)) => {
            Outcome::Failed { error: error.to_string(), is_refused: error.raw_os_error() == Some(EPERM) }
        }
        Err(_) => Outcome::Silence,
    }
}

/// Told when standard input ends. A thread of its own: nothing waits for it when the process is done.
fn end_of_input() -> oneshot::Receiver<()> {
    let (tell, told) = oneshot::channel();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = tell.send(());
    });
    told
}

async fn hold(to: SocketAddr, patience: Duration) -> Result<()> {
    let mut stream = match timeout(patience, connect(to, None)).await {
        Ok(connected) => connected.context("cannot connect")?,
        Err(_) => bail!("cannot connect: no answer"),
    };
    let mut ended = end_of_input();
    let mut requests = 0;
    loop {
        let path = format!("/{requests}");
        let error = match timeout(patience, exchange(&mut stream, to, &path)).await {
            Ok(Ok((_, body))) if body.ends_with(&path) => None,
            Ok(Ok((_, body))) => Some(format!("`{body}` does not answer {path}")),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer".to_owned()),
        };
        if let Some(error) = error {
            return say(&Held::Broken { requests, error });
        }
        requests += 1;
        if requests == 1 {
            say(&Held::Begun)?;
        }
        tokio::select! {
            _ = &mut ended => return say(&Held::Whole { requests }),
            () = sleep(BEAT) => {}
        }
    }
}
