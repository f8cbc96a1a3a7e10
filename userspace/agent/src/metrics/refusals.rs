//! What was refused, and what would have been, by reason and rule.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use windrose_datapath::abi::{Direction, DropReason, RefusalKey};
use windrose_policy::model::ObjectName;
use windrose_policy::reference::protocol_name;

use super::edges::{direction, ends};
use super::families::label;
use crate::book::Book;

/// The labels of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Refusal {
    /// It was only reported, and passed.
    pub(super) is_audited: bool,
    source: Option<Arc<ObjectName>>,
    destination: Option<Arc<ObjectName>>,
    reason: u8,
    /// The policy whose rule or isolation decided; empty if none did.
    policy: String,
    /// `ingress[0]` or `ingress isolation`; empty if none decided.
    rule: String,
    direction: u8,
    protocol: u8,
}

impl EncodeLabelSet for Refusal {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        ends(encoder, self.source.as_deref(), self.destination.as_deref())?;
        label(
            encoder,
            "reason",
            DropReason::try_from(self.reason).map_or("unknown_code", DropReason::as_str),
        )?;
        label(encoder, "policy", &self.policy)?;
        label(encoder, "rule", &self.rule)?;
        label(encoder, "protocol", &protocol_name(self.protocol))?;
        label(encoder, "direction", direction(self.direction))
    }
}

/// Adds everything up. Rows of workloads that nobody knows any more are left out.
pub(super) fn collect(book: &Book, rows: &[(RefusalKey, u64)]) -> BTreeMap<Refusal, u64> {
    let mut refusals = BTreeMap::new();
    for (key, count) in rows {
        let named = |number| match number {
            0 => Some(None),
            number => book.workload(number).map(|name| Some(Arc::clone(name))),
        };
        let (Some(workload), Some(peer)) = (named(key.workload), named(key.peer_workload)) else { continue };
        let is_egress = key.direction == Direction::Egress as u8;
        let (source, destination) = if is_egress { (workload, peer) } else { (peer, workload) };
        let rule = book.rule(key.rule);
        let refusal = Refusal {
            is_audited: key.audited != 0,
            source,
            destination,
            reason: key.reason,
            policy: rule.map(|rule| rule.policy()).unwrap_or_default(),
            rule: rule.map(|rule| rule.rule()).unwrap_or_default(),
            direction: key.direction,
            protocol: key.protocol,
        };
        *refusals.entry(refusal).or_default() += count;
    }
    refusals
}
