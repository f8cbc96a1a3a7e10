//! Which endpoint of a service a connection gets.

use windrose_abi::{EndpointSlot, EndpointState, ServiceSlot};

/// Services as one generation reads them, and the loads of their endpoints.
pub trait Services: Copy {
    /// An endpoint that exists.
    fn endpoint(&self, endpoint: u32) -> Option<EndpointSlot>;
    /// An entry of a balance table: an endpoint's number.
    fn entry(&self, table: u32, index: u32) -> Option<u32>;
    /// Live connections of an endpoint.
    fn live(&self, endpoint: u32) -> u64;
}

/// Who asks, as affinity and Maglev know it: a workload by its number, which is the same on every
/// host, and anybody else by the cookie of its network namespace.
#[inline(always)]
pub const fn client(workload: u32, netns: u64) -> u64 {
    if workload != 0 { 1 << 63 | workload as u64 } else { netns }
}

/// The endpoint for a new connection; 0 where none is ready, or a row is missing.
///
/// A table holds each endpoint in proportion to its weight. Maglev takes the entry that the client
/// hashes to: a client stays where it is while its endpoint does. Otherwise two random entries are
/// compared, and the one with fewer live connections for its weight is taken (Mitzenmacher, "The
/// Power of Two Choices in Randomized Load Balancing", 2001).
#[inline(always)]
pub fn pick<S: Services>(services: &S, slot: &ServiceSlot, client: u64, random: u64) -> u32 {
    if slot.table == 0 {
        return slot.only;
    }
    if slot.flags & ServiceSlot::MAGLEV != 0 {
        let hash = mix(client ^ u64::from(slot.service) << 32);
        return services.entry(slot.table, index(hash, slot.size)).unwrap_or(0);
    }
    let Some(first) = services.entry(slot.table, index(random, slot.size)) else { return 0 };
    let first_live = services.live(first);
    if first_live == 0 {
        return first;
    }
    let Some(second) = services.entry(slot.table, index(random << 32, slot.size)) else { return 0 };
    if second == first {
        return first;
    }
    let second_live = services.live(second);
    let weight = |endpoint| services.endpoint(endpoint).map_or(1, |slot| u64::from(slot.weight));
    if second_live * weight(first) < first_live * weight(second) { second } else { first }
}

/// Whether an endpoint takes new connections.
#[inline(always)]
pub const fn is_ready(slot: &EndpointSlot) -> bool {
    slot.state == EndpointState::Ready as u8
}

/// The upper half of a hash as an index below `size`, without a division.
#[inline(always)]
const fn index(hash: u64, size: u32) -> u32 {
    (((hash >> 32) * size as u64) >> 32) as u32
}

/// The finaliser of splitmix64: every bit of the input moves every bit of the output.
#[inline(always)]
const fn mix(value: u64) -> u64 {
    let mut mixed = value;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests;
