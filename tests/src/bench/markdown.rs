//! docs/benchmarks.md.
use super::report::Report; use super::summary::Summary;
pub(crate) fn render(_: &Report, _: &Summary) -> String { String::new() }
