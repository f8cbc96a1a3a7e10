//! What `bench sidecar` says in docs/benchmarks.md, and what it asks for.

use std::fmt::Write as _;

use super::case::{CONNECTIONS, Case, MESSAGES, WRITES, loads};
use crate::bench::ground::Place;
use crate::bench::markdown;
use crate::bench::numbers::bytes;
use crate::bench::plot::{Panel, Plot, Scale};
use crate::bench::report::{LoadKind, Report};
use crate::bench::summary::{Cell, Requirement, Summary};
use crate::bench::table;

/// The section without its heading.
pub(super) fn section(report: &Report<Case>, summary: &Summary<Case>) -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str(&markdown::measured_on(report));
    text.push_str(METHOD);
    for place in summary.places() {
        // Writing to a String cannot fail, here and below.
        let _ = write!(
            text,
            "\n#### {}\n\n\
             | | plain TCP | again | Windrose | ratio | two sidecars | ratio | CPU, plain | Windrose | sidecars |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
            markdown::capital(place.title())
        );
        for load in loads() {
            let cell = |case| summary.cell(place, case, load);
            let number = |case, show: &dyn Fn(&Cell) -> String| cell(case).map_or_else(String::new, show);
            let ratio = |case| number(case, &|cell| markdown::ratio(cell.ratio));
            let _ = writeln!(
                text,
                "| {}, {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                load.name(),
                load.title(),
                number(Case::Plain, &speed),
                ratio(Case::PlainAgain),
                number(Case::Windrose, &speed),
                ratio(Case::Windrose),
                number(Case::Sidecars, &speed),
                ratio(Case::Sidecars),
                number(Case::Plain, &cpu),
                number(Case::Windrose, &cpu),
                number(Case::Sidecars, &cpu),
            );
        }
    }
    text.push_str(&markdown::targets(summary));
    text
}

/// The same for a terminal.
pub(super) fn for_terminal(report: &Report<Case>, summary: &Summary<Case>) -> String {
    let mut text = String::new();
    for place in summary.places() {
        let _ = writeln!(text, "\n{}\n", place.title());
        let head =
            ["", "plain TCP", "again", "Windrose", "two sidecars", "CPU, plain", "Windrose", "sidecars"];
        let mut lines = vec![head.map(str::to_owned)];
        for load in loads() {
            let number = |case, show: &dyn Fn(&Cell) -> String| {
                summary.cell(place, case, load).map_or_else(String::new, show)
            };
            let with_ratio = |cell: &Cell| format!("{}{}", speed(cell), table::bracket(cell.ratio));
            lines.push([
                format!("{}, {}", load.name(), load.title()),
                number(Case::Plain, &speed),
                number(Case::PlainAgain, &with_ratio),
                number(Case::Windrose, &with_ratio),
                number(Case::Sidecars, &with_ratio),
                number(Case::Plain, &cpu),
                number(Case::Windrose, &cpu),
                number(Case::Sidecars, &cpu),
            ]);
        }
        text.push_str(&table::columns(&lines));
    }
    table::ending(&mut text, report, summary);
    text
}

/// Speed against plain TCP: a row of panels for each place.
pub(super) fn plot(summary: &Summary<Case>) -> Plot {
    let panel = |place: Place, title: &str, axis, cells: &[(String, LoadKind)]| Panel {
        title: title.to_owned(),
        detail: place.short().to_owned(),
        scale: Scale { lowest: 0.0, highest: 1.2, step: 0.2, digits: 1 },
        labels: cells.iter().map(|(label, _)| label.clone()).collect(),
        axis,
        points: [Case::Windrose, Case::Sidecars]
            .map(|case| cells.iter().map(|(_, load)| summary.cell(place, case, *load)?.ratio).collect())
            .into(),
    };
    let row = |place: Place| {
        let exchanges = MESSAGES.map(|size| {
            let cells = CONNECTIONS.map(|connections| {
                (connections.to_string(), LoadKind::Exchanges { bytes: size, connections })
            });
            panel(place, &format!("request-response, {}", bytes(size)), "connections", &cells)
        });
        let streams = WRITES.map(|size| (bytes(size), LoadKind::Stream { bytes: size }));
        exchanges.into_iter().chain([panel(place, "bulk", "bytes of a write", &streams)]).collect()
    };
    Plot {
        title: "Speed against plain TCP",
        note: "plain TCP = 1",
        series: vec!["Windrose", "two sidecars"],
        panels: summary.places().map(row).collect(),
    }
}

/// Of each load: hardly less than plain TCP; of requests: far more than sidecars.
pub(super) fn requirements() -> Vec<Requirement<Case>> {
    let requirement = |load: LoadKind, against: &str, required, cases: &[Case]| Requirement {
        what: format!("{}, {}: Windrose against {against}", load.name(), load.title()),
        load,
        required,
        measured: Case::Windrose,
        against: cases.to_vec(),
    };
    let plain = loads().map(|load| requirement(load, "plain TCP", 0.97, &Case::BASELINE));
    let sidecars = loads()
        .filter(|load| matches!(load, LoadKind::Exchanges { .. }))
        .map(|load| requirement(load, "two sidecars", 5.0, &[Case::Sidecars]));
    plain.chain(sidecars).collect()
}

/// In a unit of its own kind.
fn speed(cell: &Cell) -> String {
    match cell.load {
        LoadKind::Connections | LoadKind::Exchanges { .. } => format!("{:.0}/s", cell.per_s.median),
        LoadKind::Stream { .. } => format!("{:.2} Gbit/s", cell.per_s.median * 8.0 / 1e9),
    }
}

/// Of one, or of a gigabyte.
fn cpu(cell: &Cell) -> String {
    match cell.load {
        LoadKind::Connections | LoadKind::Exchanges { .. } => format!("{:.1} µs", cell.cpu_ns.median / 1e3),
        // Nanoseconds a byte are seconds a gigabyte.
        LoadKind::Stream { .. } => format!("{:.2} s", cell.cpu_ns.median),
    }
}

const INTRODUCTION: &str = "\
What enforcement in the kernel costs beside a proxy at each end, as a service mesh with sidecars has them: \
`cargo xtask bench sidecar` (`redirect` is the same).

";

const METHOD: &str = "
- **Bytes go through the stack**, over veth and on one host alike. A local redirect, which hands them from socket to \
socket, was built and refused: programs can tell, and some lose bytes ([ADR 10](adr/0010-no-local-redirect.md)). So \
plain TCP is the most that can be reached here.
- **Request-response**: messages of this many bytes there and back, one under way on each of this many connections; \
one thread at each end. The ratio is of rates, on one connection of median times. **Bulk**: one stream in \
writes of this many bytes, timed by the receiver; with Nagle's algorithm, as by default.
- **Windrose** enforces a policy of 10 rules that allows the pair, with all events and metrics.
- **Two sidecars** are haproxy in TCP mode, one thread each, splicing where it can, without logs, checks or TLS: the \
client calls its own, that calls the server's, and that the server over loopback. How traffic gets into a sidecar \
(address translation, usually) is left out, in its favour. It enforces nothing.
- **CPU** is for one exchange or a gigabyte.

### Results

![Speed against plain TCP](benchmarks/sidecar.svg)
";
