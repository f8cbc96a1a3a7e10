//! What balancing is doing, as JSON and metrics show it.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use windrose_datapath::DatapathError;
use windrose_policy::model::{ExposedEndpoint, Exposure, ExposureSource, Protocol};

use super::health::Healths;
use super::{EndpointKey, Forwarded, State, Wanted, by_source, frontends, totals};
use crate::edge::{Guard, prefix};

/// Balancing in short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BalanceView {
    /// Addresses and ports in force.
    pub(crate) frontends: usize,
    /// Endpoints behind them.
    pub(crate) endpoints: usize,
    /// Endpoints that fail their checks.
    pub(crate) down: usize,
    /// Frontends of which every endpoint fails, so that all are used.
    pub(crate) all_down: usize,
    /// Why what policy exposes is not in force; absent if it is.
    pub(crate) fault: Option<String>,
    /// Times that it could not be put in force.
    pub(crate) failures: u64,
    /// What is wrong around it: settings of the kernel, hooks of interfaces.
    pub(crate) warnings: Vec<String>,
}

/// A frontend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FrontendView {
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) protocol: String,
    /// Such as `Service shop/web`.
    pub(crate) source: String,
    /// `file:line:column`.
    pub(crate) place: String,
    /// `nat`, `ipip` or `l2`.
    pub(crate) forwarding: String,
    /// All connections of a client go to one endpoint.
    pub(crate) by_client: bool,
    /// Who may ask for it; absent: everybody.
    pub(crate) sources: Option<Vec<String>>,
    /// The part of new connections that is refused, in the unit of the endpoints' shares.
    pub(crate) refused_share: u32,
    /// Every endpoint fails its checks, so that all are used.
    pub(crate) all_down: bool,
    pub(crate) endpoints: Vec<EndpointView>,
}

/// An endpoint of a frontend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndpointView {
    pub(crate) address: String,
    pub(crate) port: u16,
    /// The workload or pod, if it has a name.
    pub(crate) name: Option<String>,
    pub(crate) share: u32,
    /// It takes new connections.
    pub(crate) ready: bool,
    /// Why, or why not.
    pub(crate) why: String,
    /// What went to it, for every frontend that it is behind.
    pub(crate) flows: u64,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// What a scrape shows of balancing.
#[derive(Debug, Clone)]
pub(crate) struct BalanceSample {
    pub(crate) view: BalanceView,
    pub(crate) sources: BTreeMap<ExposureSource, SourceSample>,
}

/// What a scrape shows of a Service or route.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SourceSample {
    pub(crate) forwarded: Forwarded,
    pub(crate) ready: usize,
    pub(crate) draining: usize,
    pub(crate) down: usize,
}

/// What an endpoint is to new connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readiness {
    Ready,
    Draining,
    Down,
}

impl Guard {
    /// Balancing in short; `None` where it is off.
    pub(in crate::edge) fn balance_view(&self) -> Option<BalanceView> {
        let balancer = self.balancer.as_ref()?;
        let state = balancer.state();
        Some(view(&state, &balancer.healths()))
    }

    /// Every frontend in force; `None` where balancing is off.
    pub(crate) fn frontends(&self) -> Result<Option<Vec<FrontendView>>, DatapathError> {
        let Some(balancer) = &self.balancer else { return Ok(None) };
        let totals = totals(&self.edge)?;
        let state = balancer.state();
        let healths = balancer.healths();
        Ok(Some(state.wanted.iter().map(|wanted| frontend(wanted, &healths, &totals)).collect()))
    }

    pub(in crate::edge) fn balance_sample(&self) -> Result<Option<BalanceSample>, DatapathError> {
        let Some(balancer) = &self.balancer else { return Ok(None) };
        let totals = totals(&self.edge)?;
        let state = balancer.state();
        let healths = balancer.healths();
        let mut sources: BTreeMap<ExposureSource, SourceSample> = BTreeMap::new();
        for (source, endpoints) in by_source(&state.wanted) {
            let mut forwarded = state.retired.get(&source).copied().unwrap_or_default();
            endpoints.iter().filter_map(|key| totals.get(key)).for_each(|more| forwarded.add(more));
            sources.insert(source, SourceSample { forwarded, ..SourceSample::default() });
        }
        for (source, readiness) in states(&state, &healths) {
            let sample = sources.entry(source).or_default();
            match readiness {
                Readiness::Ready => sample.ready += 1,
                Readiness::Draining => sample.draining += 1,
                Readiness::Down => sample.down += 1,
            }
        }
        Ok(Some(BalanceSample { view: view(&state, &healths), sources }))
    }
}

/// Each endpoint of each exposure once, however many addresses that has.
fn states(state: &State, healths: &Healths) -> Vec<(ExposureSource, Readiness)> {
    let mut seen: Vec<*const Exposure> = Vec::new();
    let mut states = Vec::new();
    for wanted in &state.wanted {
        let exposure = &wanted.exposure;
        if seen.last() == Some(&std::sync::Arc::as_ptr(exposure)) {
            continue;
        }
        seen.push(std::sync::Arc::as_ptr(exposure));
        for endpoint in exposure.endpoints.iter() {
            states.push((exposure.source.clone(), readiness(exposure, endpoint, healths).0));
        }
    }
    states
}

fn view(state: &State, healths: &Healths) -> BalanceView {
    let endpoints: std::collections::BTreeSet<EndpointKey> =
        by_source(&state.wanted).into_values().flatten().collect();
    let down = healths.targets().into_iter().filter(|target| healths.is_down(*target)).count();
    BalanceView {
        frontends: state.wanted.len(),
        endpoints: endpoints.len(),
        down,
        all_down: state.wanted.iter().filter(|wanted| wanted.fails_open).count(),
        fault: state.fault.clone(),
        failures: state.failures,
        warnings: state.warnings.clone(),
    }
}

fn frontend(wanted: &Wanted, healths: &Healths, totals: &HashMap<EndpointKey, Forwarded>) -> FrontendView {
    let Wanted { exposure, frontend, fails_open } = wanted;
    let endpoints = exposure.endpoints.iter().zip(&frontend.endpoints).map(|(exposed, to)| {
        let totals = totals.get(&(to.address, to.port, to.forwarding as u8)).copied().unwrap_or_default();
        let (_, mut why) = readiness(exposure, exposed, healths);
        if *fails_open && to.is_ready {
            why = format!("used all the same, since every endpoint fails: {why}");
        }
        EndpointView {
            address: to.address.to_string(),
            port: to.port,
            name: exposed.endpoint.name.as_ref().map(|name| format!("{}/{}", name.namespace, name.name)),
            share: exposed.share,
            ready: to.is_ready,
            why,
            flows: totals.flows,
            packets: totals.packets,
            bytes: totals.bytes,
        }
    });
    FrontendView {
        address: frontend.address.to_string(),
        port: frontend.port,
        protocol: exposure.protocol.name().to_owned(),
        source: exposure.source.to_string(),
        place: exposure.place.to_string(),
        forwarding: exposure.forwarding.name().to_owned(),
        by_client: exposure.is_by_client,
        sources: frontend.sources.as_ref().map(|sources| sources.iter().map(prefix::text).collect()),
        refused_share: exposure.refused_share,
        all_down: *fails_open,
        endpoints: endpoints.collect(),
    }
}

fn readiness(exposure: &Exposure, endpoint: &ExposedEndpoint, healths: &Healths) -> (Readiness, String) {
    let health = healths.of(frontends::address(endpoint));
    let text = |text: &str| text.to_owned();
    match health {
        _ if endpoint.share == 0 && !endpoint.endpoint.is_ready => {
            (Readiness::Draining, text("draining: policy says that it is not ready"))
        }
        _ if endpoint.share == 0 => (Readiness::Draining, text("draining: it has no share")),
        _ if exposure.protocol != Protocol::Tcp => (Readiness::Ready, text("not checked: UDP")),
        None => (Readiness::Ready, text("not checked: health checks are off")),
        Some(health) if health.is_down => {
            let why = if health.why.is_empty() { "it failed not long ago" } else { &health.why };
            (Readiness::Down, format!("fails its checks: {why}"))
        }
        Some(health) if !health.is_known => (Readiness::Ready, text("not checked yet")),
        Some(health) if health.why.is_empty() => (Readiness::Ready, text("passes its checks")),
        Some(health) => (Readiness::Ready, format!("the last check failed: {}", health.why)),
    }
}
