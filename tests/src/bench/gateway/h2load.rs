//! h2load (of nghttp2) as the client.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::case::Load;
use super::proxies::HOST;
use crate::bench::numbers::{nanoseconds, quantile};
use crate::bench::process;
use crate::netns::Namespace;

/// One turn of it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Turn {
    pub(super) requests: u64,
    pub(super) elapsed_ns: u64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
}

/// Sends so many requests to a port of loopback, and checks that each was answered with 200.
pub(super) fn run(
    namespace: &Namespace,
    folder: &Path,
    load: Load,
    port: u16,
    (requests, connections): (u64, u64),
) -> Result<Turn> {
    let log = folder.join("h2load.log");
    // h2load appends.
    let _ = fs::remove_file(&log);
    let scheme = if load.is_tls() { "https" } else { "http" };
    let mut command = Command::new("h2load");
    if load == Load::Http2 {
        // Streams of a connection at once.
        command.args(["-m", "4"]);
    } else {
        command.arg("--h1");
    }
    command.args(["-t", "1", "-n", &requests.to_string(), "-c", &connections.to_string()]);
    command.args([format!("--connect-to=127.0.0.1:{port}"), format!("--log-file={}", log.display())]);
    command.arg(format!("{scheme}://{HOST}:{port}{}", load.path()));
    let begun = Instant::now();
    let output = namespace.within(|| {
        process::on(super::proxies::OTHERS)?;
        command.output().context("cannot run h2load (package nghttp2-client)")
    })?;
    let elapsed_ns = nanoseconds(begun.elapsed());
    let said = String::from_utf8_lossy(&output.stdout);
    let all = format!("{requests} 2xx, 0 3xx, 0 4xx, 0 5xx");
    ensure!(said.contains(&all), "h2load, {}: not all were answered with 200:\n{said}", load.title());
    // A line each: when it began, its status, how long it took, in microseconds.
    let log = fs::read_to_string(&log).context("h2load wrote no log")?;
    let mut times: Vec<u64> =
        log.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse().ok()).collect();
    times.sort_unstable();
    Ok(Turn { requests, elapsed_ns, p50_us: quantile(&times, 500), p99_us: quantile(&times, 990) })
}
