//! What `bench gateway` says in docs/benchmarks.md, and what it asks for.

use std::fmt::Write as _;

use super::case::{Case, Load};
use super::rounds::{Report, Sample};
use crate::bench::markdown;
use crate::bench::numbers::{Spread, float};
use crate::bench::plot::{Panel, Plot, Scale};
use crate::bench::table;

/// What the rounds come to.
#[derive(Debug)]
pub(super) struct Summary {
    cells: Vec<Cell>,
    targets: Vec<Target>,
    memory: Vec<(Case, u64)>,
}

/// One load through one proxy.
#[derive(Debug)]
struct Cell {
    load: Load,
    case: Case,
    cpu_us: Spread,
    /// Of processor time, to haproxy's in the same round.
    ratio: Option<Spread>,
    per_s: Spread,
    p50_us: Spread,
    p99_us: Spread,
}

/// At most so much of another's processor time.
#[derive(Debug)]
struct Target {
    what: &'static str,
    most: f64,
    reached: Spread,
}

/// What is asked for: the load, whose time, at most how much of whose.
const TARGETS: [(&str, Load, Case, f64, Case); 7] = [
    ("128 B over HTTP/1.1, bare, against haproxy", Load::Small, Case::Bare, 1.0, Case::Haproxy),
    ("128 B over HTTP/2, bare, against haproxy", Load::Http2, Case::Bare, 1.0, Case::Haproxy),
    ("128 B over HTTP/1.1, with everything, against haproxy", Load::Small, Case::Full, 1.2, Case::Haproxy),
    ("128 B over HTTP/2, with everything, against haproxy", Load::Http2, Case::Full, 1.2, Case::Haproxy),
    ("64 KiB over HTTP/1.1, bare, against haproxy", Load::Large, Case::Bare, 1.0, Case::Haproxy),
    ("128 B over HTTP/1.1, 10,000 routes against 10", Load::Small, Case::Many, 1.1, Case::Full),
    ("new TLS 1.3 connections, bare, against haproxy", Load::Handshakes, Case::Bare, 1.0, Case::Haproxy),
];

impl Summary {
    pub(super) fn of(report: &Report) -> Self {
        let mut cells = Vec::new();
        for load in Load::ALL {
            for case in Case::ALL {
                let spread = |of: &dyn Fn(&Sample) -> f64| {
                    let these = report.samples.iter().filter(|this| this.load == load && this.case == case);
                    Spread::of(these.map(of).collect())
                };
                let (Some(cpu_us), Some(per_s), Some(p50_us), Some(p99_us)) = (
                    spread(&cpu_us),
                    spread(&|this| float(this.turn.requests) * 1e9 / float(this.turn.elapsed_ns.max(1))),
                    spread(&|this| float(this.turn.p50_us)),
                    spread(&|this| float(this.turn.p99_us)),
                ) else {
                    continue;
                };
                let ratio = ratio(report, load, case, Case::Haproxy).filter(|_| case != Case::Haproxy);
                cells.push(Cell { load, case, cpu_us, ratio, per_s, p50_us, p99_us });
            }
        }
        let targets = TARGETS.iter().filter_map(|&(what, load, case, most, against)| {
            Some(Target { what, most, reached: ratio(report, load, case, against)? })
        });
        Self { cells, targets: targets.collect(), memory: report.memory.clone() }
    }

    fn of_load(&self, load: Load) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(move |cell| cell.load == load)
    }
}

/// Of a request.
fn cpu_us(sample: &Sample) -> f64 {
    float(sample.cpu_ns) / 1e3 / float(sample.turn.requests.max(1))
}

/// Of processor time a request, within each round.
fn ratio(report: &Report, load: Load, case: Case, against: Case) -> Option<Spread> {
    let of = |case, round| {
        report
            .samples
            .iter()
            .find(|this| this.load == load && this.case == case && this.round == round)
            .map(cpu_us)
    };
    Spread::of((0..report.rounds).filter_map(|round| Some(of(case, round)? / of(against, round)?)).collect())
}

impl Target {
    fn verdict(&self) -> &'static str {
        let is_close = self.reached.low <= self.most && self.most <= self.reached.high;
        match (self.reached.median <= self.most, is_close) {
            (true, false) => "met",
            (true, true) => "met, within noise",
            (false, true) => "missed, within noise",
            (false, false) => "missed",
        }
    }
}

/// For a terminal.
pub(super) fn for_terminal(summary: &Summary) -> String {
    let mut text = String::new();
    for load in Load::ALL {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "\n{}\n", load.title());
        let mut lines = vec![["", "CPU us", "of haproxy's", "req/s", "p50 us", "p99 us"].map(str::to_owned)];
        lines.extend(summary.of_load(load).map(|cell| {
            [
                cell.case.title().to_owned(),
                format!("{:.1}", cell.cpu_us.median),
                table::bracket(cell.ratio),
                format!("{:.0}", cell.per_s.median),
                format!("{:.0}", cell.p50_us.median),
                format!("{:.0}", cell.p99_us.median),
            ]
        }));
        text.push_str(&table::columns(&lines));
    }
    text.push_str("\ntargets: of the other's processor time\n\n");
    let lines: Vec<_> = summary
        .targets
        .iter()
        .map(|target| {
            [
                target.verdict().to_owned(),
                markdown::ratio(Some(target.reached)),
                format!("<= {:.2}", target.most),
                target.what.to_owned(),
            ]
        })
        .collect();
    text.push_str(&table::columns(&lines));
    text
}

/// The section without its heading.
pub(super) fn section(report: &Report, summary: &Summary) -> String {
    let mut text = String::from(INTRODUCTION);
    let rounds =
        format!("{} rounds; the proxy on one processor, its client and server on the other", report.rounds);
    text.push_str(&markdown::machine(&report.machine, &rounds));
    text.push_str(METHOD);
    for load in Load::ALL {
        let _ = write!(
            text,
            "\n#### {}\n\n| | CPU a request | of haproxy's | requests/s | p50 | p99 |\n|---|--:|--:|--:|--:|--:|\n",
            markdown::capital(load.title())
        );
        for cell in summary.of_load(load) {
            let _ = writeln!(
                text,
                "| {} | {:.1} µs | {} | {:.0} | {:.2} ms | {:.2} ms |",
                cell.case.title(),
                cell.cpu_us.median,
                markdown::ratio(cell.ratio),
                cell.per_s.median,
                cell.p50_us.median / 1e3,
                cell.p99_us.median / 1e3,
            );
        }
    }
    text.push_str("\n### Memory\n\n| after all rounds | resident |\n|---|--:|\n");
    for (case, bytes) in &summary.memory {
        let _ = writeln!(text, "| {} | {} MiB |", case.title(), bytes >> 20);
    }
    text.push_str("\n### Targets\n\n| processor time | at most | measured | |\n|---|--:|--:|---|\n");
    for target in &summary.targets {
        let _ = writeln!(
            text,
            "| {} | {:.2} | {} | {} |",
            markdown::capital(target.what),
            target.most,
            markdown::ratio(Some(target.reached)),
            target.verdict()
        );
    }
    text
}

/// Processor time against haproxy's.
pub(super) fn plot(summary: &Summary) -> Plot {
    let others = [Case::Nginx, Case::Bare, Case::Full, Case::Many];
    let point = |case, load| {
        let cell = summary.of_load(load).find(|cell| cell.case == case)?;
        cell.ratio
    };
    let panel = |loads: &[Load], labels: &[&str]| Panel {
        title: "processor time a request".to_owned(),
        detail: String::new(),
        scale: Scale { lowest: 0.0, highest: 3.0, step: 0.5, digits: 1 },
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        axis: "",
        points: others.map(|case| loads.iter().map(|load| point(case, *load)).collect()).into(),
    };
    Plot {
        title: "Processor time against haproxy",
        note: "haproxy = 1",
        series: vec!["nginx", "Windrose, bare", "10 routes, log", "10,000 routes"],
        panels: vec![vec![
            panel(&[Load::Small, Load::Http2, Load::Large], &["128 B", "128 B, h2", "64 KiB"]),
            panel(&[Load::Connections, Load::Handshakes], &["new, clear", "new, TLS"]),
        ]],
    }
}

const INTRODUCTION: &str = "\
What a request through the gateway costs beside other proxies that do the same: `cargo xtask bench gateway`.

";

const METHOD: &str = "
- **Client** is h2load (nghttp2), **server** is nginx with files of 128 bytes and 64 KiB, in clear text over kept \
connections of HTTP/1.1. Every response is checked to be 200. All talk over loopback in one network namespace.
- **Proxies** have one worker each and no limits of their own but the connections': haproxy with splicing where it \
can, nginx with kept connections to the server, Windrose as `windrose run --gateway-only --gateway-workers 1`. \
haproxy and nginx log nothing. Windrose has its metrics always; *bare* is one route and no log; the others have as \
many routes, each but the one that is asked for with a path and a header, and an access log in a file.
- **CPU** is the run time of the proxy's processes, from the scheduler. The ratio is of that, within each round.
- *New connections*: each asks for 128 bytes once; hundreds begin at once, so times are of a crowd.
- Not measured yet: gRPC, WebSocket, large downloads, a proxy of Pingora, ten thousand idle connections.

### Results

![Processor time against haproxy](benchmarks/gateway.svg)
";
