//! The project's own verbs: what a developer types as `cargo xtask VERB` is what CI runs.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod arrows;
mod bench;
mod bless;
mod check;
mod command;
mod demo;
mod ebpf;
mod fuzz;
mod packages;
mod rustc_wrapper;
mod source_rules;
mod test;
mod toolchain;
mod workspace;

#[path = "../../userspace/datapath/object/digest.rs"]
mod digest;

/// The project's own verbs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Bench(bench::Arguments),
    Bless(bless::Arguments),
    Check(check::Arguments),
    Demo(demo::Arguments),
    Ebpf(ebpf::Arguments),
    Fuzz(fuzz::Arguments),
    Test(test::Arguments),
}

fn main() -> ExitCode {
    if rustc_wrapper::is_asked() {
        return rustc_wrapper::run();
    }
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let workspace = workspace::Workspace::find()?;
    match arguments.verb {
        Verb::Bench(arguments) => bench::run(&workspace, &arguments),
        Verb::Bless(arguments) => bless::run(&workspace, &arguments),
        Verb::Check(arguments) => check::run(&workspace, &arguments),
        Verb::Demo(arguments) => demo::run(&workspace, &arguments),
        Verb::Ebpf(arguments) => ebpf::run(&workspace, &arguments),
        Verb::Fuzz(arguments) => fuzz::run(&workspace, &arguments),
        Verb::Test(arguments) => test::run(&workspace, &arguments),
    }
}
