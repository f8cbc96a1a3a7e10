//! Which rule a request follows, said slowly: every rule is asked, and the best is kept.

use std::cmp::Reverse;
use std::sync::Arc;

use super::attach::{Attached, Bind};
use super::matcher::Chosen;
use super::{Request, query};
use crate::model::{Hostname, PathMatch, RouteMatch, Value, ValueMatch};

/// The rule for a request that came in at a bind; `None` is 404.
pub fn choose(bind: &Bind, request: &Request<'_>) -> Option<Chosen> {
    // The listener with the most specific hostname has the request, and it alone.
    let (listener, bound) = bind
        .listeners
        .iter()
        .enumerate()
        .filter(|(_, listener)| listener.hostname.as_ref().is_none_or(|name| name.matches(request.host)))
        .max_by_key(|(_, listener)| listener.hostname.as_ref().map(Hostname::specificity))?;
    let mut all: Vec<Found<'_>> = Vec::new();
    for attached in &bound.routes {
        let Some(host) = host(attached, request.host) else { continue };
        for rule in &attached.rules {
            for (index, this) in rule.rule().matches.iter().enumerate() {
                if holds(this, request) {
                    let chosen = Chosen { listener, rule: Arc::clone(rule), match_index: index };
                    all.push(Found { host, this, chosen });
                }
            }
        }
    }
    keep(&mut all, |found| Reverse(found.host));
    keep(&mut all, |found| !matches!(found.this.path, PathMatch::Exact(_)));
    keep(&mut all, |found| match &found.this.path {
        PathMatch::Exact(_) => Reverse(0),
        PathMatch::Prefix(prefix) => Reverse(prefix.chars().count()),
        PathMatch::Regex(pattern) => Reverse(pattern.text().chars().count()),
    });
    keep(&mut all, |found| found.this.method.is_none());
    keep(&mut all, |found| Reverse(found.this.headers.len()));
    keep(&mut all, |found| Reverse(found.this.queries.len()));
    // Of those that are left the oldest route, then by name, then the first rule: as they were found.
    all.into_iter().next().map(|found| found.chosen)
}

/// A match that holds.
struct Found<'a> {
    /// How specific the route's hostname is.
    host: (bool, usize),
    this: &'a RouteMatch,
    chosen: Chosen,
}

/// Leaves only those with the least key.
fn keep<T, K: Ord>(all: &mut Vec<T>, key: impl Fn(&T) -> K) {
    if let Some(least) = all.iter().map(&key).min() {
        all.retain(|one| key(one) == least);
    }
}

/// How specific a route is for every host: less than any name.
const EVERY_HOST: (bool, usize) = (false, 0);

/// The most specific hostname of a route that means the host; `None` where none does.
fn host(attached: &Attached, host: &str) -> Option<(bool, usize)> {
    if attached.hostnames.is_empty() {
        return Some(EVERY_HOST);
    }
    let names = attached.hostnames.iter().filter(|name| name.matches(host));
    names.map(Hostname::specificity).max()
}

fn holds(this: &RouteMatch, request: &Request<'_>) -> bool {
    let path = match &this.path {
        PathMatch::Exact(path) => **path == *request.path,
        PathMatch::Prefix(prefix) => {
            request.path == &**prefix
                || request.path.strip_prefix(&**prefix).is_some_and(|rest| rest.starts_with('/'))
        }
        PathMatch::Regex(pattern) => pattern.matches(request.path.as_bytes()),
    };
    path && conditions(this, request)
}

/// Everything but the path.
pub(super) fn conditions(this: &RouteMatch, request: &Request<'_>) -> bool {
    this.method.is_none_or(|method| method.name() == request.method)
        && this
            .headers
            .iter()
            .all(|header| request.headers.value(&header.name).is_some_and(|value| is(header, &value)))
        && this.queries.iter().all(|parameter| {
            query::first(request.query, &parameter.name).is_some_and(|value| is(parameter, &value))
        })
}

fn is(this: &ValueMatch, value: &[u8]) -> bool {
    match &this.value {
        Value::Exact(text) => text.as_bytes() == value,
        Value::Regex(pattern) => pattern.matches(value),
    }
}
