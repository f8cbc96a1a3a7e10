//! Every byte that crosses the boundary between kernel and userspace, and the version of it.
//!
//! A type reaches a map only through the macro `layout!`, which refuses padding, `bool`, `enum` and
//! `Option`. Codes are `u8` or `u32` with a `TryFrom`; they are appended, never renumbered.
#![no_std]

#[macro_use]
mod layout;

pub mod codes;
pub mod edge;
pub mod event;
pub mod forward;
pub mod identity;
pub mod profile;
pub mod rules;
pub mod services;
pub mod state;

pub use codes::{Action, Direction, DropReason, EventKind, Origin, Phase, Tier, Verdict};
pub use edge::{BucketKey, DenyNote, DenyOrigin, DenyRow, EdgeLimit, EdgeReason, EdgeSettings, LimitClass};
pub use event::Event;
pub use forward::{
    ForwardEndpoint, ForwardFlow, ForwardFragment, ForwardHop, ForwardKey, Forwarding, FrontendName,
    FrontendRow, RangeKey, ReturnRow,
};
pub use identity::{
    Address, AddressRow, AddressSlot, CgroupPath, CgroupRow, PeerListKey, PeerListRow, PrefixKey, PrefixRow,
    PrefixSlot, WorkloadRow, WorkloadSlot,
};
pub use profile::{LookUpTimes, Lookup, RuleTimes, RuleTimesKey, Times, VerdictTimes};
pub use rules::{
    Control, ControlSlot, PolicySetKey, PolicySetRow, PortKey, PortRow, PortSlot, RuleKey, RuleRow,
    RuleSetRow, RuleSetSlot, RuleSlot,
};
pub use services::{
    AffinityKey, AffinityRow, BalancedRow, ChoiceKey, EndpointLoad, EndpointRow, EndpointSlot, EndpointState,
    ReplyKey, ReplyRow, ServiceKey, ServiceRow, ServiceSlot, ServiceTotals, TableKey, TableRow,
};
pub use state::{
    CachedDecision, ConnectionRow, EdgeKey, EdgeRow, FlowKey, FlowRow, FragmentKey, Offsets, OriginKey,
    OriginRow, RefusalKey, SynRow, decision,
};

/// Version of every layout in this crate and of the names of the maps. An agent refuses pins of
/// another version by name.
pub const ABI_VERSION: u32 = 1;

/// The slot of a row that a decision under `generation` reads.
///
/// Every row that policy changes holds two slots. Policy `g + 1` is written into the slot that
/// generation `g` does not read; then one word, [`Control::generation`], flips.
#[inline(always)]
pub const fn slot(generation: u64) -> usize {
    (generation & 1) as usize
}
