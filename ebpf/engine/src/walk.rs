//! The walk over the rule sets of a subject and the peer groups of its peer.

use windrose_abi::identity::{GROUP_ANY, GROUPS_PER_ROW};
use windrose_abi::rules::{MAX_ROWS, NAMES_PER_PORT, SETS_PER_ROW, SHAPE_ANY, SHAPE_NAME, SHAPES};
use windrose_abi::{Action, PortKey, PortSlot, RuleKey, RuleSetSlot, RuleSlot, Tier};

use crate::decide::has_ports;
use crate::tables::{Step, Tables};

/// The row of lowest rank of each tier; action 0 is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Best {
    pub(crate) admin: RuleSlot,
    pub(crate) network: RuleSlot,
    pub(crate) isolation: RuleSlot,
    pub(crate) baseline: RuleSlot,
}

impl Best {
    const NONE: Self =
        Self { admin: RuleSlot::ZERO, network: RuleSlot::ZERO, isolation: RuleSlot::ZERO, baseline: RuleSlot::ZERO };

    #[inline(always)]
    fn offer(&mut self, tier: u32, row: &RuleSlot) {
        const ADMIN: u32 = Tier::Admin as u32;
        const NETWORK: u32 = Tier::Network as u32;
        let best = match tier {
            ADMIN => &mut self.admin,
            NETWORK => &mut self.network,
            _ => &mut self.baseline,
        };
        keep_lower(best, row);
    }
}

#[inline(always)]
fn keep_lower(best: &mut RuleSlot, row: &RuleSlot) {
    if best.action == 0 || row.rank < best.rank {
        *best = *row;
    }
}

/// State of the outer loop, over the rows of the policy set.
pub(crate) struct Walk<T> {
    tables: T,
    set: u32,
    peer_list: u32,
    port: PortKey,
    names: PortSlot,
    names_known: bool,
    /// A row that another one names is missing.
    pub(crate) torn: bool,
    // Of the rule set under way:
    is_audit: bool,
    tier: u8,
    shapes: u32,
    rule_set: u32,
    peers: u64,
    /// Over the rule sets that are not in audit.
    pub(crate) enforced: Best,
    /// Over all rule sets.
    pub(crate) all: Best,
}

/// The inner loop, over the rows of the peer list.
struct OverPeers<'a, T>(&'a mut Walk<T>);

impl<T: Tables> Walk<T> {
    #[inline(always)]
    pub(crate) fn new(tables: T, set: u32, peer_list: u32, port: PortKey) -> Self {
        Self {
            tables,
            set,
            peer_list,
            port,
            names: PortSlot::ZERO,
            names_known: false,
            torn: false,
            is_audit: false,
            tier: 0,
            shapes: 0,
            rule_set: 0,
            peers: 0,
            enforced: Best::NONE,
            all: Best::NONE,
        }
    }

    #[inline(always)]
    pub(crate) fn run(&mut self) {
        let tables = self.tables;
        tables.repeat(MAX_ROWS, self);
    }

    /// One rule set: its isolation, its rows for every peer, its rows for the peer's groups.
    #[inline(always)]
    fn enter(&mut self, rule_set: u32) {
        let Some(head) = self.tables.rule_set(rule_set) else {
            self.torn = true;
            return;
        };
        self.is_audit = head.flags & RuleSetSlot::AUDIT != 0;
        self.tier = (head.tier & 0xff) as u8;
        self.shapes = head.shapes;
        self.peers = head.peers;
        self.rule_set = rule_set;
        if head.tier == Tier::Network as u32 {
            let isolation =
                RuleSlot { rank: head.default_rank, rule: head.default_rule, action: Action::Deny as u32 };
            keep_lower(&mut self.all.isolation, &isolation);
            if !self.is_audit {
                keep_lower(&mut self.enforced.isolation, &isolation);
            }
            if !has_ports(self.port.protocol) {
                return;
            }
        }
        if head.shapes & (1 << SHAPE_NAME) != 0 && !self.names_known && self.port.workload != 0 {
            self.names_known = true;
            self.names = self.tables.port_names(&self.port).unwrap_or(PortSlot::ZERO);
        }
        self.probe_group(GROUP_ANY);
        if self.peer_list != 0 {
            let tables = self.tables;
            tables.repeat(MAX_ROWS, &mut OverPeers(self));
        }
    }

    /// Every row that one peer group has for this port.
    #[inline(always)]
    fn probe_group(&mut self, group: u32) {
        if self.peers & (1 << (group & 63)) == 0 {
            return;
        }
        let shapes = self.shapes;
        if shapes & (1 << SHAPE_ANY) != 0 {
            self.probe(group, SHAPE_ANY, 0, 0);
        }
        if !has_ports(self.port.protocol) {
            return;
        }
        for length in 0..SHAPE_ANY {
            if shapes & (1 << length) != 0 {
                let mask = (0xffff_0000_u32 >> length) & 0xffff;
                #[expect(clippy::cast_possible_truncation, reason = "masked to 16 bits")]
                self.probe(group, length, self.port.port & mask as u16, self.port.protocol);
            }
        }
        if shapes & (1 << SHAPE_NAME) != 0 {
            for n in 0..NAMES_PER_PORT {
                let name = self.names.names[n];
                if name == 0 {
                    break;
                }
                self.probe(group, SHAPE_NAME, name, self.port.protocol);
            }
        }
    }

    #[inline(always)]
    fn probe(&mut self, peer_group: u32, shape: u8, port: u16, protocol: u8) {
        let key = RuleKey { rule_set: self.rule_set, peer_group, port, protocol, shape };
        if let Some(row) = self.tables.rule(&key) {
            self.all.offer(u32::from(self.tier), &row);
            if !self.is_audit {
                self.enforced.offer(u32::from(self.tier), &row);
            }
        }
    }
}

impl<T: Tables> Step for Walk<T> {
    #[inline(always)]
    fn step(&mut self, turn: u32) -> bool {
        let tables = self.tables;
        let Some(row) = tables.policy_set(self.set, turn) else {
            self.torn = true;
            return false;
        };
        for n in 0..SETS_PER_ROW {
            if n as u32 >= row.count {
                return false;
            }
            self.enter(row.rule_sets[n]);
        }
        row.more != 0
    }
}

impl<T: Tables> Step for OverPeers<'_, T> {
    #[inline(always)]
    fn step(&mut self, turn: u32) -> bool {
        let tables = self.0.tables;
        let Some(row) = tables.peer_list(self.0.peer_list, turn) else {
            self.0.torn = true;
            return false;
        };
        for n in 0..GROUPS_PER_ROW {
            if n as u32 >= row.count {
                return false;
            }
            self.0.probe_group(row.groups[n]);
        }
        row.more != 0
    }
}

const _: () = assert!(SHAPES as u32 <= 32 && SHAPE_NAME + 1 == SHAPES);
