//! `windrose profile`: where the time of the kernel's half goes, measured for a while.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cli::ProfileArgs;
use crate::client::{self, Method};
use crate::output::{self, Paint};

mod html;
mod measure;
mod reckon;
mod report;
mod rows;
mod svg;
mod text;

pub(crate) use measure::Running;
use report::Report;

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// Columns, for people
    Text,
    /// JSON, for programs
    Json,
    /// One page with plots
    Html,
}

/// What the agent needs beside the duration: to measure what measuring costs, and to read maps.
const MORE: Duration = Duration::from_secs(20);

/// Asks the agent for a profile and writes it.
pub(crate) fn run(args: &ProfileArgs) -> Result<()> {
    // Before anything is measured: whoever waits for a minute is not to find a folder missing then.
    if let Some(path) = &args.out {
        fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let query = [("milliseconds", args.duration.as_millis().to_string())];
    let report: Report =
        client::call_within(args.duration + MORE, args.admin, Method::POST, "/profile", &query)?;
    let paint = if args.out.is_some() { Paint::off() } else { Paint::for_stdout() };
    let text = match args.output {
        Output::Text => text::text(&report, paint),
        Output::Json => serde_json::to_string_pretty(&report).context("cannot write JSON")? + "\n",
        Output::Html => html::page(&report),
    };
    match &args.out {
        Some(path) => fs::write(path, text).with_context(|| format!("cannot write {}", path.display())),
        None => output::print(&text),
    }
}

#[cfg(test)]
mod tests;
