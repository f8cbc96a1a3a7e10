//! `windrose explain --url`: which listener, route, rule, filters and backends a request gets.

use serde::{Deserialize, Serialize};
use windrose_policy::model::{
    Filter, HeaderChange, Model, ObjectName, PathChange, PathMatch, RouteMatch, Value, ValueMatch,
};
use windrose_policy::place::Place;
use windrose_policy::routing::{Backend, Bind, BoundListener, Chosen, Matcher, Request, attach, path};

/// A request that is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    method: String,
    is_tls: bool,
    host: String,
    port: u16,
    /// Normalised.
    path: String,
    query: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestExplanation {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As it is routed and sent on.
    pub(crate) path: String,
    /// The status with which the gateway answers itself: 404 where no rule takes it, 500 where the rule
    /// has no backend, a redirect's. `None`: an endpoint answers, or all are to be tried.
    pub(crate) status: Option<u16>,
    /// Who has the request; `None`: nobody listens for it.
    pub(crate) listener: Option<ListenerView>,
    /// What it follows.
    pub(crate) rule: Option<RuleView>,
    /// What else is to be known of the answer.
    pub(crate) notes: Vec<String>,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListenerView {
    /// `namespace/name`.
    pub(crate) gateway: String,
    pub(crate) name: String,
    /// Every one if it is empty.
    pub(crate) hostname: String,
    /// `file:line:column`.
    pub(crate) place: String,
}

/// A rule of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RuleView {
    /// `namespace/name`.
    pub(crate) route: String,
    /// Which of its rules, from 0.
    pub(crate) index: usize,
    /// Its name, or empty.
    pub(crate) name: String,
    /// `file:line:column`.
    pub(crate) place: String,
    /// What of its matches holds.
    pub(crate) matched: String,
    /// What is done, in order.
    pub(crate) filters: Vec<String>,
    pub(crate) backends: Vec<BackendView>,
    /// Timeouts and tries, where the rule says something.
    pub(crate) limits: Vec<String>,
}

/// Where a share goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackendView {
    /// `namespace/name:port`.
    pub(crate) service: String,
    pub(crate) weight: u32,
    /// `file:line:column`.
    pub(crate) place: String,
    /// Why its share is answered with 500, or 503.
    pub(crate) fault: Option<String>,
    pub(crate) endpoints: Vec<EndpointView>,
}

/// An endpoint of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndpointView {
    pub(crate) address: String,
    pub(crate) weight: u32,
    pub(crate) is_ready: bool,
}

impl Asked {
    /// Reads a method, a URL and headers as `Name: value`.
    ///
    /// # Errors
    ///
    /// What is wrong with which of them.
    pub(crate) fn parse(method: &str, url: &str, headers: &[String]) -> Result<Self, String> {
        let wrong = |why: &str| format!("url is `{url}`: {why}");
        let is_token = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        };
        if !is_token(method) {
            return Err(format!("method is `{method}`: it must be one, such as GET"));
        }
        let (is_tls, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(wrong("it must begin with http:// or https://")),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let uri: hyper::http::uri::Authority =
            authority.parse().map_err(|_| wrong("it needs a host, and perhaps a port"))?;
        if authority.contains('@') {
            return Err(wrong("a name of a user is not sent, and refused where it is"));
        }
        let host = uri.host().trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        let port = match authority.get(uri.host().len()..).unwrap_or_default().trim_start_matches(':') {
            "" if is_tls => 443,
            "" => 80,
            text => text.parse().map_err(|_| wrong("its port is no number up to 65535"))?,
        };
        let (asked, query) = target.split_once('?').unwrap_or((target, ""));
        let asked = if asked.is_empty() { "/" } else { asked };
        let path = path::normalise(asked)
            .map_err(|fault| wrong(&format!("the gateway refuses its path with 400: {fault}")))?
            .into_owned();
        let headers = headers
            .iter()
            .map(|header| {
                let (name, value) = header.split_once(':').unwrap_or_default();
                if !is_token(name) {
                    return Err(format!("header is `{header}`: it must be as `Name: value`"));
                }
                Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect::<Result<_, _>>()?;
        let (method, query) = (method.to_owned(), query.to_owned());
        Ok(Self { method, is_tls, host, port, path, query, headers })
    }
}

/// Says what a model does with a request.
pub(crate) fn explain(model: &Model, asked: &Asked) -> RequestExplanation {
    let routing = attach(model);
    let mut explanation = RequestExplanation {
        method: asked.method.clone(),
        host: asked.host.clone(),
        port: asked.port,
        path: asked.path.clone(),
        status: None,
        listener: None,
        rule: None,
        notes: Vec::new(),
    };
    let address = asked.host.parse().ok();
    let fits = |bind: &&Bind| {
        let (addresses, port) = &bind.point;
        let is_there = address.is_none_or(|address| addresses.is_empty() || addresses.contains(&address));
        *port == asked.port && is_there
    };
    let binds: Vec<&Bind> = routing.binds.iter().filter(fits).collect();
    let Some(bind) = binds.iter().find(|bind| bind.is_tls == asked.is_tls) else {
        let spoken = if asked.is_tls { "HTTPS" } else { "HTTP" };
        explanation.notes.push(if binds.is_empty() {
            format!("no listener has port {}", asked.port)
        } else {
            format!("port {} is listened on, and speaks no {spoken}", asked.port)
        });
        return explanation;
    };
    if binds.len() > 1 {
        let others = "several Gateways listen on this port, on different addresses: this is of the first";
        explanation.notes.push(others.to_owned());
    }
    let matcher = Matcher::new(bind);
    let request = Request {
        method: &asked.method,
        host: &asked.host,
        path: &asked.path,
        query: &asked.query,
        headers: &asked.headers,
    };
    let chosen = matcher.choose(&request);
    let listener = chosen.as_ref().map(|chosen| chosen.listener).or_else(|| matcher.listener(&asked.host));
    explanation.listener = listener.and_then(|index| bind.listeners.get(index)).map(listener_view);
    match chosen {
        None => explanation.status = Some(404),
        Some(chosen) => {
            explanation.status = own_status(&chosen);
            explanation.rule = Some(rule_view(&chosen));
        }
    }
    explanation
}

fn listener_view(listener: &BoundListener) -> ListenerView {
    ListenerView {
        gateway: shown(&listener.gateway),
        name: listener.name.clone(),
        hostname: listener.hostname.as_ref().map(ToString::to_string).unwrap_or_default(),
        place: listener.place.to_string(),
    }
}

fn shown(ObjectName { namespace, name }: &ObjectName) -> String {
    format!("{namespace}/{name}")
}

/// What is answered without an endpoint, whatever share the request is of.
fn own_status(chosen: &Chosen) -> Option<u16> {
    let redirect = chosen.rule.rule().filters.iter().find_map(|filter| match filter {
        Filter::Redirect(redirect) => Some(redirect.status),
        Filter::Mirror(_) => Some(500),
        _ => None,
    });
    let usable = chosen.rule.backends.iter().filter(|backend| backend.weight > 0);
    let mut has_good = usable.map(|backend| backend.to.is_ok());
    redirect.or_else(|| (!has_good.any(|is_good| is_good)).then_some(500))
}

fn rule_view(chosen: &Chosen) -> RuleView {
    let (bound, rule) = (&chosen.rule, chosen.rule.rule());
    let seconds = |time: std::time::Duration| format!("{}s", time.as_secs_f64());
    let mut limits = Vec::new();
    limits.extend(rule.request_timeout.map(|time| format!("the whole takes at most {}", seconds(time))));
    limits.extend(rule.try_timeout.map(|time| format!("a try takes at most {}", seconds(time))));
    if let Some(retry) = &rule.retry {
        let codes: Vec<String> = retry.codes.iter().map(ToString::to_string).collect();
        let attempts = retry.attempts.map_or("again".to_owned(), |count| format!("{count} more times"));
        limits.push(format!("tried {attempts} where that is safe, for statuses {}", codes.join(", ")));
    }
    let places = rule.backends.iter().map(|backend| &backend.place);
    let names = rule.backends.iter().map(|backend| (&backend.name, backend.port));
    RuleView {
        route: shown(&bound.route.name),
        index: bound.index,
        name: rule.name.clone(),
        place: rule.place.to_string(),
        matched: rule.matches.get(chosen.match_index).map(matched).unwrap_or_default(),
        filters: rule.filters.iter().map(filter).collect(),
        backends: bound
            .backends
            .iter()
            .zip(places.zip(names))
            .map(|(backend, (place, (name, port)))| backend_view(backend, place, name, port))
            .collect(),
        limits,
    }
}

fn backend_view(backend: &Backend, place: &Place, name: &ObjectName, port: Option<u16>) -> BackendView {
    let endpoints: Vec<EndpointView> = backend
        .endpoints()
        .iter()
        .map(|endpoint| EndpointView {
            address: std::net::SocketAddr::new(endpoint.address, endpoint.port).to_string(),
            weight: u32::from(endpoint.weight),
            is_ready: endpoint.is_ready,
        })
        .collect();
    let fault = match &backend.to {
        Err(why) => Some(format!("its share is answered with 500: it {why}")),
        Ok(_) if !endpoints.iter().any(|endpoint| endpoint.is_ready && endpoint.weight > 0) => {
            Some("its share is answered with 503: no endpoint is ready".to_owned())
        }
        Ok(_) => None,
    };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let service = format!("{}{port}", shown(name));
    BackendView { service, weight: backend.weight, place: place.to_string(), fault, endpoints }
}

fn matched(this: &RouteMatch) -> String {
    let mut parts = vec![match &this.path {
        PathMatch::Exact(path) => format!("path is {path}"),
        PathMatch::Prefix(prefix) if prefix.is_empty() => "every path".to_owned(),
        PathMatch::Prefix(prefix) => format!("path is {prefix} or below"),
        PathMatch::Regex(pattern) => format!("path matches {}", pattern.text()),
    }];
    parts.extend(this.method.map(|method| format!("method is {}", method.name())));
    let value = |what: &str, ValueMatch { name, value }: &ValueMatch| match value {
        Value::Exact(text) => format!("{what} {name} is {text}"),
        Value::Regex(pattern) => format!("{what} {name} matches {}", pattern.text()),
    };
    parts.extend(this.headers.iter().map(|header| value("header", header)));
    parts.extend(this.queries.iter().map(|query| value("parameter", query)));
    parts.join(", ")
}

fn filter(filter: &Filter) -> String {
    match filter {
        Filter::RequestHeaders(change) => format!("headers of the request: {}", changes(change)),
        Filter::ResponseHeaders(change) => format!("headers of the response: {}", changes(change)),
        Filter::Redirect(redirect) => format!("redirect with {}", redirect.status),
        Filter::Rewrite(rewrite) => {
            let host = rewrite.hostname.as_ref().map(|name| format!("host to {name}"));
            let path = rewrite.path.as_ref().map(|change| match change {
                PathChange::Full(path) => format!("path to {path}"),
                PathChange::Prefix(prefix) => format!("the prefix that matched to {prefix}"),
            });
            format!("rewrite {}", host.into_iter().chain(path).collect::<Vec<_>>().join(", "))
        }
        Filter::Mirror(_) => "mirror: not carried out, and so answered with 500".to_owned(),
        Filter::Cors(_) => "cross-origin requests (CORS)".to_owned(),
    }
}

fn changes(change: &HeaderChange) -> String {
    let set = change.set.iter().map(|(name, value)| format!("set {name}: {value}"));
    let add = change.add.iter().map(|(name, value)| format!("add {name}: {value}"));
    let remove = change.remove.iter().map(|name| format!("remove {name}"));
    set.chain(add).chain(remove).collect::<Vec<_>>().join(", ")
}

/// For people.
pub(crate) fn text(explanation: &RequestExplanation, paint: crate::output::Paint) -> String {
    let RequestExplanation { method, host, port, path, .. } = explanation;
    let verdict = match (explanation.status, &explanation.listener) {
        (_, None) => paint.status(0, "nobody listens"),
        (Some(status), _) => paint.status(status, &status.to_string()),
        (None, _) => paint.status(200, "routed"),
    };
    let mut lines = vec![format!("{verdict}  {method} {host}:{port}{path}")];
    if let Some(listener) = &explanation.listener {
        let host = if listener.hostname.is_empty() { "every host" } else { &listener.hostname };
        lines.push(format!(
            "\nlistener {} of Gateway {}, for {host} ({})",
            listener.name, listener.gateway, listener.place
        ));
    }
    match &explanation.rule {
        None if explanation.listener.is_some() => lines.push("  no route at it takes the request".to_owned()),
        None => {}
        Some(rule) => {
            let name = if rule.name.is_empty() { String::new() } else { format!(" `{}`", rule.name) };
            lines.push(format!("HTTPRoute {} rules[{}]{name} ({})", rule.route, rule.index, rule.place));
            lines.push(format!("  because {}", rule.matched));
            lines.extend(rule.filters.iter().map(|filter| format!("  {filter}")));
            lines.extend(rule.limits.iter().map(|limit| format!("  {limit}")));
            let sum: u64 = rule.backends.iter().map(|backend| u64::from(backend.weight)).sum();
            for backend in &rule.backends {
                let share = format!("{} of {sum}", backend.weight);
                lines.push(format!("  {share} to Service {} ({})", backend.service, backend.place));
                lines.extend(backend.fault.iter().map(|fault| format!("    {fault}")));
                lines.extend(backend.endpoints.iter().map(|endpoint| {
                    let state = if endpoint.is_ready { "" } else { ", not ready" };
                    format!("    {}  weight {}{state}", endpoint.address, endpoint.weight)
                }));
            }
        }
    }
    lines.extend(explanation.notes.iter().map(|note| format!("\nnote: {note}")));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Asked, String> {
        Asked::parse("GET", url, &["X-Canary:  yes ".to_owned()])
    }

    #[test]
    fn a_url_is_read_as_the_gateway_reads_it() {
        let asked = parse("https://Shop.Example./a/../b//c?q=1").unwrap();
        assert_eq!((asked.host.as_str(), asked.port, asked.is_tls), ("shop.example", 443, true));
        assert_eq!((asked.path.as_str(), asked.query.as_str()), ("/b/c", "q=1"));
        assert_eq!(asked.headers, [("x-canary".to_owned(), "yes".to_owned())]);
        let asked = parse("http://[::1]:8080").unwrap();
        assert_eq!((asked.host.as_str(), asked.port, asked.path.as_str()), ("::1", 8080, "/"));
    }

    #[test]
    fn what_cannot_be_asked_is_named() {
        for (url, why) in [
            ("shop.example/", "http://"),
            ("ftp://shop.example/", "http://"),
            ("http://", "a host"),
            ("http://user@shop.example/", "user"),
            ("http://shop.example:99999/", "port"),
            ("http://shop.example/a/..%2fb", "400"),
        ] {
            let said = parse(url).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        assert!(Asked::parse("G T", "http://a/", &[]).unwrap_err().starts_with("method is"));
        assert!(
            Asked::parse("GET", "http://a/", &["a b: c".to_owned()]).unwrap_err().starts_with("header is")
        );
    }
}
