//! What the engine asks of the tables, whoever holds them.

use windrose_abi::{
    Address, AddressSlot, PeerListRow, PolicySetRow, PortKey, PortSlot, PrefixSlot, RuleKey, RuleSetSlot,
    RuleSlot,
};

/// Compiled policy as one generation reads it. A slot that does not exist is `None`.
pub trait Tables: Copy {
    /// The row of a single address.
    fn address(&self, address: &Address) -> Option<AddressSlot>;
    /// The row of the longest prefix around an address.
    fn prefix(&self, address: &Address) -> Option<PrefixSlot>;
    /// Whether [`Tables::prefix`] is worth a look.
    fn has_prefixes(&self) -> bool;
    /// One row of a peer list.
    fn peer_list(&self, list: u32, row: u32) -> Option<&PeerListRow>;
    /// One row of a policy set.
    fn policy_set(&self, set: u32, row: u32) -> Option<&PolicySetRow>;
    /// The head of a rule set.
    fn rule_set(&self, rule_set: u32) -> Option<RuleSetSlot>;
    /// One row of a rule set.
    fn rule(&self, key: &RuleKey) -> Option<RuleSlot>;
    /// The names of a port of a workload.
    fn port_names(&self, key: &PortKey) -> Option<PortSlot>;
    /// The whole agent is in audit.
    fn audit_all(&self) -> bool;
    /// Calls `state.step(n)` for n from 0 to `count - 1` until it answers false. In the kernel
    /// this is `bpf_loop`, so that the verifier sees the step once and not `count` times.
    fn repeat<S: Step>(&self, count: u32, state: &mut S);
}

/// The body of a loop.
pub trait Step {
    /// One turn; false ends the loop.
    fn step(&mut self, turn: u32) -> bool;
}
