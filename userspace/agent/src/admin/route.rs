//! Which path answers what.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::ACCEPT;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use windrose_datapath::DatapathError;

use super::edge;
use super::filter::Filter;
use super::follow::Follow;
use super::query;
use super::reply::{Body, body_of, content, fault, json, wrong_method};
use super::requests;
use crate::agent::Agent;
use crate::clock::Clock;
use crate::enforce::Trigger;
use crate::explain::{Question, explain, request};
use crate::metrics;
use crate::profile::Running;
use crate::record::{self, Balanced, ConnectionView};
use crate::status;
use crate::top;

/// Every path, for whoever asks for another.
const PATHS: &str = "/healthz, /readyz, /status, /connections, /flows, /requests, /metrics, /explain, /top, /profile, /reload, /edge/deny, /edge/frontends";

/// Answers one request; a fault is an answer, too.
pub(super) async fn answer(
    agent: Arc<Agent>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
    let response = match path {
        "/reload" if request.method() == Method::POST => reload(&agent).await,
        "/edge/deny" => edge::answer(agent, &request).await,
        "/edge/frontends" if is_get => edge::frontends(agent, &request).await,
        "/profile" if request.method() == Method::POST => asked(agent, &request).await,
        "/reload" | "/profile" => wrong_method("POST"),
        "/healthz" | "/readyz" | "/status" | "/connections" | "/flows" | "/requests" | "/metrics"
        | "/explain" | "/top" | "/edge/frontends"
            if !is_get =>
        {
            wrong_method("GET, HEAD")
        }
        "/healthz" => content(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"),
        "/readyz" => ready(&agent),
        "/status" | "/connections" | "/flows" | "/requests" | "/metrics" | "/explain" | "/top" => {
            asked(agent, &request).await
        }
        _ => fault(StatusCode::NOT_FOUND, &format!("no such path: there are {PATHS}")),
    };
    Ok(response)
}

fn ready(agent: &Agent) -> Response<Body> {
    match &agent.snapshot().not_ready {
        None => content(StatusCode::OK, "text/plain; charset=utf-8", "ready\n"),
        Some(why) => {
            content(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", format!("{why}\n"))
        }
    }
}

async fn asked(agent: Arc<Agent>, request: &Request<Incoming>) -> Response<Body> {
    let asked = match query::parse(request.uri().query().unwrap_or_default()) {
        Ok(query) => query,
        Err(why) => return fault(StatusCode::BAD_REQUEST, &why),
    };
    match request.uri().path() {
        "/status" => status(agent, asked).await,
        "/connections" => connections(agent, asked).await,
        "/flows" => flows(agent, asked),
        "/requests" => requests::answer(agent, &asked),
        "/explain" => explained(agent, asked).await,
        "/top" => top(agent, asked).await,
        "/profile" => profile(agent, asked).await,
        _ => {
            let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
            scrape(agent, metrics::Exposition::accepted(accept.unwrap_or_default())).await
        }
    }
}

async fn status(agent: Arc<Agent>, asked: Vec<(String, String)>) -> Response<Body> {
    if let Some((name, _)) = asked.first() {
        return fault(StatusCode::BAD_REQUEST, &format!("unknown field `{name}`: /status takes none"));
    }
    match kernel(move || status::status(&agent)).await {
        Ok(status) => json(StatusCode::OK, &status),
        Err(response) => response,
    }
}

async fn top(agent: Arc<Agent>, asked: Vec<(String, String)>) -> Response<Body> {
    let mut listed = top::LISTED;
    let mut statistics = None;
    for (name, value) in asked {
        let number = value.parse::<u64>();
        match (name.as_str(), number) {
            ("connections", Ok(number @ 0..=10_000)) => listed = usize::try_from(number).unwrap_or(listed),
            ("connections", _) => {
                return fault(
                    StatusCode::BAD_REQUEST,
                    &format!("connections is `{value}`: it must be a number up to 10000"),
                );
            }
            ("statistics", Ok(seconds @ 1..=60)) => statistics = Some(Duration::from_secs(seconds)),
            ("statistics", _) => {
                return fault(
                    StatusCode::BAD_REQUEST,
                    &format!("statistics is `{value}`: it must be a number of seconds from 1 to 60"),
                );
            }
            _ => {
                return fault(
                    StatusCode::BAD_REQUEST,
                    &format!("unknown field `{name}`: there are connections, statistics"),
                );
            }
        }
    }
    let read = kernel(move || {
        if let Some(time) = statistics {
            agent.statistics.lend(time)?;
        }
        top::sample(&agent, listed)
    });
    match read.await {
        Ok(sample) => json(StatusCode::OK, &sample),
        Err(response) => response,
    }
}

async fn profile(agent: Arc<Agent>, asked: Vec<(String, String)>) -> Response<Body> {
    let mut duration = Duration::from_secs(10);
    for (name, value) in asked {
        if name != "milliseconds" {
            let why = format!("unknown field `{name}`: there is milliseconds");
            return fault(StatusCode::BAD_REQUEST, &why);
        }
        let Ok(milliseconds @ 100..=600_000) = value.parse() else {
            let why = format!("milliseconds is `{value}`: it must be a number from 100 to 600000");
            return fault(StatusCode::BAD_REQUEST, &why);
        };
        duration = Duration::from_millis(milliseconds);
    }
    let running = match kernel(move || Running::begin(agent)).await {
        Ok(Some(running)) => running,
        Ok(None) => return fault(StatusCode::CONFLICT, "another profile is under way: wait until it ends"),
        Err(response) => return response,
    };
    // Whoever asked may go away meanwhile: then this ends here, and measuring with it.
    sleep(duration).await;
    match kernel(move || running.end()).await {
        Ok(report) => json(StatusCode::OK, &report),
        Err(response) => response,
    }
}

async fn connections(agent: Arc<Agent>, asked: Vec<(String, String)>) -> Response<Body> {
    let filter = match Filter::new(asked) {
        Ok(filter) => filter,
        Err(why) => return fault(StatusCode::BAD_REQUEST, &why),
    };
    let read = kernel(move || {
        let (rows, flows, balanced) = {
            let datapath = agent.datapath()?;
            (datapath.connections()?, datapath.flows()?, Balanced::new(&datapath.balanced()?))
        };
        let (snapshot, clock) = (agent.snapshot(), Clock::now());
        let book = &snapshot.book;
        let tcp = rows.iter().map(|row| record::connection(row, &balanced, book, &clock));
        let others = flows.iter().map(|(key, row)| record::flow(key, row, &balanced, book, &clock));
        let mut views: Vec<ConnectionView> =
            tcp.chain(others).filter(|view| filter.takes(&view.decided)).collect();
        views.sort_by(|a, b| a.decided.time.cmp(&b.decided.time));
        Ok(views)
    });
    match read.await {
        Ok(views) => json(StatusCode::OK, &views),
        Err(response) => response,
    }
}

fn flows(agent: Arc<Agent>, mut asked: Vec<(String, String)>) -> Response<Body> {
    let before = asked.len();
    asked.retain(|(name, _)| name != "follow");
    let is_followed = asked.len() < before;
    let filter = match Filter::new(asked) {
        Ok(filter) => filter,
        Err(why) => return fault(StatusCode::BAD_REQUEST, &why),
    };
    if is_followed {
        return body_of(StatusCode::OK, "application/x-ndjson", Follow::new(agent, filter).boxed_unsync());
    }
    let mut recent = agent.flow_log.recent();
    recent.retain(|event| filter.takes(&event.decided));
    json(StatusCode::OK, &recent)
}

async fn explained(agent: Arc<Agent>, asked: Vec<(String, String)>) -> Response<Body> {
    if asked.iter().any(|(name, _)| name == "url") {
        return explained_request(agent, asked).await;
    }
    let answered = spawn_blocking(move || {
        let (mut from, mut to, mut port, mut protocol) = (None, None, None, "TCP".to_owned());
        for (name, value) in asked {
            match name.as_str() {
                "from" => from = Some(value),
                "to" => to = Some(value),
                "port" => {
                    let number = value.parse::<u16>();
                    port = Some(
                        number.map_err(|_| format!("port is `{value}`: it must be a number up to 65535"))?,
                    );
                }
                "protocol" => protocol = value,
                _ => {
                    return Err(format!(
                        "unknown field `{name}`: there are from, to, port, protocol, or url, method, header"
                    ));
                }
            }
        }
        let (Some(from), Some(to)) = (from, to) else {
            return Err("`from` and `to` are required".to_owned());
        };
        let question = Question::parse(&from, &to, port, &protocol)?;
        let snapshot = agent.snapshot();
        if let Some(why) = &snapshot.not_ready {
            return Err(why.clone());
        }
        explain(&snapshot.model, &question, &snapshot.host_addresses, agent.config.audit)
    });
    match answered.await {
        Ok(Ok(explanation)) => json(StatusCode::OK, &explanation),
        Ok(Err(why)) => fault(StatusCode::BAD_REQUEST, &why),
        Err(error) => failed(&error.to_string()),
    }
}

async fn explained_request(agent: Arc<Agent>, asked: Vec<(String, String)>) -> Response<Body> {
    let answered = spawn_blocking(move || {
        let (mut method, mut url, mut headers) = ("GET".to_owned(), String::new(), Vec::new());
        for (name, value) in asked {
            match name.as_str() {
                "method" => method = value,
                "url" => url = value,
                "header" => headers.push(value),
                _ => return Err(format!("unknown field `{name}`: there are method, url, header")),
            }
        }
        let asked = request::Asked::parse(&method, &url, &headers)?;
        let snapshot = agent.snapshot();
        match &snapshot.not_ready {
            Some(why) => Err(why.clone()),
            None => Ok(request::explain(&snapshot.model, &asked)),
        }
    });
    match answered.await {
        Ok(Ok(explanation)) => json(StatusCode::OK, &explanation),
        Ok(Err(why)) => fault(StatusCode::BAD_REQUEST, &why),
        Err(error) => failed(&error.to_string()),
    }
}

async fn scrape(agent: Arc<Agent>, exposition: metrics::Exposition) -> Response<Body> {
    let read = kernel(move || metrics::sample(&agent));
    match read.await.map(|sample| metrics::render(sample, exposition)) {
        Ok(Ok(text)) => content(StatusCode::OK, exposition.content_type(), text),
        Ok(Err(error)) => failed(&format!("cannot write metrics: {error}")),
        Err(response) => response,
    }
}

async fn reload(agent: &Agent) -> Response<Body> {
    let (sender, answer) = oneshot::channel();
    if !agent.trigger(Trigger::Asked(sender)) {
        return fault(StatusCode::SERVICE_UNAVAILABLE, "the agent is busy with reloads already");
    }
    match answer.await {
        Ok(reload) if reload.ok => json(StatusCode::OK, &reload),
        Ok(reload) => json(StatusCode::UNPROCESSABLE_ENTITY, &reload),
        Err(_) => fault(StatusCode::SERVICE_UNAVAILABLE, "the agent is ending"),
    }
}

/// Blocking calls of the kernel, on a thread for such.
async fn kernel<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, DatapathError> + Send + 'static,
) -> Result<T, Response<Body>> {
    match spawn_blocking(call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error @ DatapathError::Unused)) => Err(fault(StatusCode::NOT_FOUND, &error.to_string())),
        Ok(Err(error)) => Err(failed(&error.with_causes())),
        Err(error) => Err(failed(&error.to_string())),
    }
}

pub(super) fn failed(why: &str) -> Response<Body> {
    tracing::error!(error = why, "cannot answer an operator");
    fault(StatusCode::INTERNAL_SERVER_ERROR, why)
}
