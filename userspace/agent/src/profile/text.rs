//! A profile for a terminal.

use std::fmt::Write as _;

use super::report::{Bucket, Report, VerdictCost};
use super::rows::{self, Table, nanos};
use crate::output::{Paint, bytes, columns};

/// Characters of the longest bar.
const BAR: usize = 40;

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
        table(&rows::hooks(report), paint),
        verdicts(report, paint),
    ];
    if !report.rules.is_empty() {
        lines.push(paint.bold("Cost per rule"));
        lines.push(table(&rows::rules(report), paint));
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
        lines.push(table(&rows::look_ups(report), paint));
    }
    lines.push(paint.bold("Verifier and memory of programs"));
    lines.push(table(&rows::programs(&report.hooks), paint));
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

fn table(table: &Table, paint: Paint) -> String {
    let heads: Vec<&str> = table.columns.iter().map(|column| column.terminal).collect();
    columns(&heads, &table.rows, paint)
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

/// With a sum.
fn maps(report: &Report, paint: Paint) -> String {
    let mut maps = rows::maps(report);
    let all = report.maps.iter().map(|map| map.memory_bytes).sum();
    maps.rows.push(vec![
        "all".to_owned(),
        String::new(),
        String::new(),
        String::new(),
        String::new(),
        bytes(all),
    ]);
    table(&maps, paint)
}
