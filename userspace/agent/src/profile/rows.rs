//! The tables of a report: columns and cells, once for the terminal and the page.

use super::report::{HookCost, Report};
use crate::output::bytes;

/// A column's head as a terminal and as a page has it, and the side on which the page puts it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) terminal: &'static str,
    pub(super) page: &'static str,
    pub(super) is_left: bool,
}

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) columns: &'static [Column],
    pub(super) rows: Vec<Vec<String>>,
}

/// Words, on the left.
const fn words(terminal: &'static str, page: &'static str) -> Column {
    Column { terminal, page, is_left: true }
}

/// A number, on the right.
const fn number(terminal: &'static str, page: &'static str) -> Column {
    Column { terminal, page, is_left: false }
}

/// Nanoseconds of a mean or quantile; `-` where there is none.
pub(super) fn nanos(ns: Option<f64>) -> String {
    ns.map_or_else(|| "-".to_owned(), |ns| format!("{ns:.0}"))
}

/// A share of a processor.
pub(super) fn percent(share: f64) -> String {
    format!("{:.3}%", share * 100.0)
}

/// What each program took, by the report's order.
pub(super) fn hooks(report: &Report) -> Table {
    const COLUMNS: &[Column] = &[
        words("PROGRAM", "Program"),
        words("HOOK", "Hook"),
        number("RUNS", "Runs"),
        number("RUNS/s", "Runs/s"),
        number("NS/RUN", "ns a run"),
        number("CPU", "CPU"),
    ];
    let rows = report.hooks.iter().map(|hook| {
        vec![
            hook.program.clone(),
            hook.hook.clone(),
            hook.runs.to_string(),
            format!("{:.1}", hook.runs_per_second),
            nanos(hook.ns_per_run),
            percent(hook.cpu_share),
        ]
    });
    Table { columns: COLUMNS, rows: rows.collect() }
}

/// Verdict time by what decided.
pub(super) fn rules(report: &Report) -> Table {
    const COLUMNS: &[Column] = &[
        words("RULE", "Rule"),
        words("PLACE", "Place"),
        words("VERDICT", "Verdict"),
        number("VERDICTS", "Verdicts"),
        number("DECIDED", "Decided"),
        number("NS REMEMBERED", "ns remembered"),
        number("NS DECIDED", "ns decided"),
        number("TOTAL MS", "Total ms"),
    ];
    let rows = report.rules.iter().map(|rule| {
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
    });
    Table { columns: COLUMNS, rows: rows.collect() }
}

/// Time of one look-up by what was looked into.
pub(super) fn look_ups(report: &Report) -> Table {
    const COLUMNS: &[Column] = &[
        words("MAP", "Map"),
        number("TIMED", "Timed"),
        number("PER RUN", "Per run"),
        number("PER SECOND", "Per second"),
        number("MEAN NS", "Mean ns"),
        number("CPU", "CPU"),
    ];
    let rows = report.look_ups.iter().map(|look_up| {
        vec![
            look_up.map.clone(),
            look_up.timed.to_string(),
            format!("{:.2}", look_up.per_run),
            format!("{:.1}", look_up.per_second),
            nanos(look_up.mean_ns),
            percent(look_up.cpu_share),
        ]
    });
    Table { columns: COLUMNS, rows: rows.collect() }
}

/// What the verifier and the kernel say of programs.
pub(super) fn programs<'a>(hooks: impl IntoIterator<Item = &'a HookCost>) -> Table {
    const COLUMNS: &[Column] = &[
        words("PROGRAM", "Program"),
        number("VERIFIED", "Verified"),
        number("INSTRUCTIONS", "Instructions"),
        number("MACHINE CODE", "Machine code"),
        number("MEMORY", "Memory"),
    ];
    let rows = hooks.into_iter().map(|hook| {
        vec![
            hook.program.clone(),
            hook.verified_instructions.to_string(),
            hook.instructions.to_string(),
            bytes(u64::from(hook.machine_code_bytes)),
            bytes(hook.memory_bytes),
        ]
    });
    Table { columns: COLUMNS, rows: rows.collect() }
}

/// What each map takes.
pub(super) fn maps(report: &Report) -> Table {
    const COLUMNS: &[Column] = &[
        words("MAP", "Map"),
        number("ENTRIES", "Entries"),
        number("CAPACITY", "Capacity"),
        number("KEY BYTES", "Key bytes"),
        number("VALUE BYTES", "Value bytes"),
        number("MEMORY", "Memory"),
    ];
    let rows = report.maps.iter().map(|map| {
        vec![
            map.map.to_lowercase(),
            map.entries.map_or_else(|| "-".to_owned(), |entries| entries.to_string()),
            if map.capacity == 0 { "-".to_owned() } else { map.capacity.to_string() },
            map.key_bytes.to_string(),
            map.value_bytes.to_string(),
            bytes(map.memory_bytes),
        ]
    });
    Table { columns: COLUMNS, rows: rows.collect() }
}
