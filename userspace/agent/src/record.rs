//! Connections, flows and events as JSON shows them: every number by its name.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use windrose_datapath::abi::{
    Address, BalancedRow, ConnectionRow, Direction, DropReason, Event, EventKind, FlowKey, FlowRow, Origin,
    Verdict, codes,
};
use windrose_policy::reference::protocol_name;
use windrose_policy::tables::ServiceRef;

use crate::book::{Book, RuleView};
use crate::clock::Clock;

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    /// `namespace/name`; `None` for an address of no workload.
    pub(crate) workload: Option<Arc<str>>,
    /// Who it is to policy: a namespace and labels, `world`, `host`, `network`, or the address.
    pub(crate) identity: Arc<str>,
    /// On the wire; `None` where it is not known.
    pub(crate) address: Option<IpAddr>,
    /// 0 where there is none.
    pub(crate) port: u16,
}

impl End {
    /// The workload, else the address.
    pub(crate) fn name(&self) -> String {
        match (&self.workload, self.address) {
            (Some(workload), _) => workload.to_string(),
            (None, Some(address)) => address.to_string(),
            (None, None) => self.identity.to_string(),
        }
    }

    /// The name and the port.
    pub(crate) fn name_and_port(&self) -> String {
        let name = self.name();
        match self.port {
            0 => name,
            port if name.contains(':') => format!("[{name}]:{port}"),
            port => format!("{name}:{port}"),
        }
    }
}

/// What every record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decided {
    /// Events: when. Connections: when they began, if that is known. RFC 3339.
    pub(crate) time: Option<String>,
    /// Events: `opened`, `closed`, `refused`, `ended_late`, `audited`. Live: `connection`, `flow`.
    pub(crate) kind: String,
    /// `allow` or `deny`.
    pub(crate) verdict: String,
    /// Why it was refused; `none` if it was not.
    pub(crate) reason: String,
    /// What decided: `rule`, `isolated`, `open`, `itself`, `host`, `audit`, `none`.
    pub(crate) origin: String,
    /// The rule that decided, if one did.
    pub(crate) rule: Option<Arc<RuleView>>,
    /// The workload that this is seen from.
    pub(crate) workload: Option<Arc<str>>,
    /// `egress` if that workload opened it.
    pub(crate) direction: String,
    /// `TCP`, `UDP`, ... or a number.
    pub(crate) protocol: String,
    /// Who opened.
    pub(crate) source: End,
    /// Who accepted.
    pub(crate) destination: End,
    /// Payload bytes that the workload sent.
    pub(crate) bytes_sent: u64,
    /// Payload bytes that the workload received.
    pub(crate) bytes_received: u64,
    /// The policy under which it was decided.
    pub(crate) generation: u64,
    /// It passed because something is in audit.
    pub(crate) audited: bool,
}

impl Decided {
    /// The end that is not the workload that this is seen from.
    pub(crate) fn peer(&self) -> &End {
        if self.direction == Direction::Egress.as_str() { &self.destination } else { &self.source }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EventView {
    #[serde(flatten)]
    pub(crate) decided: Decided,
    /// How long it lived; 0 for events that end nothing.
    pub(crate) lifetime_seconds: f64,
    /// Smoothed round-trip time of TCP at its end; 0 if not known.
    pub(crate) rtt_seconds: f64,
}

/// One live connection, or flow of a protocol without connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ConnectionView {
    #[serde(flatten)]
    pub(crate) decided: Decided,
    /// TCP's state; `active` for flows.
    pub(crate) state: String,
    /// When traffic was last seen, RFC 3339.
    pub(crate) last_active: Option<String>,
    /// TCP segments, or packets, that the workload sent.
    pub(crate) packets_sent: u64,
    /// TCP segments, or packets, that it received.
    pub(crate) packets_received: u64,
    /// TCP segments sent again.
    pub(crate) retransmits: u32,
    /// TCP's smoothed round-trip time; 0 if not known.
    pub(crate) rtt_seconds: f64,
    /// TCP's minimum round-trip time; 0 if not known.
    pub(crate) min_rtt_seconds: f64,
    /// It is older than enforcement.
    pub(crate) found: bool,
    /// The service that the workload asked for, and that has given it this destination.
    pub(crate) service: Option<ServiceView>,
}

/// A service, as a process asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceView {
    /// `namespace/name`.
    pub(crate) name: String,
    /// One of its addresses.
    pub(crate) address: IpAddr,
    /// One of its ports.
    pub(crate) port: u16,
}

impl From<&ServiceRef> for ServiceView {
    fn from(service: &ServiceRef) -> Self {
        let ServiceRef { service, address, port, .. } = service;
        let name = format!("{}/{}", service.namespace, service.name);
        Self { name, address: *address, port: *port }
    }
}

/// The services behind live sockets, by cookie.
#[derive(Debug, Default)]
pub(crate) struct Balanced(HashMap<u64, u32>);

impl Balanced {
    /// From what a walk has found.
    pub(crate) fn new(rows: &[BalancedRow]) -> Self {
        Self(rows.iter().map(|row| (row.cookie, row.service)).collect())
    }

    fn of(&self, cookie: u64, direction: u8, book: &Book) -> Option<ServiceView> {
        if direction != Direction::Egress as u8 {
            return None;
        }
        book.service(*self.0.get(&cookie)?).map(|service| ServiceView::from(&**service))
    }
}

/// The numbers that every row and event has.
struct Raw {
    time: Option<String>,
    kind: String,
    verdict: u8,
    reason: u8,
    origin: u8,
    direction: u8,
    protocol: u8,
    rule: u32,
    workload: u32,
    peer_workload: u32,
    identity: u32,
    peer_identity: u32,
    local: Address,
    peer: Address,
    local_port: u16,
    peer_port: u16,
    bytes_sent: u64,
    bytes_received: u64,
    generation: u64,
    audited: bool,
}

impl Raw {
    fn decided(self, book: &Book) -> Decided {
        let local = end(book, self.workload, self.identity, self.local, self.local_port);
        let peer = end(book, self.peer_workload, self.peer_identity, self.peer, self.peer_port);
        let workload = local.workload.clone();
        let is_egress = self.direction == Direction::Egress as u8;
        let (source, destination) = if is_egress { (local, peer) } else { (peer, local) };
        Decided {
            time: self.time,
            kind: self.kind,
            verdict: text(Verdict::try_from(self.verdict).map(Verdict::as_str)),
            reason: text(DropReason::try_from(self.reason).map(DropReason::as_str)),
            origin: text(Origin::try_from(self.origin).map(Origin::as_str)),
            rule: book.rule(self.rule).cloned(),
            workload,
            direction: text(Direction::try_from(self.direction).map(Direction::as_str)),
            protocol: protocol_name(self.protocol),
            source,
            destination,
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
            generation: self.generation,
            audited: self.audited,
        }
    }
}

/// A code's name; of a code that this version does not know, the code.
fn text(code: Result<&'static str, u8>) -> String {
    code.map_or_else(|code| format!("code_{code}"), ToOwned::to_owned)
}

fn end(book: &Book, workload: u32, identity: u32, address: Address, port: u16) -> End {
    let address = (address != Address::ZERO).then(|| IpAddr::from(address.to_bytes()).to_canonical());
    let workload: Option<Arc<str>> =
        book.workload(workload).map(|name| format!("{}/{}", name.namespace, name.name).into());
    let identity = book.identity(identity).unwrap_or_else(|| match address {
        Some(address) => address.to_string().into(),
        None => "unknown".into(),
    });
    End { workload, identity, address, port }
}

/// An event of the ring buffer.
pub(crate) fn event(event: &Event, book: &Book, clock: &Clock) -> EventView {
    let decided = Raw {
        time: clock.text_of(event.time_ns),
        kind: text(EventKind::try_from(event.kind).map(EventKind::as_str)),
        verdict: event.verdict,
        reason: event.reason,
        origin: event.origin,
        direction: event.direction,
        protocol: event.protocol,
        rule: event.rule,
        workload: event.workload,
        peer_workload: event.peer_workload,
        identity: event.identity,
        peer_identity: event.peer_identity,
        local: event.local,
        peer: event.peer,
        local_port: event.local_port,
        peer_port: event.peer_port,
        bytes_sent: event.bytes_sent,
        bytes_received: event.bytes_received,
        generation: event.generation,
        audited: event.kind == EventKind::Audited as u8,
    }
    .decided(book);
    EventView { decided, lifetime_seconds: seconds(event.lifetime_ns), rtt_seconds: micros(event.srtt_us) }
}

/// A live TCP connection.
pub(crate) fn connection(
    row: &ConnectionRow,
    balanced: &Balanced,
    book: &Book,
    clock: &Clock,
) -> ConnectionView {
    let decided = Raw {
        time: clock.text_of(row.start_ns),
        kind: "connection".to_owned(),
        verdict: row.verdict() as u8,
        reason: reason_of(row.verdict() as u8),
        origin: row.origin,
        direction: row.direction,
        protocol: codes::protocol::TCP,
        rule: row.rule,
        workload: row.workload,
        peer_workload: row.peer_workload,
        identity: row.identity,
        peer_identity: row.peer_identity,
        local: row.local,
        peer: row.peer,
        local_port: row.local_port,
        peer_port: row.peer_port,
        bytes_sent: row.bytes_sent,
        bytes_received: row.bytes_received,
        generation: row.generation(),
        audited: row.flags & ConnectionRow::AUDITED != 0,
    }
    .decided(book);
    ConnectionView {
        decided,
        state: tcp_state(row.tcp_state).to_owned(),
        last_active: clock.text_of(row.active_ns),
        packets_sent: row.segments_sent,
        packets_received: row.segments_received,
        retransmits: row.retransmits,
        rtt_seconds: micros(row.srtt_us),
        min_rtt_seconds: micros(min_rtt_us(row)),
        found: row.flags & ConnectionRow::FOUND != 0,
        service: balanced.of(row.cookie, row.direction, book),
    }
}

/// A flow of a protocol without connections.
pub(crate) fn flow(
    key: &FlowKey,
    row: &FlowRow,
    balanced: &Balanced,
    book: &Book,
    clock: &Clock,
) -> ConnectionView {
    let decided = Raw {
        time: clock.text_of(row.start_ns),
        kind: "flow".to_owned(),
        verdict: row.verdict,
        reason: reason_of(row.verdict),
        origin: row.origin,
        direction: row.direction,
        protocol: u8::try_from(key.protocol).unwrap_or(u8::MAX),
        rule: row.rule,
        workload: key.workload,
        peer_workload: row.peer_workload,
        identity: row.identity,
        peer_identity: row.peer_identity,
        local: row.local,
        peer: key.peer,
        local_port: key.local_port,
        peer_port: key.peer_port,
        bytes_sent: row.bytes_sent,
        bytes_received: row.bytes_received,
        generation: row.generation,
        audited: u32::from(row.flags) & ConnectionRow::AUDITED != 0,
    }
    .decided(book);
    ConnectionView {
        decided,
        state: "active".to_owned(),
        last_active: clock.text_of(row.active_ns),
        packets_sent: row.packets_sent,
        packets_received: row.packets_received,
        retransmits: 0,
        rtt_seconds: 0.0,
        min_rtt_seconds: 0.0,
        found: u32::from(row.flags) & ConnectionRow::FOUND != 0,
        service: balanced.of(row.cookie, row.direction, book),
    }
}

/// A live row that is denied is about to be ended.
const fn reason_of(verdict: u8) -> u8 {
    if verdict == Verdict::Deny as u8 { DropReason::LateDenial as u8 } else { DropReason::None as u8 }
}

/// `include/net/tcp_states.h`, Linux 6.18.
const fn tcp_state(state: u32) -> &'static str {
    match state {
        1 => "established",
        2 => "syn_sent",
        3 | 12 => "syn_received",
        4 => "fin_wait_1",
        5 => "fin_wait_2",
        6 => "time_wait",
        7 => "close",
        8 => "close_wait",
        9 => "last_ack",
        10 => "listen",
        11 => "closing",
        _ => "unknown",
    }
}

/// The rule that decided, with its place; or what decided where no rule did.
pub(crate) fn decided_by(decided: &Decided) -> String {
    match &decided.rule {
        Some(rule) => format!("{} {} ({})", rule.policy(), rule.rule(), rule.place()),
        None => decided.origin.clone(),
    }
}

/// Nanoseconds as seconds; the integer has at most microseconds of interest.
#[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days, and beyond it the loss is nanoseconds")]
pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// TCP's minimum round-trip time, microseconds; 0 before the first sample, where TCP has the largest
/// number (`minmax_reset` in `tcp_init_sock`).
pub(crate) const fn min_rtt_us(row: &ConnectionRow) -> u32 {
    if row.min_rtt_us == u32::MAX { 0 } else { row.min_rtt_us }
}

fn micros(us: u32) -> f64 {
    f64::from(us) / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Event {
        Event {
            time_ns: 1,
            local: Address::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 2]),
            peer: Address::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1]),
            local_port: 8080,
            peer_port: 40_000,
            peer_identity: 1,
            protocol: 6,
            kind: EventKind::Refused as u8,
            verdict: Verdict::Deny as u8,
            reason: DropReason::Isolated as u8,
            origin: Origin::Isolated as u8,
            lifetime_ns: 1_500_000_000,
            ..Event::ZERO
        }
    }

    #[test]
    fn the_peer_of_ingress_is_the_source() {
        let view = event(&sample(), &Book::default(), &Clock::now()).decided;
        assert_eq!(view.source.name_and_port(), "10.0.0.1:40000");
        assert_eq!(view.destination.name_and_port(), "10.0.0.2:8080");
        assert_eq!(&*view.source.identity, "world");
        assert_eq!(view.peer(), &view.source);
        assert_eq!((view.kind.as_str(), view.reason.as_str()), ("refused", "isolated"));
    }

    #[test]
    fn a_connection_that_is_not_answered_yet_has_no_round_trip_time() {
        let view = |min_rtt_us| {
            let row = ConnectionRow { min_rtt_us, ..ConnectionRow::ZERO };
            connection(&row, &Balanced::default(), &Book::default(), &Clock::now()).min_rtt_seconds
        };
        assert_eq!((view(u32::MAX), view(0), view(2_000_000)), (0.0, 0.0, 2.0));
    }

    #[test]
    fn a_code_of_a_later_version_is_shown_as_a_number() {
        let view = event(&Event { reason: 200, ..sample() }, &Book::default(), &Clock::now());
        assert_eq!(view.decided.reason, "code_200");
    }

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let view = event(&sample(), &Book::default(), &Clock::now());
        let text = serde_json::to_string(&view).unwrap();
        assert_eq!(serde_json::from_str::<EventView>(&text).unwrap(), view);
    }
}
