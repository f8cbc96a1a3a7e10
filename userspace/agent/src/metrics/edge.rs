//! The families of the edge.

use std::fmt;

use windrose_datapath::abi::EdgeReason;
use windrose_policy::model::ExposureSource;

use super::families::{Families, Owned};
use crate::edge::{BalanceSample, EdgeSample};

/// Writes them.
pub(super) fn encode(edge: &EdgeSample, families: &mut Families<'_>) -> Result<(), fmt::Error> {
    families.counters(
        "windrose_edge_packets",
        "Frames that interfaces of the edge received, by what became of them.",
        edge.counts.iter().map(|(reason, count)| {
            let verdict = match reason {
                EdgeReason::Forwarded | EdgeReason::HandedOver => "forward",
                _ if reason.passes() => "pass",
                _ => "drop",
            };
            (Owned(vec![("verdict", verdict.to_owned()), ("reason", reason.as_str().to_owned())]), *count)
        }),
    )?;
    families.gauges(
        "windrose_edge_interface_attached",
        "1 if the edge is on an interface of the configuration.",
        edge.view.interfaces.iter().map(|interface| {
            let mode = interface.mode.clone().unwrap_or_default();
            let labels = vec![("interface", interface.interface.clone()), ("mode", mode)];
            (Owned(labels), i64::from(interface.mode.is_some()))
        }),
    )?;
    families.gauges(
        "windrose_edge_list_entries",
        "Entries of a deny list in force, as this agent has read it.",
        edge.view.lists.iter().filter_map(|list| {
            let entries = i64::try_from(list.entries?).unwrap_or(i64::MAX);
            Some((Owned(vec![("list", list.list.clone())]), entries))
        }),
    )?;
    families.gauges(
        "windrose_edge_list_ready",
        "1 if what a deny list has on disk, or at its URL, is in force.",
        edge.view
            .lists
            .iter()
            .map(|list| (Owned(vec![("list", list.list.clone())]), i64::from(list.is_ready()))),
    )?;
    families.counter(
        "windrose_edge_list_failures",
        "Times that a deny list was refused, and what was in force of it stayed.",
        &edge.view.list_failures,
    )?;
    let fetched = || edge.view.lists.iter().filter_map(|list| Some((&list.list, list.fetch.as_ref()?)));
    families.gauges(
        "windrose_edge_list_age_seconds",
        "Seconds since its server last said that this is the deny list.",
        fetched().filter_map(|(list, fetch)| {
            let age = i64::try_from(fetch.age_seconds?).unwrap_or(i64::MAX);
            Some((Owned(vec![("list", list.clone())]), age))
        }),
    )?;
    families.counters(
        "windrose_edge_list_fetch_failures",
        "Times that a deny list could not be fetched, by why.",
        fetched().flat_map(|(list, fetch)| {
            fetch.failures.iter().map(|(reason, count)| {
                (Owned(vec![("list", list.clone()), ("reason", reason.clone())]), *count)
            })
        }),
    )?;
    edge.balance.as_ref().map_or(Ok(()), |balance| encode_balance(balance, families))
}

fn encode_balance(balance: &BalanceSample, families: &mut Families<'_>) -> Result<(), fmt::Error> {
    let view = &balance.view;
    families.gauge(
        "windrose_edge_frontends",
        "Addresses and ports that are balanced.",
        &count(view.frontends),
    )?;
    families.gauge(
        "windrose_edge_balance_ready",
        "1 if what policy exposes is in force at the edge.",
        &i64::from(view.fault.is_none()),
    )?;
    families.counter(
        "windrose_edge_balance_failures",
        "Times that what policy exposes could not be put in force, and what was in force stayed.",
        &view.failures,
    )?;
    families.gauge(
        "windrose_edge_frontends_all_down",
        "Frontends of which every endpoint fails its checks, so that all are used.",
        &count(view.all_down),
    )?;
    families.gauges(
        "windrose_edge_endpoints",
        "Endpoints of what is exposed, by what they are to new connections.",
        balance.sources.iter().flat_map(|(source, sample)| {
            [("ready", sample.ready), ("draining", sample.draining), ("down", sample.down)].map(
                |(state, number)| {
                    let mut labels = labels(source);
                    labels.push(("state", state.to_owned()));
                    (Owned(labels), count(number))
                },
            )
        }),
    )?;
    let forwarded =
        || balance.sources.iter().map(|(source, sample)| (Owned(labels(source)), sample.forwarded));
    families.counters(
        "windrose_edge_forwarded_flows",
        "Flows of clients that were given an endpoint.",
        forwarded().map(|(labels, forwarded)| (labels, forwarded.flows)),
    )?;
    families.counters(
        "windrose_edge_forwarded_packets",
        "Packets of clients that were sent to endpoints.",
        forwarded().map(|(labels, forwarded)| (labels, forwarded.packets)),
    )?;
    families.counters(
        "windrose_edge_forwarded_bytes",
        "Bytes of these packets, from their IP header on.",
        forwarded().map(|(labels, forwarded)| (labels, forwarded.bytes)),
    )
}

fn labels(source: &ExposureSource) -> Vec<(&'static str, String)> {
    let (kind, name) = match source {
        ExposureSource::Service { name, .. } => ("Service", name),
        ExposureSource::Route { kind, name } => (kind.name(), name),
    };
    let port = match source {
        ExposureSource::Service { port, .. } => port.clone(),
        ExposureSource::Route { .. } => String::new(),
    };
    vec![
        ("kind", kind.to_owned()),
        ("namespace", name.namespace.clone()),
        ("name", name.name.clone()),
        ("port", port),
    ]
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
