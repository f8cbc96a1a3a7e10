//! `cargo xtask test`: what CI runs, and what the README tells a person to run.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::check;
use crate::command;
use crate::ebpf;
use crate::fuzz;
use crate::packages;
use crate::workspace::Workspace;

/// Check the code and the BPF object, then run every test.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A test whose need is unmet fails instead of being ignored, and the fuzz targets run too (as under CI).
    #[arg(long)]
    strict: bool,
    /// Passed on to `cargo test`; where given, only tests run, and no checks.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// How many tests ended how, over all test programs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    passed: usize,
    failed: usize,
    ignored: usize,
}

/// One part of the run.
struct Part {
    name: &'static str,
    seconds: u64,
    result: Result<()>,
}

/// Runs all parts, also after one failed, and ends with a summary.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if !packages::is_root() {
        bail!(
            "the tests load BPF programs and make network namespaces, which needs root: run this as root, or run \
             `cargo test --workspace`, which ignores the tests that need it"
        );
    }
    let is_strict = arguments.strict || env::var_os("CI").is_some();
    let mut parts = Vec::new();
    let mut count = Count::default();
    let mut part = |name, work: &mut dyn FnMut() -> Result<()>| {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let result = work();
        if let Err(error) = &result {
            eprintln!("error: {name}: {error:#}");
        }
        parts.push(Part { name, seconds: start.elapsed().as_secs(), result });
    };

    part("packages", &mut || {
        packages::ensure(packages::DEMO)?;
        packages::ensure(packages::TESTS)
    });
    if arguments.rest.is_empty() {
        part("check", &mut || check::run(workspace, &check::Arguments {}));
        part("BPF object", &mut || ebpf::run(workspace, &ebpf::Arguments { check: true }));
    }
    part("tests", &mut || test(workspace, arguments, is_strict, &mut count));
    if arguments.rest.is_empty() && is_strict {
        part("fuzz", &mut || fuzz::run(workspace, &fuzz::Arguments { target: None, seconds: 60 }));
    }
    summarize(&parts, count)
}

/// Runs `cargo test`, passing its output on as it comes and counting what it says.
fn test(workspace: &Workspace, arguments: &Arguments, is_strict: bool, count: &mut Count) -> Result<()> {
    let mut cargo = command::cargo(workspace.root());
    cargo.args(["test", "--locked"]);
    if arguments.rest.is_empty() {
        cargo.args(["--workspace", "--no-fail-fast"]);
    }
    cargo.args(&arguments.rest).stdout(Stdio::piped());
    if let Some(folder) = packages::promtool(workspace)? {
        cargo.env("PATH", packages::path_with(folder)?);
    }
    if is_strict {
        cargo.env("WINDROSE_REQUIRE", "1");
    }
    let mut child = cargo.spawn().context("cannot run cargo")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read what cargo test says")?;
        let line = String::from_utf8_lossy(&line);
        count.add(&line);
        writeln!(std::io::stdout(), "{line}").context("cannot pass on what cargo test says")?;
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    if !status.success() {
        bail!("cargo test ended with {status}");
    }
    if *count == Count::default() {
        bail!("no test ran");
    }
    Ok(())
}

fn summarize(parts: &[Part], count: Count) -> Result<()> {
    println!();
    for Part { name, seconds, result } in parts {
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        println!("{name:<12} {word:<8} {seconds:>5} s");
    }
    println!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.ignored);
    let failed: Vec<_> = parts.iter().filter(|part| part.result.is_err()).map(|part| part.name).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

impl Count {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`; others count nothing.
    fn add(&mut self, line: &str) {
        let Some((_, numbers)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for field in numbers.split("; ") {
            let Some((number, word)) = field.split_once(' ') else { continue };
            let Ok(number) = number.parse::<usize>() else { continue };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_added_up_and_others_are_not() {
        let mut count = Count::default();
        for line in [
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test explain::a_line ... ok",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.10s",
        ] {
            count.add(line);
        }
        assert_eq!(count, Count { passed: 5, failed: 1, ignored: 1 });
    }
}
