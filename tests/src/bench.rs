//! What `cargo xtask bench` runs: the same load without Windrose, with it and with other tools, in turns,
//! so that whatever else the machine does is the same for each.

mod agent;
mod cpu;
mod dnat;
mod edge;
mod end;
mod gateway;
mod ground;
mod haproxy;
mod hooks;
mod markdown;
mod nft;
mod numbers;
mod options;
mod page;
mod pair;
mod plot;
mod policy;
mod process;
mod report;
mod service;
mod services;
mod sidecar;
mod stage;
mod subject;
mod summary;
mod table;

pub use end::{call, serve};

use std::fs;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use options::Options;
use page::Bench;

/// First word of the command line of the process that accepts.
pub const SERVER: &str = "end-server";

/// First word of the command line of the process that opens.
pub const CLIENT: &str = "end-client";

/// What there is to call.
pub const USAGE: &str = "\
Usage: bench WHAT [OPTIONS]
       bench WHAT --from FILE [--write]

What:
  policy         enforcement, against no agent and against nftables with the same rules
  service        balancing, against none and against nftables DNAT
  edge           a frame at the interface, and connections through it against nftables DNAT and haproxy
  sidecar        messages and writes of all sizes, against plain TCP and a haproxy at each end;
                 also called redirect
  gateway        a request through the gateway, against haproxy and nginx

Options:
  --quick        two short rounds: to see that it works
  --rounds N     how often every case is measured [default: 8]
  --slice-ms N   how long each load lasts each time [default: 300]
  --apart        each end on a processor of its own: noisier, as each wakes the other across
  --together     both ends on one processor [default]
  --long-chains  policy: also 100,000 rules as nftables chains, which takes minutes to load
  --interface IF edge: count what another machine sends to this interface, and nothing else
  --seconds N    edge --interface: for so long [default: 10]
  --write        replace the section of docs/benchmarks.md and its plot
  --from FILE    measure nothing: report what an earlier run has left in FILE";

/// Runs the benchmark of this name.
pub fn run(name: &str, words: &[&str]) -> Result<()> {
    match name {
        "policy" => policy::run(words),
        "service" => service::run(words),
        "edge" => edge::run(words),
        "sidecar" | "redirect" => sidecar::run(words),
        "gateway" => gateway::run(words),
        _ => bail!("there is no benchmark {name}\n{USAGE}"),
    }
}

/// The report of the file that the options name, or a new one, which is kept in a file.
fn kept_or_measured<R: Serialize + DeserializeOwned>(
    bench: Bench,
    options: &Options,
    measure: impl FnOnce() -> Result<R>,
) -> Result<R> {
    if let Some(file) = &options.from {
        let text = fs::read(file).with_context(|| format!("cannot read {file}"))?;
        let name = bench.name();
        return serde_json::from_slice(&text).with_context(|| format!("{file} is no report of bench {name}"));
    }
    let report = measure()?;
    let file = Options::result_file(bench.name());
    fs::write(&file, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("kept as {}", file.display());
    Ok(report)
}
