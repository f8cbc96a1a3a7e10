//! The command line of a benchmark.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::page::Bench;

/// What to measure and how long.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) rounds: usize,
    /// How long each load lasts each time.
    pub(crate) slice: Duration,
    pub(crate) processors: Processors,
    /// With 100,000 rules as chains.
    pub(crate) long_chains: bool,
    pub(crate) write: bool,
    /// A report to show again.
    pub(crate) from: Option<String>,
    /// A short run.
    pub(crate) is_quick: bool,
    /// Where frames come in, and how long they are counted.
    pub(crate) interface: Option<String>,
    pub(crate) seconds: u64,
}

/// Where the two ends run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Processors {
    /// Client and server on one each.
    Apart,
    /// Both on one.
    Together,
}

impl Processors {
    /// The number of the server's; the client's is 0.
    pub(crate) const fn of_server(self) -> usize {
        match self {
            Self::Apart => 1,
            Self::Together => 0,
        }
    }
}

impl Options {
    /// Options that mean nothing to a benchmark are refused.
    pub(crate) fn parse(bench: Bench, words: &[&str]) -> Result<Self> {
        let mut options = Self {
            rounds: 8,
            slice: Duration::from_millis(300),
            processors: Processors::Together,
            long_chains: false,
            write: false,
            from: None,
            is_quick: false,
            interface: None,
            seconds: 10,
        };
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word {
                "--quick" => {
                    options.is_quick = true;
                    (options.rounds, options.slice) = (2, Duration::from_millis(60));
                }
                "--rounds" => options.rounds = value()?.parse().context("--rounds needs a whole number")?,
                "--slice-ms" => {
                    let ms = value()?.parse().context("--slice-ms needs a whole number")?;
                    options.slice = Duration::from_millis(ms);
                }
                "--apart" => options.processors = Processors::Apart,
                "--together" => options.processors = Processors::Together,
                "--long-chains" if bench == Bench::Policy => options.long_chains = true,
                "--write" => options.write = true,
                "--interface" if bench == Bench::Edge => options.interface = Some((*value()?).to_owned()),
                "--seconds" if bench == Bench::Edge => {
                    options.seconds = value()?.parse().context("--seconds needs a whole number")?;
                }
                "--from" => options.from = Some((*value()?).to_owned()),
                _ => bail!("bench {} knows no option {word}\n{}", bench.name(), super::USAGE),
            }
        }
        ensure!((1..=100).contains(&options.rounds), "--rounds must be 1 to 100");
        ensure!(
            (20..=5_000).contains(&options.slice.as_millis()),
            "--slice-ms must be 20 to 5000: longer ones run out of ports"
        );
        Ok(options)
    }

    /// Where the numbers of a benchmark are kept.
    pub(crate) fn result_file(name: &str) -> PathBuf {
        let folder = std::env::current_exe().ok().and_then(|path| Some(path.ancestors().nth(2)?.to_owned()));
        folder.unwrap_or_else(std::env::temp_dir).join(format!("bench-{name}.json"))
    }

    /// The checkout's documentation.
    pub(crate) fn docs_folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_option_is_refused_by_name() {
        let error = Options::parse(Bench::Policy, &["--slow"]).unwrap_err().to_string();
        assert!(error.starts_with("bench policy knows no option --slow"), "{error}");
        assert!(Options::parse(Bench::Policy, &["--interface", "eth0"]).is_err());
        assert!(Options::parse(Bench::Edge, &["--interface", "eth0"]).is_ok());
    }

    #[test]
    fn later_options_override_what_quick_chose() {
        let options = Options::parse(Bench::Policy, &["--quick", "--rounds", "3"]).unwrap();
        assert_eq!((options.rounds, options.slice), (3, Duration::from_millis(60)));
    }
}
