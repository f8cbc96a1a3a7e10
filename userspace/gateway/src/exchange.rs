//! One request and its response, from the first byte to the access log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use windrose_policy::model::ObjectName;
use windrose_policy::routing::Chosen;

use crate::counters::Counters;
use crate::lines::Lines;
use crate::refusal::{Blame, Refusal};
use crate::series::Series;

/// What travels with a request through routing, filters, upstream and log.
#[derive(Debug)]
pub struct Exchange {
    /// Who asks.
    pub client: SocketAddr,
    /// As sent.
    pub method: String,
    /// In lower case, without port.
    pub host: String,
    /// Normalised; empty if it was refused.
    pub path: String,
    /// Who is behind the request, once something has found out.
    pub principal: Option<String>,
    /// What it follows.
    pub chosen: Option<Chosen>,
    /// The endpoint that answered, or was tried last.
    pub upstream: Option<SocketAddr>,
    /// How many endpoints were tried.
    pub tries: u32,
    /// Why the gateway answered itself.
    pub refusal: Option<Refusal>,
    /// The status of the response.
    pub status: u16,
    /// Bytes of the response's body that went out.
    pub sent_bytes: u64,
    /// The response's body did not come to its end.
    pub is_cut_short: bool,
    started: Instant,
    chosen_after_us: Option<u64>,
    answered_after_us: Option<u64>,
    /// What counts it.
    series: Option<Arc<Series>>,
    log: Log,
}

/// A line of the access log.
#[derive(Debug, Serialize)]
struct Line<'a> {
    time_ms: u128,
    client: SocketAddr,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    status: u16,
    gateway: Option<String>,
    listener: Option<&'a str>,
    route: Option<String>,
    rule: Option<usize>,
    place: Option<String>,
    principal: Option<&'a str>,
    upstream: Option<SocketAddr>,
    tries: u32,
    refusal: Option<&'static str>,
    blame: Option<&'static str>,
    sent_bytes: u64,
    cut_short: bool,
    route_us: Option<u64>,
    response_us: Option<u64>,
    total_us: u64,
}

/// Where lines go. The queue is bounded: a line without room is counted and lost.
#[derive(Debug, Clone)]
pub struct Log {
    lines: Option<Lines>,
    counters: Arc<Counters>,
}

impl Log {
    /// Lines go to `lines`, if there is such.
    pub fn new(lines: Option<Lines>, counters: Arc<Counters>) -> Self {
        Self { lines, counters }
    }
}

impl Exchange {
    pub(crate) fn new(client: SocketAddr, method: String, log: Log) -> Self {
        log.counters.exchanges_open.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self {
            client,
            method,
            host: String::new(),
            path: String::new(),
            principal: None,
            chosen: None,
            upstream: None,
            tries: 0,
            refusal: None,
            status: 0,
            sent_bytes: 0,
            is_cut_short: false,
            started: Instant::now(),
            chosen_after_us: None,
            answered_after_us: None,
            series: None,
            log,
        }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn count_in(&mut self, series: &Arc<Series>) {
        self.series = Some(series.clone());
    }

    pub(crate) fn choose(&mut self, chosen: Chosen) {
        self.chosen_after_us = Some(self.age_us());
        self.chosen = Some(chosen);
    }

    pub(crate) fn answer(&mut self, status: u16) {
        self.answered_after_us = Some(self.age_us());
        self.status = status;
    }

    fn age_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Whose fault it is that it did not go well: of a refusal it says so itself, a response of class 5
    /// is the endpoint's, and where there was none the client had gone.
    fn blame(&self) -> Option<Blame> {
        match (self.refusal, self.status) {
            (Some(refusal), _) => Some(refusal.blame()),
            (None, 0) => Some(Blame::Downstream),
            (None, status) => (status >= 500).then_some(Blame::Upstream),
        }
    }

    fn line(&self) -> Option<String> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let rule = self.chosen.as_ref().map(|chosen| &chosen.rule);
        let name = |name: &ObjectName| format!("{}/{}", name.namespace, name.name);
        let names = self.series.as_ref().map(|series| series.names());
        serde_json::to_string(&Line {
            time_ms: now.map_or(0, |since| since.as_millis()),
            client: self.client,
            method: &self.method,
            host: &self.host,
            path: &self.path,
            status: self.status,
            gateway: names.and_then(|names| names.gateway.as_ref()).map(name),
            listener: names.map(|names| names.listener.as_str()).filter(|name| !name.is_empty()),
            route: rule.map(|rule| name(&rule.route.name)),
            rule: rule.map(|rule| rule.index),
            place: rule.map(|rule| rule.rule().place.to_string()),
            principal: self.principal.as_deref(),
            upstream: self.upstream,
            tries: self.tries,
            refusal: self.refusal.map(Refusal::name),
            blame: self.blame().map(Blame::name),
            sent_bytes: self.sent_bytes,
            cut_short: self.is_cut_short,
            route_us: self.chosen_after_us,
            response_us: self.answered_after_us,
            total_us: self.age_us(),
        })
        .ok()
    }
}

impl Drop for Exchange {
    /// However it ends, it is counted and logged once.
    fn drop(&mut self) {
        use std::sync::atomic::Ordering::Relaxed;
        let counters = &self.log.counters;
        counters.exchanges_open.fetch_sub(1, Relaxed);
        counters.status(self.status);
        if let Some(series) = &self.series {
            series.count(counters.worker, self.status, self.blame(), self.started.elapsed());
        }
        if let Some(refusal) = self.refusal {
            counters.refusal(refusal);
        }
        if self.is_cut_short {
            counters.cut_short.fetch_add(1, Relaxed);
        }
        if let Some(lines) = &self.log.lines
            && lines.are_wanted()
            && let Some(line) = self.line()
            && !lines.send(line)
        {
            counters.log_lost.fetch_add(1, Relaxed);
        }
    }
}
