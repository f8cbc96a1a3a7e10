//! What the machine must have for a test.

use windrose_datapath::Machine;

/// The machine; `None` if something is missing, which is said, and with CI asking for it is a failure.
pub(crate) fn machine() -> Option<Machine> {
    Machine::inspect().map_err(|error| ignored(&error.to_string())).ok()
}

/// Says that a test does not run, and why.
pub(crate) fn ignored(missing: &str) {
    assert!(std::env::var_os("WINDROSE_REQUIRE").is_none(), "{missing}");
    eprintln!("ignored: {missing}");
}
