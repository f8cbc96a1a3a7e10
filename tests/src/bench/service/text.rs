//! What `bench service` says in docs/benchmarks.md, and what it asks for.

use super::case::{Case, SIZES};
use crate::bench::markdown;
use crate::bench::plot::{self, Plot};
use crate::bench::report::{Case as _, LoadKind, Report, Tool};
use crate::bench::summary::{Requirement, Summary};

/// Those who balance, by number of services.
const TOOLS: [Tool<Case>; 2] = [
    Tool { title: "Windrose", case: |services| Case::Windrose { services } },
    Tool { title: "nftables DNAT", case: |services| Case::Nftables { services } },
];

/// The section without its heading.
pub(super) fn section(report: &Report<Case>, summary: &Summary<Case>) -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str(&markdown::measured_on(report));
    text.push_str(METHOD);
    text.push_str(&markdown::places(summary));
    text.push_str(READING);
    text.push_str(&markdown::targets(summary));
    text.push_str(&markdown::hooks(report, [SIZES[0], SIZES[2]], "services"));
    text.push_str(STARTS);
    text.push_str(&markdown::starts(report, &SIZES, "services", &TOOLS));
    text
}

/// Speed by number of services.
pub(super) fn plot(summary: &Summary<Case>) -> Plot {
    let titles = ("Speed against no balancing, by number of services", "no balancing = 1");
    plot::by_size(summary, titles, (&SIZES, "services"), &TOOLS)
}

/// Many services against few, established traffic against no service, and nftables.
pub(super) fn requirements() -> Vec<Requirement<Case>> {
    let [few, .., many] = SIZES;
    let windrose = |services| Case::Windrose { services };
    let mut requirements = Vec::new();
    let mut add = |load: LoadKind, required, measured: Case, against: Case| {
        let what = format!("{}: {} against {}", load.name(), measured.title(), against.title());
        requirements.push(Requirement { what, load, required, measured, against: vec![against] });
    };
    for load in LoadKind::USUAL {
        add(load, 0.97, windrose(many), windrose(few));
    }
    // "At no cost", to within what can be told apart.
    for load in [LoadKind::EXCHANGES, LoadKind::STREAM] {
        add(load, 0.99, windrose(many), Case::Unserved);
    }
    for load in LoadKind::USUAL {
        for services in SIZES {
            add(load, 1.0, windrose(services), Case::Nftables { services });
        }
    }
    requirements
}

const INTRODUCTION: &str = "\
What balancing costs, against calling an endpoint straight away and against nftables DNAT: \
`cargo xtask bench service`.

";

const METHOD: &str = "
- **Services.** One has the two endpoints that are there and is called; the others have two endpoints each \
that nobody calls. The endpoint is chosen anew for each connection: by Windrose the one with fewer connections \
of two, by nftables one at random.
- **Windrose** knows both ends as workloads, without a policy for them: they are accounted, with all events. \
*No services*: the same agent, and the client calls an endpoint; what differs from it is balancing alone.
- **nftables** has two maps, one for each endpoint, from address and port to address and port: the least \
that it can do, one look-up for a connection's first packet, however many services there are. All later packets are translated by \
connection tracking. It reports nothing of a connection.

### Results

![Speed against no balancing, by number of services](benchmarks/service.svg)
";

const READING: &str = "
- Windrose balances at `connect`: the connection is then one with the endpoint, and no packet of it is \
translated ([ADR 8](adr/0008-balance-at-connect.md)).
";

const STARTS: &str = "
### Putting services in force

From starting the agent to its first policy in force: programs loaded and verified, services read, checked, \
compiled and written. nftables: `nft -f`, its text being ready.

";
