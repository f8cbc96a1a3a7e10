//! The windrose agent and its command line.
#![forbid(unsafe_code)]

fn main() {}
