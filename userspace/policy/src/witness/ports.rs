//! The ports that rules tell apart.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{PortMatch, Protocol, Workload};

/// A protocol's number and a destination port, 0 where the protocol has none.
pub(crate) type Port = (u8, u16);

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// ICMP and GRE: protocols that only rules without ports match.
const PORTLESS: [Port; 2] = [(1, 0), (47, 0)];

/// A port that rules seldom name, and others for when they do.
const SELDOM: [u16; 4] = [47_011, 52_429, 60_653, 33_023];

/// Every port that is worth a try with a subject, once.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) all: Vec<Port>,
    numbers: HashMap<Port, usize>,
    seldom: u16,
}

/// Which ports say whether a rule's ports were compiled right.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    /// Each part of what the rule writes, once.
    pub(crate) inside: Vec<usize>,
    /// At the edges, on both sides of them.
    pub(crate) beside: Vec<usize>,
}

impl Ports {
    /// Those of these rules; named ports as the destinations have them.
    pub(crate) fn new(matches: &[&PortMatch], destinations: &[&Arc<Workload>]) -> Self {
        let mut ports = Self { all: Vec::new(), numbers: HashMap::new(), seldom: seldom(matches) };
        for protocol in PROTOCOLS {
            ports.add((protocol.number(), ports.seldom));
        }
        for port in PORTLESS {
            ports.add(port);
        }
        ports.add_rules(matches, destinations);
        ports
    }

    /// Those of more rules.
    pub(crate) fn add_rules(&mut self, matches: &[&PortMatch], destinations: &[&Arc<Workload>]) {
        for port in matches {
            match port {
                PortMatch::Any { protocol } => {
                    self.add((protocol.number(), 1));
                    self.add((protocol.number(), u16::MAX));
                }
                PortMatch::Range { protocol, first, last } => {
                    for port in range(*first, *last) {
                        self.add((protocol.number(), port));
                    }
                    for other in PROTOCOLS {
                        self.add((other.number(), *first));
                    }
                }
                PortMatch::Named { .. } => {}
            }
        }
        let names = names(matches);
        if !names.is_empty() {
            for named in destinations.iter().flat_map(|workload| &workload.ports) {
                if names.binary_search(&named.name.as_str()).is_ok() {
                    self.add_named(named.protocol, named.port);
                }
            }
        }
    }

    fn add(&mut self, port: Port) {
        let number = self.all.len();
        if *self.numbers.entry(port).or_insert(number) == number {
            self.all.push(port);
        }
    }

    fn add_named(&mut self, protocol: Protocol, port: u16) {
        for other in PROTOCOLS {
            self.add((other.number(), port));
        }
        for neighbour in [port.checked_sub(1), port.checked_add(1)].into_iter().flatten() {
            self.add((protocol.number(), neighbour));
        }
    }

    /// How a rule's ports are probed, if the destination is this workload.
    pub(crate) fn probes(&self, ports: Option<&[PortMatch]>, destination: Option<&Arc<Workload>>) -> Probes {
        let mut probes = Probes::default();
        let Some(ports) = ports else {
            probes.inside.extend(self.number((Protocol::Tcp.number(), self.seldom)));
            probes.beside.extend(PORTLESS.iter().filter_map(|port| self.number(*port)));
            return probes;
        };
        for port in ports {
            match port {
                PortMatch::Any { protocol } => {
                    probes.inside.extend(self.number((protocol.number(), self.seldom)));
                    let others = PROTOCOLS.iter().filter(|other| *other != protocol);
                    probes
                        .beside
                        .extend(others.filter_map(|other| self.number((other.number(), self.seldom))));
                }
                PortMatch::Range { protocol, first, last } => {
                    let number = |port: u16| self.number((protocol.number(), port));
                    probes.inside.extend(number(*first));
                    probes.beside.extend(
                        [first.checked_sub(1), Some(*last), last.checked_add(1)]
                            .into_iter()
                            .flatten()
                            .filter_map(number),
                    );
                }
                PortMatch::Named { protocol, name } => {
                    let named = destination.into_iter().flat_map(|workload| &workload.ports);
                    for named in named.filter(|named| named.name == *name) {
                        let number = |port: u16| self.number((named.protocol.number(), port));
                        if protocol.is_none_or(|protocol| protocol == named.protocol) {
                            probes.inside.extend(number(named.port));
                            probes.beside.extend(named.port.checked_add(1).and_then(number));
                        } else {
                            probes.beside.extend(number(named.port));
                        }
                    }
                }
            }
        }
        probes
    }

    fn number(&self, port: Port) -> Option<usize> {
        self.numbers.get(&port).copied()
    }
}

/// The names that rules ask for, sorted.
pub(crate) fn names<'m>(matches: &[&'m PortMatch]) -> Vec<&'m str> {
    let mut names: Vec<&'m str> = matches.iter().filter_map(|port| name(port)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn name(port: &PortMatch) -> Option<&str> {
    match port {
        PortMatch::Named { name, .. } => Some(name),
        PortMatch::Any { .. } | PortMatch::Range { .. } => None,
    }
}

/// A port that no rule names, if there is one.
fn seldom(matches: &[&PortMatch]) -> u16 {
    let is_named = |wanted: u16| {
        matches.iter().any(|port| match port {
            PortMatch::Range { first, last, .. } => (*first..=*last).contains(&wanted),
            PortMatch::Any { .. } | PortMatch::Named { .. } => false,
        })
    };
    SELDOM.into_iter().find(|port| !is_named(*port)).unwrap_or(SELDOM[0])
}

/// A range's edges, both sides of them, and of each power of two in between: tables hold a range
/// as blocks of such sizes, and each must be there.
fn range(first: u16, last: u16) -> Vec<u16> {
    let mut ports = vec![first, last];
    ports.extend([first.checked_sub(1), last.checked_add(1)].into_iter().flatten());
    for bits in 0..16 {
        let low = (1_u16 << bits) - 1;
        // The end of the block around the first port, what follows it, and the same from the top.
        ports.push(first | low);
        ports.extend((first | low).checked_add(1));
        ports.push(last & !low);
        ports.extend((last & !low).checked_sub(1));
    }
    let around = first.saturating_sub(1)..=last.saturating_add(1);
    ports.retain(|port| around.contains(port) && *port != 0);
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_has_two_neighbours() {
        assert_eq!(range(80, 80), [79, 80, 81]);
        assert_eq!(range(65_535, 65_535), [65_534, 65_535]);
        assert_eq!(range(1, 1), [1, 2]);
    }

    /// The blocks of a range, as simply as can be: from the front, the largest that fits.
    fn blocks(first: u32, last: u32) -> Vec<std::ops::RangeInclusive<u32>> {
        let mut blocks = Vec::new();
        let mut start = first;
        while start <= last {
            let fits = |bits: &u32| start.is_multiple_of(1 << bits) && start + (1 << bits) - 1 <= last;
            let bits = (0..=16).rev().find(fits).unwrap_or(0);
            blocks.push(start..=start + (1 << bits) - 1);
            start += 1 << bits;
        }
        blocks
    }

    #[test]
    fn every_block_of_a_range_has_a_port() {
        for (first, last) in [(1, 65_535), (1, 65_534), (8_000, 8_099), (1_023, 49_151), (53, 8_080), (3, 4)]
        {
            let ports = range(first, last);
            for block in blocks(first.into(), last.into()) {
                assert!(
                    ports.iter().any(|port| block.contains(&u32::from(*port))),
                    "{first} {last} {block:?}"
                );
            }
        }
    }
}
