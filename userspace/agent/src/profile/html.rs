//! A profile as one page: no scripts, nothing fetched, light or dark as its reader has it.

use std::fmt::Write as _;

use super::report::{Report, VerdictCost};
use super::rows::{self, Table, nanos, percent};
use super::svg::{Bar, bars, escape, histogram};
use super::text::measuring;
use crate::output::bytes;
use crate::quantile::float;

/// Instructions that the verifier walks at most (`BPF_COMPLEXITY_LIMIT_INSNS`).
const VERIFIER_LIMIT: f64 = 1e6;

/// Bars of a plot; the table below has the rest.
const BARS: usize = 20;

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#fcfcfb;--ink:#1b1b1a;--quiet:#62625e;--line:#dcdbd6;--bar:#2f6f9f;--other:#b5651d}\
@media(prefers-color-scheme:dark){:root{--page:#181a1b;--ink:#e8e6e3;--quiet:#a09d97;--line:#3a3d3f;--bar:#6fb1de;--other:#e09a55}}\
*{box-sizing:border-box}\
body{margin:0 auto;max-width:60rem;padding:2rem 1.25rem 4rem;background:var(--page);color:var(--ink);\
font:15px/1.5 system-ui,sans-serif}\
h1{font-size:1.6rem;margin:0}h2{font-size:1.15rem;margin:2.5rem 0 .5rem}\
p{margin:.4rem 0;max-width:46rem}.quiet{color:var(--quiet)}\
dl{display:flex;flex-wrap:wrap;gap:1rem 2.5rem;margin:1.25rem 0}dt{color:var(--quiet);font-size:.8rem}\
dd{margin:0;font-size:1.25rem;font-variant-numeric:tabular-nums}\
.wide{overflow-x:auto}\
table{border-collapse:collapse;width:100%;margin:.75rem 0;font-size:.85rem;font-variant-numeric:tabular-nums}\
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}\
th{color:var(--quiet);font-weight:600}.left{text-align:left}\
svg{display:block;width:100%;height:auto;margin:.75rem 0;font:12px system-ui,sans-serif}\
svg text{fill:var(--ink);dominant-baseline:middle}svg .value,svg .tick{fill:var(--quiet)}\
svg .bar{fill:var(--bar)}svg .sort1{fill:var(--other)}\
svg .axis,svg .grid{stroke:var(--line)}svg .grid{stroke-dasharray:2 3}";

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Windrose profile, {0}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>Windrose profile</h1>\n\
         <p class=\"quiet\">{1:.1} s from {0}, on {2} processors, Linux {3}, windrose {4}, generation {5}</p>\n",
        escape(&report.began),
        report.seconds,
        report.processors,
        escape(&report.kernel),
        escape(&report.version),
        report.generation,
    );
    page += &summary(report);
    let _ = writeln!(page, "<p class=\"quiet\">What measuring takes is {}.</p>", escape(&measuring(report)));
    page += &hooks(report);
    page += &verdicts(report);
    page += &rules(report);
    page += &look_ups(report);
    page += &complexity(report);
    page += &maps(report);
    page += "</body>\n</html>\n";
    page
}

fn summary(report: &Report) -> String {
    let cpu: f64 = report.hooks.iter().map(|hook| hook.cpu_share).sum();
    let verdicts = report.hits.verdicts + report.misses.verdicts;
    let remembered = if verdicts == 0 {
        "-".to_owned()
    } else {
        format!("{:.1}%", float(report.hits.verdicts) / float(verdicts) * 100.0)
    };
    let memory = report.maps.iter().map(|map| map.memory_bytes).sum();
    let facts = [
        ("of one processor", percent(cpu)),
        ("verdicts per second", format!("{:.0}", report.hits.per_second + report.misses.per_second)),
        ("remembered", remembered),
        ("ns, median remembered", nanos(report.hits.p50_ns)),
        ("ns, median decided", nanos(report.misses.p50_ns)),
        ("maps", bytes(memory)),
    ];
    let mut list = "<dl>".to_owned();
    for (name, value) in facts {
        let _ = write!(list, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    list + "</dl>\n"
}

fn table(table: &Table) -> String {
    let columns: Vec<(&str, bool)> =
        table.columns.iter().map(|column| (column.page, column.is_left)).collect();
    cells(&columns, &table.rows)
}

/// A table; true: the column stands at the left. Cells are escaped here.
fn cells(columns: &[(&str, bool)], rows: &[Vec<String>]) -> String {
    let class = |is_left: bool| if is_left { " class=\"left\"" } else { "" };
    let mut html = "<div class=\"wide\"><table><tr>".to_owned();
    for (head, is_left) in columns {
        let _ = write!(html, "<th{}>{}</th>", class(*is_left), escape(head));
    }
    html += "</tr>\n";
    for row in rows {
        html += "<tr>";
        for ((_, is_left), cell) in columns.iter().zip(row) {
            let _ = write!(html, "<td{}>{}</td>", class(*is_left), escape(cell));
        }
        html += "</tr>\n";
    }
    html + "</table></div>\n"
}

fn hooks(report: &Report) -> String {
    let plot: Vec<Bar> = report
        .hooks
        .iter()
        .filter(|hook| hook.runs > 0)
        .map(|hook| Bar { name: hook.program.clone(), value: hook.cpu_share, text: percent(hook.cpu_share) })
        .collect();
    format!(
        "<h2>Cost per hook</h2>\n<p>Share of one processor that each program took, by the kernel's own run \
         statistics.</p>\n{}{}",
        bars("Share of one processor by program", &plot),
        table(&rows::hooks(report))
    )
}

fn verdicts(report: &Report) -> String {
    let row = |name: &str, cost: &VerdictCost| {
        vec![
            name.to_owned(),
            cost.verdicts.to_string(),
            format!("{:.1}", cost.per_second),
            nanos(cost.mean_ns),
            nanos(cost.p50_ns),
            nanos(cost.p90_ns),
            nanos(cost.p99_ns),
        ]
    };
    let plot = histogram(
        "Verdicts by time",
        [("remembered", &report.hits.histogram), ("decided", &report.misses.histogram)],
    );
    format!(
        "<h2>Verdict time</h2>\n<p>From the resolution of the peer\u{2019}s address to the decision: remembered \
         from a moment ago on the same processor, or decided anew. Packets of a known connection need no \
         verdict. Each row of the plot has a scale of its own; what reading the clock takes is in it.</p>\n{plot}{}",
        cells(
            &[
                ("Verdicts", true),
                ("Count", false),
                ("Per second", false),
                ("Mean ns", false),
                ("p50", false),
                ("p90", false),
                ("p99", false)
            ],
            &[row("remembered", &report.hits), row("decided", &report.misses)]
        )
    )
}

fn rules(report: &Report) -> String {
    if report.rules.is_empty() {
        return String::new();
    }
    let plot: Vec<Bar> = report
        .rules
        .iter()
        .take(BARS)
        .map(|rule| Bar {
            name: rule.name(),
            value: rule.total_ns,
            text: format!("{:.3} ms", rule.total_ns / 1e6),
        })
        .collect();
    let more = match report.verdicts_of_other_rules {
        0 => String::new(),
        more => format!("<p>{more} verdicts are of rules for which there was no room.</p>\n"),
    };
    format!(
        "<h2>Cost per rule</h2>\n<p>Verdict time by what decided, all verdicts of a rule together.</p>\n{}{}{more}",
        bars("Verdict time by rule", &plot),
        table(&rows::rules(report))
    )
}

fn look_ups(report: &Report) -> String {
    if report.look_ups.is_empty() {
        return String::new();
    }
    let plot: Vec<Bar> = report
        .look_ups
        .iter()
        .filter_map(|look_up| {
            let mean = look_up.mean_ns?;
            Some(Bar { name: look_up.map.clone(), value: mean, text: format!("{mean:.0} ns") })
        })
        .collect();
    format!(
        "<h2>Look-ups</h2>\n<p>Time of one look-up by what was looked into, timed one by one in {} of {} runs that \
         looked at policy, drawn by lot. Rates take them for all.</p>\n{}{}",
        report.sampled_runs,
        report.runs,
        bars("Mean time of a look-up", &plot),
        table(&rows::look_ups(report))
    )
}

fn complexity(report: &Report) -> String {
    let mut hooks: Vec<_> = report.hooks.iter().collect();
    hooks.sort_by_key(|hook| std::cmp::Reverse(hook.verified_instructions));
    let plot: Vec<Bar> = hooks
        .iter()
        .map(|hook| {
            let verified = f64::from(hook.verified_instructions);
            let share = verified / VERIFIER_LIMIT * 100.0;
            Bar { name: hook.program.clone(), value: verified, text: format!("{verified:.0} ({share:.1}%)") }
        })
        .collect();
    format!(
        "<h2>Verifier</h2>\n<p>Instructions that the kernel\u{2019}s verifier walked when each program was loaded, \
         and their share of the million at which it gives up.</p>\n{}{}",
        bars("Verified instructions by program", &plot),
        table(&rows::programs(hooks))
    )
}

fn maps(report: &Report) -> String {
    let plot: Vec<Bar> = report
        .maps
        .iter()
        .take(BARS)
        .map(|map| Bar {
            name: map.map.to_lowercase(),
            value: float(map.memory_bytes),
            text: bytes(map.memory_bytes),
        })
        .collect();
    format!(
        "<h2>Memory of maps</h2>\n<p>By the kernel\u{2019}s own account; of socket storage only the heads, for its \
         values belong to the sockets.</p>\n{}{}",
        bars("Memory by map", &plot),
        table(&rows::maps(report))
    )
}
