//! `bench service`: what balancing costs, against none and against nftables DNAT.

mod case;
mod rounds;
mod text;

use anyhow::Result;

use super::options::Options;
use super::page::{self, Bench};
use super::summary::Summary;
use super::{kept_or_measured, table};

/// Measures it, or shows an earlier run again.
pub(super) fn run(words: &[&str]) -> Result<()> {
    let options = Options::parse(Bench::Service, words)?;
    let report = kept_or_measured(Bench::Service, &options, || rounds::measure(&options))?;
    let summary = Summary::of(&report, text::requirements());
    print!("{}", table::render(&report, &summary));
    if options.write {
        page::write(Bench::Service, &text::section(&report, &summary), &text::plot(&summary).render())?;
    }
    Ok(())
}
