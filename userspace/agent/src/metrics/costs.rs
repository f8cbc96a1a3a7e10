//! What the kernel's half costs: memory and complexity always, verdicts and look-ups where they are
//! timed.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::MetricType;
use windrose_datapath::abi::profile::TIME_BUCKETS;
use windrose_datapath::abi::{Direction, Origin, Verdict};
use windrose_datapath::{MapMemory, Measured, Spent};

use super::Sample;
use super::families::{Families, Named, label};
use crate::book::Book;
use crate::quantile::Scale;
use crate::record::seconds;

/// How a verdict was found.
const HOW: [&str; 2] = ["remembered", "decided"];

/// Powers of two that bound the histogram of verdicts: 64 ns to 65 us.
const BITS: std::ops::RangeInclusive<usize> = 6..=16;

/// The cost of the kernel's half.
#[derive(Debug, Default)]
pub(super) struct Costs {
    pub(super) maps: Vec<MapMemory>,
    /// `None`: verdicts are not timed.
    pub(super) verdicts: Option<VerdictCosts>,
}

/// Verdicts and look-ups by name.
#[derive(Debug)]
pub(super) struct VerdictCosts {
    measured: Measured,
    rules: Vec<(RuleLabels, Spent)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct RuleLabels {
    policy: String,
    rule: String,
    origin: &'static str,
    direction: &'static str,
    verdict: &'static str,
    how: &'static str,
}

impl EncodeLabelSet for &RuleLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        label(encoder, "policy", &self.policy)?;
        label(encoder, "rule", &self.rule)?;
        label(encoder, "origin", self.origin)?;
        label(encoder, "direction", self.direction)?;
        label(encoder, "verdict", self.verdict)?;
        label(encoder, "how", self.how)
    }
}

impl VerdictCosts {
    /// With the names of rules. Those that nobody knows any more are left out.
    pub(super) fn new(measured: Measured, book: &Book) -> Self {
        let mut rules: Vec<(RuleLabels, Spent)> = Vec::new();
        for (key, spent) in &measured.rules {
            let rule = book.rule(key.rule);
            if rule.is_none() && key.rule != 0 {
                continue;
            }
            for (how, spent) in HOW.into_iter().zip(spent) {
                let labels = RuleLabels {
                    policy: rule.map(|rule| rule.policy()).unwrap_or_default(),
                    rule: rule.map(|rule| rule.rule()).unwrap_or_default(),
                    origin: Origin::try_from(key.origin).map_or("unknown", Origin::as_str),
                    direction: Direction::try_from(key.direction).map_or("unknown", Direction::as_str),
                    verdict: Verdict::try_from(key.verdict).map_or("unknown", Verdict::as_str),
                    how,
                };
                rules.push((labels, *spent));
            }
        }
        rules.sort_by(|a, b| a.0.cmp(&b.0));
        Self { measured, rules }
    }
}

impl Sample {
    pub(super) fn costs(&self, families: &mut Families<'_>) -> Result<(), fmt::Error> {
        let maps: Vec<(String, u64)> =
            self.costs.maps.iter().map(|map| (map.map.to_lowercase(), map.memory_bytes)).collect();
        families.gauges(
            "windrose_map_memory_bytes",
            "Memory of a kernel map by the kernel's account; of socket storage only its head.",
            maps.iter().map(|(map, bytes)| (Named("map", map), *bytes)),
        )?;
        families.gauges(
            "windrose_program_verified_instructions",
            "Instructions that the kernel's verifier walked when the program was loaded.",
            self.programs
                .iter()
                .map(|program| (Named("program", program.name), i64::from(program.verified_instructions))),
        )?;
        match &self.costs.verdicts {
            Some(verdicts) => verdicts.encode(families),
            None => Ok(()),
        }
    }
}

impl VerdictCosts {
    fn encode(&self, families: &mut Families<'_>) -> Result<(), fmt::Error> {
        let measured = &self.measured;
        let both = [(measured.hits, &measured.hit_times), (measured.misses, &measured.miss_times)];
        families.counters(
            "windrose_verdicts",
            "Verdicts, by how they were found, while they were timed.",
            HOW.iter().zip(both).map(|(how, (spent, _))| (Named("how", how), spent.verdicts)),
        )?;
        let mut family = families.0.encode_descriptor(
            "windrose_verdict_seconds",
            "Time of a verdict, one in 16 left out; the sum leaves out those above 65 us, which were interrupted.",
            None,
            MetricType::Histogram,
        )?;
        for (how, (spent, times)) in HOW.iter().zip(both) {
            let count: u64 = times.iter().sum();
            family
                .encode_family(&Named("how", how))?
                .encode_histogram::<prometheus_client::encoding::NoLabelSet>(
                    seconds(spent.sum_ns),
                    count,
                    &buckets(times),
                    None,
                )?;
        }
        let of =
            |value: fn(&Spent) -> u64| self.rules.iter().map(move |(labels, spent)| (labels, value(spent)));
        families.counters(
            "windrose_rule_verdicts",
            "Verdicts by what decided.",
            of(|spent| spent.verdicts),
        )?;
        families.counters(
            "windrose_rule_verdicts_timed",
            "Verdicts by what decided, those whose time is known.",
            of(|spent| spent.timed),
        )?;
        families.counters(
            "windrose_rule_verdict_seconds",
            "Time of the verdicts whose time is known, by what decided.",
            self.rules.iter().map(|(labels, spent)| (labels, seconds(spent.sum_ns))),
        )?;
        families.counter(
            "windrose_rule_verdicts_unnamed",
            "Verdicts for whose rule there was no room.",
            &measured.unnamed,
        )?;
        families.counters(
            "windrose_look_ups_timed",
            "Look-ups that were timed, of about one run in 16 that looked at policy; `clock`: none, but its time.",
            measured.look_ups.iter().map(|look_ups| (Named("map", look_ups.kind.as_str()), look_ups.count)),
        )?;
        families.counters(
            "windrose_look_up_seconds",
            "Time of the look-ups that were timed, with that of the clock.",
            measured
                .look_ups
                .iter()
                .map(|look_ups| (Named("map", look_ups.kind.as_str()), seconds(look_ups.sum_ns))),
        )
    }
}

/// Upper bounds in seconds, which are bounds of the kernel's buckets too, and the count in each.
fn buckets(times: &[u64; TIME_BUCKETS]) -> Vec<(f64, u64)> {
    let mut shown = Vec::new();
    let mut from = 0;
    for bit in BITS {
        let to = 4 * bit;
        shown.push((seconds(Scale::Quarters.floor(to)), times[from..to].iter().sum()));
        from = to;
    }
    shown.push((f64::INFINITY, times[from..].iter().sum()));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_is_in_a_bucket_with_an_exact_bound() {
        let mut times = [0; TIME_BUCKETS];
        // 63 ns, 64 ns, 65 us, and a second.
        for (bucket, count) in [(23, 1), (24, 2), (63, 4), (120, 8)] {
            times[bucket] = count;
        }
        let buckets = buckets(&times);
        assert_eq!(buckets[0], (64e-9, 1));
        assert_eq!(buckets[1], (128e-9, 2));
        assert_eq!(buckets[10], (65_536e-9, 4));
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, 8)));
    }
}
