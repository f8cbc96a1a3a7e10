//! What the engine asks of the tables, whoever holds them.

use core::ops::Deref;

use windrose_abi::{
    Address, AddressSlot, PeerListRow, PolicySetRow, PortKey, PortSlot, PrefixSlot, RuleKey, RuleSetSlot,
    RuleSlot,
};

/// Compiled policy as one generation reads it. A slot that does not exist is `None`.
pub trait Tables: Copy {
    /// A borrowed row of a peer list, which a walk keeps from turn to turn.
    type PeerRow: Copy + Deref<Target = PeerListRow>;
    /// A borrowed row of a policy set.
    type SetRow: Copy + Deref<Target = PolicySetRow>;

    /// The row of a single address.
    fn address(&self, address: &Address) -> Option<AddressSlot>;
    /// The row of the longest prefix around an address.
    fn prefix(&self, address: &Address) -> Option<PrefixSlot>;
    /// Whether [`Tables::prefix`] is worth a look.
    fn has_prefixes(&self) -> bool;
    /// One row of a peer list. List 0 is always there and its row has no groups.
    fn peer_list(&self, list: u32, row: u32) -> Option<Self::PeerRow>;
    /// One row of a policy set.
    fn policy_set(&self, set: u32, row: u32) -> Option<Self::SetRow>;
    /// The head of a rule set.
    fn rule_set(&self, rule_set: u32) -> Option<RuleSetSlot>;
    /// One row of a rule set.
    fn rule(&self, key: &RuleKey) -> Option<RuleSlot>;
    /// The names of a port of a workload.
    fn port_names(&self, key: &PortKey) -> Option<PortSlot>;
    /// The whole agent is in audit.
    fn audit_all(&self) -> bool;
    /// 0, in the kernel read from memory: a verifier that knew the initial values of a walk would
    /// follow every combination of those that changed and those that did not.
    fn zero(&self) -> u32;
    /// Calls `state.step(n)` for n from 0 to `count - 1` until it answers false. In the kernel
    /// this is `bpf_loop`, so that the verifier sees the step once and not `count` times.
    fn repeat<S: Step>(&self, count: u32, state: &mut S);
}

/// The body of a loop.
pub trait Step {
    /// One turn; false ends the loop.
    fn step(&mut self, turn: u32) -> bool;
}
