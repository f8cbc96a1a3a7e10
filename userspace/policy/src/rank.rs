//! The order of rules inside one tier: the lowest rank decides.
//!
//! Ranks must not move when an unrelated policy comes or goes, or one new policy would rewrite
//! the rows of all others.

use crate::model::ObjectName;

/// Rank of the `index`-th rule of a `NetworkPolicy`. All such rules allow, so the order only
/// settles which of several allowing rules a verdict names: it is fixed by a hash of the name.
pub fn network_policy(policy: &ObjectName, index: u32) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64; // FNV-1a
    for byte in policy.namespace.bytes().chain([b'/']).chain(policy.name.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    (hash << 20) | u64::from(index.min(0xf_ffff))
}

/// Rank of the `index`-th rule of a `ClusterNetworkPolicy`. `tie` is the policy's position, by
/// name, among those of the same tier and priority.
pub fn cluster_policy(priority: u16, tie: u32, index: u32) -> u64 {
    (u64::from(priority) << 48) | (u64::from(tie & 0xff_ffff) << 24) | u64::from(index & 0xff_ffff)
}
