//! A profile for a terminal.

use std::fmt::Write as _;

use super::report::{Bucket, Report, VerdictCost};
use crate::output::{Paint, bytes, columns};

/// Characters of the longest bar.
const BAR: usize = 40;

/// Nanoseconds of a mean or quantile; `-` where there is none.
pub(super) fn nanos(ns: Option<f64>) -> String {
    ns.map_or_else(|| "-".to_owned(), |ns| format!("{ns:.0}"))
}

/// A share of a processor.
pub(super) fn percent(share: f64) -> String {
    format!("{:.3}%", share * 100.0)
}

/// The whole report.
pub(super) fn text(report: &Report, paint: Paint) -> String {
    let mut lines = vec![
        format!(
            "{}  {:.1} s from {}, {} processors, Linux {}, windrose {}, generation {}",
            paint.bold("profile"),
            report.seconds,
            report.began,
            report.processors,
            report.kernel,
            report.version,
            report.generation,
        ),
        measuring(report),
        String::new(),
        paint.bold("Cost per hook"),
        hooks(report, paint),
        verdicts(report, paint),
    ];
    if !report.rules.is_empty() {
        lines.push(paint.bold("Cost per rule"));
        lines.push(rules(report, paint));
    }
    if report.verdicts_of_other_rules > 0 {
        lines.push(format!(
            "{} verdicts are of rules for which there was no room\n",
            report.verdicts_of_other_rules
        ));
    }
    if !report.look_ups.is_empty() {
        lines.push(paint.bold("Look-ups"));
        lines.push(format!(
            "timed one by one in {} of {} runs that looked at policy, drawn by lot",
            report.sampled_runs, report.runs
        ));
        lines.push(look_ups(report, paint));
    }
    lines.push(paint.bold("Verifier and memory of programs"));
    lines.push(complexity(report, paint));
    lines.push(paint.bold("Memory of maps"));
    lines.push(maps(report, paint));
    lines.join("\n")
}

/// What measuring took, in one sentence.
pub(super) fn measuring(report: &Report) -> String {
    let taken = &report.measuring;
    let per_run = taken
        .statistics_per_run_ns
        .map_or_else(|| "(they were on before) ".to_owned(), |ns| format!("add {ns:.0} ns to a run, and "));
    let clock = taken.clock_ns.map_or_else(
        || "no verdict was timed".to_owned(),
        |ns| format!("the clock {ns:.0} ns of a timed verdict or look-up"),
    );
    format!(
        "taken off: statistics {per_run}are {:.0} ns of its run time; {clock}",
        taken.statistics_in_run_time_ns
    )
}

fn hooks(report: &Report, paint: Paint) -> String {
    let rows: Vec<Vec<String>> = report
        .hooks
        .iter()
        .map(|hook| {
            vec![
                hook.program.clone(),
                hook.hook.clone(),
                hook.runs.to_string(),
                format!("{:.1}", hook.runs_per_second),
                nanos(hook.ns_per_run),
                percent(hook.cpu_share),
            ]
        })
        .collect();
    columns(&["PROGRAM", "HOOK", "RUNS", "RUNS/s", "NS/RUN", "CPU"], &rows, paint)
}

fn verdicts(report: &Report, paint: Paint) -> String {
    let all = report.hits.verdicts + report.misses.verdicts;
    let row = |name: &str, cost: &VerdictCost| {
        let share =
            if all == 0 { 0.0 } else { crate::quantile::float(cost.verdicts) / crate::quantile::float(all) };
        vec![
            name.to_owned(),
            cost.verdicts.to_string(),
            format!("{:.1}%", share * 100.0),
            format!("{:.1}", cost.per_second),
            nanos(cost.mean_ns),
            nanos(cost.p50_ns),
            nanos(cost.p90_ns),
            nanos(cost.p99_ns),
        ]
    };
    let rows = [row("remembered", &report.hits), row("decided", &report.misses)];
    let heads = ["VERDICTS", "COUNT", "SHARE", "PER SECOND", "MEAN NS", "P50", "P90", "P99"];
    let mut text = format!("{}\n{}", paint.bold("Verdict time"), columns(&heads, &rows, paint));
    for (name, cost) in [("remembered", &report.hits), ("decided", &report.misses)] {
        if !cost.histogram.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n{name}, ns with the clock's:\n{}", bars(&cost.histogram));
        }
    }
    text
}

/// A histogram in lines of characters.
fn bars(histogram: &[Bucket]) -> String {
    let most = histogram.iter().map(|bucket| bucket.count).max().unwrap_or(0).max(1);
    let line = |bucket: &Bucket| {
        let length =
            usize::try_from(u128::from(bucket.count) * BAR as u128 / u128::from(most)).unwrap_or(BAR);
        let bar = if bucket.count > 0 { "#".repeat(length.max(1)) } else { String::new() };
        format!("{:>10}  {:>9}  {bar}", bucket.from_ns, bucket.count).trim_end().to_owned() + "\n"
    };
    // Empty ones in a row are one line.
    let mut text = String::new();
    let mut was_empty = false;
    for bucket in histogram {
        match (bucket.count, was_empty) {
            (0, true) => {}
            (0, false) => text += "       ...\n",
            _ => text += &line(bucket),
        }
        was_empty = bucket.count == 0;
    }
    text
}

fn rules(report: &Report, paint: Paint) -> String {
    let rows: Vec<Vec<String>> = report
        .rules
        .iter()
        .map(|rule| {
            vec![
                rule.name(),
                rule.place(),
                rule.verdict.clone(),
                (rule.hits + rule.misses).to_string(),
                rule.misses.to_string(),
                nanos(rule.ns_per_hit),
                nanos(rule.ns_per_miss),
                format!("{:.3}", rule.total_ns / 1e6),
            ]
        })
        .collect();
    columns(
        &["RULE", "PLACE", "VERDICT", "VERDICTS", "DECIDED", "NS REMEMBERED", "NS DECIDED", "TOTAL MS"],
        &rows,
        paint,
    )
}

fn look_ups(report: &Report, paint: Paint) -> String {
    let rows: Vec<Vec<String>> = report
        .look_ups
        .iter()
        .map(|look_up| {
            vec![
                look_up.map.clone(),
                look_up.timed.to_string(),
                format!("{:.2}", look_up.per_run),
                format!("{:.1}", look_up.per_second),
                nanos(look_up.mean_ns),
                percent(look_up.cpu_share),
            ]
        })
        .collect();
    columns(&["MAP", "TIMED", "PER RUN", "PER SECOND", "MEAN NS", "CPU"], &rows, paint)
}

fn complexity(report: &Report, paint: Paint) -> String {
    let rows: Vec<Vec<String>> = report
        .hooks
        .iter()
        .map(|hook| {
            vec![
                hook.program.clone(),
                hook.verified_instructions.to_string(),
                hook.instructions.to_string(),
                bytes(u64::from(hook.machine_code_bytes)),
                bytes(hook.memory_bytes),
            ]
        })
        .collect();
    columns(&["PROGRAM", "VERIFIED", "INSTRUCTIONS", "MACHINE CODE", "MEMORY"], &rows, paint)
}

fn maps(report: &Report, paint: Paint) -> String {
    let row = |map: &super::report::MapCost| {
        vec![
            map.map.to_lowercase(),
            map.entries.map_or_else(|| "-".to_owned(), |entries| entries.to_string()),
            if map.capacity == 0 { "-".to_owned() } else { map.capacity.to_string() },
            map.key_bytes.to_string(),
            map.value_bytes.to_string(),
            bytes(map.memory_bytes),
        ]
    };
    let mut rows: Vec<Vec<String>> = report.maps.iter().map(row).collect();
    let all = report.maps.iter().map(|map| map.memory_bytes).sum();
    rows.push(vec!["all".to_owned(), String::new(), String::new(), String::new(), String::new(), bytes(all)]);
    columns(&["MAP", "ENTRIES", "CAPACITY", "KEY BYTES", "VALUE BYTES", "MEMORY"], &rows, paint)
}
