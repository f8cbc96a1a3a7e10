//! Totals by edge: those of ended connections, and what the live ones have so far.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use windrose_datapath::abi::state::BUCKETS;
use windrose_datapath::abi::{ConnectionRow, Direction, EdgeKey, EdgeRow, FlowKey, FlowRow};
use windrose_policy::model::ObjectName;
use windrose_policy::reference::protocol_name;

use super::families::label;
use crate::book::Book;

/// Whose ports tell edges apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ports {
    /// Those of destinations that are workloads: other ports anybody picks, and labels are bounded.
    OfWorkloads,
    /// All that the kernel tells apart.
    All,
}

/// The labels of an edge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    /// Who opened; `None`: no workload.
    pub(crate) source: Option<Arc<ObjectName>>,
    /// Who accepted; `None`: no workload.
    pub(crate) destination: Option<Arc<ObjectName>>,
    /// See [`Ports`]; 0: not told apart.
    pub(crate) port: u16,
    pub(crate) protocol: u8,
    /// Which end counted: an edge between two workloads of this host is counted at both.
    pub(crate) direction: u8,
}

/// What is counted of an edge.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) ended_late: u64,
    pub(crate) active: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) packets_sent: u64,
    pub(crate) packets_received: u64,
    pub(crate) retransmits: u64,
    pub(crate) rtt: [u64; BUCKETS],
    pub(crate) rtt_sum_us: u64,
    pub(crate) lifetime: [u64; BUCKETS],
    pub(crate) lifetime_sum_ms: u64,
}

/// The highest totals that were shown, below which no later scrape may fall: Prometheus takes a
/// fall for a restart, and would count the whole value anew. Bounded by the map of edges.
#[derive(Debug, Default)]
pub(crate) struct Floor(BTreeMap<Edge, [u64; 5]>);

impl EncodeLabelSet for Edge {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        ends(encoder, self.source.as_deref(), self.destination.as_deref())?;
        let port = if self.port == 0 { String::new() } else { self.port.to_string() };
        label(encoder, "port", &port)?;
        label(encoder, "protocol", &protocol_name(self.protocol))?;
        label(encoder, "direction", direction(self.direction))
    }
}

/// The labels of two ends; empty ones, which Prometheus takes for absent, for no workload.
pub(super) fn ends(
    encoder: &mut LabelSetEncoder<'_>,
    source: Option<&ObjectName>,
    destination: Option<&ObjectName>,
) -> Result<(), fmt::Error> {
    for (namespace, workload, end) in [
        ("source_namespace", "source_workload", source),
        ("destination_namespace", "destination_workload", destination),
    ] {
        label(encoder, namespace, end.map_or("", |name| &name.namespace))?;
        label(encoder, workload, end.map_or("", |name| &name.name))?;
    }
    Ok(())
}

pub(super) fn direction(code: u8) -> &'static str {
    Direction::try_from(code).map_or("unknown", Direction::as_str)
}

/// Adds everything up. Rows of workloads that nobody knows any more are left out.
pub(crate) fn collect(
    book: &Book,
    ports: Ports,
    ended: &[(EdgeKey, EdgeRow)],
    connections: &[ConnectionRow],
    flows: &[(FlowKey, FlowRow)],
) -> BTreeMap<Edge, Totals> {
    let mut edges: BTreeMap<Edge, Totals> = BTreeMap::new();
    for (key, row) in ended {
        if let Some(edge) = edge(book, ports, key) {
            edges.entry(edge).or_default().add_ended(row);
        }
    }
    for row in connections {
        let (source, destination, port) = if row.direction == Direction::Egress as u8 {
            (row.workload, row.peer_workload, row.peer_port)
        } else {
            (row.peer_workload, row.workload, row.local_port)
        };
        // A handshake that is under way is no connection yet.
        if row.start_ns == 0 {
            continue;
        }
        let key = EdgeKey { source, destination, port, protocol: 6, direction: row.direction };
        if let Some(edge) = edge(book, ports, &key) {
            let totals = edges.entry(edge).or_default();
            totals.active += 1;
            totals.bytes_sent += row.bytes_sent;
            totals.bytes_received += row.bytes_received;
            totals.packets_sent += row.segments_sent;
            totals.packets_received += row.segments_received;
            totals.retransmits += u64::from(row.retransmits);
        }
    }
    for (key, row) in flows {
        let (source, destination, port) = if row.direction == Direction::Egress as u8 {
            (key.workload, row.peer_workload, key.peer_port)
        } else {
            (row.peer_workload, key.workload, key.local_port)
        };
        let protocol = u8::try_from(key.protocol).unwrap_or(u8::MAX);
        // An ICMP echo's identifier is no port.
        let port = if matches!(protocol, 6 | 17 | 132) { port } else { 0 };
        let key = EdgeKey { source, destination, port, protocol, direction: row.direction };
        if let Some(edge) = edge(book, ports, &key) {
            let totals = edges.entry(edge).or_default();
            totals.active += 1;
            totals.bytes_sent += row.bytes_sent;
            totals.bytes_received += row.bytes_received;
            totals.packets_sent += row.packets_sent;
            totals.packets_received += row.packets_received;
        }
    }
    edges
}

fn edge(book: &Book, ports: Ports, key: &EdgeKey) -> Option<Edge> {
    let named = |number| match number {
        0 => Some(None),
        number => book.workload(number).map(|name| Some(Arc::clone(name))),
    };
    let destination = named(key.destination)?;
    Some(Edge {
        source: named(key.source)?,
        port: if destination.is_some() || ports == Ports::All { key.port } else { 0 },
        destination,
        protocol: key.protocol,
        direction: key.direction,
    })
}

impl Totals {
    fn add_ended(&mut self, row: &EdgeRow) {
        self.opened += row.opened;
        self.closed += row.closed;
        self.ended_late += row.ended_late;
        self.bytes_sent += row.bytes_sent;
        self.bytes_received += row.bytes_received;
        self.packets_sent += row.packets_sent;
        self.packets_received += row.packets_received;
        self.retransmits += row.retransmits;
        self.rtt_sum_us += row.rtt_sum_us;
        self.lifetime_sum_ms += row.lifetime_sum_ms;
        for (sum, count) in self.rtt.iter_mut().zip(row.rtt) {
            *sum += count;
        }
        for (sum, count) in self.lifetime.iter_mut().zip(row.lifetime) {
            *sum += count;
        }
    }

    fn mixed(&mut self) -> [&mut u64; 5] {
        [
            &mut self.bytes_sent,
            &mut self.bytes_received,
            &mut self.packets_sent,
            &mut self.packets_received,
            &mut self.retransmits,
        ]
    }
}

impl Floor {
    /// Raises what is below the floor, and the floor to what is above. Edges that are gone are
    /// forgotten.
    pub(super) fn raise(&mut self, edges: &mut BTreeMap<Edge, Totals>) {
        let before = std::mem::take(&mut self.0);
        for (edge, totals) in edges {
            let mut floor = before.get(edge).copied().unwrap_or_default();
            for (floor, total) in floor.iter_mut().zip(totals.mixed()) {
                *total = (*total).max(*floor);
                *floor = *total;
            }
            self.0.insert(edge.clone(), floor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bytes_sent: u64) -> BTreeMap<Edge, Totals> {
        let edge = Edge { source: None, destination: None, port: 0, protocol: 6, direction: 1 };
        BTreeMap::from([(edge, Totals { bytes_sent, ..Totals::default() })])
    }

    #[test]
    fn a_connection_between_two_reads_does_not_let_a_counter_fall() {
        let mut floor = Floor::default();
        let shown = |floor: &mut Floor, bytes| {
            let mut edges = one(bytes);
            floor.raise(&mut edges);
            edges.pop_first().unwrap().1.bytes_sent
        };
        assert_eq!(shown(&mut floor, 100), 100);
        assert_eq!(shown(&mut floor, 40), 100);
        assert_eq!(shown(&mut floor, 140), 140);
    }

    #[test]
    fn ports_of_destinations_that_are_no_workload_are_no_labels() {
        let rows: Vec<(EdgeKey, EdgeRow)> = [80, 443]
            .map(|port| {
                let key = EdgeKey { source: 0, destination: 0, port, protocol: 6, direction: 1 };
                (key, EdgeRow { opened: 1, ..EdgeRow::ZERO })
            })
            .into();
        let edges = collect(&Book::default(), Ports::OfWorkloads, &rows, &[], &[]);
        assert_eq!(edges.len(), 1);
        assert_eq!(edges.first_key_value().unwrap().1.opened, 2);
        assert_eq!(collect(&Book::default(), Ports::All, &rows, &[], &[]).len(), 2);
    }
}
