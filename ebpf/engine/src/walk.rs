//! The walk over the rule sets of a subject and the peer groups of its peer.
//!
//! Its state is small and its loops are [`Tables::repeat`]: in the kernel the frames of a program
//! and of everything it calls share 512 bytes, and the verifier follows the turns of a plain loop
//! one by one.

use windrose_abi::identity::{GROUP_ANY, GROUPS_PER_ROW};
use windrose_abi::rules::{
    MAX_ROWS, NAMES_PER_PORT, PROBES_PER_WORD, SETS_PER_ROW, SHAPE_ANY, SHAPE_NAME, SHAPES,
};
use windrose_abi::{Action, DropReason, Origin, PortKey, PortSlot, RuleKey, RuleSetSlot, RuleSlot, Tier};

use crate::decide::{Outcome, has_ports};
use crate::tables::{Step, Tables};

#[expect(clippy::cast_possible_truncation, reason = "16")]
const SETS: u32 = SETS_PER_ROW as u32;
#[expect(clippy::cast_possible_truncation, reason = "16")]
const GROUPS: u32 = GROUPS_PER_ROW as u32;
#[expect(clippy::cast_possible_truncation, reason = "12")]
const PROBES: u32 = PROBES_PER_WORD as u32;

/// Ends a list of shapes.
const END: u8 = 31;

/// Worse than every row.
#[inline(always)]
const fn no_row(zero: u32) -> RuleSlot {
    RuleSlot { rank: !(zero as u64), rule: zero, action: zero }
}

#[inline(always)]
fn keep_lower(best: &mut RuleSlot, row: &RuleSlot) {
    if row.rank < best.rank {
        *best = *row;
    }
}

/// State of the outer loop, over the rule sets of a policy set, which come in the order of their
/// tiers.
#[expect(clippy::struct_excessive_bools, reason = "bytes of one word of a small frame")]
pub(crate) struct Walk<T: Tables> {
    tables: T,
    set: u32,
    peer_list: u32,
    // Never absent: the verifier keeps the type of a pointer that it sees in every turn, and loses
    // it where a null is stored in its place.
    set_row: T::SetRow,
    first_peer_row: T::PeerRow,
    peer_row: T::PeerRow,
    port: PortKey,
    names: PortSlot,
    names_known: bool,
    with_audit: bool,
    /// A rule set in audit was left out.
    pub(crate) saw_audit: bool,
    /// A row that another one names is missing, or tiers come in the wrong order.
    torn: bool,
    /// Of the rule set under way, as all up to `list`.
    tier: u8,
    rule_set: u32,
    peers: u64,
    probes: [u64; 2],
    /// Shapes that are left for `group`.
    list: u64,
    group: u32,
    /// The row of lowest rank of this tier; action 0 is none.
    best: RuleSlot,
    /// The isolation of lowest rank; action 0 is none.
    isolation: RuleSlot,
}

/// The inner loop, over the peer groups of one rule set.
struct OverPeers<'a, T: Tables>(&'a mut Walk<T>);

/// The innermost loop, over the shapes of one rule set for one peer group.
struct OverShapes<'a, T: Tables>(&'a mut Walk<T>);

impl<T: Tables> Walk<T> {
    #[inline(always)]
    pub(crate) fn new(
        tables: T,
        (set, set_row): (u32, T::SetRow),
        (peer_list, peer_row): (u32, T::PeerRow),
        port: PortKey,
        with_audit: bool,
    ) -> Self {
        let zero = tables.zero();
        Self {
            tables,
            set,
            peer_list,
            set_row,
            first_peer_row: peer_row,
            peer_row,
            port,
            names: PortSlot::ZERO,
            names_known: false,
            with_audit,
            saw_audit: false,
            torn: false,
            tier: 0,
            rule_set: 0,
            peers: 0,
            probes: [u64::MAX; 2],
            list: u64::MAX,
            group: 0,
            best: no_row(zero),
            isolation: no_row(zero),
        }
    }

    /// Walks to the first tier that decides.
    #[inline(always)]
    pub(crate) fn run(&mut self) -> Outcome {
        let tables = self.tables;
        tables.repeat(MAX_ROWS * SETS, self);
        if self.torn {
            return Outcome::deny(Origin::None, 0, DropReason::TornTables);
        }
        if self.is_final() { self.outcome() } else { Outcome::allow(Origin::Open, 0) }
    }

    /// Whether the tier under way, with all of its rule sets walked, decides.
    #[inline(always)]
    fn is_final(&self) -> bool {
        if self.tier == Tier::Network as u8 {
            return self.isolation.action != 0;
        }
        self.best.action != 0 && self.best.action != Action::Pass as u32
    }

    #[inline(always)]
    fn outcome(&self) -> Outcome {
        if self.best.action == Action::Allow as u32 {
            return Outcome::allow(Origin::Rule, self.best.rule);
        }
        if self.tier == Tier::Network as u8 {
            return Outcome::deny(Origin::Isolated, self.isolation.rule, DropReason::Isolated);
        }
        // An action that this program does not know denies, too.
        Outcome::deny(Origin::Rule, self.best.rule, DropReason::Rule)
    }

    /// One rule set: its isolation, its rows for every peer, its rows for the peer's groups. False
    /// ends the walk.
    #[inline(always)]
    fn enter(&mut self, rule_set: u32) -> bool {
        let Some(head) = self.tables.rule_set(rule_set) else {
            self.torn = true;
            return false;
        };
        if head.flags & RuleSetSlot::AUDIT != 0 && !self.with_audit {
            self.saw_audit = true;
            return true;
        }
        let tier = (head.tier & 0xff) as u8;
        if tier != self.tier {
            if self.is_final() {
                return false;
            }
            if tier < self.tier {
                self.torn = true;
                return false;
            }
            self.best = no_row(self.tables.zero());
            self.tier = tier;
        }
        self.rule_set = rule_set;
        self.peers = head.peers;
        self.probes = head.probes;
        if tier == Tier::Network as u8 {
            let isolation =
                RuleSlot { rank: head.default_rank, rule: head.default_rule, action: Action::Deny as u32 };
            keep_lower(&mut self.isolation, &isolation);
            if !has_ports(self.port.protocol) {
                return true;
            }
        }
        if head.shapes & (1 << SHAPE_NAME) != 0 && !self.names_known && self.port.workload != 0 {
            self.names_known = true;
            self.names = self.tables.port_names(&self.port).unwrap_or(PortSlot::ZERO);
        }
        self.probe_group(GROUP_ANY);
        self.peer_row = self.first_peer_row;
        if self.peer_row.count != 0 {
            let tables = self.tables;
            tables.repeat(MAX_ROWS * GROUPS, &mut OverPeers(self));
        }
        true
    }

    /// Every row that one peer group has for this port.
    #[inline(always)]
    fn probe_group(&mut self, group: u32) {
        if self.peers & (1 << (group & 63)) == 0 {
            return;
        }
        self.list = self.probes[0];
        self.group = group;
        let tables = self.tables;
        tables.repeat(2 * PROBES, &mut OverShapes(self));
    }

    #[inline(always)]
    fn probe_shape(&mut self, shape: u8) {
        if shape == SHAPE_ANY {
            self.probe(shape, 0, 0);
            return;
        }
        if !has_ports(self.port.protocol) {
            return;
        }
        if shape == SHAPE_NAME {
            for n in 0..NAMES_PER_PORT {
                let name = self.names.names[n];
                if name != 0 {
                    self.probe(shape, name, self.port.protocol);
                }
            }
            return;
        }
        let mask = (0xffff_0000_u32 >> (shape & 31)).to_le_bytes();
        self.probe(shape, self.port.port & u16::from_le_bytes([mask[0], mask[1]]), self.port.protocol);
    }

    #[inline(always)]
    fn probe(&mut self, shape: u8, port: u16, protocol: u8) {
        let key = RuleKey { rule_set: self.rule_set, peer_group: self.group, port, protocol, shape };
        if let Some(row) = self.tables.rule(&key) {
            keep_lower(&mut self.best, &row);
        }
    }
}

impl<T: Tables> Step for Walk<T> {
    #[inline(always)]
    fn step(&mut self, turn: u32) -> bool {
        let n = turn % SETS;
        if n == 0 && turn != 0 {
            if self.set_row.more == 0 {
                return false;
            }
            let Some(row) = self.tables.policy_set(self.set, turn / SETS) else {
                self.torn = true;
                return false;
            };
            self.set_row = row;
        }
        if n >= self.set_row.count {
            return false;
        }
        self.enter(self.set_row.rule_sets[n as usize])
    }
}

impl<T: Tables> Step for OverPeers<'_, T> {
    #[inline(always)]
    fn step(&mut self, turn: u32) -> bool {
        let walk = &mut *self.0;
        let n = turn % GROUPS;
        if n == 0 && turn != 0 {
            if walk.peer_row.more == 0 {
                return false;
            }
            let Some(row) = walk.tables.peer_list(walk.peer_list, turn / GROUPS) else {
                walk.torn = true;
                return false;
            };
            walk.peer_row = row;
        }
        if n >= walk.peer_row.count {
            return false;
        }
        walk.probe_group(walk.peer_row.groups[n as usize]);
        true
    }
}

impl<T: Tables> Step for OverShapes<'_, T> {
    #[inline(always)]
    fn step(&mut self, turn: u32) -> bool {
        let walk = &mut *self.0;
        if turn == PROBES {
            walk.list = walk.probes[1];
        }
        let shape = (walk.list & 31) as u8;
        if shape == END {
            return false;
        }
        walk.list >>= 5;
        walk.probe_shape(shape);
        true
    }
}

const _: () = assert!(SHAPES as u32 <= 32 && SHAPE_NAME + 1 == SHAPES);
