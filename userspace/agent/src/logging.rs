//! The agent's log: events with fields, on standard error.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts logging. `WINDROSE_LOG` overrides the configured level, in the syntax of
/// tracing-subscriber's `EnvFilter`.
pub(crate) fn start(log: &Log) -> Result<()> {
    let directives = std::env::var("WINDROSE_LOG").unwrap_or_else(|_| log.level.clone());
    let filter = EnvFilter::try_new(&directives).with_context(|| {
        format!("log level `{directives}` is not understood; try `info` or `windrose=debug`")
    })?;
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match log.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal() && !is_refused).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(anyhow::Error::from_boxed).context("cannot start logging")
}
