//! The edge: what is dropped at an interface before the network stack sees it.
//!
//! Nothing here is slotted: entries of deny lists come and go one by one, each for itself.

use crate::identity::Address;

/// Most limits that can be set.
pub const MAX_LIMITS: u32 = 8;

/// An entry that ends never.
pub const FOREVER: u64 = u64::MAX;

/// Added to a port, the number of the limit above which SYNs for it are answered with cookies.
pub const COOKIES: u32 = 1 << 16;

/// Room for the reason of an entry.
pub const NOTE_BYTES: usize = 120;

codes! {
    /// What became of a frame, and why. Each has its own counter, which is its index in `EDGE_COUNTS`.
    pub enum EdgeReason {
        /// IP that nothing speaks against: to the stack.
        Passed = 0 => "passed",
        /// Neither IPv4 nor IPv6 (ARP, for one): to the stack.
        NotIp = 1 => "not_ip",
        /// It ends inside a header, or has more tags or extension headers than are followed: dropped.
        Unparsable = 2 => "unparsable",
        /// TCP flags that no implementation sends together: dropped.
        BadFlags = 3 => "bad_flags",
        /// A source address that no sender can have: dropped.
        Bogon = 4 => "bogon",
        /// It claims to come from where it goes to: dropped.
        Land = 5 => "land",
        /// A private source address on an interface to the world: dropped.
        Private = 6 => "private_source",
        /// Its source is on a deny list: dropped.
        DeniedHost = 7 => "denied_host",
        /// Its source is in a prefix on a deny list: dropped.
        DeniedPrefix = 8 => "denied_prefix",
        /// Above a limit of TCP connection attempts: dropped.
        SynLimit = 9 => "syn_limit",
        /// Above a limit of UDP: dropped.
        UdpLimit = 10 => "udp_limit",
        /// Above a limit of ICMP: dropped.
        IcmpLimit = 11 => "icmp_limit",
        /// Above a limit of everything: dropped.
        AllLimit = 12 => "all_limit",
        /// Answered with a SYN cookie in its listener's place.
        SynCookie = 13 => "syn_cookie",
    }
}

impl EdgeReason {
    /// Whether a frame goes on to the stack.
    #[inline(always)]
    pub const fn passes(self) -> bool {
        match self {
            Self::Passed | Self::NotIp => true,
            Self::Unparsable
            | Self::BadFlags
            | Self::Bogon
            | Self::Land
            | Self::Private
            | Self::DeniedHost
            | Self::DeniedPrefix
            | Self::SynLimit
            | Self::UdpLimit
            | Self::IcmpLimit
            | Self::AllLimit
            | Self::SynCookie => false,
        }
    }
}

codes! {
    /// Which packets a limit counts.
    pub enum LimitClass {
        /// Every IP packet.
        All = 0 => "all",
        /// TCP packets that ask for a connection: SYN without ACK.
        Syn = 1 => "syn",
        /// UDP, later fragments of it too.
        Udp = 2 => "udp",
        /// ICMP and `ICMPv6` without neighbour discovery.
        Icmp = 3 => "icmp",
    }
}

codes! {
    /// Who added an entry that is on no list.
    pub enum DenyOrigin {
        /// Nobody: it is on a list only.
        None = 0 => "none",
        /// An operator.
        Operator = 1 => "operator",
        /// The gateway, after what it saw in a request.
        Gateway = 2 => "gateway",
    }
}

layout! {
    /// Value of `DENY_HOSTS` (by [`Address`]) and `DENY_PREFIXES` (by [`crate::PrefixKey`]).
    ///
    /// Lists and additions are two claims on one entry, each with its own end: a list that is
    /// reloaded does not end what an operator has added, nor the other way round.
    pub struct DenyRow {
        /// Monotonic clock until which a list denies; 0: on no list; [`FOREVER`].
        pub listed_until_ns: u64,
        /// Monotonic clock until which it is denied because it was added; 0: it was not; [`FOREVER`].
        pub added_until_ns: u64,
        /// Number of the list; 0 is none.
        pub list: u32,
        /// Length of the prefix, 128 for a host; a v4 prefix has 96 more.
        pub length: u8,
        /// See [`DenyOrigin`].
        pub origin: u8,
        /// Zero.
        pub reserved: u16,
    }
}

impl DenyRow {
    /// Whether it needs no clock to be in force.
    #[inline(always)]
    pub const fn is_for_ever(&self) -> bool {
        self.listed_until_ns == FOREVER || self.added_until_ns == FOREVER
    }

    /// Whether it is in force at a moment of the monotonic clock.
    #[inline(always)]
    pub const fn is_live(&self, now_ns: u64) -> bool {
        self.listed_until_ns > now_ns || self.added_until_ns > now_ns
    }
}

layout! {
    /// Value of `DENY_NOTES`, by [`crate::PrefixKey`]: why an entry was added. No program reads it.
    pub struct DenyNote {
        /// Monotonic clock when it was added.
        pub since_ns: u64,
        /// UTF-8, zero filled.
        pub text: [u8; NOTE_BYTES],
    }
}

layout! {
    /// Key of `BUCKETS`.
    pub struct BucketKey {
        /// The source, cut to the limit's prefix.
        pub source: Address,
        /// Index of the limit in [`EdgeSettings::limits`]; or [`COOKIES`] and a port: then `source`
        /// is the destination.
        pub limit: u32,
    }
}

layout! {
    /// One limit, as a token bucket that is kept as one moment: a bucket of `burst` tokens is full
    /// at `full_ns`, and each packet moves that moment `cost_ns` away. Above `burst_ns` it is empty.
    pub struct EdgeLimit {
        /// Nanoseconds until one token has come back.
        pub cost_ns: u64,
        /// Nanoseconds that an empty bucket takes to be full.
        pub burst_ns: u64,
        /// Bits of an IPv6 source that count.
        pub mask_v6: Address,
        /// Bits of an IPv4 source that count, as they stand in memory.
        pub mask_v4: u32,
        /// See [`LimitClass`].
        pub class: u32,
    }
}

layout! {
    /// What the edge program is loaded with. It is constant to the verifier, so that what is
    /// switched off costs nothing; a change is a new program behind the same link.
    pub struct EdgeSettings {
        /// See [`EdgeSettings::BOGONS`] and the others.
        pub flags: u32,
        /// How many of `limits` are used.
        pub limit_count: u32,
        /// In the order of the configuration.
        pub limits: [EdgeLimit; MAX_LIMITS as usize],
        /// SYNs for one address and port above which they are answered with cookies; its masks and
        /// class mean nothing.
        pub cookies: EdgeLimit,
    }
}

impl EdgeSettings {
    /// Drop sources that no sender on the Internet can have.
    pub const BOGONS: u32 = 1;
    /// Drop private sources as well.
    pub const PRIVATE: u32 = 2;
    /// There are entries in `ALLOW_PREFIXES`.
    pub const HAS_ALLOWED: u32 = 4;
    /// Answer SYNs with cookies above [`EdgeSettings::cookies`].
    pub const COOKIES: u32 = 8;
}
