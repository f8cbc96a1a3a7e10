//! The rules of a configuration, the same for every tool.
//!
//! Half of them are the client's for egress, half the server's for ingress: no rule is of another
//! workload, which is the worst case. Three in five name one remote workload and one port, one in
//! five a block of 16 addresses and one port, one in five such a block and 100 ports. The one that
//! allows the traffic that is measured is in the middle.

use std::fmt;
use std::net::Ipv4Addr;

/// Where the server listens; allowed in both directions.
pub(crate) const PORT: u16 = 8080;

/// Allowed by egress, not by ingress: shows that ingress is enforced.
pub(crate) const HALF_OPEN_PORT: u16 = 8081;

/// Allowed by nothing.
pub(crate) const CLOSED_PORT: u16 = 9999;

/// Ports of rules that do not matter here.
const PORTS: [u16; 4] = [443, 5432, 8080, 9090];

/// Which end the rules are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The client's.
    Egress,
    /// The server's.
    Ingress,
}

/// Allows TCP with a peer on some ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) peer: Peer,
    pub(crate) first_port: u16,
    pub(crate) last_port: u16,
}

/// The other end that a rule names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The other end of what is measured.
    OtherEnd,
    /// A workload of another host.
    Remote(u32),
    /// Sixteen addresses.
    Block(u32),
}

/// Half of `count` rules: those of one direction.
pub(crate) fn of(direction: Direction, count: usize) -> Vec<Rule> {
    let count = u32::try_from(count / 2).unwrap_or(u32::MAX);
    let middle = count / 2;
    (0..count)
        .map(|number| {
            let port = PORTS[number as usize % PORTS.len()];
            let one = |peer, port| Rule { peer, first_port: port, last_port: port };
            if number == middle {
                return one(Peer::OtherEnd, PORT);
            }
            if number == middle + 1 && direction == Direction::Egress {
                return one(Peer::OtherEnd, HALF_OPEN_PORT);
            }
            match number % 5 {
                0..=2 => one(Peer::Remote(number), port),
                3 => one(Peer::Block(number), port),
                _ => Rule { peer: Peer::Block(number), first_port: 8000, last_port: 8099 },
            }
        })
        .collect()
}

/// The address of a remote workload.
pub(crate) fn remote(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 0)) + number)
}

/// A block of sixteen addresses.
pub(crate) fn block(number: u32) -> Block {
    Block(Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 16, 0, 0)) + number * 16))
}

/// A CIDR of length 28.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block(Ipv4Addr);

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/28", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_rules_in_the_middle_name_the_other_end() {
        for count in [10, 1_000, 100_000] {
            for (direction, expected) in [(Direction::Egress, 2), (Direction::Ingress, 1)] {
                let rules = of(direction, count);
                assert_eq!(rules.len(), count / 2);
                let ours: Vec<_> = rules.iter().filter(|rule| rule.peer == Peer::OtherEnd).collect();
                assert_eq!(ours.len(), expected, "{direction:?} {count}");
                assert_eq!(rules[count / 4].first_port, PORT);
            }
        }
    }

    #[test]
    fn blocks_do_not_overlap_and_stay_in_private_space() {
        assert_eq!(block(1).to_string(), "172.16.0.16/28");
        assert_eq!(block(49_999).to_string(), "172.28.52.240/28");
        assert_eq!(remote(49_999).to_string(), "10.128.195.79");
    }
}
