//! `bench sidecar`: what Windrose costs whose bytes go through the stack, against plain TCP and against
//! the same through a proxy at each end.

mod case;
mod rounds;
mod text;

use anyhow::Result;

use super::kept_or_measured;
use super::options::Options;
use super::page::{self, Bench};
use super::summary::Summary;

/// Measures it, or shows an earlier run again.
pub(super) fn run(words: &[&str]) -> Result<()> {
    let options = Options::parse(Bench::Sidecar, words)?;
    let report = kept_or_measured(Bench::Sidecar, &options, || rounds::measure(&options))?;
    let summary = Summary::of(&report, text::requirements());
    print!("{}", text::for_terminal(&report, &summary));
    if options.write {
        page::write(Bench::Sidecar, &text::section(&report, &summary), &text::plot(&summary).render())?;
    }
    Ok(())
}
