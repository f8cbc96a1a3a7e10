//! The rules as nftables reads them: as chains, one rule after the other, and as sets.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::rules::{self, Direction, Peer, Rule};
use crate::bench::ground::{Ground, Place};
use crate::bench::nft;
use crate::netns::Namespace;

/// How the rules are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Layout {
    /// A rule each, in a row.
    Chains,
    /// Hosts in a hash set of address and port, blocks in an interval set of both.
    Sets,
}

/// A ruleset for the two ends.
#[derive(Debug)]
pub(crate) struct Ruleset {
    pub(crate) layout: Layout,
    /// With connection tracking, so that only the first packet of a connection meets the rules.
    pub(crate) is_stateful: bool,
    pub(crate) count: usize,
    pub(crate) client: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
}

impl Ruleset {
    /// In both ends' namespaces, each end's own half.
    pub(crate) fn load(&self, ground: &Ground) -> Result<()> {
        let halves: &[(&Namespace, &[Direction])] = match ground.place {
            Place::Veth => &[(&ground.client, &[Direction::Egress]), (&ground.server, &[Direction::Ingress])],
            Place::Host | Place::Routed => &[(&ground.client, &[Direction::Egress, Direction::Ingress])],
        };
        for (namespace, directions) in halves {
            nft::load(namespace, &self.text(directions)).with_context(|| format!("{self:?}"))?;
        }
        Ok(())
    }

    fn text(&self, directions: &[Direction]) -> String {
        let mut text = String::from("table ip bench {\n");
        for &direction in directions {
            let (hook, chain, subject, field) = match direction {
                Direction::Egress => ("output", "egress", format!("ip saddr {}", self.client), "daddr"),
                Direction::Ingress => ("input", "ingress", format!("ip daddr {}", self.server), "saddr"),
            };
            let rules = rules::of(direction, self.count);
            match self.layout {
                Layout::Chains => self.chain(&mut text, direction, chain, field, &rules),
                Layout::Sets => self.sets(&mut text, direction, chain, field, &rules),
            }
            let state = if self.is_stateful { "ct state established,related accept\n    " } else { "" };
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(
                text,
                "  chain {hook} {{\n    type filter hook {hook} priority filter; policy accept;\n    \
                 {state}{subject} jump {chain}\n  }}"
            );
        }
        text.push_str("}\n");
        text
    }

    fn chain(&self, text: &mut String, direction: Direction, chain: &str, field: &str, rules: &[Rule]) {
        let _ = writeln!(text, "  chain {chain} {{");
        for rule in rules {
            let (peer, ports) = (self.peer(direction, rule.peer), ports(rule));
            let _ = writeln!(text, "    ip {field} {peer} tcp dport {ports} accept");
        }
        text.push_str("    drop\n  }\n");
    }

    fn sets(&self, text: &mut String, direction: Direction, chain: &str, field: &str, rules: &[Rule]) {
        let (blocks, hosts): (Vec<&Rule>, Vec<&Rule>) =
            rules.iter().partition(|rule| matches!(rule.peer, Peer::Block(_)));
        for (name, flags, members) in [("hosts", "", hosts), ("blocks", "flags interval; ", blocks)] {
            let _ =
                writeln!(text, "  set {chain}_{name} {{ type ipv4_addr . inet_service; {flags}elements = {{");
            for rule in members {
                let _ = writeln!(text, "    {} . {},", self.peer(direction, rule.peer), ports(rule));
            }
            text.push_str("  } }\n");
        }
        let _ = writeln!(
            text,
            "  chain {chain} {{\n    ip {field} . tcp dport @{chain}_hosts accept\n    \
             ip {field} . tcp dport @{chain}_blocks accept\n    drop\n  }}"
        );
    }

    fn peer(&self, direction: Direction, peer: Peer) -> String {
        match peer {
            Peer::OtherEnd if direction == Direction::Egress => self.server.to_string(),
            Peer::OtherEnd => self.client.to_string(),
            Peer::Remote(number) => rules::remote(number).to_string(),
            Peer::Block(number) => rules::block(number).to_string(),
        }
    }
}

fn ports(rule: &Rule) -> String {
    if rule.first_port == rule.last_port {
        rule.first_port.to_string()
    } else {
        format!("{}-{}", rule.first_port, rule.last_port)
    }
}
