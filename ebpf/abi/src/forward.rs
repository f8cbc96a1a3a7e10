//! Balancing at the edge: frontends, the endpoints behind them, and where each flow goes.
//!
//! Nothing here is slotted: a frontend's row is complete in itself and is replaced whole, after the
//! table that it names was written.

use crate::identity::Address;
use crate::services::ServiceKey;

/// Frontends behind which one endpoint can be, where addresses are translated.
pub const MAX_RETURNS: usize = 15;

/// A frontend's number is its index with so many bits of a serial above it.
pub const FRONTEND_BITS: u32 = 16;

/// Most frontends.
pub const MAX_FRONTENDS: u32 = 1 << FRONTEND_BITS;

/// Words of `FORWARD_FILTER`.
pub const FILTER_WORDS: u32 = 1024;

/// Index and bit in `FORWARD_FILTER` of a frontend, or of an endpoint that answers for one. Where the
/// bit is not set there is none, and no table is looked into.
#[inline(always)]
pub const fn filter_bit(address: &Address, port: u16, protocol: u8, answers: bool) -> (u32, u64) {
    let [a, b, c, d] = address.words;
    let ends = (port as u32) << 8 | protocol as u32 | (answers as u32) << 24;
    let mixed = (a ^ b ^ c.rotate_left(7) ^ d ^ ends.wrapping_mul(0x9e37_79b1)).wrapping_mul(0x85eb_ca6b);
    (mixed >> 22, 1 << ((mixed >> 16) & 63))
}

codes! {
    /// How a packet gets to an endpoint.
    pub enum Forwarding {
        /// Its destination becomes the endpoint; answers come back this way and are translated.
        Nat = 0 => "nat",
        /// Inside another IP packet, to an endpoint that has the frontend's address and answers by itself.
        Ipip = 1 => "ipip",
        /// In a frame to such an endpoint on a network of this node.
        Layer2 = 2 => "l2",
    }
}

layout! {
    /// Value of `FRONTENDS`, by [`crate::ServiceKey`]. Port 0 is the address itself.
    pub struct FrontendRow {
        /// Goes into the hash of a flow; the same on every node.
        pub seed: u64,
        /// Its number; 0 at the address itself.
        pub frontend: u32,
        /// Its table's first row in `FORWARD_TABLES`.
        pub first_row: u32,
        /// Entries of the table, one of [`crate::services::TABLE_SIZES`]; 0: nobody is ready.
        pub size: u32,
        /// See [`FrontendRow::BY_CLIENT`].
        pub flags: u32,
    }
}

impl FrontendRow {
    /// All flows of a client go to one endpoint.
    pub const BY_CLIENT: u32 = 1;
    /// Only sources in `SOURCE_RANGES` may ask for it.
    pub const HAS_RANGES: u32 = 2;
}

layout! {
    /// Value of `FRONTEND_NAMES`, by the index in a frontend's number.
    pub struct FrontendName {
        /// Its address, port and protocol.
        pub key: ServiceKey,
        /// Its number; 0: there is none.
        pub frontend: u32,
        /// As in its row.
        pub flags: u32,
    }
}

layout! {
    /// Key of `SOURCE_RANGES` behind the length of its prefix, 32 and more.
    pub struct RangeKey {
        /// Number of the frontend.
        pub frontend: u32,
        /// A source that may ask for it.
        pub source: Address,
    }
}

layout! {
    /// Value of `EDGE_ENDPOINTS`, by index.
    pub struct ForwardEndpoint {
        /// Of the frontends' family.
        pub address: Address,
        /// Tells it from what the index stood for before. 0: there is none.
        pub serial: u32,
        /// Host order.
        pub port: u16,
        /// See [`crate::EndpointState`].
        pub state: u8,
        /// See [`Forwarding`].
        pub forwarding: u8,
    }
}

layout! {
    /// Value of `FORWARD_HOPS`, by an endpoint's index, one for each processor: the way to it as the
    /// kernel's routes and neighbours had it not long ago, and what went there.
    pub struct ForwardHop {
        /// Monotonic clock until which it is believed.
        pub until_ns: u64,
        /// Flows that were given this endpoint.
        pub flows: u64,
        /// Packets sent to it.
        pub packets: u64,
        /// Bytes of these, from their IP header on.
        pub bytes: u64,
        /// Of the endpoint that this is about.
        pub serial: u32,
        /// The interface that leads there.
        pub interface: u32,
        /// Largest packet on that way.
        pub mtu: u32,
        /// Destination and source address of the frame, as they stand in it.
        pub ends: [u16; 6],
        /// This node's address on that way, for [`Forwarding::Ipip`].
        pub local: Address,
    }
}

layout! {
    /// Key of `FORWARD_FLOWS`.
    pub struct ForwardKey {
        /// The client's address.
        pub client: Address,
        /// What the client asks for.
        pub frontend: ServiceKey,
        /// The client's port, host order.
        pub client_port: u16,
        /// Zero.
        pub reserved: u16,
    }
}

layout! {
    /// Value of `FORWARD_FLOWS`: the endpoint of a flow.
    pub struct ForwardFlow {
        /// Index of the endpoint.
        pub endpoint: u32,
        /// Of the endpoint when the flow began.
        pub serial: u32,
        /// Number of the frontend when the flow began.
        pub frontend: u32,
        /// Zero.
        pub reserved: u32,
        /// Monotonic clock of its last packet; TCP: of its first.
        pub seen_ns: u64,
    }
}

layout! {
    /// Value of `RETURNS`, by an endpoint's address, port and protocol: the frontends that it may be
    /// answering for.
    pub struct ReturnRow {
        /// How many of them are used.
        pub count: u32,
        /// Their numbers.
        pub frontends: [u32; MAX_RETURNS],
    }
}

layout! {
    /// Value of `EDGE_FRAGMENTS`: where later fragments of a packet go.
    pub struct ForwardFragment {
        /// Index of the endpoint; with [`ForwardFragment::RETURN`] it is not used.
        pub endpoint: u32,
        /// Of the endpoint. 0: the packet is for nobody here.
        pub serial: u32,
        /// The frontend that the packet comes from, with [`ForwardFragment::RETURN`].
        pub frontend: u32,
        /// See [`ForwardFragment::RETURN`].
        pub flags: u32,
    }
}

impl ForwardFragment {
    /// It is an endpoint's answer.
    pub const RETURN: u32 = 1;
}
