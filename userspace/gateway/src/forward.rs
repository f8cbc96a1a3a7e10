//! The way of one request: target, route, filters, upstream, response.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::body::Body as _;
use hyper::header::{
    ACCESS_CONTROL_REQUEST_METHOD, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, UPGRADE, VARY,
};
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::time::Instant;
use windrose_policy::model::Filter;
use windrose_policy::routing::{Chosen, Matcher, Request as Asked, path};

use crate::body::{Outgoing, Upload};
use crate::counters::Counters;
use crate::exchange::{Exchange, Log};
use crate::headers::{Seen, for_upstream, remove_hop_by_hop};
use crate::pool::Pool;
use crate::refusal::Refusal;
use crate::snapshot::{Place, Published, Snapshot};
use crate::upstream::{self, Answered, Outbound};
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

/// What is asked of an endpoint, before the changes of its backend.
#[derive(Clone, Copy)]
struct Asks<'a> {
    method: &'a Method,
    /// Path and query.
    target: &'a str,
    headers: &'a HeaderMap,
    upgrade: Option<&'a HeaderValue>,
}

/// What comes back from an endpoint.
struct Answer {
    answered: Answered,
    backend: usize,
}

impl Forward {
    /// Serves one request.
    pub(crate) async fn serve(&self, request: Request<Upload>, client: SocketAddr) -> Response<Outgoing> {
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
    pub(crate) fn refuse<B>(
        &self,
        refusal: Refusal,
        request: &Request<B>,
        client: SocketAddr,
    ) -> Response<Outgoing> {
        let mut exchange = Exchange::new(client, request.method().as_str().to_owned(), self.log.clone());
        exchange.count_in(self.published.load().unknown());
        refuse(refusal, request.headers(), exchange)
    }

    /// The response of the rule, before the rule's filters of responses.
    async fn answer(
        &self,
        mut request: Request<Upload>,
        snapshot: &Snapshot,
        chosen: &Chosen,
        target: Target,
        is_tls: bool,
        mut exchange: Exchange,
    ) -> Response<Outgoing> {
        let rule = chosen.rule.rule();
        let deadline = rule.request_timeout.map(|timeout| Instant::from_std(exchange.started()) + timeout);
        let mut sent_path = target.path.clone();
        let mut host = target.authority.clone();
        // As they came, where a filter changes them: refusals and CORS are answers to what was asked.
        let is_changed = |filter: &Filter| matches!(filter, Filter::RequestHeaders(_) | Filter::Cors(_));
        let kept = rule.filters.iter().any(is_changed).then(|| request.headers().clone());
        let upgrade = asked_upgrade(&request);
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
                Filter::Mirror(_) => {
                    let asked = kept.as_ref().unwrap_or(request.headers());
                    return refuse(Refusal::Unsupported, asked, exchange);
                }
                Filter::Cors(of_rule)
                    if kept
                        .as_ref()
                        .is_some_and(|asked| cors::is_preflight(request.method().as_str(), asked)) =>
                {
                    exchange.answer(StatusCode::NO_CONTENT.as_u16());
                    let mut response = Response::new(Outgoing::ours("", exchange));
                    *response.status_mut() = StatusCode::NO_CONTENT;
                    *response.headers_mut() =
                        cors::preflight(of_rule, kept.as_ref().unwrap_or(request.headers()));
                    return response;
                }
                // Theirs is the response.
                Filter::ResponseHeaders(_) | Filter::Cors(_) => {}
            }
        }
        if !target.query.is_empty() {
            sent_path.push('?');
            sent_path.push_str(&target.query);
        }
        // What a policy rewrites to may be what no request line can have.
        if !sent_path.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) {
            return refuse(Refusal::Target, kept.as_ref().unwrap_or(request.headers()), exchange);
        }
        request.headers_mut().insert(HOST, host);
        let (head, upload) = request.into_parts();
        let asks = Asks {
            method: &head.method,
            target: &sent_path,
            headers: &head.headers,
            upgrade: upgrade.as_ref(),
        };
        let tried = self.upstream(asks, upload, snapshot, chosen, &mut exchange);
        let answer = match deadline {
            None => tried.await,
            Some(deadline) => {
                tokio::time::timeout_at(deadline, tried).await.unwrap_or(Err(Refusal::RequestTimeout))
            }
        };
        match answer {
            Err(refusal) => refuse(refusal, kept.as_ref().unwrap_or(&head.headers), exchange),
            Ok(Answer { answered: Answered { status, headers, body }, backend }) => {
                let (mut parts, ()) = Response::new(()).into_parts();
                parts.status = status;
                parts.headers = headers;
                let is_switching = status == StatusCode::SWITCHING_PROTOCOLS;
                let protocol = parts.headers.get(UPGRADE).filter(|_| is_switching).cloned();
                remove_hop_by_hop(&mut parts.headers);
                if let Some(protocol) = protocol {
                    parts.headers.insert(UPGRADE, protocol);
                }
                for filter in rule.backends.get(backend).into_iter().flat_map(|backend| &backend.filters) {
                    if let Filter::ResponseHeaders(change) = filter {
                        filter::change(&mut parts.headers, change);
                    }
                }
                exchange.answer(parts.status.as_u16());
                Response::from_parts(parts, Outgoing::upstreams(body, exchange, deadline))
            }
        }
    }

    /// Sends a request to an endpoint, and again where nothing can come of it twice.
    async fn upstream(
        &self,
        asks: Asks<'_>,
        upload: Upload,
        snapshot: &Snapshot,
        chosen: &Chosen,
        exchange: &mut Exchange,
    ) -> Result<Answer, Refusal> {
        let rule = chosen.rule.rule();
        let most = 1 + rule.retry.as_ref().and_then(|retry| retry.attempts).unwrap_or(TRIES);
        let is_bodyless = upload.is_end_stream();
        // A request without a body, by a method that means the same twice, can be sent twice.
        let is_repeatable = is_bodyless && is_idempotent(asks.method) && asks.upgrade.is_none();
        let is_broken = upload.is_broken();
        let mut upload = Some(upload);
        loop {
            let Some(this) = upload.take() else { return Err(Refusal::UpstreamEnded) };
            exchange.tries += 1;
            let tried = self.try_once(asks, this, is_repeatable, (snapshot, chosen), exchange);
            let outcome = match rule.try_timeout {
                None => tried.await,
                Some(timeout) => {
                    tokio::time::timeout(timeout, tried).await.unwrap_or(Err((Refusal::TryTimeout, None)))
                }
            };
            let may_again = match &outcome {
                Ok(answer) => {
                    let status = answer.answered.status.as_u16();
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
                return outcome.map_err(|(refusal, _)| {
                    let is_broken = is_broken.is_some_and(|is_broken| is_broken.load(Relaxed));
                    if is_broken { Refusal::ClientBody } else { refusal }
                });
            }
            upload = match outcome {
                Ok(_) => Some(Upload::Empty),
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
        asks: Asks<'_>,
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
        let headers = of_backend(asks.headers, chosen, backend);
        let outbound = Outbound {
            method: asks.method,
            target: asks.target,
            headers: headers.as_ref().unwrap_or(asks.headers),
            upgrade: asks.upgrade,
        };
        let mut kept = self.pool.kept(to);
        loop {
            let is_reused = kept.is_some();
            let lease = match kept.take() {
                Some(lease) => lease,
                None => match self.pool.open(to).await {
                    Ok(lease) => lease,
                    Err(error) => {
                        tracing::debug!(upstream = %to, %error, "no connection to an endpoint");
                        return Err((Refusal::Connect, Some(upload)));
                    }
                },
            };
            match upstream::send(lease, outbound, upload).await {
                Ok(answered) => return Ok(Answer { answered, backend }),
                Err(error) => tracing::debug!(upstream = %to, %error, "an endpoint did not answer"),
            }
            // The endpoint had ended a connection that was kept: that is no fault of its own, and the
            // same request goes over a new one (RFC 9112, section 9.3.1).
            if !is_reused || !is_repeatable {
                return Err((Refusal::UpstreamEnded, None));
            }
            upload = Upload::Empty;
        }
    }
}

/// The fields of a request with the changes of its backend; `None`: there are none.
fn of_backend(headers: &HeaderMap, chosen: &Chosen, backend: usize) -> Option<HeaderMap> {
    let filters = chosen.rule.rule().backends.get(backend)?.filters.iter();
    let mut changes = filters.filter_map(|filter| match filter {
        Filter::RequestHeaders(change) => Some(change),
        _ => None,
    });
    let first = changes.next()?;
    let mut headers = headers.clone();
    for change in std::iter::once(first).chain(changes) {
        filter::change(&mut headers, change);
    }
    Some(headers)
}

/// The protocol that a client asks to switch to. A request with a body cannot: whose the bytes behind
/// it are would have two readings.
fn asked_upgrade(request: &Request<Upload>) -> Option<HeaderValue> {
    let headers = request.headers();
    let protocol = headers.get(UPGRADE)?;
    let is_named = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    // `h2c` would be another door to the same routes, past what this one checks.
    let is_other = !protocol.as_bytes().eq_ignore_ascii_case(b"h2c");
    let is_possible = request.version() == Version::HTTP_11
        && *request.method() == Method::GET
        && request.body().is_end_stream()
        && headers.get_all(UPGRADE).iter().nth(1).is_none();
    (is_named && is_other && is_possible).then(|| protocol.clone())
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
fn target(request: &Request<Upload>) -> Result<Target, Refusal> {
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
