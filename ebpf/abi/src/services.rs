//! Services: an address that stands for several endpoints, and what is remembered of each choice.

use crate::identity::Address;

/// Endpoints in one row of a balance table.
pub const ENDPOINTS_PER_ROW: usize = 32;

/// Sizes of balance tables: primes, so that the table can be filled by permutations.
pub const TABLE_SIZES: [u32; 3] = [251, 4093, 65_521];

codes! {
    /// What an endpoint takes. 0 in a row's slot means that the row does not exist in it.
    pub enum EndpointState {
        /// New connections.
        Ready = 1 => "ready",
        /// Nothing new; what it has goes on.
        Draining = 2 => "draining",
    }
}

layout! {
    /// Key of `SERVICES`.
    pub struct ServiceKey {
        /// An address of the service.
        pub address: Address,
        /// Host order.
        pub port: u16,
        /// TCP or UDP.
        pub protocol: u8,
        /// Zero.
        pub reserved: u8,
    }
}

layout! {
    /// One generation's view of one address and port of a service.
    pub struct ServiceSlot {
        /// Its number. 0: the row does not exist in this slot.
        pub service: u32,
        /// Its balance table; 0 where it has fewer than two ready endpoints.
        pub table: u32,
        /// Entries of the table, one of [`TABLE_SIZES`].
        pub size: u32,
        /// The ready endpoint where it is the only one, else 0.
        pub only: u32,
        /// A client keeps its endpoint for so long after its last connection; 0: it does not.
        pub affinity_s: u32,
        /// See [`ServiceSlot::MAGLEV`].
        pub flags: u32,
    }
}

impl ServiceSlot {
    /// The client chooses the entry of the table; else the less loaded of two random entries.
    pub const MAGLEV: u32 = 1;
    /// Connections to an endpoint that is gone are ended.
    pub const END: u32 = 2;
}

layout! {
    /// Value of `SERVICES`.
    pub struct ServiceRow {
        /// By generation.
        pub slots: [ServiceSlot; 2],
    }
}

layout! {
    /// One generation's view of an endpoint of one service and port.
    pub struct EndpointSlot {
        /// Of the family of the service's address.
        pub address: Address,
        /// Host order.
        pub port: u16,
        /// 1 to 100.
        pub weight: u8,
        /// See [`EndpointState`]. 0: the row does not exist in this slot.
        pub state: u8,
    }
}

layout! {
    /// Value of `ENDPOINTS`, by endpoint number.
    pub struct EndpointRow {
        /// By generation.
        pub slots: [EndpointSlot; 2],
    }
}

layout! {
    /// Key of `BALANCE_TABLES`.
    pub struct TableKey {
        /// The table; its content never changes.
        pub table: u32,
        /// Which row of it, from 0.
        pub row: u32,
    }
}

layout! {
    /// Value of `BALANCE_TABLES`: some entries of a table.
    pub struct TableRow {
        /// Endpoint numbers; 0 behind the table's end.
        pub endpoints: [u32; ENDPOINTS_PER_ROW],
    }
}

layout! {
    /// Value of `ENDPOINT_LOADS`, by endpoint number.
    pub struct EndpointLoad {
        /// Live TCP connections of this host. Less than 0 counts as 0: a correction may meet an end.
        pub live: i64,
        /// Connections and sockets that were given this endpoint.
        pub connections: u64,
    }
}

layout! {
    /// Value of `SERVICE_TOTALS`, by service number.
    pub struct ServiceTotals {
        /// Connections and sockets that were given an endpoint.
        pub connections: u64,
        /// Those for which there was none.
        pub refused: u64,
        /// Connections ended because their endpoint was gone.
        pub ended: u64,
    }
}

layout! {
    /// Value of `BALANCED`, kept with a socket: the endpoint that stands for a service.
    pub struct BalancedRow {
        /// What the process asked for.
        pub service_address: Address,
        /// What it got.
        pub endpoint_address: Address,
        /// The socket's own address; written by a walk.
        pub local: Address,
        /// Socket cookie; written by a walk.
        pub cookie: u64,
        /// Cookie of the network namespace; written by a walk.
        pub netns: u64,
        /// Number of the service. 0: the socket is not balanced (any more).
        pub service: u32,
        /// Number of the endpoint.
        pub endpoint: u32,
        /// Host order.
        pub service_port: u16,
        /// Host order.
        pub endpoint_port: u16,
        /// Host order; written by a walk.
        pub local_port: u16,
        /// TCP or UDP.
        pub protocol: u8,
        /// See [`BalancedRow::COUNTED`].
        pub flags: u8,
    }
}

impl BalancedRow {
    /// It is one of its endpoint's live connections.
    pub const COUNTED: u8 = 1;
    /// The socket connects or is connected: the row is its peer, and not the habit of a socket of UDP
    /// that names a destination each time.
    pub const CONNECTED: u8 = 2;
    /// The endpoint is gone and the service ends such connections.
    pub const DEPARTED: u8 = 4;
    /// The socket talks to other services as well: see `CHOICES`.
    pub const MORE: u8 = 8;
}

layout! {
    /// Key of `AFFINITIES`.
    pub struct AffinityKey {
        /// The client: see `engine::balance::client`.
        pub client: u64,
        /// Number of the service.
        pub service: u32,
        /// Zero.
        pub reserved: u32,
    }
}

layout! {
    /// Value of `AFFINITIES`.
    pub struct AffinityRow {
        /// Monotonic clock of its last connection.
        pub last_ns: u64,
        /// The endpoint it had.
        pub endpoint: u32,
        /// Zero.
        pub reserved: u32,
    }
}

layout! {
    /// Key of `CHOICES`: the endpoint (the value) of a socket that is not connected and talks to
    /// several services.
    pub struct ChoiceKey {
        /// Socket cookie.
        pub cookie: u64,
        /// Number of the service.
        pub service: u32,
        /// Zero.
        pub reserved: u32,
    }
}

layout! {
    /// Key of `REPLIES`: from where such a socket receives.
    pub struct ReplyKey {
        /// Socket cookie.
        pub cookie: u64,
        /// The endpoint's address.
        pub address: Address,
        /// The endpoint's port, host order.
        pub port: u16,
        /// Zero.
        pub reserved: [u8; 6],
    }
}

layout! {
    /// Value of `REPLIES`: what the socket is shown instead.
    pub struct ReplyRow {
        /// The service's address.
        pub address: Address,
        /// The service's port, host order.
        pub port: u16,
        /// Zero.
        pub reserved: u16,
    }
}
