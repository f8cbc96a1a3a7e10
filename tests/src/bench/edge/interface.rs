//! `bench edge --interface`: what the edge does with frames that another machine sends.

use std::fs;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use windrose_datapath::abi::edge::FOREVER;
use windrose_datapath::abi::{Address, EdgeReason, EdgeSettings, PrefixKey};
use windrose_datapath::{Capacities, Edge, EdgeConfig, Listed, Machine, Mode, Pins};

use crate::bench::agent;
use crate::bench::numbers::{float, nanoseconds};

/// The first of as many denied hosts.
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const COUNT: u32 = 1 << 16;

const SECOND: Duration = Duration::from_secs(1);

/// Taken off its interface at the end, also of a failure.
struct Guard(Pins);

/// Attaches the edge by the driver's hook, and prints each second what came.
pub(super) fn watch(interface: &str, seconds: u64) -> Result<()> {
    let others = agent::others();
    if !others.is_empty() {
        eprintln!("warning: other agents enforce on this machine: {}", others.join(", "));
    }
    let machine = Machine::inspect().context("this machine cannot run the edge")?;
    let guard = Guard(Pins::below(&machine.bpffs, "windrose-bench-interface"));
    guard.remove()?;
    let settings = EdgeSettings { flags: EdgeSettings::BOGONS, ..EdgeSettings::ZERO };
    let config = EdgeConfig { settings, allowed: Vec::new() };
    let edge = Edge::open(&guard.0, &Capacities::default(), config)?;
    edge.sync((0..COUNT).map(denied).collect(), &[])?;
    edge.attach(interface, Mode::Native)?;
    println!("second   dropped/s    passed/s  busy processors");
    let (mut before, mut work) = (counts(&edge)?, Work::read()?);
    let mut at = Instant::now();
    for second in 1..=seconds {
        thread::sleep(SECOND.saturating_sub(at.elapsed()));
        let (now, done) = (counts(&edge)?, Work::read()?);
        let elapsed = at.elapsed();
        at = Instant::now();
        let rate = |count: u64| float(count) * 1e9 / float(nanoseconds(elapsed));
        println!(
            "{second:6}  {:10.0}  {:10.0}  {:15.2}",
            rate(now.0.saturating_sub(before.0)),
            rate(now.1.saturating_sub(before.1)),
            done.busy_since(&work),
        );
        (before, work) = (now, done);
    }
    Ok(())
}

fn denied(n: u32) -> Listed {
    let address = Ipv4Addr::from(u32::from(FIRST) + n).to_ipv6_mapped();
    let prefix = PrefixKey { length: 128, address: Address::from_bytes(address.octets()) };
    Listed { prefix, until_ns: FOREVER, list: 1 }
}

/// Frames that were dropped, and that passed.
fn counts(edge: &Edge) -> Result<(u64, u64)> {
    let counts = edge.counts()?;
    let sum = |passes: bool| {
        let of = |(reason, _): &&(EdgeReason, u64)| reason.passes() == passes;
        counts.iter().filter(of).map(|(_, count)| count).sum()
    };
    Ok((sum(false), sum(true)))
}

/// Time of all processors, in the kernel's ticks.
struct Work {
    all: u64,
    idle: u64,
    processors: usize,
}

impl Work {
    fn read() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        Self::parse(&text).context("/proc/stat does not begin with the time of all processors")
    }

    fn parse(text: &str) -> Option<Self> {
        let first = text.lines().next()?.strip_prefix("cpu ")?;
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
        let ticks: Vec<u64> = first.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
        let processors = text.lines().skip(1).take_while(|line| line.starts_with("cpu")).count();
        Some(Self { all: ticks.iter().sum(), idle: ticks.get(3)? + ticks.get(4)?, processors })
    }

    /// How many processors' worth of time was spent.
    fn busy_since(&self, before: &Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        let idle = self.idle.saturating_sub(before.idle);
        let processors = u32::try_from(self.processors).map_or(0.0, f64::from);
        processors * (1.0 - float(idle) / float(all))
    }
}

impl Guard {
    fn remove(&self) -> Result<()> {
        Edge::remove(&self.0)?;
        self.0.remove()?;
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("warning: the edge may stay on the interface: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_neither_idle_nor_waiting() {
        let before = Work::parse("cpu  10 0 10 80 0 0 0 0 0 0\ncpu0 1\ncpu1 1\nintr 5\n").unwrap();
        let after = Work::parse("cpu  30 0 20 140 5 0 5 0 9 9\ncpu0 1\ncpu1 1\nintr 5\n").unwrap();
        // 100 ticks of two processors, 65 of them idle.
        assert_eq!(format!("{:.2}", after.busy_since(&before)), "0.70");
        assert!(Work::parse("intr 5").is_none());
    }
}
