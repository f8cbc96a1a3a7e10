//! Fuzzes the reading of policy files: any text is understood or refused, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use windrose_policy::source::{Source, parse};

fuzz_target!(|bytes: &[u8]| {
    // Bad UTF-8 is refused before there is text.
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let name = if text.starts_with('{') { "fuzz.json" } else { "fuzz.yaml" };
    if let Err(faults) = parse(&[Source { name: name.to_owned(), text: text.to_owned() }]) {
        assert!(!faults.is_empty(), "a text was refused without a fault");
    }
});
