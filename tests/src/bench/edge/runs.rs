//! What one frame costs at the edge: test runs of the loaded program, which is attached to nothing.
//!
//! Less the floor, which is what a test run costs by itself: a frame that is not IP. Hot: one frame again
//! and again, so that all it needs is in the processor's caches. Cold: one run each for many sources far
//! apart.

use std::net::{IpAddr, Ipv4Addr, TcpListener};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use windrose_datapath::abi::{Address, EdgeLimit, EdgeSettings, LimitClass};
use windrose_datapath::{Capacities, Edge, EdgeConfig, Machine, Pins};

use super::{balanced, frames};
use crate::bench::numbers::{Spread, float, grouped};
use crate::netns::Namespace;

/// How often everything is measured.
pub(super) const ROUNDS: usize = 3;

/// Runs of one frame in a test run, and test runs of which the median counts.
const REPEAT: u32 = 200_000;
const TEST_RUNS: usize = 3;

/// Test runs of a frame that is sent on, which is not often: its hops are used up.
const BALANCED_RUNS: u16 = 51;

/// Single runs.
const SINGLE_RUNS: u32 = 20_000;

/// Where frames go to but for cookies.
const PORT: u16 = 80;

/// A time that is never over, in ns.
const FOR_EVER_NS: u64 = 1 << 40;

/// What the edge knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Tables {
    /// Nobody is denied.
    Empty,
    /// Denied addresses, half of them of IPv6.
    Hosts(u32),
    /// Denied prefixes of 16 addresses.
    Prefixes(u32),
    /// Both.
    Mixed(u32, u32),
    /// One limit by source, which nobody reaches.
    Limit,
    /// SYN cookies for everybody.
    Cookies,
    /// So many services with so many endpoints each, and so many flows.
    Services(u32, u32, u32),
}

/// What comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Frame {
    V4,
    V6,
    Vlan,
    NoFlags,
    DeniedHost,
    DeniedHostV6,
    DeniedPrefix,
    /// Of a flow that is known, to an endpoint with the service's address.
    Known,
    /// Likewise, the address being translated.
    Translated,
    /// Of a flow that is not known.
    New,
}

/// One measurement of one frame.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Sample {
    tables: Tables,
    frame: Frame,
    is_cold: bool,
    passes: bool,
    ns: f64,
    floor_ns: f64,
}

/// Medians of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) tables: Tables,
    pub(super) frame: Frame,
    pub(super) passes: bool,
    /// Above the floor.
    pub(super) hot_ns: Option<Spread>,
    pub(super) cold_ns: Option<Spread>,
}

/// Everything that is measured.
const PLAN: [(Tables, &[Frame]); 13] = [
    (Tables::Empty, &[Frame::V4, Frame::V6, Frame::Vlan, Frame::NoFlags]),
    (Tables::Hosts(10), HOSTS),
    (Tables::Hosts(100_000), HOSTS),
    (Tables::Hosts(1_000_000), HOSTS),
    (Tables::Prefixes(10), PREFIXES),
    (Tables::Prefixes(10_000), PREFIXES),
    (Tables::Prefixes(100_000), PREFIXES),
    (Tables::Prefixes(1_000_000), PREFIXES),
    (Tables::Mixed(1_000_000, 100_000), &[Frame::DeniedHost, Frame::DeniedPrefix, Frame::V4]),
    (Tables::Limit, &[Frame::V4]),
    (Tables::Cookies, &[Frame::V4]),
    (Tables::Services(10, 10, 1_000), BALANCED),
    (Tables::Services(1_000, 1_000, 1_000_000), BALANCED),
];

const BALANCED: &[Frame] = &[Frame::Known, Frame::Translated, Frame::New, Frame::V4];

const HOSTS: &[Frame] = &[Frame::DeniedHost, Frame::DeniedHostV6, Frame::V4];
const PREFIXES: &[Frame] = &[Frame::DeniedPrefix, Frame::V4];

/// An edge of its own in a network namespace of its own; both end with it.
struct Subject {
    edge: Edge,
    pins: Pins,
    port: u16,
    _listener: TcpListener,
}

/// Rounds over everything, each the other way round than the one before.
pub(super) fn measure(rounds: usize) -> Result<Vec<Sample>> {
    let mut plan = PLAN;
    let mut samples = Vec::new();
    for round in 0..rounds {
        eprintln!("frames, round {} of {rounds}", round + 1);
        for (tables, frames) in plan {
            let namespace = Namespace::new()?;
            // For cookies: by the kernel's choice they are made only when a listener's queue is full.
            namespace.set("ipv4/tcp_syncookies", "2")?;
            if let Tables::Services(..) = tables {
                namespace.ip(balanced::WAY_OUT)?;
                namespace.set("ipv4/conf/all/forwarding", "1")?;
            }
            let measured = namespace.within(|| {
                let subject = Subject::new(tables)?;
                frames.iter().map(|frame| subject.samples(tables, *frame)).collect::<Result<Vec<_>>>()
            });
            samples.extend(measured.with_context(|| tables.title())?.into_iter().flatten());
        }
        plan.reverse();
    }
    Ok(samples)
}

/// A row for each frame, in the order of the plan.
pub(super) fn summarize(samples: &[Sample]) -> Vec<Row> {
    let row = |tables: Tables, frame: Frame| {
        let of = |is_cold: bool| {
            let above = samples
                .iter()
                .filter(|sample| (sample.tables, sample.frame, sample.is_cold) == (tables, frame, is_cold))
                .map(|sample| sample.ns - sample.floor_ns);
            Spread::of(above.collect())
        };
        let first = samples.iter().find(|sample| (sample.tables, sample.frame) == (tables, frame))?;
        Some(Row { tables, frame, passes: first.passes, hot_ns: of(false), cold_ns: of(true) })
    };
    PLAN.iter().flat_map(|(tables, frames)| frames.iter().filter_map(|frame| row(*tables, *frame))).collect()
}

impl Tables {
    /// For tables.
    pub(super) fn title(self) -> String {
        let grouped = |count: u32| usize::try_from(count).map_or_else(|_| String::new(), grouped);
        match self {
            Self::Empty => "nobody denied".to_owned(),
            Self::Hosts(hosts) => format!("{} hosts denied", grouped(hosts)),
            Self::Prefixes(prefixes) => format!("{} prefixes denied", grouped(prefixes)),
            Self::Mixed(hosts, prefixes) => {
                format!("{} hosts and {} prefixes denied", grouped(hosts), grouped(prefixes))
            }
            Self::Limit => "one limit by source".to_owned(),
            Self::Cookies => "SYN cookies for all".to_owned(),
            Self::Services(services, endpoints, flows) => format!(
                "{} services of {} endpoints, {} flows",
                grouped(services),
                grouped(endpoints),
                grouped(flows)
            ),
        }
    }

    fn entries(self) -> (u32, u32) {
        match self {
            Self::Empty | Self::Limit | Self::Cookies | Self::Services(..) => (0, 0),
            Self::Hosts(hosts) => (hosts, 0),
            Self::Prefixes(prefixes) => (0, prefixes),
            Self::Mixed(hosts, prefixes) => (hosts, prefixes),
        }
    }

    fn settings(self) -> EdgeSettings {
        let mut settings = EdgeSettings { flags: EdgeSettings::BOGONS, ..EdgeSettings::ZERO };
        match self {
            Self::Limit => {
                settings.limit_count = 1;
                settings.limits[0] = EdgeLimit {
                    cost_ns: 1,
                    burst_ns: FOR_EVER_NS,
                    mask_v6: Address { words: [u32::MAX; 4] },
                    mask_v4: u32::MAX,
                    class: LimitClass::All as u32,
                };
            }
            Self::Cookies => {
                settings.flags |= EdgeSettings::COOKIES;
                // One SYN uses up what there is.
                (settings.cookies.cost_ns, settings.cookies.burst_ns) = (FOR_EVER_NS, FOR_EVER_NS);
            }
            Self::Services(..) => settings.flags |= EdgeSettings::BALANCE,
            Self::Empty | Self::Hosts(_) | Self::Prefixes(_) | Self::Mixed(..) => {}
        }
        settings
    }
}

impl Frame {
    /// For tables.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
            Self::Vlan => "IPv4 in a VLAN",
            Self::NoFlags => "IPv4, no TCP flags",
            Self::DeniedHost => "IPv4, denied host",
            Self::DeniedHostV6 => "IPv6, denied host",
            Self::DeniedPrefix => "IPv4, denied prefix",
            Self::Known => "known flow",
            Self::Translated => "known flow, translated",
            Self::New => "new flow",
        }
    }

    /// From the n-th source of its kind.
    fn bytes(self, tables: Tables, n: u32, port: u16) -> Vec<u8> {
        if let Tables::Services(services, _, flows) = tables {
            match self {
                Self::Known => return balanced::served(n % flows, services),
                Self::New => return balanced::served(flows + n, services),
                Self::Translated => return balanced::paired(),
                _ => {}
            }
        }
        let (hosts, prefixes) = tables.entries();
        let any_v4 = Ipv4Addr::from(u32::from(frames::STRANGER) & !0xffff | n & 0xffff);
        let source: IpAddr = match self {
            Self::V4 | Self::Vlan | Self::NoFlags | Self::Known | Self::Translated | Self::New => {
                any_v4.into()
            }
            Self::V6 => frames::STRANGER_V6.into(),
            Self::DeniedHost => frames::host(n % hosts.max(1)).into(),
            Self::DeniedHostV6 => frames::host_v6(n % hosts.max(1)).into(),
            Self::DeniedPrefix => frames::inside(n % prefixes.max(1)).into(),
        };
        let syn = frames::syn(source, port);
        match self {
            Self::Vlan => frames::in_a_vlan(&syn),
            Self::NoFlags => frames::without_flags(syn),
            _ => syn,
        }
    }

    /// Whether sources far apart are worth a look of their own.
    const fn has_sources(self) -> bool {
        match self {
            Self::V4
            | Self::DeniedHost
            | Self::DeniedHostV6
            | Self::DeniedPrefix
            | Self::Known
            | Self::New => true,
            Self::V6 | Self::Vlan | Self::NoFlags | Self::Translated => false,
        }
    }
}

impl Subject {
    fn new(tables: Tables) -> Result<Self> {
        let machine = Machine::inspect().context("this machine cannot run the edge")?;
        let pins = Pins::below(&machine.bpffs, "windrose-bench-frames");
        // Of a run that was interrupted.
        pins.remove()?;
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let port = if tables == Tables::Cookies { listener.local_addr()?.port() } else { PORT };
        let config = EdgeConfig { settings: tables.settings(), allowed: Vec::new() };
        let mut capacities = Capacities::default();
        capacities.set("DENY_PREFIXES", 1 << 20).map_err(anyhow::Error::msg)?;
        if let Tables::Services(services, endpoints, flows) = tables {
            balanced::make_room(&mut capacities, services, endpoints, flows)?;
        }
        let edge = Edge::open(&pins, &capacities, config)?;
        if let Tables::Services(services, endpoints, flows) = tables {
            balanced::put(&edge, services, endpoints)?;
            for n in 0..flows {
                edge.test_frame(&Frame::Known.bytes(tables, n, PORT), 1)?;
            }
        }
        let (hosts, prefixes) = tables.entries();
        edge.sync(frames::entries(hosts, prefixes), &[])?;
        Ok(Self { edge, pins, port, _listener: listener })
    }

    fn samples(&self, tables: Tables, frame: Frame) -> Result<Vec<Sample>> {
        let (hosts, prefixes) = tables.entries();
        let bytes = frame.bytes(tables, hosts.max(prefixes) / 2, self.port);
        let floor = frames::not_ip();
        // The first SYN may pass below the rate of cookies.
        self.edge.test_frame(&bytes, 1)?;
        let (passes, _) = self.edge.test_frame(&bytes, 1)?;
        let must_pass = match frame {
            Frame::V4 => tables != Tables::Cookies,
            Frame::V6 | Frame::Vlan => true,
            Frame::NoFlags
            | Frame::DeniedHost
            | Frame::DeniedHostV6
            | Frame::DeniedPrefix
            | Frame::Known
            | Frame::Translated
            | Frame::New => false,
        };
        ensure!(passes == must_pass, "{}: passes: {passes}", frame.title());
        let sample = |is_cold, (ns, floor_ns)| Sample { tables, frame, is_cold, passes, ns, floor_ns };
        let mut samples = Vec::new();
        // The kernel gives the frame to the next run as the last one left it: a cookie only once.
        if let Tables::Services(..) = tables {
            samples.push(sample(false, self.hot_balanced(frame, &bytes, &floor)?));
        } else if tables != Tables::Cookies {
            samples.push(sample(false, (self.hot(&bytes)?, self.hot(&floor)?)));
        }
        if frame.has_sources() {
            samples.push(sample(true, self.cold(&floor, |n| frame.bytes(tables, n, self.port))?));
        }
        Ok(samples)
    }

    fn hot(&self, frame: &[u8]) -> Result<f64> {
        let mut means = (0..TEST_RUNS)
            .map(|_| Ok(self.edge.test_frame(frame, REPEAT)?.1))
            .collect::<Result<Vec<u32>>>()?;
        means.sort_unstable();
        Ok(f64::from(means[TEST_RUNS / 2]))
    }

    /// As [`Self::hot`], with as many runs as the frame has hops.
    fn hot_balanced(&self, frame: Frame, bytes: &[u8], floor: &[u8]) -> Result<(f64, f64)> {
        let (mut cost, mut base) = (Vec::new(), Vec::new());
        for n in 0..BALANCED_RUNS {
            let run = if frame == Frame::New { &balanced::chained(n) } else { bytes };
            cost.push(self.edge.test_frame(run, balanced::HOPS)?.1);
            base.push(self.edge.test_frame(floor, balanced::HOPS)?.1);
        }
        let median = |mut times: Vec<u32>| {
            times.sort_unstable();
            f64::from(times[times.len() / 2])
        };
        Ok((median(cost), median(base)))
    }

    /// Means of single runs of frames and, between them, of the floor.
    fn cold(&self, floor: &[u8], frame: impl Fn(u32) -> Vec<u8>) -> Result<(f64, f64)> {
        let (mut cost, mut base) = (0_u64, 0_u64);
        for n in 0..SINGLE_RUNS {
            // A stride that is prime to everything: no neighbour in memory was there before.
            let frame = frame(n.wrapping_mul(2_654_435_761) >> 8);
            cost += u64::from(self.edge.test_frame(&frame, 1)?.1);
            base += u64::from(self.edge.test_frame(floor, 1)?.1);
        }
        let mean = |sum: u64| float(sum) / f64::from(SINGLE_RUNS);
        Ok((mean(cost), mean(base)))
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Err(error) = self.pins.remove() {
            eprintln!("warning: pins stay: {error}");
        }
    }
}
