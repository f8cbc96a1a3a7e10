//! `/edge/deny`: what is denied at the edge, and operators' changes to it. `/edge/frontends`: what is
//! balanced there.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use windrose_datapath::DatapathError;
use windrose_datapath::abi::PrefixKey;
use windrose_datapath::abi::edge::NOTE_BYTES;

use super::query;
use super::reply::{Body, fault, json, wrong_method};
use super::route::failed;
use crate::agent::Agent;
use crate::clock::parse_duration;
use crate::edge::{Guard, parse_prefix};

/// What a request asks for.
#[derive(Default)]
struct Asked {
    prefix: Option<PrefixKey>,
    ttl: Option<std::time::Duration>,
    reason: String,
}

/// Answers one request.
pub(super) async fn answer(agent: Arc<Agent>, request: &Request<Incoming>) -> Response<Body> {
    let Some(guard) = agent.edge.clone() else {
        return fault(
            StatusCode::NOT_FOUND,
            "there is no edge: name interfaces in `edge.interfaces` of the configuration, and start the agent again",
        );
    };
    let asked = match Asked::read(request) {
        Ok(asked) => asked,
        Err(why) => return fault(StatusCode::BAD_REQUEST, &why),
    };
    match (request.method(), asked) {
        (&Method::POST, Asked { prefix: Some(prefix), ttl, reason }) => {
            blocking(move || guard.deny(prefix, ttl, &reason)).await
        }
        (&Method::DELETE, Asked { prefix: Some(prefix), .. }) => blocking(move || guard.undeny(prefix)).await,
        (&Method::POST | &Method::DELETE, _) => fault(StatusCode::BAD_REQUEST, "`prefix` is required"),
        (&Method::GET | &Method::HEAD, Asked { prefix, .. }) => match prefix {
            Some(prefix) => blocking(move || guard.answer(prefix)).await,
            None => blocking(move || Guard::denied(&guard)).await,
        },
        _ => wrong_method("GET, HEAD, POST, DELETE"),
    }
}

/// Every frontend in force.
pub(super) async fn frontends(agent: Arc<Agent>, request: &Request<Incoming>) -> Response<Body> {
    if request.uri().query().is_some_and(|query| !query.is_empty()) {
        return fault(StatusCode::BAD_REQUEST, "/edge/frontends takes no fields");
    }
    let asked =
        tokio::task::spawn_blocking(move || agent.edge.as_ref().map(|edge| edge.frontends()).transpose());
    match asked.await {
        Ok(Ok(Some(Some(frontends)))) => json(StatusCode::OK, &frontends),
        Ok(Ok(_)) => fault(
            StatusCode::NOT_FOUND,
            "nothing is balanced: set `edge.balance.enabled` in the configuration, and start the agent again",
        ),
        Ok(Err(error)) => failed(&error.with_causes()),
        Err(error) => failed(&error.to_string()),
    }
}

impl Asked {
    fn read(request: &Request<Incoming>) -> Result<Self, String> {
        let is_post = *request.method() == Method::POST;
        let mut asked = Self::default();
        for (name, value) in query::parse(request.uri().query().unwrap_or_default())? {
            match name.as_str() {
                "prefix" => asked.prefix = Some(parse_prefix(&value)?),
                "for" if is_post => {
                    let ttl = parse_duration(&value);
                    asked.ttl = Some(ttl.ok_or_else(|| {
                        format!("for is `{value}`: it must be such as 30s, 10m, 12h or 7d")
                    })?);
                }
                "reason" if is_post => {
                    if value.len() > NOTE_BYTES || value.contains(char::is_control) {
                        return Err(format!("the reason must be one line of at most {NOTE_BYTES} bytes"));
                    }
                    asked.reason = value;
                }
                _ => {
                    let fields = if is_post { "prefix, for, reason" } else { "prefix" };
                    return Err(format!("unknown field `{name}`: there are {fields}"));
                }
            }
        }
        Ok(asked)
    }
}

/// Blocking calls of the kernel, on a thread for such.
async fn blocking<T: Serialize + Send + 'static>(
    call: impl FnOnce() -> Result<T, DatapathError> + Send + 'static,
) -> Response<Body> {
    match tokio::task::spawn_blocking(call).await {
        Ok(Ok(value)) => json(StatusCode::OK, &value),
        Ok(Err(error @ DatapathError::Allowed { .. })) => fault(StatusCode::CONFLICT, &error.to_string()),
        Ok(Err(error @ DatapathError::NoRoom { .. })) => {
            fault(StatusCode::INSUFFICIENT_STORAGE, &error.to_string())
        }
        Ok(Err(error)) => failed(&error.with_causes()),
        Err(error) => failed(&error.to_string()),
    }
}
