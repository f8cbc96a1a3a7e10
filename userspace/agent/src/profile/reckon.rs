//! From what was counted to a report: differences, means, what measuring took taken off.

use windrose_datapath::abi::profile::TIME_BUCKETS;
use windrose_datapath::abi::{Direction, Lookup, Origin, Verdict};
use windrose_datapath::{MapFill, MapMemory, Measured, ProgramMemory, ProgramStatus, Spent, StatisticsCost};

use super::report::{Bucket, HookCost, LookUpCost, MapCost, Measuring, Report, RuleCost, VerdictCost};
use crate::book::Book;
use crate::quantile::{Scale, float};

/// What was read at the end of a profile, and of programs at its beginning.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) began: String,
    /// While verdicts were timed.
    pub(super) seconds: f64,
    /// While runs were counted; a little longer.
    pub(super) counted_seconds: f64,
    pub(super) statistics_cost: StatisticsCost,
    pub(super) programs_before: Vec<ProgramStatus>,
    pub(super) programs: Vec<ProgramStatus>,
    pub(super) program_memory: Vec<ProgramMemory>,
    /// What came in between.
    pub(super) measured: Measured,
    pub(super) maps: Vec<MapMemory>,
    pub(super) fill: Vec<MapFill>,
    pub(super) generation: u64,
    pub(super) processors: usize,
}

/// Makes the report.
pub(super) fn reckon(taken: &Taken, book: &Book) -> Report {
    let measured = &taken.measured;
    let clock_ns = clock(measured);
    let take_off = clock_ns.unwrap_or(0.0);
    Report {
        began: taken.began.clone(),
        seconds: taken.seconds,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        processors: taken.processors,
        generation: taken.generation,
        measuring: Measuring {
            statistics_in_run_time_ns: taken.statistics_cost.in_run_time_ns,
            statistics_per_run_ns: taken.statistics_cost.per_run_ns,
            clock_ns,
        },
        hooks: hooks(taken),
        hits: verdicts(measured.hits, &measured.hit_times, take_off, taken.seconds),
        misses: verdicts(measured.misses, &measured.miss_times, take_off, taken.seconds),
        rules: rules(measured, book, take_off),
        verdicts_of_other_rules: measured.unnamed,
        look_ups: look_ups(measured, take_off, taken.seconds),
        runs: measured.runs,
        sampled_runs: measured.sampled_runs,
        maps: maps(taken),
    }
}

/// What reading the clock twice takes in the mean.
fn clock(measured: &Measured) -> Option<f64> {
    let clock = measured.look_ups.iter().find(|look_ups| look_ups.kind == Lookup::Clock)?;
    (clock.count > 0).then(|| float(clock.sum_ns) / float(clock.count))
}

/// A mean with what measuring takes taken off.
fn mean(sum_ns: u64, count: u64, take_off: f64) -> Option<f64> {
    (count > 0).then(|| (float(sum_ns) / float(count) - take_off).max(0.0))
}

fn by_second(count: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { count / seconds } else { 0.0 }
}

fn hooks(taken: &Taken) -> Vec<HookCost> {
    let mut hooks: Vec<HookCost> = taken
        .programs
        .iter()
        .map(|program| {
            // By name: while verdicts were timed another program was in its place, with another number.
            let before = taken.programs_before.iter().find(|before| before.name == program.name);
            let runs = program.run_count.saturating_sub(before.map_or(0, |before| before.run_count));
            let took = program.run_time_ns.saturating_sub(before.map_or(0, |before| before.run_time_ns));
            let ns_per_run = mean(took, runs, taken.statistics_cost.in_run_time_ns);
            let memory = taken.program_memory.iter().find(|memory| memory.program == program.name);
            HookCost {
                program: program.name.to_owned(),
                hook: program.hook.clone(),
                runs,
                runs_per_second: by_second(float(runs), taken.counted_seconds),
                ns_per_run,
                cpu_share: by_second(ns_per_run.unwrap_or(0.0) * float(runs) / 1e9, taken.counted_seconds),
                counted_run_time_ns: took,
                verified_instructions: program.verified_instructions,
                instructions: program.instructions,
                machine_code_bytes: program.machine_code_bytes,
                memory_bytes: memory.map_or(0, |memory| memory.memory_bytes),
            }
        })
        .collect();
    hooks.sort_by(|a, b| b.cpu_share.total_cmp(&a.cpu_share));
    hooks
}

fn verdicts(spent: Spent, times: &[u64; TIME_BUCKETS], take_off: f64, seconds: f64) -> VerdictCost {
    let quantile = |q| Scale::Quarters.quantile(times, q).map(|ns| (ns - take_off).max(0.0));
    let (first, last) =
        (times.iter().position(|count| *count > 0), times.iter().rposition(|count| *count > 0));
    let range = first.zip(last).map_or(0..0, |(first, last)| first..last + 1);
    let buckets = range.map(|n| {
        let from_ns = Scale::Quarters.floor(n);
        let to_ns = if n + 1 == TIME_BUCKETS { from_ns } else { Scale::Quarters.ceiling(n) };
        Bucket { from_ns, to_ns, count: times[n] }
    });
    VerdictCost {
        verdicts: spent.verdicts,
        per_second: by_second(float(spent.verdicts), seconds),
        timed: spent.timed,
        mean_ns: mean(spent.sum_ns, spent.timed, take_off),
        p50_ns: quantile(0.5),
        p90_ns: quantile(0.9),
        p99_ns: quantile(0.99),
        histogram: buckets.collect(),
    }
}

fn rules(measured: &Measured, book: &Book, take_off: f64) -> Vec<RuleCost> {
    let text = |name: Option<&'static str>| name.unwrap_or("unknown").to_owned();
    let mut rules: Vec<RuleCost> = measured
        .rules
        .iter()
        .map(|(key, [hits, misses])| {
            let ns_per_hit = mean(hits.sum_ns, hits.timed, take_off);
            let ns_per_miss = mean(misses.sum_ns, misses.timed, take_off);
            let total = |spent: &Spent, ns: Option<f64>| ns.unwrap_or(0.0) * float(spent.verdicts);
            RuleCost {
                rule: book.rule(key.rule).cloned(),
                origin: text(Origin::try_from(key.origin).ok().map(Origin::as_str)),
                direction: text(Direction::try_from(key.direction).ok().map(Direction::as_str)),
                verdict: text(Verdict::try_from(key.verdict).ok().map(Verdict::as_str)),
                hits: hits.verdicts,
                misses: misses.verdicts,
                ns_per_hit,
                ns_per_miss,
                total_ns: total(hits, ns_per_hit) + total(misses, ns_per_miss),
            }
        })
        .collect();
    rules.sort_by(|a, b| b.total_ns.total_cmp(&a.total_ns));
    rules
}

fn look_ups(measured: &Measured, take_off: f64, seconds: f64) -> Vec<LookUpCost> {
    let runs = float(measured.runs);
    measured
        .look_ups
        .iter()
        .filter(|look_ups| look_ups.kind != Lookup::Clock && look_ups.count > 0)
        .map(|look_ups| {
            let per_run = float(look_ups.count) / float(measured.sampled_runs.max(1));
            let per_second = by_second(per_run * runs, seconds);
            let mean_ns = mean(look_ups.sum_ns, look_ups.count, take_off);
            LookUpCost {
                map: look_ups.kind.as_str().to_owned(),
                timed: look_ups.count,
                per_run,
                per_second,
                mean_ns,
                cpu_share: per_second * mean_ns.unwrap_or(0.0) / 1e9,
            }
        })
        .collect()
}

fn maps(taken: &Taken) -> Vec<MapCost> {
    let mut maps: Vec<MapCost> = taken
        .maps
        .iter()
        .map(|memory| MapCost {
            map: memory.map.clone(),
            key_bytes: memory.key_bytes,
            value_bytes: memory.value_bytes,
            entries: taken.fill.iter().find(|fill| fill.map == memory.map).map(|fill| fill.entries),
            capacity: memory.capacity,
            memory_bytes: memory.memory_bytes,
        })
        .collect();
    maps.sort_by_key(|map| (std::cmp::Reverse(map.memory_bytes), map.map.clone()));
    maps
}

#[cfg(test)]
pub(super) mod tests;
