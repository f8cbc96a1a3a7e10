//! The edge: whether a frame is dropped before the network stack sees it.

use windrose_abi::codes::protocol;
use windrose_abi::edge::{COOKIES, MAX_LIMITS};
use windrose_abi::{Address, DenyRow, EdgeLimit, EdgeReason, EdgeSettings, LimitClass};

use crate::frame::{self, IPV4, IPV6};
use crate::packet::{self, Bytes, Kind, Packet, ParseError};

mod impossible;

/// Prefixes around a source that are looked at, longest first, while the longer ones have ended.
/// The agent removes ended entries within seconds.
const MAX_ENDED: u32 = 4;

/// What the edge asks of its tables, whoever holds them.
pub trait EdgeTables {
    /// See [`EdgeSettings::flags`].
    fn flags(&self) -> u32;
    /// How many limits there are.
    fn limit_count(&self) -> u32;
    /// One of them.
    fn limit(&self, index: u32) -> EdgeLimit;
    /// See [`EdgeSettings::cookies`].
    fn cookies(&self) -> EdgeLimit;
    /// Whether a source is in a prefix that is never denied nor limited.
    fn is_allowed(&self, source: &Address) -> bool;
    /// The entry of a single source, ended or not.
    fn denied_host(&self, source: &Address) -> Option<DenyRow>;
    /// The entry of the longest prefix around a source, of at most so many bits, ended or not.
    fn denied_prefix(&self, source: &Address, length: u32) -> Option<DenyRow>;
    /// The monotonic clock, nanoseconds; some milliseconds late at most.
    fn now_ns(&self) -> u64;
    /// Takes a token for a source, cut to its prefix, from its bucket of a limit. False: it is empty.
    fn take(&self, index: u32, limit: &EdgeLimit, source: &Address) -> bool;
}

/// Decides a frame. The first step that has something to say against it decides.
///
/// A later fragment is decided by what every fragment has: addresses and protocol.
#[inline(always)]
pub fn decide<B: Bytes, T: EdgeTables>(frame: &B, tables: &T) -> EdgeReason {
    // 1. Parse. What is not IP is not judged; IP that cannot be parsed is dropped: the stack
    //    drops most of it as well, and a packet that hides its headers has no other purpose.
    let Ok(front) = frame::parse(frame) else { return EdgeReason::Unparsable };
    // Once for each version: joined, all that is known of a packet would be spilled to the stack.
    match front.ether_type {
        IPV4 => judge(packet::parse_version(frame, front.network, 4), tables),
        IPV6 => judge(packet::parse_version(frame, front.network, 6).and_then(unmapped), tables),
        _ => EdgeReason::NotIp,
    }
}

/// RFC 4291 section 2.5.5.2: a v4-mapped address never stands on a wire. Taken for what it maps, it
/// would pass for an IPv4 address of an allow list.
#[inline(always)]
fn unmapped(packet: Packet) -> Result<Packet, ParseError> {
    if packet.source.is_v4() || packet.destination.is_v4() { Err(ParseError::BadHeader) } else { Ok(packet) }
}

#[inline(always)]
fn judge<T: EdgeTables>(packet: Result<Packet, ParseError>, tables: &T) -> EdgeReason {
    let Ok(packet) = packet else { return EdgeReason::Unparsable };
    // 2. Impossible: nothing excepts from it.
    if let Some(reason) = impossible::reason(&packet, tables.flags()) {
        return reason;
    }
    // 3. to 5. Policy: the allow list excepts from all of it. It is asked last, when there is
    //    something to except from, so that it costs the packets that pass nothing.
    // A copy: what helpers are given a pointer to lives on the stack, and the rest need not.
    let source = packet.source;
    let reason = refused(&packet, &source, tables);
    let is_excepted = || tables.flags() & EdgeSettings::HAS_ALLOWED != 0 && tables.is_allowed(&source);
    if reason != EdgeReason::Passed && !is_excepted() {
        return reason;
    }
    // 6. Here balanced services will take their packets.
    // 7. Cookies, for what this host would accept itself. Who answers is no invented address.
    if tables.flags() & EdgeSettings::COOKIES != 0 && is_flooding(&packet, tables) {
        return EdgeReason::SynCookie;
    }
    EdgeReason::Passed
}

/// Whether a packet asks for a connection to an address and port that too many ask for.
#[inline(always)]
fn is_flooding<T: EdgeTables>(packet: &Packet, tables: &T) -> bool {
    let is_syn = packet.protocol == protocol::TCP
        && packet.kind == Kind::Whole
        && !packet.is_fragment
        && is_attempt(packet.tcp_flags);
    if !is_syn {
        return false;
    }
    let destination = packet.destination;
    !tables.take(COOKIES | u32::from(packet.destination_port), &tables.cookies(), &destination)
}

#[inline(always)]
fn refused<T: EdgeTables>(packet: &Packet, source: &Address, tables: &T) -> EdgeReason {
    // 3. Private sources.
    if tables.flags() & EdgeSettings::PRIVATE != 0 && impossible::is_private(source) {
        return EdgeReason::Private;
    }
    // 4. Deny lists: the exact table first, the trie behind it.
    if let Some(row) = tables.denied_host(source)
        && is_live(&row, tables)
    {
        return EdgeReason::DeniedHost;
    }
    let mut length = 128;
    for _ in 0..MAX_ENDED {
        let Some(row) = tables.denied_prefix(source, length) else { break };
        if is_live(&row, tables) {
            return EdgeReason::DeniedPrefix;
        }
        if row.length == 0 {
            break;
        }
        length = u32::from(row.length) - 1;
    }
    // 5. Limits, in their order. One that is exceeded takes no token of those behind it.
    for index in 0..MAX_LIMITS {
        if index >= tables.limit_count() {
            break;
        }
        let limit = tables.limit(index);
        if let Some(reason) = limited_as(&limit, packet)
            && !tables.take(index, &limit, &cut(&limit, source))
        {
            return reason;
        }
    }
    EdgeReason::Passed
}

#[inline(always)]
fn is_live<T: EdgeTables>(row: &DenyRow, tables: &T) -> bool {
    row.is_for_ever() || row.is_live(tables.now_ns())
}

/// The reason for a drop if a limit counts this packet.
#[inline(always)]
fn limited_as(limit: &EdgeLimit, packet: &Packet) -> Option<EdgeReason> {
    let is = |class: LimitClass| limit.class == class as u32;
    if is(LimitClass::All) {
        return Some(EdgeReason::AllLimit);
    }
    match packet.protocol {
        protocol::TCP if is(LimitClass::Syn) && is_attempt(packet.tcp_flags) => Some(EdgeReason::SynLimit),
        protocol::UDP if is(LimitClass::Udp) => Some(EdgeReason::UdpLimit),
        // Without neighbour discovery there is no IPv6 at all.
        protocol::ICMP | protocol::ICMPV6
            if is(LimitClass::Icmp) && packet.kind != Kind::NeighbourDiscovery =>
        {
            Some(EdgeReason::IcmpLimit)
        }
        _ => None,
    }
}

#[inline(always)]
const fn is_attempt(tcp_flags: u8) -> bool {
    tcp_flags & (packet::TCP_SYN | packet::TCP_ACK) == packet::TCP_SYN
}

/// A source without the bits that a limit does not tell apart.
#[inline(always)]
fn cut(limit: &EdgeLimit, source: &Address) -> Address {
    let mut cut = *source;
    if source.is_v4() {
        cut.words[3] &= limit.mask_v4;
    } else {
        for (word, mask) in cut.words.iter_mut().zip(limit.mask_v6.words) {
            *word &= mask;
        }
    }
    cut
}

/// The arithmetic of a token bucket that is kept as the moment at which it is full: its next
/// moment, or `None` if it is empty.
#[inline(always)]
pub const fn spend(full_ns: u64, now_ns: u64, limit: &EdgeLimit) -> Option<u64> {
    if full_ns <= now_ns {
        return Some(now_ns + limit.cost_ns);
    }
    // Empty when the time to fill it is more than all of it less one token.
    if full_ns - now_ns + limit.cost_ns > limit.burst_ns { None } else { Some(full_ns + limit.cost_ns) }
}

#[cfg(test)]
mod tests;
