//! `bench gateway`: a request through Windrose, beside haproxy and nginx.

mod case;
mod h2load;
mod proxies;
mod rounds;
mod text;

use anyhow::Result;

use super::kept_or_measured;
use super::options::Options;
use super::page::{self, Bench};

/// Measures it, or shows an earlier run again.
pub(super) fn run(words: &[&str]) -> Result<()> {
    let options = Options::parse(Bench::Gateway, words)?;
    let report = kept_or_measured(Bench::Gateway, &options, || rounds::measure(&options))?;
    let summary = text::Summary::of(&report);
    print!("{}", text::for_terminal(&summary));
    if options.write {
        page::write(Bench::Gateway, &text::section(&report, &summary), &text::plot(&summary).render())?;
    }
    Ok(())
}
