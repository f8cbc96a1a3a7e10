//! One conditional GET with limits of time, bytes and redirections.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::{FetchError, Kind};
use super::trust;
use super::url::Url;

/// From the name to the end of the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);

/// So many redirections are followed.
const REDIRECTIONS: u32 = 5;

/// How a list is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The whole of it may take so long.
    pub(crate) timeout: Duration,
    /// It may have so many bytes, packed and unpacked.
    pub(crate) max_bytes: u64,
    /// Authorities to be trusted in place of the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

/// What tells a server which content is known already (RFC 9110, section 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Validators {
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
}

/// What a server says.
#[derive(Debug)]
pub(super) enum Answer {
    /// It has what is known.
    Unchanged,
    /// This.
    Body(Body),
}

/// A list as it came.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) is_gzip: bool,
    pub(super) validators: Validators,
}

/// Asks for a list, unless it is as `known` says.
pub(super) async fn get(url: &Url, known: &Validators, limits: &Limits) -> Result<Answer, FetchError> {
    let late = |_| {
        let message = format!("it was not there after {} s", limits.timeout.as_secs());
        FetchError::new(Kind::Timeout, message)
    };
    timeout(limits.timeout, follow(url, known, limits)).await.map_err(late)?
}

async fn follow(url: &Url, known: &Validators, limits: &Limits) -> Result<Answer, FetchError> {
    let mut at = url.clone();
    for _ in 0..=REDIRECTIONS {
        // Many redirect within one server, and name it whole.
        let own = || if at.has_origin_of(url) { url.authorization() } else { None };
        let authorization = at.authorization().or_else(own);
        let response = ask(&at, authorization, known, limits).await?;
        let status = response.status();
        match status {
            StatusCode::OK => return read(response, limits.max_bytes).await.map(Answer::Body),
            StatusCode::NOT_MODIFIED if *known != Validators::default() => return Ok(Answer::Unchanged),
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => at = redirected(&at, response.headers())?,
            _ => {
                let message = format!("{at} answers {status}");
                return Err(FetchError::new(Kind::Status, message));
            }
        }
    }
    let message = format!("more than {REDIRECTIONS} redirections, the last to {at}");
    Err(FetchError::new(Kind::Redirect, message))
}

fn redirected(at: &Url, headers: &HeaderMap) -> Result<Url, FetchError> {
    let refused = |why: &str| FetchError::new(Kind::Redirect, format!("the redirection of {at}: {why}"));
    let location = text_of(headers, &header::LOCATION).ok_or_else(|| refused("it leads nowhere"))?;
    let to = at.join(&location).map_err(|why| refused(&why))?;
    if at.is_https() && !to.is_https() {
        return Err(refused(&format!(
            "it leads from https to {to}, where anybody on the way could write the list"
        )));
    }
    Ok(to)
}

async fn ask(
    url: &Url,
    authorization: Option<String>,
    known: &Validators,
    limits: &Limits,
) -> Result<Response<Incoming>, FetchError> {
    let late = |_| {
        let message =
            format!("no connection with {}:{} after {} s", url.host(), url.port(), CONNECT.as_secs());
        FetchError::new(Kind::Timeout, message)
    };
    let failed = |cause: std::io::Error| {
        FetchError::caused(Kind::Connect, format!("cannot connect to {}:{}", url.host(), url.port()), &cause)
    };
    if !url.is_https() {
        let stream = timeout(CONNECT, TcpStream::connect((url.host(), url.port()))).await.map_err(late)?;
        return exchange(stream.map_err(failed)?, url, authorization, known).await;
    }
    let ca_file = limits.ca_file.clone();
    let trust = tokio::task::spawn_blocking(move || trust::connector(ca_file.as_deref()));
    let trust =
        trust.await.map_err(|error| FetchError::caused(Kind::Tls, "cannot read authorities", &error))??;
    let name = ServerName::try_from(url.host().to_owned()).map_err(|error| {
        FetchError::caused(Kind::Tls, format!("{} has no certificate", url.host()), &error)
    })?;
    let stream = timeout(CONNECT, async {
        let stream = TcpStream::connect((url.host(), url.port())).await.map_err(failed)?;
        trust.connect(name, stream).await.map_err(|error| {
            let what = format!("{}:{} is not trusted", url.host(), url.port());
            FetchError::caused(Kind::Tls, what, &error)
        })
    });
    exchange(stream.await.map_err(late)??, url, authorization, known).await
}

async fn exchange<S>(
    stream: S,
    url: &Url,
    authorization: Option<String>,
    known: &Validators,
) -> Result<Response<Incoming>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken =
        |cause: hyper::Error| FetchError::caused(Kind::Protocol, format!("{url} gives no answer"), &cause);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Ends with the sender and the body, or the server.
    tokio::spawn(connection);
    let mut request = Request::builder()
        .uri(url.target())
        .header(header::HOST, url.host_field())
        .header(header::USER_AGENT, concat!("windrose/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "text/plain, */*;q=0.5")
        .header(header::ACCEPT_ENCODING, "gzip")
        .header(header::CONNECTION, "close");
    let conditions = [
        (header::AUTHORIZATION, authorization),
        (header::IF_NONE_MATCH, known.etag.clone()),
        (header::IF_MODIFIED_SINCE, known.last_modified.clone()),
    ];
    for (name, value) in conditions {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|_| {
        // The cause may repeat what is secret.
        FetchError::new(Kind::Protocol, format!("{url} cannot be asked for by HTTP"))
    })?;
    sender.send_request(request).await.map_err(broken)
}

async fn read(response: Response<Incoming>, max_bytes: u64) -> Result<Body, FetchError> {
    let headers = response.headers();
    let encoding = text_of(headers, &header::CONTENT_ENCODING).unwrap_or_default().to_ascii_lowercase();
    let is_gzip = match encoding.as_str() {
        "" | "identity" => false,
        "gzip" | "x-gzip" => true,
        _ => return Err(FetchError::new(Kind::Encoding, "it is packed otherwise than by gzip")),
    };
    let validators = Validators {
        etag: text_of(headers, &header::ETAG),
        last_modified: text_of(headers, &header::LAST_MODIFIED),
    };
    let mut body = response.into_body();
    if body.size_hint().lower() > max_bytes {
        return Err(too_large(max_bytes));
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| FetchError::caused(Kind::Protocol, "it broke off", &error))?;
        let Some(data) = frame.data_ref() else { continue };
        if (bytes.len() + data.len()) as u64 > max_bytes {
            return Err(too_large(max_bytes));
        }
        bytes.extend_from_slice(data);
    }
    Ok(Body { bytes, is_gzip, validators })
}

/// It has more bytes than it may.
pub(super) fn too_large(max_bytes: u64) -> FetchError {
    let message = format!("it has more than {max_bytes} bytes, the most by `max_bytes`");
    FetchError::new(Kind::TooLarge, message)
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
