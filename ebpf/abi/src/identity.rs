//! Who speaks: cgroups, addresses, workloads and the peer groups they are members of.

/// Length of a cgroup path below the cgroup v2 root, with its leading slash and its final NUL.
pub const CGROUP_PATH_BYTES: usize = 256;

/// Peer groups in one row of a peer list.
pub const GROUPS_PER_ROW: usize = 16;

/// Most peer groups that one peer can be a member of.
pub const MAX_GROUPS: usize = GROUPS_PER_ROW * 32;

/// The peer group of every peer: rules without peers.
pub const GROUP_ANY: u32 = 0;

/// Identity of an address that nothing names.
pub const IDENTITY_WORLD: u32 = 1;
/// Identity of the host that the agent runs on.
pub const IDENTITY_HOST: u32 = 2;
/// First identity of workloads.
pub const IDENTITY_FIRST: u32 = 256;

layout! {
    /// An IPv6 address, or an IPv4 address in its v4-mapped form, in network byte order.
    pub struct Address {
        /// The 16 bytes as four words, each as it stands in memory.
        pub words: [u32; 4],
    }
}

impl Address {
    /// The v4-mapped form of an IPv4 address given as it stands in memory (network byte order).
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self { words: [0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), word] }
    }

    /// From 16 bytes in network byte order.
    #[inline(always)]
    pub const fn from_bytes(b: [u8; 16]) -> Self {
        Self {
            words: [
                u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
                u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
                u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
                u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
            ],
        }
    }

    /// The 16 bytes in network byte order.
    pub const fn to_bytes(self) -> [u8; 16] {
        let [a, b, c, d] = self.words;
        let (a, b, c, d) = (a.to_ne_bytes(), b.to_ne_bytes(), c.to_ne_bytes(), d.to_ne_bytes());
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
    }

    /// Whether it is a v4-mapped address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == u32::from_ne_bytes([0, 0, 0xff, 0xff])
    }

    /// Whether it is in 127.0.0.0/8 or is `::1`.
    #[inline(always)]
    pub const fn is_loopback(&self) -> bool {
        if self.is_v4() {
            self.words[3].to_ne_bytes()[0] == 127
        } else {
            self.words[0] == 0
                && self.words[1] == 0
                && self.words[2] == 0
                && self.words[3] == u32::from_ne_bytes([0, 0, 0, 1])
        }
    }
}

layout! {
    /// Key of `CGROUP_PATHS`: a path below the cgroup v2 root as the kernel writes it, zero filled.
    pub struct CgroupPath {
        /// With a leading slash; at most 255 bytes and a NUL.
        pub bytes: [u8; CGROUP_PATH_BYTES],
    }
}

layout! {
    /// Value of `CGROUPS` (by cgroup id) and `CGROUP_PATHS` (by path): workload per slot, 0 is none.
    pub struct CgroupRow {
        /// The workload in each slot.
        pub workloads: [u32; 2],
    }
}

layout! {
    /// One generation's view of a workload.
    pub struct WorkloadSlot {
        /// Shared by workloads of the same namespace and labels. 0: the workload does not exist.
        pub identity: u32,
        /// Peer list of its labels, without those of its addresses. 0 is the empty list.
        pub peer_list: u32,
        /// Policy set of ingress; 0: open.
        pub ingress_set: u32,
        /// Policy set of egress; 0: open.
        pub egress_set: u32,
        /// See [`WorkloadSlot::AUDIT`].
        pub flags: u32,
        /// Number of its namespace.
        pub namespace: u32,
    }
}

impl WorkloadSlot {
    /// Its namespace is in audit.
    pub const AUDIT: u32 = 1;
}

layout! {
    /// Value of `WORKLOADS`, by workload number.
    pub struct WorkloadRow {
        /// By generation.
        pub slots: [WorkloadSlot; 2],
    }
}

layout! {
    /// One generation's view of a single address.
    pub struct AddressSlot {
        /// The workload that has it; 0 is none.
        pub workload: u32,
        /// Its identity. 0: the row does not exist in this slot.
        pub identity: u32,
        /// Peer list of the address: its workload's groups and those of the prefixes around it.
        pub peer_list: u32,
        /// See [`AddressSlot::HOST`].
        pub flags: u32,
    }
}

impl AddressSlot {
    /// An address of the host that the agent runs on.
    pub const HOST: u32 = 1;
}

layout! {
    /// Value of `ADDRESSES`, by [`Address`].
    pub struct AddressRow {
        /// By generation.
        pub slots: [AddressSlot; 2],
    }
}

layout! {
    /// Key of `PREFIXES`, a longest-prefix trie.
    pub struct PrefixKey {
        /// 0 to 128; a v4 prefix has 96 more.
        pub length: u32,
        /// Host bits zero.
        pub address: Address,
    }
}

layout! {
    /// One generation's view of a prefix. In a slot in which the prefix does not exist it carries
    /// what the next shorter one says, because the trie answers with the longest only.
    pub struct PrefixSlot {
        /// Identity of addresses whose longest prefix it is.
        pub identity: u32,
        /// Peer list of it and every shorter prefix around it.
        pub peer_list: u32,
    }
}

layout! {
    /// Value of `PREFIXES`.
    pub struct PrefixRow {
        /// By generation.
        pub slots: [PrefixSlot; 2],
    }
}

layout! {
    /// Key of `PEER_LISTS`.
    pub struct PeerListKey {
        /// The list; its content never changes.
        pub list: u32,
        /// Which row of it, from 0.
        pub row: u32,
    }
}

layout! {
    /// Value of `PEER_LISTS`: some of the peer groups of a peer.
    pub struct PeerListRow {
        /// How many of `groups` are used, 1 to 16.
        pub count: u32,
        /// 1 if another row follows.
        pub more: u32,
        /// The groups.
        pub groups: [u32; GROUPS_PER_ROW],
    }
}
