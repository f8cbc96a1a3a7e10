//! Every metric family: its name, its help, its samples. The names are a contract.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelKey, EncodeLabelSet,
    EncodeLabelValue, LabelSetEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use windrose_datapath::abi::state::BUCKETS;

use super::Sample;
use super::edges::{Edge, Totals};
use crate::record::seconds;

/// Writes one label.
pub(super) fn label(encoder: &mut LabelSetEncoder<'_>, name: &str, value: &str) -> Result<(), fmt::Error> {
    let mut label = encoder.encode_label();
    let mut key = label.encode_label_key()?;
    EncodeLabelKey::encode(&name, &mut key)?;
    let mut text = key.encode_label_value()?;
    EncodeLabelValue::encode(&value, &mut text)?;
    text.finish()
}

/// Label names and values.
struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.iter().try_for_each(|(name, value)| label(encoder, name, value))
    }
}

/// Label names and values of the samples' own.
pub(super) struct Owned(pub(super) Vec<(&'static str, String)>);

impl EncodeLabelSet for Owned {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.iter().try_for_each(|(name, value)| label(encoder, name, value))
    }
}

/// A kernel's log2 histogram as a metric's: every second bucket, so that a series has 12.
struct Histogram {
    /// Upper bound in the kernel's unit of the first bucket that is shown, a power of two.
    first_bit: usize,
    /// Kernel units in a second.
    per_second: f64,
}

/// 16 us to 4.2 s.
const RTT: Histogram = Histogram { first_bit: 4, per_second: 1e6 };

/// 16 ms to 70 minutes.
const LIFETIME: Histogram = Histogram { first_bit: 4, per_second: 1e3 };

/// Finite buckets that are shown.
const SHOWN: usize = 10;

impl Histogram {
    /// Upper bounds in seconds and the count in each. Bucket n of the kernel holds values below
    /// 2^(n+1), so that the bounds are exact.
    fn buckets(&self, counts: &[u64; BUCKETS]) -> Vec<(f64, u64)> {
        let mut shown = Vec::with_capacity(SHOWN + 1);
        let mut from = 0;
        for n in 0..SHOWN {
            let bit = self.first_bit + 2 * n;
            let count = counts[from..bit].iter().sum();
            // An exact power of two: at most 2^22.
            let bound = f64::from(1_u32 << bit) / self.per_second;
            shown.push((bound, count));
            from = bit;
        }
        shown.push((f64::INFINITY, counts[from..].iter().sum()));
        shown
    }
}

/// Writes families one after another.
pub(super) struct Families<'a>(pub(super) DescriptorEncoder<'a>);

impl Families<'_> {
    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: &impl EncodeCounterValue,
    ) -> Result<(), fmt::Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(value, None)
    }

    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        value: &impl EncodeGaugeValue,
    ) -> Result<(), fmt::Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(value)
    }

    pub(super) fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) -> Result<(), fmt::Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    pub(super) fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) -> Result<(), fmt::Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn edge_counters(
        &mut self,
        edges: &BTreeMap<Edge, Totals>,
        name: &str,
        help: &str,
        value: impl Fn(&Totals) -> u64,
    ) -> Result<(), fmt::Error> {
        self.counters(name, help, edges.iter().map(|(edge, totals)| (ByRef(edge), value(totals))))
    }

    /// Edges without a sample have no series: UDP has no round-trip times.
    fn edge_histograms(
        &mut self,
        edges: &BTreeMap<Edge, Totals>,
        name: &str,
        help: &str,
        histogram: &Histogram,
        value: impl Fn(&Totals) -> (&[u64; BUCKETS], f64),
    ) -> Result<(), fmt::Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (edge, totals) in edges {
            let (counts, sum) = value(totals);
            let count: u64 = counts.iter().sum();
            if count > 0 {
                let buckets = histogram.buckets(counts);
                family.encode_family(edge)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
            }
        }
        Ok(())
    }
}

/// A label set that is borrowed.
struct ByRef<'a, L>(&'a L);

impl<L: EncodeLabelSet> EncodeLabelSet for ByRef<'_, L> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }
}

impl Collector for Sample {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut families = Families(encoder);
        if self.has_kernel {
            self.connections(&mut families)?;
            self.refused(&mut families)?;
            self.services(&mut families)?;
        }
        self.policy(&mut families)?;
        if self.has_kernel {
            self.kernel(&mut families)?;
        }
        build(&mut families)?;
        if self.has_kernel {
            self.edge.as_ref().map_or(Ok(()), |edge| super::edge::encode(edge, &mut families))?;
            self.costs(&mut families)?;
        }
        self.gateway.as_ref().map_or(Ok(()), |gateway| super::gateway::encode(gateway, &mut families))
    }
}

impl Sample {
    fn connections(&self, families: &mut Families<'_>) -> Result<(), fmt::Error> {
        let edges = &self.edges;
        families.edge_counters(
            edges,
            "windrose_connections_opened",
            "Connections and flows that were established, counted at each end that is a workload of this host.",
            |totals| totals.opened,
        )?;
        families.edge_counters(
            edges,
            "windrose_connections_closed",
            "Connections and flows that ended by themselves.",
            |totals| totals.closed,
        )?;
        families.edge_counters(
            edges,
            "windrose_connections_ended_late",
            "Connections and flows that were ended because policy no longer allowed them.",
            |totals| totals.ended_late,
        )?;
        families.gauges(
            "windrose_connections_active",
            "Connections and flows that are live.",
            edges.iter().map(|(edge, totals)| (ByRef(edge), totals.active)),
        )?;
        families.edge_counters(
            edges,
            "windrose_sent_bytes",
            "Payload bytes that the counting end sent, without retransmissions.",
            |totals| totals.bytes_sent,
        )?;
        families.edge_counters(
            edges,
            "windrose_received_bytes",
            "Payload bytes that the counting end received.",
            |totals| totals.bytes_received,
        )?;
        families.edge_counters(
            edges,
            "windrose_sent_packets",
            "TCP segments, or packets of other protocols, that the counting end sent.",
            |totals| totals.packets_sent,
        )?;
        families.edge_counters(
            edges,
            "windrose_received_packets",
            "TCP segments, or packets of other protocols, that the counting end received.",
            |totals| totals.packets_received,
        )?;
        families.edge_counters(
            edges,
            "windrose_retransmitted_packets",
            "TCP segments that the counting end sent again.",
            |totals| totals.retransmits,
        )?;
        families.edge_histograms(
            edges,
            "windrose_connection_rtt_seconds",
            "Smoothed round-trip time of TCP: each live connection every few seconds, and at its end.",
            &RTT,
            |totals| (&totals.rtt, seconds(totals.rtt_sum_us.saturating_mul(1000))),
        )?;
        families.edge_histograms(
            edges,
            "windrose_connection_lifetime_seconds",
            "How long connections and flows lived that have ended.",
            &LIFETIME,
            |totals| (&totals.lifetime, seconds(totals.lifetime_sum_ms.saturating_mul(1_000_000))),
        )
    }

    fn refused(&self, families: &mut Families<'_>) -> Result<(), fmt::Error> {
        let of = |is_audited: bool| {
            let refusals = self.refusals.iter().filter(move |(refusal, _)| refusal.is_audited == is_audited);
            refusals.map(|(refusal, count)| (ByRef(refusal), *count))
        };
        families.counters(
            "windrose_connections_refused",
            "Attempts that were refused, by reason and the rule that decided.",
            of(false),
        )?;
        families.counters(
            "windrose_connections_audited",
            "Attempts whose verdict would differ if nothing were in audit, by the rule that would decide.",
            of(true),
        )?;
        families.counter(
            "windrose_dropped_packets",
            "Packets that were dropped, repetitions of a refused attempt among them.",
            &self.counts.dropped_packets,
        )?;
        families.counters(
            "windrose_deny_answers",
            "Answers sent to refused ingress, where the configuration asks for them.",
            self.answers.iter().map(|(kind, count)| (Named("kind", kind), *count)),
        )?;
        families.counters(
            "windrose_deny_answers_suppressed",
            "Refused packets that were to be answered and were not: over the limit, too late, or failed.",
            self.suppressed_answers.iter().map(|(reason, count)| (Named("reason", reason), *count)),
        )
    }

    fn services(&self, families: &mut Families<'_>) -> Result<(), fmt::Error> {
        let ports = &self.services.ports;
        families.counters(
            "windrose_service_connections",
            "Connections, and sockets of UDP, that a service has given an endpoint.",
            ports.iter().map(|(port, totals)| (ByRef(port), totals.connections)),
        )?;
        families.counters(
            "windrose_service_connections_refused",
            "Connections, and sends of UDP, that were refused because no endpoint was ready.",
            ports.iter().map(|(port, totals)| (ByRef(port), totals.refused)),
        )?;
        families.counters(
            "windrose_service_connections_ended",
            "Connections that were ended because their endpoint was gone.",
            ports.iter().map(|(port, totals)| (ByRef(port), totals.ended)),
        )?;
        let endpoints = &self.services.endpoints;
        families.counters(
            "windrose_endpoint_connections",
            "Connections, and sockets of UDP, that were given an endpoint, since it is one.",
            endpoints.iter().map(|(endpoint, load)| (ByRef(endpoint), load.connections)),
        )?;
        families.gauges(
            "windrose_endpoint_connections_active",
            "TCP connections of this host to an endpoint that are live.",
            endpoints.iter().map(|(endpoint, load)| (ByRef(endpoint), load.live)),
        )
    }

    fn policy(&self, families: &mut Families<'_>) -> Result<(), fmt::Error> {
        let snapshot = &self.snapshot;
        let length = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        families.gauge(
            "windrose_policy_generation",
            "Number of the policy in force; 0 is none.",
            &snapshot.generation,
        )?;
        let is_ready = i64::from(snapshot.not_ready.is_none());
        families.gauge("windrose_policy_ready", "1 if this agent has put a policy in force.", &is_ready)?;
        families.counter(
            "windrose_policy_reloads",
            "Times that policy was put in force.",
            &snapshot.reloads,
        )?;
        families.counter(
            "windrose_policy_reload_failures",
            "Times that policy was refused, and the one in force stayed.",
            &snapshot.reload_failures,
        )?;
        let last = |duration: Duration| duration.as_secs_f64();
        families.gauge(
            "windrose_policy_compile_seconds",
            "How long the policy in force took to read and compile.",
            &last(snapshot.compile),
        )?;
        families.gauge(
            "windrose_policy_verify_seconds",
            "How long the compiled tables of the policy in force took to verify.",
            &last(snapshot.verify),
        )?;
        families.gauge(
            "windrose_policy_apply_seconds",
            "How long the policy in force took to write to the kernel.",
            &last(snapshot.apply),
        )?;
        families.gauge(
            "windrose_workloads",
            "Workloads of the policy in force.",
            &length(snapshot.counts.workloads),
        )?;
        families.gauge("windrose_policies", "Policies in force.", &length(snapshot.counts.policies))?;
        families.gauge(
            "windrose_policy_rules",
            "Rules of the policies in force.",
            &length(snapshot.counts.rules),
        )?;
        families.gauge(
            "windrose_services",
            "Services of the policy in force that have an address.",
            &length(snapshot.counts.services),
        )?;
        families.gauge(
            "windrose_endpoints",
            "Endpoints of the ports of these services, draining ones too.",
            &length(snapshot.counts.endpoints),
        )?;
        families.gauge(
            "windrose_namespaces",
            "Namespaces of the policy in force.",
            &length(snapshot.counts.namespaces),
        )
    }

    fn kernel(&self, families: &mut Families<'_>) -> Result<(), fmt::Error> {
        let maps: Vec<(String, usize, usize)> =
            self.maps.iter().map(|fill| (fill.map.to_lowercase(), fill.entries, fill.capacity)).collect();
        let of = |value: fn(&(String, usize, usize)) -> usize| {
            maps.iter().map(move |map| (Named("map", &map.0), value(map)))
        };
        families.gauges("windrose_map_entries", "Entries in a kernel map.", of(|map| map.1))?;
        families.gauges(
            "windrose_map_capacity_entries",
            "Entries that a kernel map has room for.",
            of(|map| map.2),
        )?;
        families.counters(
            "windrose_program_runs",
            "Runs of a program while the kernel's statistics were on.",
            self.programs.iter().map(|program| (Named("program", program.name), program.run_count)),
        )?;
        families.counters(
            "windrose_program_run_seconds",
            "Time spent in a program while the kernel's statistics were on.",
            self.programs
                .iter()
                .map(|program| (Named("program", program.name), seconds(program.run_time_ns))),
        )?;
        families.counter("windrose_events", "Events that were read from the kernel.", &self.events)?;
        families.counter(
            "windrose_events_lost",
            "Events for which the kernel's ring buffer had no room.",
            &self.counts.lost_events,
        )?;
        families.counter(
            "windrose_follower_events_lost",
            "Events that followers of /flows were too slow for.",
            &self.follower_events_lost,
        )?;
        families.counter(
            "windrose_refusals_unnamed",
            "Refusals that found no room for their workloads and rule.",
            &self.counts.unnamed_refusals,
        )?;
        families.counter(
            "windrose_edges_unnamed",
            "Connections that found no room for the totals of their edge.",
            &self.counts.unnamed_edges,
        )?;
        families.counter(
            "windrose_connections_unaccounted",
            "Connections whose row could not be allocated.",
            &self.counts.no_connection_row,
        )?;
        families.counter(
            "windrose_service_connections_unaccounted",
            "Connections to services that were refused because their row could not be allocated.",
            &self.counts.no_balanced_row,
        )?;
        families.counter(
            "windrose_endpoint_loads_uncounted",
            "Connections that found no room for their endpoint's load or their service's totals.",
            &self.counts.uncounted_loads,
        )
    }
}

fn build(families: &mut Families<'_>) -> Result<(), fmt::Error> {
    let mut info = families.0.encode_descriptor(
        "windrose_build",
        "Version of this agent and of the layouts in the kernel.",
        None,
        MetricType::Info,
    )?;
    let abi = windrose_datapath::abi::ABI_VERSION.to_string();
    info.encode_info(&Labels(&[("version", env!("CARGO_PKG_VERSION")), ("abi", &abi)]))
}

/// One label.
pub(super) struct Named<'a>(pub(super) &'a str, pub(super) &'a str);

impl EncodeLabelSet for Named<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        label(encoder, self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_of_the_kernel_is_in_a_bucket_with_an_exact_bound() {
        let mut counts = [0; BUCKETS];
        // 15 us, 16 us, 63 us, 64 us, and an hour.
        for (bucket, count) in [(3, 1), (4, 2), (5, 4), (6, 8), (31, 16)] {
            counts[bucket] = count;
        }
        let buckets = RTT.buckets(&counts);
        assert_eq!(buckets[0], (16e-6, 1));
        assert_eq!(buckets[1], (64e-6, 6));
        assert_eq!(buckets[2], (256e-6, 8));
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, 16)));
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), counts.iter().sum::<u64>());
    }
}
