//! Asks a running agent over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
pub(crate) use hyper::Method;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::admin::encode;

/// An agent on the same machine answers sooner than this, or not at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// A larger answer is none of the agent's.
const ANSWER_BYTES: usize = 256 << 20;

/// A fault that the agent answers with.
#[derive(Deserialize)]
struct Fault {
    error: String,
}

/// Gets a path's JSON.
pub(crate) fn get<T: DeserializeOwned>(admin: SocketAddr, path: &str, query: &[(&str, String)]) -> Result<T> {
    call(admin, Method::GET, path, query)
}

/// Calls a path by a method; its JSON.
pub(crate) fn call<T: DeserializeOwned>(
    admin: SocketAddr,
    method: Method,
    path: &str,
    query: &[(&str, String)],
) -> Result<T> {
    call_within(PATIENCE, admin, method, path, query)
}

/// Likewise, where the answer may take so long.
pub(crate) fn call_within<T: DeserializeOwned>(
    patience: Duration,
    admin: SocketAddr,
    method: Method,
    path: &str,
    query: &[(&str, String)],
) -> Result<T> {
    let target = format!("{path}{}", encode(query));
    runtime()?.block_on(async {
        let body = timeout(patience, async {
            let response = ask(admin, method, &target).await?;
            let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
            body.map_err(anyhow::Error::from_boxed)
                .with_context(|| format!("the answer of {admin} broke off"))
        })
        .await
        .with_context(|| format!("the agent at {admin} does not answer"))??;
        serde_json::from_slice(&body.to_bytes())
            .with_context(|| format!("the answer of {admin} to {target} is not what this version expects"))
    })
}

/// Gets a path's lines as they come, until it ends or `each` fails.
pub(crate) fn follow(
    admin: SocketAddr,
    path: &str,
    query: &[(&str, String)],
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let target = format!("{path}{}", encode(query));
    runtime()?.block_on(async {
        let response = timeout(PATIENCE, ask(admin, Method::GET, &target))
            .await
            .with_context(|| format!("the agent at {admin} does not answer"))??;
        let mut body = response.into_body();
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.with_context(|| format!("the agent at {admin} has ended"))?;
            let Some(data) = frame.data_ref() else { continue };
            rest.extend_from_slice(data);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                each(&line[..end])?;
            }
        }
        bail!("the agent at {admin} has ended")
    })
}

/// Tasks of one call.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a task")
}

async fn ask(admin: SocketAddr, method: Method, target: &str) -> Result<Response<Incoming>> {
    let stream = TcpStream::connect(admin).await.with_context(|| {
        format!(
            "no agent answers at {admin} (is `windrose run` running, or is its address another: --admin?)"
        )
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .with_context(|| format!("cannot speak HTTP with {admin}"))?;
    // Ends with the sender or the server; the runtime, which owns it, lives as long as this answer.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, admin.to_string())
        .body(Empty::<Bytes>::new())
        .with_context(|| format!("cannot ask for {target}"))?;
    let response =
        sender.send_request(request).await.with_context(|| format!("cannot ask {admin} for {target}"))?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let body =
        response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    match serde_json::from_slice::<Fault>(&body) {
        Ok(fault) => bail!("the agent at {admin} answers: {}", fault.error),
        Err(_) => bail!("{admin} answers {status} to {target}; is it a Windrose agent?"),
    }
}
