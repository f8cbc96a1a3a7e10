//! What `cargo xtask bench` runs: the same load without an agent, with Windrose and with nftables, in
//! turns, so that whatever else the machine does is the same for each.

mod agent;
mod cpu;
mod documents;
mod end;
mod ground;
mod hooks;
mod markdown;
mod nftables;
mod numbers;
mod options;
mod pair;
mod plot;
mod report;
mod rounds;
mod rules;
mod summary;
mod table;

pub use end::{call, serve};

use std::fs;

use anyhow::{Context as _, Result};

/// First word of the command line of the process that accepts.
pub const SERVER: &str = "end-server";

/// First word of the command line of the process that opens.
pub const CLIENT: &str = "end-client";

/// What there is to call.
pub const USAGE: &str = "\
Usage: bench policy [--quick] [--rounds N] [--slice-ms N] [--apart|--together] [--long-chains] [--write]
       bench policy --from FILE [--write]

  --quick        two short rounds, under a minute: to see that it works
  --rounds N     how often every configuration is measured [default: 8]
  --slice-ms N   how long each load lasts each time [default: 300]
  --apart        each end on a processor of its own: noisier, as each wakes the other across
  --together     both ends on one processor [default]
  --long-chains  also 100,000 rules as nftables chains, which takes minutes to load
  --write        write docs/benchmarks.md and its plot
  --from FILE    measure nothing: report what an earlier run has left in FILE";

/// Measures what enforcement costs, and reports it.
pub fn policy(words: &[&str]) -> Result<()> {
    let options = options::Options::parse(words)?;
    let report = match &options.from {
        Some(file) => {
            let text = fs::read(file).with_context(|| format!("cannot read {file}"))?;
            serde_json::from_slice(&text).with_context(|| format!("{file} is no report of this program"))?
        }
        None => rounds::measure(&options)?,
    };
    if options.from.is_none() {
        let file = options::Options::result_file();
        fs::write(&file, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        eprintln!("kept as {}", file.display());
    }
    let summary = summary::Summary::of(&report);
    print!("{}", table::render(&report, &summary));
    if options.write {
        let folder = options::Options::docs_folder();
        fs::create_dir_all(folder.join("benchmarks"))?;
        fs::write(folder.join("benchmarks/policy.svg"), plot::render(&summary))?;
        fs::write(folder.join("benchmarks.md"), markdown::render(&report, &summary))?;
        eprintln!("wrote {}", folder.join("benchmarks.md").display());
    }
    Ok(())
}
