//! Ethernet frames up to their IP header: VLAN tags, single and double.

use crate::packet::{Bytes, ParseError};

/// `EtherType` of IPv4.
pub const IPV4: u16 = 0x0800;
/// `EtherType` of IPv6.
pub const IPV6: u16 = 0x86dd;

/// Tags that are followed: one of 802.1ad around one of 802.1Q.
pub const MAX_TAGS: u32 = 2;

/// What a frame carries, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Front {
    /// `EtherType` behind every tag; below 0x0600 it is a length (802.3).
    pub ether_type: u16,
    /// Offset behind the last tag.
    pub network: u32,
}

/// Reads the Ethernet header and the tags behind it. Tags that the driver has taken off already
/// are not seen: their frames are like untagged ones.
#[inline(always)]
pub fn parse<B: Bytes>(bytes: &B) -> Result<Front, ParseError> {
    let mut ether_type = u16::from_be_bytes(bytes.read::<2>(12).ok_or(ParseError::Truncated)?);
    let mut network = 14;
    for _ in 0..MAX_TAGS {
        if !is_tag(ether_type) {
            break;
        }
        let tag = bytes.read::<4>(network).ok_or(ParseError::Truncated)?;
        ether_type = u16::from_be_bytes([tag[2], tag[3]]);
        network += 4;
    }
    if is_tag(ether_type) { Err(ParseError::TooManyTags) } else { Ok(Front { ether_type, network }) }
}

/// 802.1Q, 802.1ad, and what was used for the outer tag before 802.1ad.
#[inline(always)]
const fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, 0x8100 | 0x88a8 | 0x9100)
}
