//! What `bench policy` says in docs/benchmarks.md, and what it asks for.

use super::case::{Case, SIZES, TYPICAL};
use super::rulesets::Layout;
use crate::bench::markdown;
use crate::bench::plot::{self, Plot};
use crate::bench::report::{Case as _, LoadKind, Report, Tool};
use crate::bench::summary::{Requirement, Summary};

/// Those who enforce, by number of rules.
const TOOLS: [Tool<Case>; 3] = [
    Tool { title: "Windrose", case: |rules| Case::Windrose { rules } },
    Tool {
        title: "nftables sets",
        case: |rules| Case::Nftables { layout: Layout::Sets, stateful: true, rules },
    },
    Tool {
        title: "nftables chains",
        case: |rules| Case::Nftables { layout: Layout::Chains, stateful: true, rules },
    },
];

/// The section without its heading.
pub(super) fn section(report: &Report<Case>, summary: &Summary<Case>) -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str(&markdown::measured_on(report));
    text.push_str(METHOD);
    text.push_str(&markdown::places(summary));
    text.push_str(READING);
    text.push_str(&markdown::targets(summary));
    text.push_str(&markdown::hooks(report, [SIZES[0], SIZES[3]], "rules"));
    text.push_str(HOOKS);
    text.push_str(STARTS);
    text.push_str(&markdown::starts(report, &SIZES, "rules", &TOOLS));
    text
}

/// Speed by number of rules.
pub(super) fn plot(summary: &Summary<Case>) -> Plot {
    let titles = ("Speed against no agent, by number of rules", "no agent = 1");
    plot::by_size(summary, titles, (&SIZES, "rules"), &TOOLS)
}

/// Against no agent, against few rules, against nftables, and metrics.
pub(super) fn requirements() -> Vec<Requirement<Case>> {
    let windrose = |rules| Case::Windrose { rules };
    let loads = [(LoadKind::EXCHANGES, 0.98), (LoadKind::STREAM, 0.98), (LoadKind::Connections, 0.93)];
    let mut requirements = Vec::new();
    let mut add = |load: LoadKind, what: String, required, measured, against: &[Case]| {
        let what = format!("{}: {what}", load.name());
        requirements.push(Requirement { what, load, required, measured, against: against.to_vec() });
    };
    for (load, required) in loads {
        for rules in SIZES {
            let what = format!("{} against no agent", windrose(rules).title());
            add(load, what, required, windrose(rules), &Case::BASELINE);
        }
    }
    for (load, _) in loads {
        add(load, "100,000 rules against 10".to_owned(), 0.97, windrose(SIZES[3]), &[windrose(SIZES[0])]);
    }
    for (load, _) in loads {
        for rules in SIZES {
            let sets = Case::Nftables { layout: Layout::Sets, stateful: true, rules };
            let what = format!("{} against {}", windrose(rules).title(), sets.title());
            add(load, what, 1.0, windrose(rules), &[sets]);
        }
    }
    let watched = Case::Watched { rules: TYPICAL };
    let what = "metrics read four times a second against not at all".to_owned();
    add(LoadKind::EXCHANGES, what, 0.99, watched, &[windrose(TYPICAL)]);
    requirements
}

const INTRODUCTION: &str = "\
What enforcement costs, against nothing and against nftables with the same rules: `cargo xtask bench policy`.

";

const METHOD: &str = "
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
- **Watched**: `/metrics` and `/connections` are read four times a second meanwhile, 60 times as often as \
Prometheus would.

### Results

![Speed against no agent, by number of rules](benchmarks/policy.svg)
";

const READING: &str = "
- Windrose decides once per connection: request-response and bulk pay for one look at the socket's own memory \
a packet, whatever the policy. Connections pay for two decisions (connect, and the arriving SYN) and for \
their accounts: four events, two rows kept with the sockets, totals and histograms of the pair.
- nftables' connection tracking costs every packet and every new connection, whatever the rules; chains add a \
cost for each rule to each new connection (stateless: to each packet), sets do not.
- nftables reports nothing of a connection; what Windrose's events and accounts cost is in its numbers.
";

const HOOKS: &str = "
`connection_life` is the accounting of TCP: opened and closed connections, their bytes, round-trip times and \
totals, with their events. It does not run for packets, and nothing is counted per packet: the kernel's own \
counters of a socket are read when it closes and when somebody asks. So metrics cost a kept connection nothing \
until they are read.
";

const STARTS: &str = "
### Putting rules in force

From starting the agent to its first policy in force: programs loaded and verified, policy read, checked, \
compiled and written. nftables: `nft -f`, its text being ready.

";
