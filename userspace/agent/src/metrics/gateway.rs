//! What the gateway counts.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use windrose_gateway::counters::Counters;
use windrose_gateway::refusal::{Blame, Refusal};
use windrose_gateway::series::{CLASSES, Names, Reading};
use windrose_gateway::wire::WireFault;
use windrose_gateway::{Gateway, HandshakeFault};

use super::families::{Families, Named, Owned, label};
use crate::north::North;
use crate::record::seconds;

/// Classes of status in the order of their numbers.
const CLASS_NAMES: [&str; CLASSES] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// What a scrape finds.
#[derive(Debug, Default)]
pub(super) struct GatewaySample {
    pub(super) series: Vec<Reading>,
    pub(super) refusals: Vec<(Refusal, u64)>,
    pub(super) wire_faults: Vec<(WireFault, u64)>,
    pub(super) handshake_faults: Vec<(HandshakeFault, u64)>,
    /// Those without labels: name, help, value.
    pub(super) counters: Vec<(&'static str, &'static str, u64)>,
    pub(super) gauges: Vec<(&'static str, &'static str, i64)>,
}

/// Adds up the workers' counters; `None`: the gateway has not started.
pub(super) fn sample(north: &North) -> Option<GatewaySample> {
    let (unwritten, unfollowed) = north.requests.lost();
    north.look(|gateway| {
        let total = |of: fn(&Counters) -> &AtomicU64| gateway.total(|counters| of(counters).load(Relaxed));
        GatewaySample {
            series: gateway.series(),
            refusals: Refusal::ALL
                .map(|refusal| (refusal, gateway.total(|of| of.refusals(refusal))))
                .to_vec(),
            wire_faults: WireFault::ALL
                .iter()
                .map(|fault| (*fault, gateway.total(|of| of.wire_faults(*fault))))
                .collect(),
            handshake_faults: HandshakeFault::ALL
                .map(|fault| (fault, gateway.total(|of| of.handshake_faults(fault))))
                .to_vec(),
            counters: vec![
                (
                    "windrose_gateway_connections",
                    "Connections of clients that were accepted.",
                    total(|counters| &counters.connections),
                ),
                (
                    "windrose_gateway_http2_connections",
                    "Connections of clients that spoke HTTP/2.",
                    total(|counters| &counters.connections_http2),
                ),
                (
                    "windrose_gateway_tls_handshakes",
                    "TLS handshakes with clients that came to their end.",
                    total(|counters| &counters.handshakes),
                ),
                (
                    "windrose_gateway_retries",
                    "Further tries of endpoints.",
                    total(|counters| &counters.retries),
                ),
                (
                    "windrose_gateway_upstream_connections",
                    "Connections to endpoints that were opened.",
                    total(|counters| &counters.upstream_opened),
                ),
                (
                    "windrose_gateway_upstream_connections_reused",
                    "Requests that went over a connection to an endpoint that was there.",
                    total(|counters| &counters.upstream_reused),
                ),
                (
                    "windrose_gateway_responses_cut_short",
                    "Responses that did not come to their end, by whomever.",
                    total(|counters| &counters.cut_short),
                ),
                (
                    "windrose_gateway_access_log_lines_lost",
                    "Lines of the access log for which there was no room, or that could not be written.",
                    total(|counters| &counters.log_lost) + unwritten,
                ),
                (
                    "windrose_gateway_follower_lines_lost",
                    "Lines that followers of /requests were too slow for.",
                    unfollowed,
                ),
            ],
            gauges: gauges(gateway),
        }
    })
}

fn gauges(gateway: &Gateway) -> Vec<(&'static str, &'static str, i64)> {
    let length = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    vec![
        (
            "windrose_gateway_connections_active",
            "Connections of clients that are open.",
            gateway.total(|counters| counters.connections_open.load(Relaxed)),
        ),
        (
            "windrose_gateway_exchanges_active",
            "Exchanges that have begun and not ended.",
            gateway.total(|counters| counters.exchanges_open.load(Relaxed)),
        ),
        ("windrose_gateway_workers", "Threads that serve.", length(gateway.workers())),
        ("windrose_gateway_addresses", "Addresses that are listened on.", length(gateway.addresses().len())),
        (
            "windrose_gateway_addresses_failed",
            "Addresses that are to be listened on and cannot be.",
            length(gateway.failures().len()),
        ),
    ]
}

/// The labels of a series, and others behind them.
struct Of<'a>(&'a Names, &'a [(&'a str, &'a str)]);

impl EncodeLabelSet for Of<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        let Names { gateway, listener, route } = self.0;
        let both = |name: &Option<windrose_policy::model::ObjectName>| {
            name.as_ref().map(|name| (name.namespace.clone(), name.name.clone())).unwrap_or_default()
        };
        let ((gateway_namespace, gateway), (route_namespace, route)) = (both(gateway), both(route));
        label(encoder, "gateway_namespace", &gateway_namespace)?;
        label(encoder, "gateway", &gateway)?;
        label(encoder, "listener", listener)?;
        label(encoder, "route_namespace", &route_namespace)?;
        label(encoder, "route", &route)?;
        self.1.iter().try_for_each(|(name, value)| label(encoder, name, value))
    }
}

/// Writes the gateway's families.
pub(super) fn encode(sample: &GatewaySample, families: &mut Families<'_>) -> Result<(), fmt::Error> {
    let mut requests = families.0.encode_descriptor(
        "windrose_gateway_requests",
        "Exchanges that have ended, by the class of their status and whose fault it was.",
        None,
        MetricType::Counter,
    )?;
    for reading in &sample.series {
        for (class, of_class) in reading.exchanges.iter().enumerate() {
            for (blame, count) in of_class.iter().enumerate().filter(|(_, count)| **count > 0) {
                let blame = blame.checked_sub(1).map_or("", |blame| Blame::ALL[blame].name());
                let labels = Of(&reading.names, &[("class", CLASS_NAMES[class]), ("blame", blame)]);
                requests.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
            }
        }
    }
    let mut times = families.0.encode_descriptor(
        "windrose_gateway_request_seconds",
        "How long exchanges took, from the request's head to the last byte of the response.",
        None,
        MetricType::Histogram,
    )?;
    for reading in &sample.series {
        let count: u64 = reading.times.iter().sum();
        if count == 0 {
            continue;
        }
        let bound = |bucket| Reading::bound(bucket).map_or(f64::INFINITY, |bound| bound.as_secs_f64());
        let buckets: Vec<(f64, u64)> =
            reading.times.iter().enumerate().map(|(bucket, count)| (bound(bucket), *count)).collect();
        let sum = seconds(reading.sum_us.saturating_mul(1000));
        times
            .encode_family(&Of(&reading.names, &[]))?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    families.counters(
        "windrose_gateway_refusals",
        "Exchanges that the gateway answered itself because they could not be served.",
        sample.refusals.iter().map(|(refusal, count)| {
            let blame = refusal.blame().name().to_owned();
            (Owned(vec![("reason", refusal.name().to_owned()), ("blame", blame)]), *count)
        }),
    )?;
    families.counters(
        "windrose_gateway_wire_faults",
        "Messages that were refused on the wire because they could be read in two ways.",
        sample.wire_faults.iter().map(|(fault, count)| (Named("fault", fault.name()), *count)),
    )?;
    families.counters(
        "windrose_gateway_tls_handshake_failures",
        "TLS handshakes with clients that failed.",
        sample.handshake_faults.iter().map(|(fault, count)| (Named("reason", fault.name()), *count)),
    )?;
    for (name, help, value) in &sample.counters {
        families.counter(name, help, value)?;
    }
    for (name, help, value) in &sample.gauges {
        families.gauge(name, help, value)?;
    }
    Ok(())
}
