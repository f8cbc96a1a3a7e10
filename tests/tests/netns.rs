//! Windrose on real sockets, in network namespaces and cgroups of the tests' own.

use std::process::ExitCode;

use windrose_tests::trial;

#[path = "netns/harness.rs"]
mod harness;

fn main() -> ExitCode {
    let mut tests = Vec::new();
    tests.extend(harness::tests());
    trial::run(tests, &[])
}
