//! The report for a terminal.

use std::fmt::Write as _;

use super::ground::Place;
use super::numbers::Spread;
use super::report::Report;
use super::summary::{Row, Summary, Target};

/// Tables with a column per number, and the targets.
pub(crate) fn render(report: &Report, summary: &Summary) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    for place in Place::ALL {
        let _ = writeln!(text, "\n{}\n", place.title());
        let mut lines = vec![HEAD.map(str::to_owned)];
        lines.extend(summary.rows.iter().filter(|row| row.place == place).map(cells));
        text.push_str(&columns(&lines));
    }
    text.push_str("\nmedians of the rounds; in brackets the speed, no agent in the same round being 1\n");
    text.push_str("\ntargets (median, and the middle half of the rounds)\n\n");
    let lines: Vec<_> = summary.targets.iter().map(target).collect();
    text.push_str(&columns(&lines));
    if !report.machine.disturbed_by.is_empty() {
        let _ = writeln!(text, "\ndisturbed by other agents: {}", report.machine.disturbed_by.join(", "));
    }
    text
}

const HEAD: [&str; 9] =
    ["", "conn/s", "RR p50 us", "RR p99 us", "Gbit/s", "CPU us/conn", "agent", "CPU us/RR", "CPU s/GB"];

fn cells(row: &Row) -> [String; 9] {
    let [connections, exchanges, stream] = row.ratios;
    [
        row.configuration.title(),
        format!("{:.0}{}", row.connections_per_s.median, bracket(connections)),
        format!("{:.1}{}", row.exchange_p50_us.median, bracket(exchanges)),
        format!("{:.1}", row.exchange_p99_us.median),
        format!("{:.1}{}", row.stream_gbit_s.median, bracket(stream)),
        format!("{:.1}", row.cpu_connection_us.median),
        row.agent_connection_us.map_or_else(String::new, |time| format!("{:.1}", time.median)),
        format!("{:.1}", row.cpu_exchange_us.median),
        format!("{:.3}", row.cpu_stream_s_gb.median),
    ]
}

fn bracket(ratio: Option<Spread>) -> String {
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
fn columns<const N: usize>(lines: &[[String; N]]) -> String {
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
