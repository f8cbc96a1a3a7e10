//! A report for a terminal.

use std::fmt::Write as _;

use super::numbers::Spread;
use super::report::{Case, LoadKind, Report};
use super::summary::{Cell, Row, Summary, Target};

/// Tables with a column per number, and the targets.
pub(crate) fn render<C: Case>(report: &Report<C>, summary: &Summary<C>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    for place in summary.places() {
        let _ = writeln!(text, "\n{}\n", place.title());
        let mut lines = vec![HEAD.map(str::to_owned)];
        lines.extend(summary.rows.iter().filter(|row| row.place == place).map(usual));
        text.push_str(&columns(&lines));
    }
    ending(&mut text, report, summary);
    text
}

/// What the numbers are, the targets, and who disturbed.
pub(crate) fn ending<C: Case>(text: &mut String, report: &Report<C>, summary: &Summary<C>) {
    text.push_str("\nmedians of the rounds; in brackets the speed, the baseline of the same round being 1\n");
    if !summary.targets.is_empty() {
        text.push_str("\ntargets (median, and the middle half of the rounds)\n\n");
        let lines: Vec<_> = summary.targets.iter().map(target).collect();
        text.push_str(&columns(&lines));
    }
    let disturbed_by: Vec<&str> = report.machine.disturbed_by.iter().map(String::as_str).collect();
    if !disturbed_by.is_empty() {
        let _ = writeln!(text, "\ndisturbed by other agents: {}", disturbed_by.join(", "));
    }
}

const HEAD: [&str; 9] =
    ["", "conn/s", "RR p50 us", "RR p99 us", "Gbit/s", "CPU us/conn", "agent", "CPU us/RR", "CPU s/GB"];

fn usual<C: Case>(row: &Row<C>) -> [String; 9] {
    let [connections, exchanges, stream] = LoadKind::USUAL.map(|load| row.cell(load));
    let number = |cell: Option<&Cell>, show: &dyn Fn(&Cell) -> String| cell.map_or_else(String::new, show);
    [
        row.case.title(),
        number(connections, &|cell| format!("{:.0}{}", cell.per_s.median, bracket(cell.ratio))),
        number(exchanges, &|cell| format!("{:.1}{}", cell.p50_us.median, bracket(cell.ratio))),
        number(exchanges, &|cell| format!("{:.1}", cell.p99_us.median)),
        number(stream, &|cell| format!("{:.1}{}", cell.per_s.median * 8.0 / 1e9, bracket(cell.ratio))),
        number(connections, &|cell| format!("{:.1}", cell.cpu_ns.median / 1e3)),
        number(connections, &|cell| {
            cell.agent_ns.map_or_else(String::new, |time| format!("{:.1}", time.median / 1e3))
        }),
        number(exchanges, &|cell| format!("{:.1}", cell.cpu_ns.median / 1e3)),
        // Nanoseconds a byte are seconds a gigabyte.
        number(stream, &|cell| format!("{:.3}", cell.cpu_ns.median)),
    ]
}

/// A ratio, or nothing.
pub(crate) fn bracket(ratio: Option<Spread>) -> String {
    ratio.map_or_else(String::new, |ratio| format!(" ({:.3})", ratio.median))
}

fn target(target: &Target) -> [String; 5] {
    let Spread { low, median, high } = target.reached;
    [
        verdict(target).to_owned(),
        format!("{median:.3}"),
        format!("({low:.3}..{high:.3})"),
        format!(">= {:.2}", target.required),
        format!("{}; {}", target.what, target.place.title()),
    ]
}

/// In a word.
pub(crate) fn verdict(target: &Target) -> &'static str {
    match (target.is_met(), target.is_close()) {
        (true, false) => "met",
        (true, true) => "met, within noise",
        (false, true) => "missed, within noise",
        (false, false) => "missed",
    }
}

/// Left-aligned columns.
pub(crate) fn columns<const N: usize>(lines: &[[String; N]]) -> String {
    let mut text = String::new();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for line in lines {
        let padded = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
