//! What policy exposes to the outside, kept balanced at the edge.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windrose_datapath::{Balanced, DatapathError, Edge, ForwardTotals, Frontend};
use windrose_policy::model::{ExposureSource, Family, Model};

use super::Guard;
use super::config::{BalanceChoices, EdgeChoices};

mod check;
mod frontends;
mod health;
mod node;
mod view;

pub(crate) use check::check;
use frontends::Wanted;
use health::Healths;
#[cfg(test)]
pub(crate) use view::SourceSample;
pub(crate) use view::{BalanceSample, BalanceView, EndpointView, FrontendView};

/// Balancing as the agent's tasks share it.
#[derive(Debug, Default)]
pub(super) struct Balancer {
    /// Held while the kernel is written to: for blocking calls.
    state: Mutex<State>,
    /// Held for a moment only. Taken after `state`, never before.
    healths: Mutex<Healths>,
}

#[derive(Debug, Default)]
struct State {
    /// The policy in force; `None`: this agent has put none in force, and what an earlier one has
    /// left goes on.
    model: Option<Arc<Model>>,
    node: Vec<IpAddr>,
    /// What is in force.
    wanted: Vec<Wanted>,
    /// The kernel holds `wanted`.
    is_in_step: bool,
    /// Why what policy wants is not in force.
    fault: Option<String>,
    /// Times that it could not be put in force.
    failures: u64,
    /// What is wrong around it.
    warnings: Vec<String>,
    /// What went to endpoints that are gone, by what asked for them.
    retired: BTreeMap<ExposureSource, Forwarded>,
}

/// What went to endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Forwarded {
    pub(crate) flows: u64,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Forwarded {
    fn add(&mut self, more: &Self) {
        self.flows += more.flows;
        self.packets += more.packets;
        self.bytes += more.bytes;
    }
}

impl From<&ForwardTotals> for Forwarded {
    fn from(totals: &ForwardTotals) -> Self {
        Self { flows: totals.flows, packets: totals.packets, bytes: totals.bytes }
    }
}

/// What the edge knows an endpoint by: address, port, forwarding.
type EndpointKey = (IpAddr, u16, u8);

impl Balancer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn healths(&self) -> MutexGuard<'_, Healths> {
        self.healths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guard {
    /// Balances what a policy exposes; it is in force. Blocks for some milliseconds.
    pub(crate) fn expose(&self, model: &Arc<Model>) {
        let Some(balancer) = &self.balancer else { return };
        let mut state = balancer.state();
        state.model = Some(Arc::clone(model));
        look_at_node(&mut state, &self.choices);
        put_in_force(balancer, &mut state, &self.edge, &self.choices.balance);
    }

    /// Balances anew after an endpoint has changed its health. Blocks for some milliseconds.
    pub(crate) fn rebalance(&self) {
        let Some(balancer) = &self.balancer else { return };
        put_in_force(balancer, &mut balancer.state(), &self.edge, &self.choices.balance);
    }

    /// Looks at what changes by itself: this node's addresses and settings. `attached` are the
    /// interfaces that the edge is on, and why not everything is balanced there.
    pub(super) fn look_at_balancing(&self, attached: &[(String, Option<String>)]) {
        let Some(balancer) = &self.balancer else { return };
        let mut state = balancer.state();
        let has_changed = look_at_node(&mut state, &self.choices);
        if has_changed || state.fault.is_some() {
            let (fault, failures) = (state.fault.clone(), state.failures);
            put_in_force(balancer, &mut state, &self.edge, &self.choices.balance);
            if state.fault == fault {
                // Tried again, and nothing is new.
                state.failures = failures;
            }
        }
        let warnings = warnings(&state.wanted, attached);
        for warning in &warnings {
            if !state.warnings.contains(warning) {
                tracing::warn!("{warning}");
            }
        }
        state.warnings = warnings;
    }

    /// Endpoints to be checked now.
    pub(super) fn check_targets(&self) -> Vec<SocketAddr> {
        self.balancer.as_ref().map(|balancer| balancer.healths().targets()).unwrap_or_default()
    }

    /// Whether an endpoint is to be checked still.
    pub(super) fn is_checked(&self, target: SocketAddr) -> bool {
        self.balancer.as_ref().is_some_and(|balancer| balancer.healths().of(target).is_some())
    }

    /// Takes the outcome of a check. True: [`Self::rebalance`] is due.
    pub(super) fn heard(&self, target: SocketAddr, outcome: Result<(), String>) -> bool {
        let check = &self.choices.balance.check;
        self.balancer.as_ref().is_some_and(|balancer| balancer.healths().heard(target, outcome, check))
    }

    /// Whether endpoints are to be checked.
    pub(crate) fn is_checking(&self) -> bool {
        self.balancer.is_some() && self.choices.balance.check.is_enabled
    }
}

/// True: the addresses of this node have changed.
fn look_at_node(state: &mut State, choices: &EdgeChoices) -> bool {
    let node = match &choices.balance.node_addresses {
        Some(addresses) => addresses.clone(),
        None => match node::addresses(|name| choices.interfaces.iter().any(|choice| choice.name == name)) {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::warn!("{error:#}");
                return false;
            }
        },
    };
    let has_changed = state.node != node;
    state.node = node;
    has_changed
}

fn put_in_force(balancer: &Balancer, state: &mut State, edge: &Edge, choices: &BalanceChoices) {
    let Some(model) = &state.model else { return };
    let wanted = {
        let mut healths = balancer.healths();
        let wanted = frontends::wanted(&model.exposures, &state.node, |target| healths.is_down(target));
        if choices.check.is_enabled {
            healths.keep(&frontends::targets(&wanted));
        }
        wanted
    };
    let frontends =
        |all: &[Wanted]| -> Vec<Frontend> { all.iter().map(|one| one.frontend.clone()).collect() };
    let new = frontends(&wanted);
    if state.is_in_step && new == frontends(&state.wanted) {
        state.wanted = wanted;
        return;
    }
    tell_open(&state.wanted, &wanted);
    let gone = gone(state, edge, &wanted).unwrap_or_else(|error| {
        tracing::warn!(error = error.with_causes(), "cannot read what went to endpoints that go");
        Vec::new()
    });
    match edge.balance(&new) {
        Ok(outcome) => {
            let Balanced { frontends, changed, removed, endpoints } = outcome;
            tracing::info!(frontends, endpoints, changed, removed, "frontends in force");
            for (source, forwarded) in gone {
                state.retired.entry(source).or_default().add(&forwarded);
            }
            state.retired.retain(|source, _| wanted.iter().any(|one| one.exposure.source == *source));
            (state.wanted, state.fault, state.is_in_step) = (wanted, None, true);
        }
        Err(error) => {
            let fault = error.with_causes();
            state.failures += 1;
            if state.fault.as_ref() != Some(&fault) {
                tracing::error!(
                    error = fault,
                    "what policy exposes cannot be balanced; the frontends in force stay"
                );
            }
            (state.fault, state.is_in_step) = (Some(fault), false);
        }
    }
}

/// Says of which frontends every endpoint fails now.
fn tell_open(before: &[Wanted], after: &[Wanted]) {
    let open = |all: &[Wanted]| -> BTreeSet<(IpAddr, u16)> {
        let open = all.iter().filter(|one| one.fails_open);
        open.map(|one| (one.frontend.address, one.frontend.port)).collect()
    };
    for (address, port) in open(after).difference(&open(before)) {
        tracing::error!(%address, port, "every endpoint of a frontend fails its checks: all are used");
    }
}

/// What went to endpoints that are to go, by what asked for them.
fn gone(
    state: &State,
    edge: &Edge,
    wanted: &[Wanted],
) -> Result<Vec<(ExposureSource, Forwarded)>, DatapathError> {
    let after = by_source(wanted);
    let mut left = Vec::new();
    for (source, endpoints) in by_source(&state.wanted) {
        let Some(stay) = after.get(&source) else { continue };
        left.extend(endpoints.difference(stay).map(|endpoint| (source.clone(), *endpoint)));
    }
    if left.is_empty() {
        return Ok(Vec::new());
    }
    let totals = totals(edge)?;
    Ok(left.into_iter().filter_map(|(source, endpoint)| Some((source, *totals.get(&endpoint)?))).collect())
}

/// The endpoints of everything that asks for some.
fn by_source(wanted: &[Wanted]) -> BTreeMap<ExposureSource, BTreeSet<EndpointKey>> {
    let mut sources: BTreeMap<ExposureSource, BTreeSet<EndpointKey>> = BTreeMap::new();
    for one in wanted {
        let endpoints = one.frontend.endpoints.iter();
        let keys = endpoints.map(|to| (to.address, to.port, to.forwarding as u8));
        sources.entry(one.exposure.source.clone()).or_default().extend(keys);
    }
    sources
}

fn totals(edge: &Edge) -> Result<HashMap<EndpointKey, Forwarded>, DatapathError> {
    let key = |totals: &ForwardTotals| (totals.address, totals.port, totals.forwarding as u8);
    Ok(edge.forwarded()?.iter().map(|totals| (key(totals), Forwarded::from(totals))).collect())
}

/// What keeps frontends from being balanced at interfaces that the edge is on.
fn warnings(wanted: &[Wanted], attached: &[(String, Option<String>)]) -> Vec<String> {
    let mut warnings = Vec::new();
    let families = Family::ALL
        .into_iter()
        .filter(|family| wanted.iter().any(|one| Family::of(one.frontend.address) == *family));
    let families: Vec<Family> = families.collect();
    for (interface, not_balanced) in attached {
        if families.is_empty() {
            break;
        }
        if let Some(why) = not_balanced {
            warnings.push(format!("what the network stack carries on {interface} is not balanced: {why}"));
        }
        warnings.extend(families.iter().filter_map(|family| node::not_forwarding(interface, *family)));
    }
    warnings
}
