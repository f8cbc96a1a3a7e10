//! What `bench edge` says in docs/benchmarks.md, and what it asks for.

use std::fmt::Write as _;

use super::case::Case;
use super::runs::{Frame, Row, Tables};
use crate::bench::markdown;
use crate::bench::numbers::Spread;
use crate::bench::plot::{Panel, Plot, Scale};
use crate::bench::report::Report;
use crate::bench::summary::Summary;
use crate::bench::table;

/// What frames are asked for: at most so many ns above the floor.
const REQUIRED: [(&str, Tables, Frame, f64); 3] = [
    ("a denied host among 1,000,000 is dropped", Tables::Hosts(1_000_000), Frame::DeniedHost, 40.0),
    ("a frame of a known flow is sent to an endpoint", MANY, Frame::Known, 60.0),
    ("a new flow is given an endpoint", MANY, Frame::New, 130.0),
];

const MANY: Tables = Tables::Services(1_000, 1_000, 1_000_000);

/// The section without its heading.
pub(super) fn section(report: &Report<Case>, frames: &[Row], summary: &Summary<Case>) -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str(&markdown::measured_on(report));
    text.push_str(FRAMES);
    text.push_str(
        "| the edge knows | a SYN | | above the floor | sources far apart |\n|---|---|---|--:|--:|\n",
    );
    for row in frames {
        let Row { tables, frame, .. } = row;
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            tables.title(),
            frame.title(),
            fate(row),
            row.hot_ns.map_or_else(String::new, spread),
            row.cold_ns.map_or_else(String::new, |ns| format!("{:.0} ns", ns.median)),
        );
    }
    text.push_str(TARGETS);
    for (what, tables, frame, required) in REQUIRED {
        let found = frames.iter().find(|row| (row.tables, row.frame) == (tables, frame));
        if let Some(reached) = found.and_then(|row| row.hot_ns) {
            let verdict = if reached.median <= required { "met" } else { "missed" };
            let what = markdown::capital(what);
            let _ = writeln!(text, "| {what} | {required:.0} ns | {} | {verdict} |", spread(reached));
        }
    }
    text.push_str(THROUGH);
    text.push_str(&markdown::places(summary));
    text.push_str(INTERFACE);
    text
}

/// Time above the floor by number of entries.
pub(super) fn plot(frames: &[Row]) -> Plot {
    let time = |tables: Tables, frame: Frame| {
        frames.iter().find(|row| (row.tables, row.frame) == (tables, frame))?.hot_ns
    };
    let sizes = [10, 100_000, 1_000_000];
    let points = |tables: fn(u32) -> Tables, frame| sizes.map(|size| time(tables(size), frame)).into();
    Plot {
        title: "Time of a frame at the edge, by number of entries",
        note: "ns above the floor",
        series: vec!["host denied", "host not denied", "prefix denied"],
        panels: vec![vec![Panel {
            title: "time of a frame".to_owned(),
            detail: "one source".to_owned(),
            scale: Scale { lowest: 0.0, highest: 200.0, step: 40.0, digits: 0 },
            labels: ["10", "100,000", "1,000,000"].map(str::to_owned).into(),
            axis: "entries",
            points: vec![
                points(Tables::Hosts, Frame::DeniedHost),
                points(Tables::Hosts, Frame::V4),
                points(Tables::Prefixes, Frame::DeniedPrefix),
            ],
        }]],
    }
}

/// The same for a terminal.
pub(super) fn frames_for_terminal(frames: &[Row]) -> String {
    let mut lines =
        vec![["the edge knows", "a SYN", "", "ns above floor", "sources far apart"].map(str::to_owned)];
    lines.extend(frames.iter().map(|row| {
        [
            row.tables.title(),
            row.frame.title().to_owned(),
            fate(row).to_owned(),
            row.hot_ns.map_or_else(String::new, spread),
            row.cold_ns.map_or_else(String::new, |ns| format!("{:.0}", ns.median)),
        ]
    }));
    table::columns(&lines)
}

const fn fate(row: &Row) -> &'static str {
    match (row.passes, row.tables) {
        (true, _) => "passes",
        (false, Tables::Cookies) => "is answered",
        (false, Tables::Services(..)) => "is sent on",
        (false, _) => "is dropped",
    }
}

fn spread(Spread { low, median, high }: Spread) -> String {
    format!("{median:.0} ns ({low:.0} to {high:.0})")
}

const INTRODUCTION: &str = "\
What a frame costs at the interface, and connections through a host that forwards or balances: \
`cargo xtask bench edge`.

";

const FRAMES: &str = "
### A frame

Test runs of the loaded program (`BPF_PROG_TEST_RUN`), attached to nothing, with a TCP SYN of 64 bytes; three \
rounds, in each the median of three runs of 200,000. The floor is a frame that is not IP: what a run costs by \
itself. The run repeats one frame, so that all it needs is in the processor's caches: one source that \
floods, or a list as small as its part that is in use. *Sources far apart*: 20,000 runs with another source each, so \
that look-ups wait for memory; above a floor that is measured the same way. The first is one flooder, the second a \
botnet.

What is balanced is sent on by 250 runs, since each takes a hop: to an endpoint that has the service's address, so \
that the frame stays for the next run; translated, between two services that are each other's endpoint; new, along 250 \
services of which each is the endpoint of the one before.

![Time of a frame at the edge, by number of entries](benchmarks/edge.svg)

";

const TARGETS: &str = "
### Targets

| target | at most | reached | |
|---|--:|--:|---|
";

const THROUGH: &str = "
### Connections through the edge

A client, a host that forwards or balances, and two endpoints, each in a network namespace, joined by veth \
pairs. *Forwarding* is the baseline: the client calls an endpoint. nftables translates the address of a service \
to that of one of its endpoints, by two maps with a look-up each connection and connection tracking. haproxy \
(TCP mode, one thread, splicing) takes the connection and makes another to the endpoint with fewer. Windrose is at the \
interface to the client. On veth that is the kernel's generic XDP, which runs after a socket buffer is made: \
these rows show what the edge costs there for what passes, and not what it saves; and it balances in the hooks of \
traffic control, on frames that the stack then sends on.
";

const INTERFACE: &str = "
### With real network cards

`cargo xtask bench edge --interface eth1 --seconds 30` puts the edge on an interface, by the driver's hook, with \
65,536 denied hosts (198.18.0.0/16, of the block that RFC 2544 keeps for such measurements), and prints each \
second how many frames were dropped and passed, and how many processors were busy. It takes itself off at the end. \
Let another machine send to it, at the least frame size and from many sources, such as the kernel's pktgen:

```console
# modprobe pktgen
# echo 'add_device eth1@0' > /proc/net/pktgen/kpktgend_0
# for line in 'pkt_size 60' 'count 0' 'burst 32' 'flag IPSRC_RND' 'src_min 198.18.0.0' 'src_max 198.18.255.255' \\
    'dst 192.0.2.1' 'dst_mac 02:00:00:00:00:01'; do echo \"$line\" > /proc/net/pktgen/eth1@0; done
# echo start > /proc/net/pktgen/pgctrl
```

with the receiver's MAC address; one device a queue and processor until the receiver's rate grows no more. \
Sources of 198.19.0.0/16 pass to the stack. Nobody else is to use the interface.
";
