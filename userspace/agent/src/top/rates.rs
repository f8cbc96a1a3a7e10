//! Two samples as rates: what came between them, by the second.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::gather::EDGE;
use super::sample::{ConnectionTotals, Drop, Pair, PairTotals, Sample, ServicePort, ServiceTotals};
use crate::quantile::{Scale, float};

/// What is shown of a moment: totals, and rates since the sample before.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Reading {
    /// RFC 3339.
    pub(crate) time: String,
    /// Between the two samples; 0: there was none before, and every rate is 0.
    pub(crate) seconds: f64,
    pub(crate) generation: u64,
    pub(crate) not_ready: Option<String>,
    pub(crate) processors: usize,
    /// Whether the kernel's run statistics are on.
    pub(crate) statistics: bool,
    pub(crate) dropped_packets: u64,
    pub(crate) dropped_packets_per_second: f64,
    pub(crate) lost_events: u64,
    /// Live connections and flows, each counted at both of its ends where both are workloads here. As
    /// many as are listed, or more.
    pub(crate) live: usize,
    pub(crate) pairs: Vec<PairRates>,
    pub(crate) connections: Vec<ConnectionRates>,
    pub(crate) drops: Vec<DropRates>,
    pub(crate) services: Vec<ServiceRates>,
    pub(crate) programs: Vec<ProgramRates>,
}

/// A pair, or what was refused of it: a refusal knows no port, and has a row of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct PairRates {
    #[serde(flatten)]
    pub(crate) pair: Pair,
    pub(crate) active: u64,
    pub(crate) opened: u64,
    pub(crate) opened_per_second: f64,
    pub(crate) ended_late: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_sent_per_second: f64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_received_per_second: f64,
    pub(crate) retransmits_per_second: f64,
    /// Of the round-trip times sampled between the two samples, microseconds; `None`: there was none.
    pub(crate) rtt_p50_us: Option<f64>,
    pub(crate) rtt_p99_us: Option<f64>,
    pub(crate) refused: u64,
    pub(crate) refused_per_second: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct ConnectionRates {
    #[serde(flatten)]
    pub(crate) connection: ConnectionTotals,
    pub(crate) bytes_sent_per_second: f64,
    pub(crate) bytes_received_per_second: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct DropRates {
    #[serde(flatten)]
    pub(crate) drop: Drop,
    pub(crate) attempts: u64,
    pub(crate) attempts_per_second: f64,
}

/// A port of a service, or one of its endpoints.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct ServiceRates {
    #[serde(flatten)]
    pub(crate) totals: ServiceTotals,
    pub(crate) connections_per_second: f64,
    pub(crate) refused_per_second: f64,
}

/// A program between the two samples, while the kernel's statistics were on.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct ProgramRates {
    pub(crate) program: String,
    pub(crate) hook: String,
    pub(crate) runs_per_second: f64,
    /// `None`: it did not run.
    pub(crate) ns_per_run: Option<f64>,
    /// Share of one processor, 0 to 1 for each processor.
    pub(crate) cpu_share: f64,
}

/// Makes rates of one sample after the other.
#[derive(Debug, Default)]
pub(crate) struct Rates(Option<Sample>);

impl Rates {
    /// The rates between the last sample and this one. After counters began anew there are none.
    pub(crate) fn next(&mut self, mut sample: Sample) -> Reading {
        let before = self.0.take().filter(|before| before.epoch == sample.epoch);
        if let Some(before) = &before {
            raise(&mut sample.pairs, &before.pairs);
        }
        let reading = reading(before.as_ref(), &sample);
        self.0 = Some(sample);
        reading
    }
}

/// Raises counters that have gone back. A connection that ends while the agent reads is missing from
/// its pair for once, and would be counted whole the next time.
fn raise(pairs: &mut [PairTotals], before: &[PairTotals]) {
    let before: HashMap<&Pair, &PairTotals> = before.iter().map(|totals| (&totals.pair, totals)).collect();
    for totals in pairs {
        if let Some(before) = before.get(&totals.pair) {
            totals.bytes_sent = totals.bytes_sent.max(before.bytes_sent);
            totals.bytes_received = totals.bytes_received.max(before.bytes_received);
            totals.retransmits = totals.retransmits.max(before.retransmits);
        }
    }
}

fn reading(before: Option<&Sample>, sample: &Sample) -> Reading {
    let passed_ns = before.map_or(0, |before| sample.monotonic_ns.saturating_sub(before.monotonic_ns));
    let seconds = float(passed_ns) / 1e9;
    let span = Span { seconds };
    Reading {
        time: sample.time.clone(),
        seconds,
        generation: sample.generation,
        not_ready: sample.not_ready.clone(),
        processors: sample.processors,
        statistics: sample.statistics,
        dropped_packets: sample.dropped_packets,
        dropped_packets_per_second: span
            .rate(sample.dropped_packets, before.map(|before| before.dropped_packets)),
        lost_events: sample.lost_events,
        live: sample.live,
        pairs: pairs(span, before, sample),
        connections: connections(span, before, sample),
        drops: drops(span, before, sample),
        services: services(span, before, sample),
        programs: programs(span, before, sample),
    }
}

/// The time between two samples.
#[derive(Clone, Copy)]
struct Span {
    /// 0: there is no sample before.
    seconds: f64,
}

impl Span {
    /// The rate of a counter. One that was not there before was 0; one that has gone back stood still.
    fn rate(self, now: u64, before: Option<u64>) -> f64 {
        if self.seconds > 0.0 { float(now.saturating_sub(before.unwrap_or(0))) / self.seconds } else { 0.0 }
    }
}

fn pairs(span: Span, before: Option<&Sample>, sample: &Sample) -> Vec<PairRates> {
    let known: HashMap<&Pair, &PairTotals> =
        before.into_iter().flat_map(|before| &before.pairs).map(|totals| (&totals.pair, totals)).collect();
    let mut rows: BTreeMap<Pair, PairRates> = BTreeMap::new();
    for totals in &sample.pairs {
        let was = known.get(&totals.pair);
        let rate = |of: fn(&PairTotals) -> u64| span.rate(of(totals), was.map(|was| of(was)));
        let rtt: Vec<u64> = totals
            .rtt
            .iter()
            .enumerate()
            .map(|(n, now)| now.saturating_sub(was.and_then(|was| was.rtt.get(n).copied()).unwrap_or(0)))
            .collect();
        let quantile = |q| if span.seconds > 0.0 { Scale::Octaves.quantile(&rtt, q) } else { None };
        rows.insert(
            totals.pair.clone(),
            PairRates {
                pair: totals.pair.clone(),
                active: totals.active,
                opened: totals.opened,
                opened_per_second: rate(|totals| totals.opened),
                ended_late: totals.ended_late,
                bytes_sent: totals.bytes_sent,
                bytes_sent_per_second: rate(|totals| totals.bytes_sent),
                bytes_received: totals.bytes_received,
                bytes_received_per_second: rate(|totals| totals.bytes_received),
                retransmits_per_second: rate(|totals| totals.retransmits),
                rtt_p50_us: quantile(0.5),
                rtt_p99_us: quantile(0.99),
                refused: 0,
                refused_per_second: 0.0,
            },
        );
    }
    for row in
        drops(span, before, sample).into_iter().filter(|row| !row.drop.audited && row.drop.direction != EDGE)
    {
        let pair = Pair {
            source: row.drop.source,
            destination: row.drop.destination,
            port: 0,
            protocol: row.drop.protocol,
        };
        let known = rows.entry(pair.clone()).or_insert_with(|| PairRates { pair, ..PairRates::default() });
        known.refused += row.attempts;
        known.refused_per_second += row.attempts_per_second;
    }
    rows.into_values().collect()
}

fn connections(span: Span, before: Option<&Sample>, sample: &Sample) -> Vec<ConnectionRates> {
    // The two ends of a connection have a cookie each.
    let known: HashMap<u64, &ConnectionTotals> = before
        .into_iter()
        .flat_map(|before| &before.connections)
        .map(|connection| (connection.id, connection))
        .collect();
    sample
        .connections
        .iter()
        .map(|connection| {
            // One that was there and not listed was idle, or is one of too many: no rate is better than
            // all that it ever sent.
            let was = known.get(&connection.id).copied();
            let is_new = connection.age_seconds > 0.0 && connection.age_seconds <= span.seconds;
            let rate = |of: fn(&ConnectionTotals) -> u64| match was {
                None if !is_new => 0.0,
                was => span.rate(of(connection), was.map(of)),
            };
            ConnectionRates {
                connection: connection.clone(),
                bytes_sent_per_second: rate(|connection| connection.bytes_sent),
                bytes_received_per_second: rate(|connection| connection.bytes_received),
            }
        })
        .collect()
}

fn drops(span: Span, before: Option<&Sample>, sample: &Sample) -> Vec<DropRates> {
    let known: HashMap<&Drop, u64> = before
        .into_iter()
        .flat_map(|before| &before.drops)
        .map(|totals| (&totals.drop, totals.attempts))
        .collect();
    sample
        .drops
        .iter()
        .map(|totals| DropRates {
            drop: totals.drop.clone(),
            attempts: totals.attempts,
            attempts_per_second: span.rate(totals.attempts, known.get(&totals.drop).copied()),
        })
        .collect()
}

fn services(span: Span, before: Option<&Sample>, sample: &Sample) -> Vec<ServiceRates> {
    let known: HashMap<&ServicePort, &ServiceTotals> =
        before.into_iter().flat_map(|before| &before.services).map(|totals| (&totals.port, totals)).collect();
    let rates = |totals: &ServiceTotals| {
        let was = known.get(&totals.port);
        ServiceRates {
            totals: totals.clone(),
            connections_per_second: span.rate(totals.connections, was.map(|was| was.connections)),
            refused_per_second: span.rate(totals.refused, was.map(|was| was.refused)),
        }
    };
    sample.services.iter().map(rates).collect()
}

fn programs(span: Span, before: Option<&Sample>, sample: &Sample) -> Vec<ProgramRates> {
    sample
        .programs
        .iter()
        .map(|now| {
            let was = before.and_then(|before| before.programs.iter().find(|was| was.program == now.program));
            // A program that a new agent has put in its place begins at 0.
            let was = was.filter(|was| was.runs <= now.runs);
            let runs = now.runs - was.map_or(0, |was| was.runs);
            let took_ns = now.run_time_ns.saturating_sub(was.map_or(0, |was| was.run_time_ns));
            let has_rate = span.seconds > 0.0;
            ProgramRates {
                program: now.program.clone(),
                hook: now.hook.clone(),
                runs_per_second: if has_rate { float(runs) / span.seconds } else { 0.0 },
                ns_per_run: (has_rate && runs > 0).then(|| float(took_ns) / float(runs)),
                cpu_share: if has_rate { float(took_ns) / 1e9 / span.seconds } else { 0.0 },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
