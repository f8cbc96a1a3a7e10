//! `/metrics`: what the kernel has counted, read at scrape.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use windrose_datapath::{Counting, Counts, DatapathError, MapFill, ProgramStatus};

use crate::agent::Agent;
use crate::edge::EdgeSample;
use crate::snapshot::Snapshot;

mod classic;
mod costs;
mod edge;
mod edges;
mod exposition;
mod families;
mod gateway;
mod refusals;
mod services;

#[cfg(test)]
mod tests;

use costs::{Costs, VerdictCosts};
pub(crate) use edges::{Edge, Floor, Ports, Totals, collect};
pub(crate) use exposition::Exposition;
use refusals::Refusal;
use services::Services;

/// Everything of one scrape.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    snapshot: Snapshot,
    edges: BTreeMap<Edge, Totals>,
    refusals: BTreeMap<Refusal, u64>,
    services: Services,
    counts: Counts,
    maps: Vec<MapFill>,
    programs: Vec<ProgramStatus>,
    answers: [(&'static str, u64); 2],
    suppressed_answers: [(&'static str, u64); 3],
    edge: Option<EdgeSample>,
    /// The gateway, where one has started.
    gateway: Option<gateway::GatewaySample>,
    /// Without a kernel half there is nothing to say of it.
    has_kernel: bool,
    events: u64,
    follower_events_lost: u64,
    costs: Costs,
}

/// Asks the kernel; blocks for some milliseconds.
pub(crate) fn sample(agent: &Agent) -> Result<Sample, DatapathError> {
    let gateway = gateway::sample(&agent.north);
    if !agent.has_kernel() {
        let snapshot = Snapshot::clone(&agent.snapshot());
        return Ok(Sample { snapshot, gateway, ..Sample::default() });
    }
    let datapath = agent.datapath()?;
    // In this order: a connection that ends between the two reads is missing from this scrape, and
    // the floor keeps its edge's totals from going back.
    let edges = datapath.edges()?;
    let (connections, flows) = (datapath.connections()?, datapath.flows()?);
    let refusals = datapath.refusals()?;
    let (totals, loads) = (datapath.service_totals()?, datapath.endpoint_loads()?);
    let (counts, mut maps, mut programs) =
        (datapath.counts()?, datapath.map_fill(Counting::Known)?, datapath.programs()?);
    let edge = agent.edge.as_ref().map(|edge| edge.sample()).transpose()?;
    let mut map_memory = datapath.map_memory()?;
    if let Some(edge) = &edge {
        maps.extend_from_slice(&edge.maps);
        programs.extend(edge.programs.iter().cloned());
        map_memory.extend_from_slice(&edge.memory);
    }
    let generation = datapath.generation();
    let measured = agent.config.profile.then(|| datapath.measured()).transpose()?;
    drop(datapath);
    let snapshot = Snapshot { generation, ..Snapshot::clone(&agent.snapshot()) };
    let mut edges = collect(&snapshot.book, Ports::OfWorkloads, &edges, &connections, &flows);
    agent.floor.lock().unwrap_or_else(std::sync::PoisonError::into_inner).raise(&mut edges);
    let verdicts = measured.map(|measured| VerdictCosts::new(measured, &snapshot.book));
    let costs = Costs { maps: map_memory, verdicts };
    Ok(Sample {
        refusals: refusals::collect(&snapshot.book, &refusals),
        services: services::collect(&snapshot.book, &totals, &loads),
        snapshot,
        edges,
        counts,
        maps,
        programs,
        answers: agent.answers.sent(),
        suppressed_answers: agent.answers.suppressed(),
        edge,
        gateway,
        has_kernel: true,
        events: agent.flow_log.seen(),
        follower_events_lost: agent.flow_log.lost(),
        costs,
    })
}

/// A scrape as text.
pub(crate) fn render(sample: Sample, exposition: Exposition) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(sample));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(match exposition {
        Exposition::OpenMetrics => text,
        Exposition::Classic => classic::from_open_metrics(&text),
    })
}
