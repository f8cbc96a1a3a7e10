//! Address prefixes as the trie has them: 128 bits, v4 in its v4-mapped form.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use windrose_abi::{Address, PrefixKey};

use crate::model::{Cidr, IpBlock};

/// `::ffff:0:0`, where the v4-mapped addresses begin.
const V4_BITS: u128 = 0xffff_0000_0000;

/// An address as 128 bits; v4 is mapped.
pub(super) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => V4_BITS | u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The same 128 bits as they stand in a map.
pub(super) fn wire(bits: u128) -> Address {
    Address::from_bytes(bits.to_be_bytes())
}

fn is_v4(bits: u128) -> bool {
    bits >> 32 == V4_BITS >> 32
}

/// A prefix. Its order is that of the trie: what is inside follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Prefix {
    /// Host bits zero.
    pub(super) bits: u128,
    /// 0 to 128; v4 from 96.
    pub(super) length: u8,
}

impl Prefix {
    /// 0.0.0.0/0.
    pub(super) const V4: Self = Self { bits: V4_BITS, length: 96 };

    pub(super) fn new(cidr: &Cidr) -> Self {
        let length = match cidr.address {
            IpAddr::V4(_) => cidr.length + 96,
            IpAddr::V6(_) => cidr.length,
        };
        Self { bits: bits(cidr.address) & mask(length), length }
    }

    /// The prefix of that length around an address.
    pub(super) fn around(bits: u128, length: u8) -> Self {
        Self { bits: bits & mask(length), length }
    }

    pub(super) const fn is_exact(self) -> bool {
        self.length == 128
    }

    pub(super) fn is_v4(self) -> bool {
        self.length >= 96 && is_v4(self.bits)
    }

    /// The last address inside.
    pub(super) fn last(self) -> u128 {
        self.bits | !mask(self.length)
    }

    /// By bits alone: `::/0` covers the v4-mapped ones too.
    pub(super) fn covers(self, other: Self) -> bool {
        self.length <= other.length && other.bits & mask(self.length) == self.bits
    }

    pub(super) fn key(self) -> PrefixKey {
        PrefixKey { length: u32::from(self.length), address: wire(self.bits) }
    }

    fn halves(self) -> [Self; 2] {
        let length = self.length + 1;
        [
            Self { bits: self.bits, length },
            Self { bits: self.bits | (1 << (128 - u32::from(length))), length },
        ]
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bits.to_be_bytes();
        if self.is_v4() {
            let address = Ipv4Addr::new(bytes[12], bytes[13], bytes[14], bytes[15]);
            write!(f, "{address}/{}", self.length - 96)
        } else {
            write!(f, "{}/{}", Ipv6Addr::from(self.bits), self.length)
        }
    }
}

/// The shortest length whose prefixes can hold the address: a v6 prefix never holds a v4 address,
/// though its bits may cover those of the mapped form.
pub(super) fn shortest(bits: u128) -> u8 {
    if is_v4(bits) { 96 } else { 0 }
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

/// The prefixes that a block is without its holes, so that no hole is left for run time.
pub(super) fn pieces(block: &IpBlock) -> Vec<Prefix> {
    let whole = Prefix::new(&block.cidr);
    let holes: Vec<Prefix> = block
        .except
        .iter()
        .map(Prefix::new)
        .filter(|hole| whole.covers(*hole) || hole.covers(whole))
        .collect();
    let mut pieces = Vec::new();
    subtract(whole, &holes, &mut pieces);
    if !whole.is_v4() {
        // A v6 block never matches a v4 address, and a piece must not turn into all of v4.
        pieces.retain(|piece| !piece.is_v4());
    }
    pieces
}

/// Each of `holes` overlaps `whole`.
fn subtract(whole: Prefix, holes: &[Prefix], pieces: &mut Vec<Prefix>) {
    if holes.is_empty() {
        pieces.push(whole);
        return;
    }
    if holes.iter().any(|hole| hole.covers(whole)) {
        return;
    }
    for half in whole.halves() {
        let inside: Vec<Prefix> =
            holes.iter().copied().filter(|hole| half.covers(*hole) || hole.covers(half)).collect();
        subtract(half, &inside, pieces);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        let (address, length) = text.split_once('/').unwrap();
        Cidr { address: address.parse().unwrap(), length: length.parse().unwrap() }
    }

    fn shown(block: &str, except: &[&str]) -> Vec<String> {
        let block = IpBlock { cidr: cidr(block), except: except.iter().map(|text| cidr(text)).collect() };
        pieces(&block).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_block_without_holes_is_one_piece() {
        assert_eq!(shown("10.0.0.0/8", &[]), ["10.0.0.0/8"]);
        assert_eq!(shown("::/0", &[]), ["::/0"]);
    }

    #[test]
    fn a_hole_leaves_its_siblings_on_the_way() {
        assert_eq!(shown("10.0.0.0/29", &["10.0.0.2/31"]), ["10.0.0.0/31", "10.0.0.4/30"]);
        assert_eq!(shown("10.0.0.0/30", &["10.0.0.1/32", "10.0.0.2/31"]), ["10.0.0.0/32"]);
        assert_eq!(
            shown("10.0.0.0/30", &["10.0.0.0/31", "10.0.0.0/32", "10.0.0.2/31"]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_piece_of_a_v6_block_is_never_all_of_v4() {
        let pieces = shown("::/0", &["::fffe:0:0/96"]);
        assert!(pieces.iter().all(|piece| piece != "0.0.0.0/0"), "{pieces:?}");
        assert_eq!(pieces.len(), 95);
    }
}
