//! What a frame costs at the edge: medians of test runs, in nanoseconds; attaches nothing.
//!
//! The floor is what a test run costs by itself: a frame that is not IP. A hit or miss of one
//! address finds everything in the processor's caches; `cold` is one run each for addresses at random.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use windrose_datapath::abi::edge::FOREVER;
use windrose_datapath::abi::{Address, DenyOrigin, EdgeLimit, EdgeSettings, LimitClass, PrefixKey};
use windrose_datapath::{Capacities, Edge, EdgeConfig, Listed, Machine, Pins};

const REPEAT: u32 = 200_000;
const ROUNDS: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    let limit = EdgeLimit {
        cost_ns: 1,
        burst_ns: 1 << 40,
        mask_v6: Address { words: [u32::MAX; 4] },
        mask_v4: u32::MAX,
        class: LimitClass::All as u32,
    };
    let plain = EdgeSettings { flags: EdgeSettings::BOGONS, ..EdgeSettings::ZERO };
    let mut limited = plain;
    (limited.limit_count, limited.limits[0]) = (1, limit);

    let edge = Subject::open(&plain)?;
    println!("verified instructions {}", edge.edge.program()?.verified_instructions);
    edge.show("floor: not IP", &arp())?;
    edge.show("v4 TCP, empty tables", &frame("198.51.100.7", 6))?;
    edge.show("v6 TCP, empty tables", &frame("2001:db8::7", 6))?;
    edge.show("v4 TCP in a VLAN", &in_a_vlan(&frame("198.51.100.7", 6)))?;
    edge.show("impossible flags", &null_scan())?;
    for hosts in [10, 100_000, 1_000_000] {
        let took = edge.fill(hosts, 0)?;
        println!("-- {hosts} hosts, written in {took:?}");
        edge.show("host hit", &frame(&host(hosts / 2).to_string(), 6))?;
        edge.show("host miss", &frame("198.51.100.7", 6))?;
        edge.show("host hit, v6", &frame(&host6(hosts / 2).to_string(), 6))?;
        edge.cold("host hit, cold", |n| host(n % hosts).into())?;
        edge.cold("host miss, cold", |n| Ipv4Addr::from(0xc633_0000 | n & 0xffff).into())?;
    }
    for prefixes in [10, 10_000, 100_000, 1_000_000] {
        let took = edge.fill(0, prefixes)?;
        println!("-- {prefixes} prefixes, written in {took:?}");
        edge.show("prefix hit", &frame(&inside(prefixes / 2).to_string(), 6))?;
        edge.show("prefix miss", &frame("198.51.100.7", 6))?;
        edge.cold("prefix hit, cold", |n| inside(n % prefixes).into())?;
    }
    let took = edge.fill(1_000_000, 100_000)?;
    println!("-- 1000000 hosts and 100000 prefixes, written in {took:?}");
    edge.show("host hit", &frame(&host(500_000).to_string(), 6))?;
    edge.show("prefix hit", &frame(&inside(5_000).to_string(), 6))?;
    edge.show("miss", &frame("198.51.100.7", 6))?;
    let began = Instant::now();
    let synced = edge.edge.sync(entries(1_000_000, 100_000), &[])?;
    println!("the same again in {:?}: {synced:?}", began.elapsed());
    let began = Instant::now();
    edge.edge.deny(key("192.0.2.1".parse()?), Some(Duration::from_mins(1)), DenyOrigin::Operator, "test")?;
    println!("one addition in {:?}", began.elapsed());
    drop(edge);

    let edge = Subject::open(&limited)?;
    println!("-- one limit; verified instructions {}", edge.edge.program()?.verified_instructions);
    edge.show("v4 TCP, token taken", &frame("198.51.100.7", 6))?;
    edge.cold("v4 TCP, new source", |n| Ipv4Addr::from(0x0b00_0000 | n).into())?;
    drop(edge);
    std::thread::scope(|scope| scope.spawn(cookies).join())
        .map_err(|_| "a thread has panicked")?
        .map_err(Into::into)
}

/// A SYN that is answered, in a network namespace of this thread's own.
fn cookies() -> Result<(), String> {
    const RUNS: u32 = 20_000;
    let say = |error: Box<dyn Error>| error.to_string();
    // SAFETY: only this thread's network namespace changes.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err("cannot make a network namespace".to_owned());
    }
    std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2").map_err(|error| error.to_string())?;
    let listener = std::net::TcpListener::bind("0.0.0.0:0").map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    let mut settings = EdgeSettings { flags: EdgeSettings::COOKIES, ..EdgeSettings::ZERO };
    (settings.cookies.cost_ns, settings.cookies.burst_ns) = (1 << 40, 1 << 40);
    let subject = Subject::open(&settings).map_err(say)?;
    let mut syn = frame("198.51.100.7", 6);
    syn[14 + 20 + 2..14 + 20 + 4].copy_from_slice(&port.to_be_bytes());
    syn[14 + 20 + 13] = 2;
    let run = |frame: &[u8]| subject.edge.test_frame(frame, 1).map_err(|error| error.to_string());
    let (mut cost, mut base) = (0_u64, 0_u64);
    for _ in 0..RUNS {
        cost += u64::from(run(&syn)?.1);
        base += u64::from(run(&arp())?.1);
    }
    println!(
        "-- cookies; verified instructions {}",
        subject.edge.program().map_err(|error| error.to_string())?.verified_instructions
    );
    println!("{:32} {:4} ns above the floor", "SYN answered", cost.saturating_sub(base) / u64::from(RUNS));
    Ok(())
}

/// An edge of its own, removed at the end.
struct Subject {
    edge: Edge,
    pins: Pins,
}

impl Subject {
    fn open(settings: &EdgeSettings) -> Result<Self, Box<dyn Error>> {
        let machine = Machine::inspect()?;
        let pins = Pins::below(&machine.bpffs, &format!("windrose-edge-cost-{}", std::process::id()));
        let config = EdgeConfig { settings: *settings, allowed: Vec::new() };
        let mut capacities = Capacities::default();
        capacities.set("DENY_PREFIXES", 1 << 20)?;
        Ok(Self { edge: Edge::open(&pins, &capacities, config)?, pins })
    }

    fn fill(&self, hosts: u32, prefixes: u32) -> Result<Duration, Box<dyn Error>> {
        let took = self.edge.sync(entries(hosts, prefixes), &[])?.took;
        memory()?;
        Ok(took)
    }

    fn show(&self, what: &str, frame: &[u8]) -> Result<(), Box<dyn Error>> {
        let mut rounds = Vec::new();
        let mut verdict = false;
        for _ in 0..ROUNDS {
            let (passes, mean_ns) = self.edge.test_frame(frame, REPEAT)?;
            verdict = passes;
            rounds.push(mean_ns);
        }
        rounds.sort_unstable();
        println!(
            "{what:32} {:4} ns ({} to {}) {}",
            rounds[ROUNDS / 2],
            rounds[0],
            rounds[ROUNDS - 1],
            if verdict { "passes" } else { "dropped" }
        );
        Ok(())
    }

    /// One run each on addresses that are far apart, less one run each on a frame that is not IP.
    fn cold(&self, what: &str, source: impl Fn(u32) -> IpAddr) -> Result<(), Box<dyn Error>> {
        const RUNS: u32 = 20_000;
        let floor = arp();
        let (mut cost, mut base) = (0_u64, 0_u64);
        for n in 0..RUNS {
            // A stride that is prime to everything: no neighbour in memory was there before.
            let frame = frame(&source(n.wrapping_mul(2_654_435_761) >> 8).to_string(), 6);
            cost += u64::from(self.edge.test_frame(&frame, 1)?.1);
            base += u64::from(self.edge.test_frame(&floor, 1)?.1);
        }
        println!("{what:32} {:4} ns above the floor", cost.saturating_sub(base) / u64::from(RUNS));
        Ok(())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Err(error) = self.pins.remove() {
            eprintln!("warning: pins stay: {error}");
        }
    }
}

/// What the kernel says that the maps of this process take.
fn memory() -> Result<(), Box<dyn Error>> {
    let mut total = 0_u64;
    for entry in std::fs::read_dir("/proc/self/fdinfo")?.flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        if field("map_id:").is_some() {
            total = total.max(field("memlock:").unwrap_or(0));
        }
    }
    println!("the largest map takes {} MiB", total >> 20);
    Ok(())
}

/// Hosts of 1.0.0.0 and up, and as many of IPv6 (half of each).
fn entries(hosts: u32, prefixes: u32) -> Vec<Listed> {
    let listed = |prefix| Listed { prefix, until_ns: FOREVER, list: 1 };
    let singles = (0..hosts).map(|n| listed(key(if n % 2 == 0 { host(n).into() } else { host6(n).into() })));
    let nets = (0..prefixes).map(|n| {
        let PrefixKey { address, .. } = key(Ipv4Addr::from(0x5000_0000 + (n << 4)).into());
        listed(PrefixKey { length: 96 + 28, address })
    });
    singles.chain(nets).collect()
}

/// The n-th host; those of an odd number stand for IPv6 ones.
fn host(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0100_0000 + (n & !1))
}

fn host6(n: u32) -> Ipv6Addr {
    Ipv6Addr::from((0x2001_0db8_0001_u128 << 80) | u128::from(n | 1))
}

/// An address in the n-th prefix.
fn inside(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x5000_0000 + (n << 4) + 7)
}

fn key(address: IpAddr) -> PrefixKey {
    let address = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    PrefixKey { length: 128, address: Address::from_bytes(address.octets()) }
}

fn arp() -> Vec<u8> {
    let mut frame = vec![0_u8; 64];
    frame[12..14].copy_from_slice(&[0x08, 0x06]);
    frame
}

fn in_a_vlan(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0, 42], &frame[12..]].concat()
}

fn null_scan() -> Vec<u8> {
    let mut frame = frame("198.51.100.7", 6);
    frame[14 + 20 + 13] = 0;
    frame
}

/// A TCP segment with ACK alone.
fn frame(source: &str, protocol: u8) -> Vec<u8> {
    let mut frame = vec![0_u8; 14];
    match source.parse::<IpAddr>() {
        Ok(IpAddr::V6(source)) => {
            frame[12..14].copy_from_slice(&[0x86, 0xdd]);
            frame.extend_from_slice(&[0x60, 0, 0, 0, 0, 20, protocol, 64]);
            frame.extend_from_slice(&source.octets());
            frame.extend_from_slice(&Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x99).octets());
        }
        source => {
            let octets = match source {
                Ok(IpAddr::V4(source)) => source.octets(),
                _ => [0; 4],
            };
            frame[12..14].copy_from_slice(&[0x08, 0x00]);
            frame.extend_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend_from_slice(&octets);
            frame.extend_from_slice(&[192, 0, 2, 99]);
        }
    }
    let mut tcp = [0_u8; 20];
    (tcp[12], tcp[13]) = (0x50, 0x10);
    frame.extend_from_slice(&tcp);
    frame.resize(frame.len().max(64), 0);
    frame
}
