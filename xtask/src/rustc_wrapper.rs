//! Makes symbol names independent of where the checkout is.
//!
//! Cargo hashes the absolute path of a package that lies outside the workspace being built (for the BPF
//! programs: `abi`, `engine` and the standard library's sources) into `-C metadata`. Rustc mixes that into
//! every symbol, so two folders give two objects. The BPF build therefore runs rustc through this program,
//! which replaces the hash by the package's name and version; they are unique there, since a BPF build holds
//! each package once.

use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

/// Set by `cargo xtask ebpf` for its inner cargo, along with `RUSTC_WRAPPER`.
pub(crate) const SWITCH: &str = "WINDROSE_RUSTC_WRAPPER";

/// Whether this process was started as the wrapper and not as a verb.
pub(crate) fn is_asked() -> bool {
    env::var_os(SWITCH).is_some()
}

/// Runs `rustc ARGUMENTS...`, which is what cargo passes to a wrapper.
pub(crate) fn run() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let Some(rustc) = arguments.next() else {
        eprintln!("error: {SWITCH} is set, but no rustc was named");
        return ExitCode::FAILURE;
    };
    let name = env::var("CARGO_PKG_NAME").unwrap_or_default();
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    // Build scripts and macros run on the host: nothing of theirs reaches the object.
    let for_bpf = arguments.iter().any(|argument| argument.to_string_lossy().contains("bpfel-unknown-none"));
    let arguments = arguments.into_iter().map(|argument| {
        if for_bpf && argument.to_string_lossy().starts_with("metadata=") {
            OsString::from(format!("metadata={name}-{version}"))
        } else {
            argument
        }
    });
    match Command::new(&rustc).args(arguments).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: cannot run {}: {error}", rustc.display());
            ExitCode::FAILURE
        }
    }
}
