//! The way of one request: target, route, filters, upstream, response.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCESS_CONTROL_REQUEST_METHOD, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use tokio::time::Instant;
use windrose_policy::model::Filter;
use windrose_policy::routing::{Chosen, Matcher, Request as Asked, path};

use crate::body::{Outgoing, Upload};
use crate::counters::Counters;
use crate::exchange::{Exchange, Log};
use crate::headers::{Seen, for_upstream, remove_hop_by_hop};
use crate::pool::{Lease, Pool};
use crate::refusal::Refusal;
use crate::snapshot::{Place, Published, Snapshot};
use crate::{cors, filter};

/// Further tries if a route says nothing.
const TRIES: u32 = 2;

/// At most so long between two tries, whatever a route says.
const BACKOFF: Duration = Duration::from_secs(10);

/// What the requests of one listening socket share.
#[derive(Debug)]
pub(crate) struct Forward {
    pub(crate) place: Place,
    pub(crate) published: Arc<Published>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) log: Log,
}

/// What a request asks for, as it is used from here on.
struct Target {
    /// In lower case, without port.
    host: String,
    /// As the client wrote it, with port.
    authority: HeaderValue,
    path: String,
    query: String,
}

/// What comes back from an endpoint.
struct Answer {
    response: Response<Incoming>,
    lease: Lease,
    backend: usize,
}

impl Forward {
    /// Serves one request.
    pub(crate) async fn serve(&self, request: Request<Incoming>, client: SocketAddr) -> Response<Outgoing> {
        let mut exchange = Exchange::new(client, request.method().as_str().to_owned(), self.log.clone());
        // Held as long as the request is being decided: a reload does not change it on the way.
        let snapshot = self.published.load();
        let target = match target(&request) {
            Ok(target) => target,
            Err(refusal) => {
                exchange.count_in(snapshot.unknown());
                return refuse(refusal, request.headers(), exchange);
            }
        };
        exchange.host.clone_from(&target.host);
        exchange.path.clone_from(&target.path);
        let asked = Asked {
            method: request.method().as_str(),
            host: &target.host,
            path: &target.path,
            query: &target.query,
            headers: &Seen(request.headers()),
        };
        let Some((bind, matcher)) = snapshot.bind(&self.place) else {
            exchange.count_in(snapshot.unknown());
            return refuse(Refusal::NoRoute, request.headers(), exchange);
        };
        let is_tls = bind.is_tls;
        let chosen = choose(matcher, &asked, request.headers());
        exchange.count_in(snapshot.series(&self.place, &target.host, chosen.as_ref()));
        let Some(chosen) = chosen else {
            return refuse(Refusal::NoRoute, request.headers(), exchange);
        };
        exchange.choose(chosen.clone());
        let rule = chosen.rule.rule();
        let is_preflight = cors::is_preflight(request.method().as_str(), request.headers());
        let of_cors = rule.filters.iter().find_map(|filter| match filter {
            Filter::Cors(cors) if !is_preflight => Some(cors::response(cors, request.headers())),
            _ => None,
        });
        let mut response = self.answer(request, &snapshot, &chosen, target, is_tls, exchange).await;
        for filter in &rule.filters {
            if let Filter::ResponseHeaders(change) = filter {
                filter::change(response.headers_mut(), change);
            }
        }
        if let Some(headers) = of_cors {
            say_cors(response.headers_mut(), headers);
        }
        response
    }

    /// Refuses a request before anything of it is looked at.
    pub(crate) fn refuse(
        &self,
        refusal: Refusal,
        request: &Request<Incoming>,
        client: SocketAddr,
    ) -> Response<Outgoing> {
        let mut exchange = Exchange::new(client, request.method().as_str().to_owned(), self.log.clone());
        exchange.count_in(self.published.load().unknown());
        refuse(refusal, request.headers(), exchange)
    }

    /// The response of the rule, before the rule's filters of responses.
    async fn answer(
        &self,
        mut request: Request<Incoming>,
        snapshot: &Snapshot,
        chosen: &Chosen,
        target: Target,
        is_tls: bool,
        mut exchange: Exchange,
    ) -> Response<Outgoing> {
        let rule = chosen.rule.rule();
        let asked = request.headers().clone();
        let deadline = rule.request_timeout.map(|timeout| Instant::from_std(exchange.started()) + timeout);
        let mut sent_path = target.path.clone();
        let mut host = target.authority.clone();
        for_upstream(request.headers_mut(), exchange.client.ip(), is_tls);
        for filter in &rule.filters {
            match filter {
                Filter::RequestHeaders(change) => filter::change(request.headers_mut(), change),
                Filter::Redirect(redirect) => {
                    let asked = filter::Asked {
                        is_tls,
                        host: &target.host,
                        port: self.place.1,
                        path: &target.path,
                        query: &target.query,
                    };
                    let (parts, ()) = filter::redirect(redirect, chosen, &asked).into_parts();
                    exchange.answer(parts.status.as_u16());
                    return Response::from_parts(parts, Outgoing::ours("", exchange));
                }
                Filter::Rewrite(rewrite) => {
                    if let Some(name) = &rewrite.hostname
                        && let Ok(name) = HeaderValue::from_str(name)
                    {
                        host = name;
                    }
                    if let Some(change) = &rewrite.path {
                        sent_path = filter::path(change, chosen, &target.path);
                    }
                }
                // A filter that was asked for and is not carried out must not look as if it were.
                Filter::Mirror(_) => return refuse(Refusal::Unsupported, &asked, exchange),
                Filter::Cors(of_rule) if cors::is_preflight(request.method().as_str(), &asked) => {
                    exchange.answer(StatusCode::NO_CONTENT.as_u16());
                    let mut response = Response::new(Outgoing::ours("", exchange));
                    *response.status_mut() = StatusCode::NO_CONTENT;
                    *response.headers_mut() = cors::preflight(of_rule, &asked);
                    return response;
                }
                // Theirs is the response.
                Filter::ResponseHeaders(_) | Filter::Cors(_) => {}
            }
        }
        let query = if target.query.is_empty() { String::new() } else { format!("?{}", target.query) };
        let Ok(uri) = format!("{sent_path}{query}").parse::<Uri>() else {
            return refuse(Refusal::Target, &asked, exchange);
        };
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_11;
        request.headers_mut().insert(HOST, host);
        let tried = self.upstream(request, snapshot, chosen, &mut exchange);
        let answer = match deadline {
            None => tried.await,
            Some(deadline) => {
                tokio::time::timeout_at(deadline, tried).await.unwrap_or(Err(Refusal::RequestTimeout))
            }
        };
        match answer {
            Err(refusal) => refuse(refusal, &asked, exchange),
            Ok(Answer { response, lease, backend }) => {
                let (mut parts, body) = response.into_parts();
                remove_hop_by_hop(&mut parts.headers);
                for filter in rule.backends.get(backend).into_iter().flat_map(|backend| &backend.filters) {
                    if let Filter::ResponseHeaders(change) = filter {
                        filter::change(&mut parts.headers, change);
                    }
                }
                parts.version = Version::HTTP_11;
                exchange.answer(parts.status.as_u16());
                Response::from_parts(parts, Outgoing::upstreams(body, exchange, lease, deadline))
            }
        }
    }

    /// Sends a request to an endpoint, and again where nothing can come of it twice.
    async fn upstream(
        &self,
        request: Request<Incoming>,
        snapshot: &Snapshot,
        chosen: &Chosen,
        exchange: &mut Exchange,
    ) -> Result<Answer, Refusal> {
        let rule = chosen.rule.rule();
        let most = 1 + rule.retry.as_ref().and_then(|retry| retry.attempts).unwrap_or(TRIES);
        let (head, body) = request.into_parts();
        let is_bodyless = body.is_end_stream();
        // A request without a body, by a method that means the same twice, can be sent twice.
        let is_repeatable = is_bodyless && is_idempotent(&head.method);
        let is_broken = Arc::new(AtomicBool::new(false));
        let mut upload = Some(Upload::new(body, is_broken.clone()));
        loop {
            let Some(this) = upload.take() else { return Err(Refusal::UpstreamEnded) };
            exchange.tries += 1;
            let tried = self.try_once(&head, this, is_repeatable, (snapshot, chosen), exchange);
            let outcome = match rule.try_timeout {
                None => tried.await,
                Some(timeout) => {
                    tokio::time::timeout(timeout, tried).await.unwrap_or(Err((Refusal::TryTimeout, None)))
                }
            };
            let may_again = match &outcome {
                Ok(answer) => {
                    let status = answer.response.status().as_u16();
                    let codes = rule.retry.as_ref().map_or(&[][..], |retry| &retry.codes);
                    is_repeatable && codes.binary_search(&status).is_ok()
                }
                Err((refusal, rest)) => {
                    let is_of_try = matches!(refusal, Refusal::UpstreamEnded | Refusal::TryTimeout);
                    (refusal.is_retry_safe() && (is_bodyless || rest.is_some()))
                        || (rule.retry.is_some() && is_repeatable && is_of_try)
                }
            };
            if exchange.tries >= most || !may_again {
                return outcome.map_err(
                    |(refusal, _)| {
                        if is_broken.load(Relaxed) { Refusal::ClientBody } else { refusal }
                    },
                );
            }
            upload = match outcome {
                Ok(answer) => {
                    answer.lease.discard();
                    Some(Upload::Empty)
                }
                Err((_, rest)) => rest.or(is_bodyless.then_some(Upload::Empty)),
            };
            self.counters.retries.fetch_add(1, Relaxed);
            if let Some(backoff) = rule.retry.as_ref().and_then(|retry| retry.backoff) {
                let doubled = backoff.saturating_mul(1 << (exchange.tries - 1).min(8));
                tokio::time::sleep(doubled.min(BACKOFF)).await;
            }
        }
    }

    /// One try. An error comes with the body if nothing of it was taken.
    async fn try_once(
        &self,
        head: &Parts,
        mut upload: Upload,
        is_repeatable: bool,
        (snapshot, chosen): (&Snapshot, &Chosen),
        exchange: &mut Exchange,
    ) -> Result<Answer, (Refusal, Option<Upload>)> {
        let Some((backend, bound)) = snapshot
            .backend(chosen)
            .and_then(|index| Some((index, chosen.rule.backends.get(index)?)))
            .filter(|(_, bound)| bound.to.is_ok())
        else {
            return Err((Refusal::BadBackend, Some(upload)));
        };
        let endpoint = snapshot.endpoint(chosen, backend).and_then(|index| bound.endpoints().get(index));
        let Some(endpoint) = endpoint else { return Err((Refusal::NoEndpoint, Some(upload))) };
        let to = SocketAddr::new(endpoint.address, endpoint.port);
        exchange.upstream = Some(to);
        let mut is_fresh = false;
        loop {
            let mut lease = match self.pool.lease(to, is_fresh).await {
                Ok(lease) => lease,
                Err(error) => {
                    tracing::debug!(upstream = %to, %error, "no connection to an endpoint");
                    return Err((Refusal::Connect, Some(upload)));
                }
            };
            let mut request = Request::from_parts(head.clone(), upload);
            for filter in chosen.rule.rule().backends.get(backend).into_iter().flat_map(|of| &of.filters) {
                if let Filter::RequestHeaders(change) = filter {
                    filter::change(request.headers_mut(), change);
                }
            }
            let Some(sender) = lease.sender() else {
                return Err((Refusal::Connect, Some(request.into_body())));
            };
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => return Ok(Answer { response, lease, backend }),
                Err(error) => error,
            };
            tracing::debug!(upstream = %to, error = %error.error(), "an endpoint did not answer");
            let untouched = error.take_message().map(Request::into_body);
            let is_reused = lease.is_reused;
            lease.discard();
            // The endpoint had ended a connection that was kept: that is no fault of its own, and the
            // same request goes over a new one (RFC 9112, section 9.3.1).
            upload = match untouched {
                Some(upload) if is_reused => upload,
                None if is_reused && is_repeatable => Upload::Empty,
                rest => return Err((Refusal::UpstreamEnded, rest)),
            };
            is_fresh = true;
        }
    }
}

fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// The rule of a request. A preflight is the rule's that its request would follow, unless a rule asks
/// for OPTIONS itself.
fn choose(matcher: &Matcher, asked: &Asked<'_>, headers: &HeaderMap) -> Option<Chosen> {
    if cors::is_preflight(asked.method, headers)
        && let Some(method) =
            headers.get(ACCESS_CONTROL_REQUEST_METHOD).and_then(|method| method.to_str().ok())
        && let Some(chosen) = matcher.choose(&Asked { method, ..*asked })
        && chosen.rule.rule().filters.iter().any(|filter| matches!(filter, Filter::Cors(_)))
    {
        return Some(chosen);
    }
    matcher.choose(asked)
}

fn say_cors(into: &mut HeaderMap, headers: HeaderMap) {
    for (name, value) in headers {
        let Some(name) = name else { continue };
        if name == VARY {
            into.append(name, value);
        } else {
            into.insert(name, value);
        }
    }
}

/// What of a request's target and host is used. The host is that of the target if it has one
/// (RFC 9112, section 3.2.2), else that of `Host`.
fn target(request: &Request<Incoming>) -> Result<Target, Refusal> {
    if request.method() == Method::CONNECT {
        return Err(Refusal::Method);
    }
    let uri = request.uri();
    let authority = match uri.authority() {
        // `http://user@host/` is refused: no client has a reason, and readers differ.
        Some(authority) => HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::Target)?,
        None => request.headers().get(HOST).cloned().unwrap_or_else(|| HeaderValue::from_static("")),
    };
    if uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(Refusal::Target);
    }
    let host = host_of(authority.to_str().map_err(|_| Refusal::Target)?).ok_or(Refusal::Target)?;
    let asked = uri.path();
    let path = if asked == "*" {
        // The server as a whole (RFC 9110, section 9.3.7) is nothing that routes are for.
        return Err(Refusal::NoRoute);
    } else if asked.is_empty() {
        "/".to_owned()
    } else {
        path::normalise(asked).map_err(|_| Refusal::Path)?.into_owned()
    };
    Ok(Target { host, authority, path, query: uri.query().unwrap_or_default().to_owned() })
}

/// The host of an authority: in lower case, without port and dot at the end. `None`: it is none.
pub(crate) fn host_of(authority: &str) -> Option<String> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        // An IPv6 address in brackets.
        let (address, rest) = rest.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        (address, rest.strip_prefix(':').or_else(|| rest.is_empty().then_some("")))
    } else {
        let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
        let is_name =
            host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        (is_name.then_some(host)?, Some(port))
    };
    let port = port?;
    if !port.is_empty() && port.parse::<u16>().is_err() {
        return None;
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.len() > 253 || host.starts_with('.') || host.contains("..") {
        return None;
    }
    Some(host.to_ascii_lowercase())
}

fn refuse(refusal: Refusal, request: &HeaderMap, mut exchange: Exchange) -> Response<Outgoing> {
    let (kind, body) = refusal.body(request);
    exchange.refusal = Some(refusal);
    exchange.answer(refusal.status().as_u16());
    let mut response = Response::new(Outgoing::ours(body, exchange));
    *response.status_mut() = refusal.status();
    response.headers_mut().insert(CONTENT_TYPE, kind);
    // What is left of a request that cannot be read is not read as another.
    if matches!(refusal, Refusal::ClientBody | Refusal::Target) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::host_of;

    #[test]
    fn the_host_is_that_of_the_authority_in_one_form() {
        for (authority, expected) in [
            ("Shop.Example:8080", Some("shop.example")),
            ("shop.example.", Some("shop.example")),
            ("127.0.0.1:80", Some("127.0.0.1")),
            ("[::1]:80", Some("::1")),
            ("[::1]", Some("::1")),
            ("", Some("")),
            ("a:b", None),
            ("a:80:80", None),
            ("user@host", None),
            ("a b", None),
            ("a/b", None),
            ("a,b", None),
            ("[::1]x", None),
            ("[a]", None),
            (".a", None),
            ("a..b", None),
            ("a:99999", None),
        ] {
            assert_eq!(host_of(authority).as_deref(), expected, "{authority}");
        }
    }
}
