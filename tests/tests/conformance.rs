//! The cyclonus conformance cases for `NetworkPolicy`, on real sockets.

use std::process::ExitCode;

fn main() -> ExitCode {
    windrose_tests::trial::run(Vec::new(), &[])
}
