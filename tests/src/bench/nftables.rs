//! The rules as nftables reads them: as chains, one rule after the other, and as sets.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::rules::{self, Direction, Peer, Rule};
use crate::netns::Namespace;

/// How the rules are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Layout {
    /// A rule each, in a row.
    Chains,
    /// Hosts in a hash set of address and port, blocks in an interval set of both.
    Sets,
}

/// A ruleset for one network namespace.
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
    /// Loads the halves of those ends that are in a namespace.
    pub(crate) fn load(&self, namespace: &Namespace, directions: &[Direction]) -> Result<()> {
        let text = self.text(directions);
        namespace.within(|| {
            let mut nft = Command::new("nft")
                .args(["-f", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .context("cannot run nft (package nftables)")?;
            nft.stdin.take().context("nft has no input")?.write_all(text.as_bytes())?;
            let output = nft.wait_with_output()?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                bail!("nft refused {self:?}: {}", said.lines().take(5).collect::<Vec<_>>().join("\n"));
            }
            Ok(())
        })
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
