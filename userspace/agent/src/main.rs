//! The windrose agent and its command line.
#![forbid(unsafe_code)]

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

mod admin;
mod agent;
mod answers;
mod book;
mod check;
mod cli;
mod client;
mod clock;
mod compile;
mod config;
mod demo;
mod detach;
mod edge;
mod enforce;
mod events;
mod explain;
mod flow_log;
mod hosts;
mod housekeeping;
mod logging;
mod metrics;
mod north;
mod output;
mod profile;
mod quantile;
mod record;
mod refused;
mod run;
mod show;
mod snapshot;
mod statistics;
mod status;
mod top;
mod watch;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Status(args) => show::status(&args),
        Command::Requests(args) => north::follow(&args),
        Command::Connections(args) => show::connections(&args),
        Command::Flows(args) => show::flows(&args),
        Command::Edge(args) => edge::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Top(args) => top::run(args),
        Command::Detach(args) => detach::run(&args),
        Command::Demo(args) => demo::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has read enough: `windrose flows | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do when standard error is gone, too.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
