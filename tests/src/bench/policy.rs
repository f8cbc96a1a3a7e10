//! `bench policy`: what enforcement costs, against no agent and against nftables with the same rules.

mod case;
pub(super) mod documents;
mod rounds;
pub(super) mod rules;
mod rulesets;
mod text;

use anyhow::Result;

use super::options::Options;
use super::page::{self, Bench};
use super::summary::Summary;
use super::{kept_or_measured, table};

/// Measures it, or shows an earlier run again.
pub(super) fn run(words: &[&str]) -> Result<()> {
    let options = Options::parse(Bench::Policy, words)?;
    let report = kept_or_measured(Bench::Policy, &options, || rounds::measure(&options))?;
    let summary = Summary::of(&report, text::requirements());
    print!("{}", table::render(&report, &summary));
    if options.write {
        page::write(Bench::Policy, &text::section(&report, &summary), &text::plot(&summary).render())?;
    }
    Ok(())
}
