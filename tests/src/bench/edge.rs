//! `bench edge`: what a frame costs at the interface, and connections through the edge against nftables
//! and haproxy.

mod balanced;
mod case;
mod frames;
mod interface;
mod rounds;
mod runs;
mod text;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::options::Options;
use super::page::{self, Bench};
use super::report::Report;
use super::summary::Summary;
use super::{kept_or_measured, table};

/// What is kept of a run.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    frames: Vec<runs::Sample>,
    connections: Report<case::Case>,
}

/// Measures it, or shows an earlier run again; or counts what comes in at an interface.
pub(super) fn run(words: &[&str]) -> Result<()> {
    let options = Options::parse(Bench::Edge, words)?;
    if let Some(name) = &options.interface {
        return interface::watch(name, options.seconds);
    }
    let kept = kept_or_measured(Bench::Edge, &options, || {
        let mut connections = Report::new(&options);
        let frames = runs::measure(if options.is_quick { 1 } else { runs::ROUNDS })?;
        rounds::measure(&options, &mut connections)?;
        Ok(Kept { frames, connections })
    })?;
    let frames = runs::summarize(&kept.frames);
    let summary = Summary::of(&kept.connections, Vec::new());
    print!("{}", text::frames_for_terminal(&frames));
    print!("{}", table::render(&kept.connections, &summary));
    if options.write {
        let section = text::section(&kept.connections, &frames, &summary);
        page::write(Bench::Edge, &section, &text::plot(&frames).render())?;
    }
    Ok(())
}
