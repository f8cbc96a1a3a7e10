//! What is allowed: policy sets, rule sets and rows.

/// Rule sets in one row of a policy set.
pub const SETS_PER_ROW: usize = 16;

/// Most rows that one policy set or peer list can have.
pub const MAX_ROWS: u32 = 32;

/// Shape of a row that matches every port of every protocol that its tier matches.
pub const SHAPE_ANY: u8 = 17;
/// Shape of a row that matches a named port: `port` is the name's number and `protocol` is exact.
pub const SHAPE_NAME: u8 = 18;
/// Shapes 0 to 16 match one protocol and a port prefix of that many bits.
pub const SHAPES: u8 = 19;

/// Names that one port of one workload can have.
pub const NAMES_PER_PORT: usize = 4;

layout! {
    /// One generation's settings.
    pub struct ControlSlot {
        /// Levels below the cgroup v2 root at which workloads are: [`depths`].
        pub cgroup_depths: u64,
        /// See [`ControlSlot::AUDIT_ALL`].
        pub flags: u32,
        /// Always 0: see `Tables::zero` in the engine.
        pub zero: u32,
    }
}

/// Deepest level below the cgroup v2 root at which a workload may be.
pub const MAX_CGROUP_DEPTH: u32 = 12;

/// The levels of a bit set (bit n is level n, 1 to 12) as a list, deepest first, four bits each,
/// ended by 0: a list for the same reason as [`probes`].
pub const fn depths(levels: u64) -> u64 {
    let (mut list, mut level) = (0, 1);
    while level <= MAX_CGROUP_DEPTH {
        if levels & (1 << level) != 0 {
            list = list << 4 | level as u64;
        }
        level += 1;
    }
    list
}

impl ControlSlot {
    /// The whole agent is in audit.
    pub const AUDIT_ALL: u32 = 1;
    /// Some row of `PREFIXES` exists, so that the trie is worth a look.
    pub const HAS_PREFIXES: u32 = 2;
    /// The agent answers refused ingress, and wants to hear of repetitions.
    pub const ANSWERS: u32 = 4;
    /// Some row of `SERVICES` exists.
    pub const HAS_SERVICES: u32 = 8;
    /// In a program's own copy only: this run times its look-ups.
    pub const SAMPLED: u32 = 1 << 30;
}

layout! {
    /// The one entry of `CONTROL`.
    pub struct Control {
        /// The policy in force. 0: none yet, and nothing is decided. Its lowest bit chooses the
        /// slot that every row is read in.
        pub generation: u64,
        /// A flow without packets for longer than this is forgotten; 0: never.
        pub flow_idle_ns: u64,
        /// By generation.
        pub slots: [ControlSlot; 2],
    }
}

layout! {
    /// Key of `POLICY_SETS`.
    pub struct PolicySetKey {
        /// The set; its content never changes.
        pub set: u32,
        /// Which row of it, from 0.
        pub row: u32,
    }
}

layout! {
    /// Value of `POLICY_SETS`: some of the rule sets that select a workload in one direction.
    pub struct PolicySetRow {
        /// How many of `rule_sets` are used, 1 to 16.
        pub count: u32,
        /// 1 if another row follows.
        pub more: u32,
        /// The rule sets.
        pub rule_sets: [u32; SETS_PER_ROW],
    }
}

layout! {
    /// One generation's view of a rule set: the rules of every policy of one tier, one direction
    /// and one subject selector.
    pub struct RuleSetSlot {
        /// The lowest rank of a policy that isolates (tier network only).
        pub default_rank: u64,
        /// Bit `group % 64` is set for every peer group that a row has.
        pub peers: u64,
        /// [`probes`] of `shapes`.
        pub probes: [u64; 2],
        /// The rule id of that policy's isolation.
        pub default_rule: u32,
        /// Bit n is set when a row has shape n.
        pub shapes: u32,
        /// See [`crate::Tier`].
        pub tier: u32,
        /// See [`RuleSetSlot::AUDIT`] and [`RuleSetSlot::EXISTS`].
        pub flags: u32,
    }
}

/// The shapes of a bit set as a list, five bits each, ended by 31: the kernel walks a list, because
/// its verifier would follow every combination of tested bits.
pub const fn probes(shapes: u32) -> [u64; 2] {
    let mut list = [u64::MAX; 2];
    let (mut shape, mut n) = (0, 0);
    while shape < SHAPES {
        if shapes & (1 << shape) != 0 {
            let at = 5 * (n % PROBES_PER_WORD);
            let word = &mut list[n / PROBES_PER_WORD];
            *word = *word & !(31 << at) | (shape as u64) << at;
            n += 1;
        }
        shape += 1;
    }
    list
}

/// Shapes in one word of [`probes`]; the bits above them are set.
pub const PROBES_PER_WORD: usize = 12;

impl RuleSetSlot {
    /// The slot holds a rule set.
    pub const EXISTS: u32 = 1;
    /// Reported, not enforced.
    pub const AUDIT: u32 = 2;
}

layout! {
    /// Value of `RULE_SETS`, by rule set number.
    pub struct RuleSetRow {
        /// By generation.
        pub slots: [RuleSetSlot; 2],
    }
}

layout! {
    /// Key of `RULES`.
    pub struct RuleKey {
        /// The rule set.
        pub rule_set: u32,
        /// The peer group.
        pub peer_group: u32,
        /// The port's leading bits, host order, the others zero; or the port name's number.
        pub port: u16,
        /// The protocol, or 0 with [`SHAPE_ANY`].
        pub protocol: u8,
        /// 0 to 16: length of the port prefix; or [`SHAPE_ANY`] or [`SHAPE_NAME`].
        pub shape: u8,
    }
}

layout! {
    /// One generation's view of a row.
    pub struct RuleSlot {
        /// The lowest rank decides inside a tier.
        pub rank: u64,
        /// The rule's id; userspace knows file, line and column.
        pub rule: u32,
        /// See [`crate::Action`]; 0: the row does not exist in this slot.
        pub action: u32,
    }
}

layout! {
    /// Value of `RULES`.
    pub struct RuleRow {
        /// By generation.
        pub slots: [RuleSlot; 2],
    }
}

layout! {
    /// Key of `PORT_NAMES`.
    pub struct PortKey {
        /// The destination workload.
        pub workload: u32,
        /// Host order.
        pub port: u16,
        /// The protocol.
        pub protocol: u8,
        /// Zero.
        pub reserved: u8,
    }
}

layout! {
    /// One generation's names of a port.
    pub struct PortSlot {
        /// Numbers of the names, from 1; 0 ends the list.
        pub names: [u16; NAMES_PER_PORT],
    }
}

layout! {
    /// Value of `PORT_NAMES`.
    pub struct PortRow {
        /// By generation.
        pub slots: [PortSlot; 2],
    }
}
