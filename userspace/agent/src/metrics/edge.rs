//! The families of the edge.

use std::fmt;

use super::families::{Families, Owned};
use crate::edge::EdgeSample;

/// Writes them.
pub(super) fn encode(edge: &EdgeSample, families: &mut Families<'_>) -> Result<(), fmt::Error> {
    families.counters(
        "windrose_edge_packets",
        "Frames that interfaces of the edge received, by what became of them.",
        edge.counts.iter().map(|(reason, count)| {
            let verdict = if reason.passes() { "pass" } else { "drop" };
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
        "1 if what a deny list has on disk is in force.",
        edge.view
            .lists
            .iter()
            .map(|list| (Owned(vec![("list", list.list.clone())]), i64::from(list.faults.is_empty()))),
    )?;
    families.counter(
        "windrose_edge_list_failures",
        "Times that a deny list was refused, and what was in force of it stayed.",
        &edge.view.list_failures,
    )
}
