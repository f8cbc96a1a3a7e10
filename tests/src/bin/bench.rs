//! Side-by-side measurements, and the processes at both ends of them.
#![forbid(unsafe_code)]

use std::env;
use std::process::ExitCode;

use windrose_tests::bench;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        [bench::SERVER, rest @ ..] => bench::serve(rest),
        [bench::CLIENT, rest @ ..] => bench::call(rest),
        [name, rest @ ..] if !name.starts_with('-') => bench::run(name, rest),
        _ => {
            println!("{}", bench::USAGE);
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
