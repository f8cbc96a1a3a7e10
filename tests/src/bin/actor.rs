//! A process of a test world: does on stdin's word what `script` names, until stdin ends.
#![forbid(unsafe_code)]

fn main() -> anyhow::Result<()> {
    windrose_tests::acting::run(std::env::args().nth(1).as_deref())
}
