//! From an address to the peer that policy sees behind it.

use windrose_abi::identity::{IDENTITY_HOST, IDENTITY_WORLD};
use windrose_abi::{Address, AddressSlot};

use crate::tables::Tables;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its workload; 0 is none.
    pub workload: u32,
    /// Its identity, never 0.
    pub identity: u32,
    /// The peer groups it is a member of; 0 is the empty list.
    pub peer_list: u32,
    /// The subject's own host, or a loopback address of no workload.
    pub is_host: bool,
    /// A loopback address.
    pub is_loopback: bool,
}

impl Peer {
    /// Before it is resolved.
    pub const NOBODY: Self =
        Self { workload: 0, identity: IDENTITY_WORLD, peer_list: 0, is_host: false, is_loopback: false };
}

/// Resolves an address: the exact table first, the prefix trie behind it, the reserved identities
/// last.
#[inline(always)]
pub fn resolve<T: Tables>(tables: &T, address: &Address) -> Peer {
    let is_loopback = address.is_loopback();
    if let Some(slot) = tables.address(address) {
        return Peer {
            workload: slot.workload,
            identity: slot.identity,
            peer_list: slot.peer_list,
            is_host: slot.workload == 0 && (slot.flags & AddressSlot::HOST != 0 || is_loopback),
            is_loopback,
        };
    }
    let (identity, peer_list) = if tables.has_prefixes() {
        tables.prefix(address).map_or((IDENTITY_WORLD, 0), |slot| (slot.identity, slot.peer_list))
    } else {
        (IDENTITY_WORLD, 0)
    };
    let identity = if is_loopback { IDENTITY_HOST } else { identity };
    Peer { workload: 0, identity, peer_list, is_host: is_loopback, is_loopback }
}
