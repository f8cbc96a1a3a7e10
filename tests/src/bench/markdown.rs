//! The report as docs/benchmarks.md.

use std::fmt::Write as _;

use super::ground::Place;
use super::numbers::{Spread, float, grouped};
use super::options::Processors;
use super::report::{Configuration, HookCost, LoadKind, Report};
use super::rounds::SIZES;
use super::summary::{Row, Summary, name};
use super::table;

/// The whole document.
pub(crate) fn render(report: &Report, summary: &Summary) -> String {
    let mut text = String::new();
    head(&mut text, report);
    for place in Place::ALL {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "\n### {}\n", capital(place.title()));
        text.push_str(&rows(summary, place));
    }
    text.push_str(READING);
    text.push_str("\n## Targets\n\n");
    text.push_str(
        "The ratio is of speed, in each round anew; \"within noise\" means that the required ratio lies \
         in the middle half of the rounds, so that another run may say otherwise.\n\n",
    );
    text.push_str(&targets(summary));
    hooks(&mut text, report);
    starts(&mut text, report);
    text
}

fn head(text: &mut String, report: &Report) {
    let machine = &report.machine;
    let ends = match report.processors {
        Processors::Together => "both ends on one processor, so that the time of every packet counts once",
        Processors::Apart => "each end on a processor of its own",
    };
    let kernel: Vec<&str> = machine.kernel.splitn(3, ['.', '-']).take(2).collect();
    let _ = write!(
        text,
        "# Benchmarks\n\n\
         What enforcement costs, against nothing and against nftables with the same rules. \
         `cargo xtask bench policy` measures it, prints the tables and, with `--write`, replaces this page \
         and its plot.\n\n\
         Measured on {} virtual CPUs of a shared machine, Linux {}; {} rounds, each load {} ms a round; {ends}. \
         The load average was {:.1} before the run and {:.1} at its end.",
        machine.processors,
        kernel.join("."),
        report.rounds,
        report.slice_ms,
        machine.load_before,
        machine.load_after,
    );
    if !machine.disturbed_by.is_empty() {
        text.push_str(
            " **Another agent enforced on the machine during some of it, and its programs ran in every \
             configuration: these numbers are provisional.**",
        );
    }
    text.push_str(METHOD);
}

const METHOD: &str = "\n
## How

- **In turns.** A round measures every configuration once, with two measurements without an agent in it; \
the next round goes the other way. Numbers are medians of the rounds. Ratios are taken within each round, \
against the mean of its two measurements without an agent. The row *no agent, again* is one of them against \
the other: it shows how much is noise.
- **Loads.** *Connections*: connect, one byte there and back, close, one after the other. *Request-response*: \
64 bytes there and back on one connection. *Bulk*: one stream in writes of 64 KiB, timed by the receiver. \
One thread each, TCP, IPv4.
- **CPU** is the run time of both ends and of ksoftirqd, from the scheduler. It includes the work that the \
kernel does for them in soft interrupts. *Agent* is what the agent itself uses per connection, to read its \
events.
- **Rules.** Half are the client's for egress, half the server's for ingress; every one of them is about \
one of these two workloads, by three different selectors, which is the worst case. (Rules of other workloads \
are never looked at: they take room in the tables and no time.) Three in five name a remote workload and a \
port, one in five a block of 16 addresses and a port, one in five a block and 100 ports. The one that allows \
the load is in the middle. Before each measurement the client tries a port that egress refuses and one that \
ingress drops.
- **nftables** has a chain for each direction. *Sets*: address and port in a hash set, block and ports in an \
interval set. *Chains*: one rule after the other. Both accept what connection tracking knows first, as such \
rulesets do, so that only a connection's first packet meets the rules; *stateless* ones look every packet up \
and enforce nothing for replies.
- **Windrose** is the agent as it is installed, all its events and metrics on. *Watched*: `/metrics` and \
`/connections` are read four times a second meanwhile, 60 times as often as Prometheus would.

## Results

![Speed against no agent, by number of rules](benchmarks/policy.svg)
";

const READING: &str = "
### Reading them

- The speed columns say what one client gets; the CPU columns say what it costs, and are the steadier ones on \
a busy machine. In bulk, differences below a tenth are noise.
- Windrose decides once per connection: request-response and bulk pay for one look at the socket's own memory \
a packet, whatever the policy. Connections pay for two decisions (connect, and the arriving SYN) and for \
their accounts: four events, two rows kept with the sockets, totals and histograms of the pair.
- nftables' connection tracking costs every packet and every new connection, whatever the rules; chains add a \
cost for each rule to each new connection (stateless: to each packet), sets do not.
- nftables reports nothing of a connection; what Windrose's events and accounts cost is in its numbers.
";

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn rows(summary: &Summary, place: Place) -> String {
    let mut text = String::from(
        "| | connections/s | ratio | request-response p50 | p99 | ratio | bulk | ratio | \
         CPU per connection | agent | per exchange | per GB |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in summary.rows.iter().filter(|row| row.place == place) {
        let Row { configuration, ratios: [connections, exchanges, stream], .. } = row;
        let _ = writeln!(
            text,
            "| {} | {:.0} | {} | {:.1} µs | {:.1} µs | {} | {:.1} Gbit/s | {} | {:.1} µs | {} | {:.1} µs | {:.2} s |",
            configuration.title(),
            row.connections_per_s.median,
            ratio(*connections),
            row.exchange_p50_us.median,
            row.exchange_p99_us.median,
            ratio(*exchanges),
            row.stream_gbit_s.median,
            ratio(*stream),
            row.cpu_connection_us.median,
            row.agent_connection_us.map_or_else(String::new, |time| format!("{:.1} µs", time.median)),
            row.cpu_exchange_us.median,
            row.cpu_stream_s_gb.median,
        );
    }
    text
}

/// Median and middle half.
fn ratio(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || "1".to_owned(),
        |Spread { low, median, high }| format!("{median:.3} ({low:.2} to {high:.2})"),
    )
}

/// One line a requirement, both places side by side.
fn targets(summary: &Summary) -> String {
    let mut text =
        String::from("| target | required | over veth | | on one host | |\n|---|--:|--:|---|--:|---|\n");
    let mut whats: Vec<&str> = summary.targets.iter().map(|target| target.what.as_str()).collect();
    whats.dedup_by(|a, b| a == b);
    for what in whats {
        let of_place = |place| {
            summary.targets.iter().find(|target| target.what == what && target.place == place).map_or_else(
                || "| ".to_owned(),
                |target| format!("{} | {}", ratio(Some(target.reached)), table::verdict(target)),
            )
        };
        let required = summary.targets.iter().find(|target| target.what == what).map_or(0.0, |t| t.required);
        let _ = writeln!(
            text,
            "| {} | {required:.2} | {} | {} |",
            capital(what),
            of_place(Place::Veth),
            of_place(Place::Host)
        );
    }
    text
}

fn hooks(text: &mut String, report: &Report) {
    text.push_str(
        "\n## Cost of each hook\n\n\
         The kernel's own run statistics, in a run of their own because they add about 75 ns to every run of \
         every program (included below). Per connection, exchange or MiB: how often the program ran, \
         and its time, with 10 and with 100,000 rules.\n",
    );
    for kind in LoadKind::ALL {
        let (unit, _) = kind.unit();
        let _ = write!(
            text,
            "\n| {}, per {unit} | runs | over veth, 10 rules | 100,000 rules | on one host, 10 rules | 100,000 rules |\n\
             |---|--:|--:|--:|--:|--:|\n",
            name(kind)
        );
        let mut programs: Vec<&str> =
            report.hooks.iter().filter(|cost| cost.load == kind).map(|cost| cost.program.as_str()).collect();
        programs.sort_unstable();
        programs.dedup();
        for program in programs {
            let cost = |place, rules| {
                report.hooks.iter().find(|cost| {
                    cost.load == kind && cost.program == program && cost.place == place && cost.rules == rules
                })
            };
            let runs = cost(Place::Veth, SIZES[0]).or_else(|| cost(Place::Host, SIZES[0]));
            let time = |place, rules| cost(place, rules).map_or_else(String::new, time);
            let _ = writeln!(
                text,
                "| {program} | {} | {} | {} | {} | {} |",
                runs.map_or_else(String::new, |cost| format!("{:.2}", per_unit(cost, cost.runs))),
                time(Place::Veth, SIZES[0]),
                time(Place::Veth, SIZES[3]),
                time(Place::Host, SIZES[0]),
                time(Place::Host, SIZES[3]),
            );
        }
    }
    text.push_str(
        "\n`connection_life` is the accounting of TCP: opened and closed connections, their bytes, round-trip \
         times and totals, with their events. It does not run for packets, and nothing is counted per packet: \
         the kernel's own counters of a socket are read when it closes and when somebody asks. So metrics cost \
         a kept connection nothing until they are read.\n",
    );
}

fn per_unit(cost: &HookCost, number: u64) -> f64 {
    let (_, size) = cost.load.unit();
    float(number) * float(size) / float(cost.count.max(1))
}

fn time(cost: &HookCost) -> String {
    let ns = per_unit(cost, cost.time_ns);
    if ns >= 10_000.0 { format!("{:.1} µs", ns / 1e3) } else { format!("{ns:.0} ns") }
}

fn starts(text: &mut String, report: &Report) {
    text.push_str(
        "\n## Putting rules in force\n\n\
         From starting the agent to its first policy in force: programs loaded and verified, policy read, \
         checked, compiled and written. nftables: `nft -f`, its text being ready.\n\n\
         | rules | Windrose | nftables sets | nftables chains |\n|--:|--:|--:|--:|\n",
    );
    for size in SIZES {
        let took = |wanted: fn(Configuration) -> Option<usize>| {
            let times = report
                .starts
                .iter()
                .filter(|start| wanted(start.configuration) == Some(size))
                .map(|start| float(start.took_ms) / 1e3);
            Spread::of(times.collect()).map_or_else(|| "-".to_owned(), |time| format!("{:.2} s", time.median))
        };
        let windrose = took(|configuration| match configuration {
            Configuration::Windrose { rules } => Some(rules),
            _ => None,
        });
        let sets = took(|configuration| nftables(configuration, super::nftables::Layout::Sets));
        let chains = took(|configuration| nftables(configuration, super::nftables::Layout::Chains));
        let _ = writeln!(text, "| {} | {windrose} | {sets} | {chains} |", grouped(size));
    }
}

fn nftables(configuration: Configuration, wanted: super::nftables::Layout) -> Option<usize> {
    match configuration {
        Configuration::Nftables { layout, stateful: true, rules } if layout == wanted => Some(rules),
        _ => None,
    }
}
