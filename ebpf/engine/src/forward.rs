//! Balancing at the edge: which endpoint a packet goes to, and for which frontend one answers.

use windrose_abi::codes::protocol;
use windrose_abi::forward::MAX_RETURNS;
use windrose_abi::services::ENDPOINTS_PER_ROW;
use windrose_abi::{
    Address, EdgeReason, EndpointState, ForwardEndpoint, ForwardFlow, ForwardFragment, ForwardKey,
    FragmentKey, FrontendName, FrontendRow, ReturnRow, ServiceKey,
};

use crate::balance::{index, mix};
use crate::packet::{Bytes, Kind, Packet, TCP_ACK, TCP_SYN};

/// A flow of UDP that was silent for so long begins anew, if its endpoint takes nothing new.
const IDLE_NS: u64 = 60_000_000_000;

#[expect(clippy::cast_possible_truncation, reason = "it is 32")]
const ROW: u32 = ENDPOINTS_PER_ROW as u32;

/// What balancing asks of its tables, whoever holds them.
pub trait ForwardTables: Sized {
    /// A frontend; with port 0 whether the address is one's.
    fn frontend(&self, key: &ServiceKey) -> Option<&FrontendRow>;
    /// A frontend's name by its number; `None`: it is no longer there.
    fn name(&self, frontend: u32) -> Option<FrontendName>;
    /// Whether a source may ask for a frontend that not all may ask for.
    fn is_in_range(&self, frontend: u32, source: &Address) -> bool;
    /// An entry of a table: an endpoint's index.
    fn entry(&self, row: u32, entry: u32) -> Option<u32>;
    /// An endpoint that exists.
    fn endpoint(&self, endpoint: u32) -> Option<ForwardEndpoint>;
    /// A flow, as it was; of a datagram's it is noted that it was seen now.
    fn flow(&self, key: &ForwardKey, is_datagram: bool) -> Option<ForwardFlow>;
    /// Remembers a flow, as of now.
    fn remember(&self, key: &ForwardKey, flow: &ForwardFlow);
    /// The frontends that an endpoint may be answering for.
    fn returns(&self, key: &ServiceKey) -> Option<&ReturnRow>;
    /// Whether a client's flow goes to this endpoint, see [`goes_to`].
    #[inline(always)]
    fn goes_to(&self, key: &ForwardKey, endpoint: &ServiceKey) -> bool {
        goes_to(self, key, endpoint)
    }
    /// Where the first fragment of a packet went.
    fn fragment(&self, key: &FragmentKey) -> Option<ForwardFragment>;
    /// Remembers that.
    fn remember_fragment(&self, key: &FragmentKey, to: &ForwardFragment);
    /// The monotonic clock, nanoseconds; some milliseconds late at most.
    fn now_ns(&self) -> u64;
}

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: it is for no frontend and from no endpoint.
    Leave,
    /// It goes no further.
    Refuse(EdgeReason),
    /// It goes to an endpoint, for the first time of its flow or again.
    Send {
        /// Its index.
        index: u32,
        /// Itself.
        endpoint: ForwardEndpoint,
        /// Whether the flow was not known.
        is_new: bool,
    },
    /// It goes back to its client, as if from this frontend.
    Return {
        /// Address, port and protocol.
        frontend: ServiceKey,
    },
}

/// Decides a packet.
#[inline(always)]
pub fn plan<B: Bytes, T: ForwardTables>(bytes: &B, packet: &Packet, tables: &T) -> Plan {
    match Shape::of(packet) {
        Shape::Plain => plain(packet, Ends::BOTH, tables),
        Shape::First => {
            let plan = plain(packet, Ends::BOTH, tables);
            note(packet, &plan, tables);
            plan
        }
        Shape::Later => later(packet, tables),
        Shape::Error => match quoted(bytes, packet) {
            Some(turned) => plain(&turned, Ends::BOTH, tables),
            None => Plan::Leave,
        },
        Shape::Other => Plan::Leave,
    }
}

/// By what a packet is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Its ports: [`plain`].
    Plain,
    /// Likewise; then [`note`].
    First,
    /// What was noted of its first: [`later`].
    Later,
    /// What it quotes: [`quoted`].
    Error,
    /// It is not balanced.
    Other,
}

impl Shape {
    /// Of this packet.
    #[inline(always)]
    pub fn of(packet: &Packet) -> Self {
        let has_ports = packet.protocol == protocol::TCP || packet.protocol == protocol::UDP;
        match packet.kind {
            Kind::Whole if has_ports && packet.is_fragment => Self::First,
            Kind::Whole if has_ports => Self::Plain,
            Kind::LaterFragment => Self::Later,
            Kind::IcmpError => Self::Error,
            _ => Self::Other,
        }
    }
}

/// Which end of a packet can be one of ours: the destination a frontend, the source an endpoint that
/// answers for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends(pub u32);

impl Ends {
    /// The destination.
    pub const ASKED: u32 = 1;
    /// The source.
    pub const ANSWERING: u32 = 2;
    /// Nothing is known of them.
    pub const BOTH: Self = Self(Self::ASKED | Self::ANSWERING);
}

/// Decides a packet by its ports.
#[inline(always)]
pub fn plain<T: ForwardTables>(packet: &Packet, ends: Ends, tables: &T) -> Plan {
    if ends.0 & Ends::ASKED != 0 {
        let frontend = key(packet.destination, packet.destination_port, packet.protocol);
        let flow = Flow {
            key: flow_key(packet.source, packet.source_port, &frontend),
            is_attempt: packet.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN,
        };
        let plan = send(&flow, tables);
        if plan != Plan::Leave {
            return plan;
        }
    }
    if ends.0 & Ends::ANSWERING == 0 {
        return Plan::Leave;
    }
    let answering = key(packet.source, packet.source_port, packet.protocol);
    answer(&answering, packet.destination, packet.destination_port, tables)
}

/// A packet on its way to a frontend.
struct Flow {
    key: ForwardKey,
    /// It asks for a connection.
    is_attempt: bool,
}

impl Flow {
    #[inline(always)]
    const fn is_datagram(&self) -> bool {
        self.key.frontend.protocol == protocol::UDP
    }
}

/// [`Plan::Leave`]: there is no such frontend.
#[inline(always)]
fn send<T: ForwardTables>(flow: &Flow, tables: &T) -> Plan {
    // One look-up for what is known; the frontend's name is in an array.
    if let Some(known) = tables.flow(&flow.key, flow.is_datagram())
        && let Some(name) = tables.name(known.frontend)
        && let Some(endpoint) = tables.endpoint(known.endpoint)
        && endpoint.serial == known.serial
        && (is_ready(&endpoint) || !begins(flow, &known, tables))
    {
        if !may_ask(name.frontend, name.flags, &flow.key.client, tables) {
            return Plan::Refuse(EdgeReason::SourceRange);
        }
        return Plan::Send { index: known.endpoint, endpoint, is_new: false };
    }
    let Some(row) = tables.frontend(&flow.key.frontend) else { return Plan::Leave };
    if !may_ask(row.frontend, row.flags, &flow.key.client, tables) {
        return Plan::Refuse(EdgeReason::SourceRange);
    }
    choose(row, flow, tables)
}

#[inline(always)]
fn may_ask<T: ForwardTables>(frontend: u32, flags: u32, client: &Address, tables: &T) -> bool {
    flags & FrontendRow::HAS_RANGES == 0 || tables.is_in_range(frontend, client)
}

/// The entry of the frontend's table that the flow hashes to. Every node has the same table and the
/// same hash: a flow that comes to another node than before finds its endpoint there, too.
#[inline(always)]
fn choose<T: ForwardTables>(row: &FrontendRow, flow: &Flow, tables: &T) -> Plan {
    if row.size == 0 {
        return Plan::Refuse(EdgeReason::NoEndpoint);
    }
    let entry = index(hash(row, &flow.key), row.size);
    let Some(index) = tables.entry(row.first_row + entry / ROW, entry % ROW) else {
        return Plan::Refuse(EdgeReason::NoEndpoint);
    };
    let Some(endpoint) = tables.endpoint(index) else { return Plan::Refuse(EdgeReason::NoEndpoint) };
    let chosen =
        ForwardFlow { endpoint: index, serial: endpoint.serial, frontend: row.frontend, ..ForwardFlow::ZERO };
    tables.remember(&flow.key, &chosen);
    Plan::Send { index, endpoint, is_new: true }
}

#[inline(always)]
fn hash(row: &FrontendRow, key: &ForwardKey) -> u64 {
    let [a, b, c, d] = key.client.words;
    let port = if row.flags & FrontendRow::BY_CLIENT == 0 { key.client_port } else { 0 };
    let high = mix(row.seed ^ (u64::from(a) << 32 | u64::from(b)));
    mix(high ^ (u64::from(c) << 32 | u64::from(d)).wrapping_add(u64::from(port) << 17))
}

#[inline(always)]
const fn is_ready(endpoint: &ForwardEndpoint) -> bool {
    endpoint.state == EndpointState::Ready as u8
}

/// Whether a packet begins a flow that is known from before.
#[inline(always)]
fn begins<T: ForwardTables>(flow: &Flow, known: &ForwardFlow, tables: &T) -> bool {
    flow.is_attempt || flow.is_datagram() && tables.now_ns().saturating_sub(known.seen_ns) > IDLE_NS
}

/// A packet from what may be an endpoint, to what may be a client of it.
#[inline(always)]
fn answer<T: ForwardTables>(endpoint: &ServiceKey, client: Address, client_port: u16, tables: &T) -> Plan {
    let Some(row) = tables.returns(endpoint) else { return Plan::Leave };
    for n in 0..MAX_RETURNS {
        if n >= row.count as usize {
            break;
        }
        if let Some(name) = tables.name(row.frontends[n])
            && tables.goes_to(&flow_key(client, client_port, &name.key), endpoint)
        {
            return Plan::Return { frontend: name.key };
        }
    }
    Plan::Leave
}

/// Whether a flow is known and goes to this endpoint; of a datagram's it is noted that it was seen.
#[inline(always)]
pub fn goes_to<T: ForwardTables>(tables: &T, key: &ForwardKey, endpoint: &ServiceKey) -> bool {
    let Some(flow) = tables.flow(key, endpoint.protocol == protocol::UDP) else { return false };
    tables.endpoint(flow.endpoint).is_some_and(|found| {
        found.serial == flow.serial && found.port == endpoint.port && found.address == endpoint.address
    })
}

/// Remembers where a first fragment went, so that the later ones follow.
#[inline(always)]
pub fn note<T: ForwardTables>(packet: &Packet, plan: &Plan, tables: &T) {
    let to = match plan {
        Plan::Send { index, endpoint, .. } => {
            ForwardFragment { endpoint: *index, serial: endpoint.serial, ..ForwardFragment::ZERO }
        }
        Plan::Return { frontend } => {
            let Some(row) = tables.frontend(frontend) else { return };
            let flags = ForwardFragment::RETURN;
            ForwardFragment { frontend: row.frontend, flags, ..ForwardFragment::ZERO }
        }
        // So that the later ones are told from those whose first was not seen.
        Plan::Leave if is_ours(packet, tables) => ForwardFragment::ZERO,
        Plan::Leave | Plan::Refuse(_) => return,
    };
    tables.remember_fragment(&fragment_key(packet), &to);
}

#[inline(always)]
fn is_ours<T: ForwardTables>(packet: &Packet, tables: &T) -> bool {
    tables.frontend(&key(packet.destination, 0, packet.protocol)).is_some()
}

/// Decides a fragment that is not the first.
#[inline(always)]
pub fn later<T: ForwardTables>(packet: &Packet, tables: &T) -> Plan {
    let Some(to) = tables.fragment(&fragment_key(packet)) else {
        return if is_ours(packet, tables) { Plan::Refuse(EdgeReason::LostFragment) } else { Plan::Leave };
    };
    if to.flags & ForwardFragment::RETURN != 0 {
        return tables.name(to.frontend).map_or(Plan::Leave, |name| Plan::Return { frontend: name.key });
    }
    if to.serial == 0 {
        return Plan::Leave;
    }
    match tables.endpoint(to.endpoint) {
        Some(endpoint) if endpoint.serial == to.serial => {
            Plan::Send { index: to.endpoint, endpoint, is_new: false }
        }
        _ => Plan::Refuse(EdgeReason::LostFragment),
    }
}

#[inline(always)]
fn fragment_key(packet: &Packet) -> FragmentKey {
    FragmentKey {
        source: packet.source,
        destination: packet.destination,
        id: packet.fragment_id,
        protocol: u32::from(packet.protocol),
    }
}

/// The packet that an ICMP error quotes, turned round: where that one would go, or come from, the
/// error goes. As far as [`plain`] looks into it.
#[inline(always)]
pub fn quoted<B: Bytes>(bytes: &B, packet: &Packet) -> Option<Packet> {
    let at = u32::from(packet.payload);
    let mut turned = Packet::EMPTY;
    let transport;
    if packet.source.is_v4() {
        let header = bytes.read::<20>(at)?;
        let fragment = u16::from_be_bytes([header[6], header[7]]);
        // With options it is nothing that we have sent on.
        if header[0] != 0x45 || fragment & 0x1fff != 0 {
            return None;
        }
        turned.protocol = header[9];
        let word = |n: usize| u32::from_ne_bytes([header[n], header[n + 1], header[n + 2], header[n + 3]]);
        turned.destination = Address::from_v4_word(word(12));
        turned.source = Address::from_v4_word(word(16));
        transport = at + 20;
    } else {
        let [_, _, _, _, _, _, next, _] = bytes.read::<8>(at)?;
        turned.protocol = next;
        turned.destination = Address::from_bytes(bytes.read::<16>(at + 8)?);
        turned.source = Address::from_bytes(bytes.read::<16>(at + 24)?);
        transport = at + 40;
    }
    if turned.protocol != protocol::TCP && turned.protocol != protocol::UDP {
        return None;
    }
    let ports = bytes.read::<4>(transport)?;
    turned.destination_port = u16::from_be_bytes([ports[0], ports[1]]);
    turned.source_port = u16::from_be_bytes([ports[2], ports[3]]);
    Some(turned)
}

#[inline(always)]
const fn key(address: Address, port: u16, protocol: u8) -> ServiceKey {
    ServiceKey { address, port, protocol, reserved: 0 }
}

#[inline(always)]
const fn flow_key(client: Address, client_port: u16, frontend: &ServiceKey) -> ForwardKey {
    ForwardKey { client, frontend: *frontend, client_port, reserved: 0 }
}

/// What a change of some words of a packet adds to its checksum (RFC 1624). Words are as they stand
/// in memory; the sum does not mind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Delta(u32);

impl Delta {
    /// Nothing has changed.
    pub const NONE: Self = Self(0);

    /// A word becomes another one. For less than 60 words in all.
    #[inline(always)]
    pub const fn word(self, old: u16, new: u16) -> Self {
        Self(self.0 + !old as u32 + new as u32)
    }

    /// Two words at once.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the halves, one by one")]
    pub const fn words(self, old: u32, new: u32) -> Self {
        self.word(old as u16, new as u16).word((old >> 16) as u16, (new >> 16) as u16)
    }

    /// An address becomes another one of its family.
    #[inline(always)]
    pub const fn address(self, old: &Address, new: &Address) -> Self {
        let last = self.words(old.words[3], new.words[3]);
        if old.is_v4() {
            return last;
        }
        last.words(old.words[0], new.words[0])
            .words(old.words[1], new.words[1])
            .words(old.words[2], new.words[2])
    }

    /// Both changes.
    #[inline(always)]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum after the changes.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the carry is added, twice")]
    pub const fn applied(self, checksum: u16) -> u16 {
        let sum = !checksum as u32 + self.0;
        let once = (sum & 0xffff) + (sum >> 16);
        let twice = (once & 0xffff) + (once >> 16);
        !(twice as u16)
    }
}

#[cfg(test)]
mod tests;
