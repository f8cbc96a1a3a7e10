//! Pieces of a section of docs/benchmarks.md.

use std::fmt::Write as _;

use super::ground::Place;
use super::numbers::{Spread, float};
use super::options::Processors;
use super::report::{Case, HookCost, LoadKind, Machine, Report, Tool};
use super::summary::{Cell, Row, Summary};
use super::table;

/// Where and when a report was measured.
pub(crate) fn measured_on<C>(report: &Report<C>) -> String {
    let ends = match report.processors {
        Processors::Together => "everything on one processor, so that the time of every packet counts once",
        Processors::Apart => "each end on a processor of its own",
    };
    let rounds = format!("{} rounds, each load {} ms a round; {ends}", report.rounds, report.slice_ms);
    machine(&report.machine, &rounds)
}

/// Likewise, with words of one's own about the rounds.
pub(crate) fn machine(machine: &Machine, rounds: &str) -> String {
    let kernel: Vec<&str> = machine.kernel.splitn(3, ['.', '-']).take(2).collect();
    let mut text = format!(
        "Measured on {} virtual CPUs of a shared machine, Linux {}; {rounds}. \
         The load average was {:.1} before the run and {:.1} at its end.",
        machine.processors,
        kernel.join("."),
        machine.load_before,
        machine.load_after,
    );
    if !machine.disturbed_by.is_empty() {
        text.push_str(
            " **Another agent enforced on the machine during some of it, and its programs ran in every \
             case: these numbers are provisional.**",
        );
    }
    text.push('\n');
    text
}

/// A table of the usual loads for each place, under a heading each.
pub(crate) fn places<C: Case>(summary: &Summary<C>) -> String {
    let mut text = String::new();
    for place in summary.places() {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "\n#### {}\n", capital(place.title()));
        text.push_str(
            "| | connections/s | ratio | request-response p50 | p99 | ratio | bulk | ratio | \
             CPU per connection | agent | per exchange | per GB |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        for row in summary.rows.iter().filter(|row| row.place == place) {
            let _ = writeln!(text, "| {} |", usual(row).join(" | "));
        }
    }
    text
}

fn usual<C: Case>(row: &Row<C>) -> [String; 12] {
    let [connections, exchanges, stream] = LoadKind::USUAL.map(|load| row.cell(load));
    let number = |cell: Option<&Cell>, show: &dyn Fn(&Cell) -> String| cell.map_or_else(String::new, show);
    let ratio = |cell: Option<&Cell>| number(cell, &|cell| ratio(cell.ratio));
    [
        row.case.title(),
        number(connections, &|cell| format!("{:.0}", cell.per_s.median)),
        ratio(connections),
        number(exchanges, &|cell| format!("{:.1} µs", cell.p50_us.median)),
        number(exchanges, &|cell| format!("{:.1} µs", cell.p99_us.median)),
        ratio(exchanges),
        number(stream, &|cell| format!("{:.1} Gbit/s", cell.per_s.median * 8.0 / 1e9)),
        ratio(stream),
        number(connections, &|cell| format!("{:.1} µs", cell.cpu_ns.median / 1e3)),
        number(connections, &|cell| {
            cell.agent_ns.map_or_else(String::new, |time| format!("{:.1} µs", time.median / 1e3))
        }),
        number(exchanges, &|cell| format!("{:.1} µs", cell.cpu_ns.median / 1e3)),
        // Nanoseconds a byte are seconds a gigabyte.
        number(stream, &|cell| format!("{:.2} s", cell.cpu_ns.median)),
    ]
}

/// With its first letter large.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Median and middle half.
pub(crate) fn ratio(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || "1".to_owned(),
        |Spread { low, median, high }| format!("{median:.3} ({low:.2} to {high:.2})"),
    )
}

/// One line a requirement, places side by side, under a heading.
pub(crate) fn targets<C: Case>(summary: &Summary<C>) -> String {
    let places: Vec<Place> = summary.places().collect();
    let mut text = String::from("\n### Targets\n\n| target | required |");
    for place in &places {
        let _ = write!(text, " {} | |", place.short());
    }
    text.push_str("\n|---|--:|");
    text.push_str(&"--:|---|".repeat(places.len()));
    text.push('\n');
    let mut whats: Vec<&str> = summary.targets.iter().map(|target| target.what.as_str()).collect();
    whats.dedup_by(|a, b| a == b);
    for what in whats {
        let mut of_what = summary.targets.iter().filter(|target| target.what == what).peekable();
        let required = of_what.peek().map_or(0.0, |target| target.required);
        let _ = write!(text, "| {} | {required:.2} |", capital(what));
        for place in &places {
            let target = summary.targets.iter().find(|target| target.what == what && target.place == *place);
            text.push_str(&target.map_or_else(
                || " | |".to_owned(),
                |target| format!(" {} | {} |", ratio(Some(target.reached)), table::verdict(target)),
            ));
        }
        text.push('\n');
    }
    text
}

/// Programs' own time, a table for each load; `noun` is what `sizes` are of.
pub(crate) fn hooks<C>(report: &Report<C>, sizes: [usize; 2], noun: &str) -> String {
    let [small, large] = sizes.map(super::numbers::grouped);
    let mut text = format!(
        "\n### Cost of each hook\n\n\
         The kernel's own run statistics, in a run of their own because they add about 75 ns to every run of \
         every program (included below). Per connection, exchange or MiB: how often the program ran, \
         and its time, with {small} and with {large} {noun}.\n"
    );
    for load in LoadKind::USUAL {
        let (unit, _) = load.unit();
        let _ = write!(text, "\n| {}, per {unit} | runs |", load.name());
        for place in Place::DIRECT {
            let _ = write!(text, " {}, {small} {noun} | {large} {noun} |", place.short());
        }
        text.push_str("\n|---|--:|--:|--:|--:|--:|\n");
        let mut programs: Vec<&str> =
            report.hooks.iter().filter(|cost| cost.load == load).map(|cost| cost.program.as_str()).collect();
        programs.sort_unstable();
        programs.dedup();
        for program in programs {
            let cost = |place, size| {
                report.hooks.iter().find(|cost| {
                    cost.load == load && cost.program == program && cost.place == place && cost.size == size
                })
            };
            let runs = Place::DIRECT.into_iter().find_map(|place| cost(place, sizes[0]));
            let runs = runs.map_or_else(String::new, |cost| format!("{:.2}", per_unit(cost, cost.runs)));
            let _ = write!(text, "| {program} | {runs} |");
            for place in Place::DIRECT {
                for size in sizes {
                    let _ = write!(text, " {} |", cost(place, size).map_or_else(String::new, time));
                }
            }
            text.push('\n');
        }
    }
    text
}

fn per_unit(cost: &HookCost, number: u64) -> f64 {
    let (_, size) = cost.load.unit();
    float(number) * float(size) / float(cost.count.max(1))
}

fn time(cost: &HookCost) -> String {
    let ns = per_unit(cost, cost.time_ns);
    if ns >= 10_000.0 { format!("{:.1} µs", ns / 1e3) } else { format!("{ns:.0} ns") }
}

/// How long cases took to be in force: a line a size, a column for each tool that makes a case of it.
pub(crate) fn starts<C: Case>(report: &Report<C>, sizes: &[usize], noun: &str, tools: &[Tool<C>]) -> String {
    let mut text = format!("| {noun} |");
    for Tool { title, .. } in tools {
        let _ = write!(text, " {title} |");
    }
    let _ = write!(text, "\n|--:|{}\n", "--:|".repeat(tools.len()));
    for &size in sizes {
        let _ = write!(text, "| {} |", super::numbers::grouped(size));
        for Tool { case, .. } in tools {
            let times = report.starts.iter().filter(|start| start.case == case(size));
            let took = Spread::of(times.map(|start| float(start.took_ms) / 1e3).collect());
            let took = took.map_or_else(|| "-".to_owned(), |time| format!("{:.2} s", time.median));
            let _ = write!(text, " {took} |");
        }
        text.push('\n');
    }
    text
}
