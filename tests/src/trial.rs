//! Running tests that need root: those whose needs are unmet say so and are ignored, or fail where
//! `WINDROSE_REQUIRE` is set.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::{cgroup, leftovers};

/// A test: its name, a sentence, and its function.
pub type Test = (&'static str, fn() -> anyhow::Result<()>);

/// A few at once: they wait more than they compute.
const THREADS: usize = 4;

/// Collects the tests of a file in `fn tests() -> Vec<Test>`.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        /// The tests of this file.
        pub(crate) fn tests() -> Vec<$crate::trial::Test> {
            vec![$((concat!(module_path!(), "::", stringify!($name)), $name)),*]
        }
    };
}

/// Runs tests as libtest does, with its command line. `needs` are unmet needs beyond those of every
/// world.
pub fn run(tests: Vec<Test>, needs: &[String]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let mut unmet = unmet();
    unmet.extend_from_slice(needs);
    let unmet = unmet.join(", ");
    let is_required = std::env::var_os("WINDROSE_REQUIRE").is_some();
    if unmet.is_empty() && !arguments.list {
        leftovers::remove();
    }
    let trials = tests
        .into_iter()
        .map(|(name, test)| {
            let name = name.split_once("::").map_or(name, |(_, rest)| rest);
            if unmet.is_empty() {
                return Trial::test(name, move || test().map_err(|error| Failed::from(tell(&error))));
            }
            let message = format!("needs {unmet}");
            let trial = Trial::test(name, move || Err(message.into()));
            if is_required {
                return trial;
            }
            trial.with_ignored_flag(true).with_kind(format!("ignored, needs {unmet}"))
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// An error with its causes and, of its backtrace, the lines of tests.
fn tell(error: &anyhow::Error) -> String {
    let backtrace = error.backtrace().to_string();
    let places = backtrace.lines().map(str::trim).filter(|line| line.contains("/tests/tests/"));
    std::iter::once(format!("{error:#}").as_str()).chain(places).collect::<Vec<_>>().join("\n    ")
}

/// What this machine lacks for a world and an agent.
fn unmet() -> Vec<String> {
    let mut unmet = Vec::new();
    if !is_root() {
        unmet.push("root".to_owned());
    }
    if cgroup::root().is_none() {
        unmet.push("a mounted cgroup v2 hierarchy".to_owned());
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        unmet.push("a kernel with BTF".to_owned());
    }
    if !is_installed("ip") {
        unmet.push("ip (package iproute2)".to_owned());
    }
    unmet
}

/// Whether a program can be run.
pub fn is_installed(program: &str) -> bool {
    let null = || Stdio::null();
    Command::new(program).arg("--version").stdin(null()).stdout(null()).stderr(null()).status().is_ok()
}

fn is_root() -> bool {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return false };
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}
