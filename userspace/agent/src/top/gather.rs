//! What `/top` answers, read from the kernel: cheap enough to be asked for every second.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::SystemTime;

use windrose_datapath::abi::{
    ConnectionRow, Direction, DropReason, EdgeReason, FlowKey, FlowRow, RefusalKey,
};
use windrose_datapath::{DatapathError, ProgramStatus};
use windrose_policy::model::ObjectName;
use windrose_policy::reference::protocol_name;

use super::sample::{ConnectionTotals, Drop, DropTotals, Pair, PairTotals, ProgramTotals, Sample};
use super::services::services;
use crate::agent::Agent;
use crate::book::Book;
use crate::clock::{Clock, rfc3339};
use crate::metrics::{Edge, Ports, Totals, collect};
use crate::record::{self, Balanced, ConnectionView, decided_by};

/// Who is no workload.
const OUTSIDE: &str = "outside";

/// A workload that no policy names any more.
const GONE: &str = "gone";

/// Where a frame is dropped before the network stack.
pub(super) const EDGE: &str = "edge";

/// Connections that are listed unless asked otherwise.
pub(crate) const LISTED: usize = 1000;

/// Asks the kernel; blocks for some milliseconds. No key of policy is counted.
pub(crate) fn sample(agent: &Agent, listed: usize) -> Result<Sample, DatapathError> {
    let datapath = agent.datapath()?;
    // In this order: a connection that ends between the two reads is missing this time, and whoever
    // asks keeps counters from going back.
    let edges = datapath.edges()?;
    let (connections, flows) = (datapath.connections()?, datapath.flows()?);
    let clock = Clock::now();
    let balanced = Balanced::new(&datapath.balanced()?);
    let refusals = datapath.refusals()?;
    let (totals, loads) = (datapath.service_totals()?, datapath.endpoint_loads()?);
    let (counts, mut programs) = (datapath.counts()?, datapath.programs()?);
    let (epoch, generation) = (datapath.epoch()?, datapath.generation());
    drop(datapath);
    let mut at_edge = None;
    if let Some(edge) = &agent.edge {
        programs.extend(edge.programs()?);
        at_edge = Some(edge.counts()?);
    }
    let snapshot = agent.snapshot();
    let book = &snapshot.book;
    Ok(Sample {
        time: rfc3339(SystemTime::now()),
        monotonic_ns: clock.monotonic_ns(),
        epoch,
        generation,
        not_ready: snapshot.not_ready.clone(),
        processors: available_parallelism().map_or(1, NonZero::get),
        statistics: agent.statistics.are_on(),
        dropped_packets: counts.dropped_packets,
        lost_events: counts.lost_events,
        live: connections.len() + flows.len(),
        pairs: pairs(&collect(book, Ports::All, &edges, &connections, &flows)),
        connections: list(book, &clock, connections, flows, &balanced, listed),
        drops: dropped_by_policy(book, &refusals)
            .into_iter()
            .chain(at_edge.into_iter().flatten().filter_map(dropped_by_edge))
            .collect(),
        services: services(book, &totals, &loads),
        programs: programs.into_iter().map(program).collect(),
    })
}

/// Each pair once: an edge between two workloads of this host is counted at both ends, and its source's
/// count is taken.
fn pairs(edges: &BTreeMap<Edge, Totals>) -> Vec<PairTotals> {
    let mut pairs: BTreeMap<Pair, (bool, PairTotals)> = BTreeMap::new();
    for (edge, totals) in edges {
        let pair = Pair {
            source: name(edge.source.as_ref()),
            destination: name(edge.destination.as_ref()),
            port: edge.port,
            protocol: protocol_name(edge.protocol),
        };
        let is_egress = edge.direction == Direction::Egress as u8;
        if pairs.get(&pair).is_some_and(|(known_is_egress, _)| *known_is_egress) {
            continue;
        }
        let (bytes_sent, bytes_received) = if is_egress {
            (totals.bytes_sent, totals.bytes_received)
        } else {
            (totals.bytes_received, totals.bytes_sent)
        };
        let used = totals.rtt.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        let totals = PairTotals {
            pair: pair.clone(),
            active: totals.active,
            opened: totals.opened,
            ended_late: totals.ended_late,
            bytes_sent,
            bytes_received,
            retransmits: totals.retransmits,
            rtt: totals.rtt[..used].to_vec(),
        };
        pairs.insert(pair, (is_egress, totals));
    }
    pairs.into_values().map(|(_, totals)| totals).collect()
}

/// The connections that were active last.
fn list(
    book: &Book,
    clock: &Clock,
    mut connections: Vec<ConnectionRow>,
    mut flows: Vec<(FlowKey, FlowRow)>,
    balanced: &Balanced,
    listed: usize,
) -> Vec<ConnectionTotals> {
    connections.sort_by_key(|row| std::cmp::Reverse(row.active_ns));
    flows.sort_by_key(|(_, row)| std::cmp::Reverse(row.active_ns));
    let (mut connections, mut flows) =
        (connections.into_iter().take(listed).peekable(), flows.into_iter().take(listed).peekable());
    let mut list = Vec::new();
    while list.len() < listed {
        let is_flow = match (connections.peek(), flows.peek()) {
            (Some(connection), Some((_, flow))) => flow.active_ns > connection.active_ns,
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (None, None) => break,
        };
        if is_flow {
            if let Some((key, row)) = flows.next() {
                let mut hasher = DefaultHasher::new();
                key.hash(&mut hasher);
                let age = age(clock, row.start_ns);
                list.push(connection(
                    &record::flow(&key, &row, balanced, book, clock),
                    hasher.finish(),
                    (0, 0),
                    age,
                ));
            }
        } else if let Some(row) = connections.next() {
            let age = age(clock, row.start_ns);
            let rtt = (row.srtt_us, record::min_rtt_us(&row));
            list.push(connection(&record::connection(&row, balanced, book, clock), row.cookie, rtt, age));
        }
    }
    list
}

fn age(clock: &Clock, start_ns: u64) -> f64 {
    if start_ns == 0 { 0.0 } else { clock.age_of(start_ns).as_secs_f64() }
}

fn connection(
    view: &ConnectionView,
    id: u64,
    (rtt_us, min_rtt_us): (u32, u32),
    age_seconds: f64,
) -> ConnectionTotals {
    let decided = &view.decided;
    let is_egress = decided.direction == Direction::Egress.as_str();
    let (bytes_sent, bytes_received) = if is_egress {
        (decided.bytes_sent, decided.bytes_received)
    } else {
        (decided.bytes_received, decided.bytes_sent)
    };
    ConnectionTotals {
        id,
        source: decided.source.name_and_port(),
        destination: decided.destination.name_and_port(),
        protocol: decided.protocol.clone(),
        direction: decided.direction.clone(),
        state: view.state.clone(),
        path: "stack".to_owned(),
        service: view.service.as_ref().map(|service| service.name.clone()).unwrap_or_default(),
        decided_by: decided_by(decided),
        bytes_sent,
        bytes_received,
        retransmits: u64::from(view.retransmits),
        rtt_us,
        min_rtt_us,
        age_seconds,
    }
}

fn dropped_by_policy(book: &Book, refusals: &[(RefusalKey, u64)]) -> Vec<DropTotals> {
    let named = |number: u32| match number {
        0 => OUTSIDE.to_owned(),
        number => book.workload(number).map_or_else(|| GONE.to_owned(), |name| full(name)),
    };
    let mut drops: BTreeMap<Drop, u64> = BTreeMap::new();
    for (key, attempts) in refusals {
        let is_egress = key.direction == Direction::Egress as u8;
        let (workload, peer) = (named(key.workload), named(key.peer_workload));
        let (source, destination) = if is_egress { (workload, peer) } else { (peer, workload) };
        let rule = book.rule(key.rule);
        let drop = Drop {
            reason: DropReason::try_from(key.reason).map_or("unknown_code", DropReason::as_str).to_owned(),
            rule: rule.map(|rule| format!("{} {}", rule.policy(), rule.rule())).unwrap_or_default(),
            place: rule.map(|rule| rule.place()).unwrap_or_default(),
            source,
            destination,
            // 0: nobody has looked at it.
            protocol: if key.protocol == 0 { String::new() } else { protocol_name(key.protocol) },
            direction: Direction::try_from(key.direction).map_or("", Direction::as_str).to_owned(),
            audited: key.audited != 0,
        };
        *drops.entry(drop).or_default() += attempts;
    }
    drops.into_iter().map(|(drop, attempts)| DropTotals { drop, attempts }).collect()
}

fn dropped_by_edge((reason, frames): (EdgeReason, u64)) -> Option<DropTotals> {
    if reason.passes() || frames == 0 {
        return None;
    }
    let drop = Drop { reason: reason.as_str().to_owned(), direction: EDGE.to_owned(), ..Drop::default() };
    Some(DropTotals { drop, attempts: frames })
}

fn program(status: ProgramStatus) -> ProgramTotals {
    ProgramTotals {
        program: status.name.to_owned(),
        hook: status.hook,
        runs: status.run_count,
        run_time_ns: status.run_time_ns,
    }
}

fn name(workload: Option<&Arc<ObjectName>>) -> String {
    workload.map_or_else(|| OUTSIDE.to_owned(), |name| full(name))
}

/// `namespace/name`.
pub(super) fn full(name: &ObjectName) -> String {
    format!("{}/{}", name.namespace, name.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrose_datapath::abi::{EdgeKey, EdgeRow};

    #[test]
    fn a_pair_is_counted_once_and_as_its_source_sees_it() {
        let edges: Vec<(EdgeKey, EdgeRow)> = [(0, 5, 50, 500), (1, 6, 600, 60)]
            .map(|(direction, opened, bytes_sent, bytes_received)| {
                let key = EdgeKey { source: 0, destination: 0, port: 80, protocol: 6, direction };
                (key, EdgeRow { opened, bytes_sent, bytes_received, ..EdgeRow::ZERO })
            })
            .into();
        let pairs_of =
            |rows: &[(EdgeKey, EdgeRow)]| pairs(&collect(&Book::default(), Ports::All, rows, &[], &[]));
        let both = pairs_of(&edges);
        assert_eq!(both.len(), 1);
        assert_eq!((both[0].opened, both[0].bytes_sent, both[0].bytes_received), (6, 600, 60));
        // From the destination alone: what it received is what the source sent.
        let one = pairs_of(&edges[..1]);
        assert_eq!((one[0].opened, one[0].bytes_sent, one[0].bytes_received), (5, 500, 50));
        assert_eq!((one[0].pair.source.as_str(), one[0].pair.port), (OUTSIDE, 80));
    }

    #[test]
    fn the_connections_that_were_active_last_are_listed() {
        let rows = (1..=5).map(|n| ConnectionRow { cookie: n, active_ns: 10 * n, ..ConnectionRow::ZERO });
        let flow = FlowRow { active_ns: 45, ..FlowRow::ZERO };
        let clock = Clock::now();
        let listed = list(
            &Book::default(),
            &clock,
            rows.collect(),
            vec![(FlowKey::ZERO, flow)],
            &Balanced::default(),
            3,
        );
        let ids: Vec<u64> = listed.iter().map(|connection| connection.id).collect();
        assert_eq!((ids[0], ids[2], listed.len()), (5, 4, 3));
        assert_eq!(listed[1].state, "active");
    }

    #[test]
    fn the_edge_shows_what_it_drops_and_not_what_it_lets_pass() {
        assert_eq!(dropped_by_edge((EdgeReason::Passed, 5)), None);
        assert_eq!(dropped_by_edge((EdgeReason::DeniedHost, 0)), None);
        let shown = dropped_by_edge((EdgeReason::DeniedHost, 5)).unwrap();
        assert_eq!((shown.attempts, shown.drop.direction.as_str()), (5, EDGE));
    }

    #[test]
    fn a_refusal_of_a_workload_that_is_gone_is_not_lost() {
        let key = RefusalKey { workload: 7, reason: DropReason::Isolated as u8, ..RefusalKey::default() };
        let drops = dropped_by_policy(&Book::default(), &[(key, 3), (RefusalKey { rule: 9, ..key }, 4)]);
        assert_eq!(drops.len(), 1, "the same to whoever reads it: {drops:?}");
        assert_eq!((drops[0].attempts, drops[0].drop.destination.as_str()), (7, GONE));
    }
}
