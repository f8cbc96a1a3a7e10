//! Addresses and CIDRs in canonical form.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::node::{Mark, Node};
use super::reader::Reader;
use crate::fault::quoted;
use crate::model::{Cidr, IpBlock};

/// An address that a workload can have.
pub(super) fn decode_address(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<IpAddr> {
    let text = reader.text(node, "an address")?;
    let Ok(address) = text.parse::<IpAddr>() else {
        let hint = if text.contains('/') { ": an address here has no `/`" } else { "" };
        reader.error(node.mark, format!("{} is not an IP address{hint}", quoted(text)));
        return None;
    };
    let address = address.to_canonical();
    let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    if address.is_unspecified() || address.is_multicast() || is_broadcast {
        let message =
            format!("no workload can have {}: it is unspecified, multicast or broadcast", quoted(text));
        reader.error(node.mark, message);
        return None;
    }
    Some(address)
}

/// A CIDR. Host bits are cleared, with a warning.
pub(super) fn decode_cidr(reader: &mut Reader<'_>, node: &Node<'_>, what: &str) -> Option<Cidr> {
    let text = reader.text(node, what)?;
    match parse_cidr(text) {
        Ok((cidr, is_canonical)) => {
            if !is_canonical {
                let message = format!(
                    "{what} {} has bits set behind its prefix: it is taken as `{}/{}`",
                    quoted(text),
                    cidr.address,
                    cidr.length
                );
                reader.warn(node.mark, message);
            }
            Some(cidr)
        }
        Err(why) => {
            reader.error(node.mark, format!("{what} {} {why}", quoted(text)));
            None
        }
    }
}

/// The prefix, and whether its host bits were zero.
fn parse_cidr(text: &str) -> Result<(Cidr, bool), String> {
    let Some((address, length)) = text.split_once('/') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => format!("has no prefix length; did you mean `{text}/32`?"),
            Ok(IpAddr::V6(_)) => format!("has no prefix length; did you mean `{text}/128`?"),
            Err(_) => "is not a CIDR such as `10.0.0.0/8` or `fd00::/8`".to_owned(),
        });
    };
    let address: IpAddr =
        address.parse().map_err(|_| "is not a CIDR such as `10.0.0.0/8` or `fd00::/8`".to_owned())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let is_number =
        !length.is_empty() && length.len() <= 3 && length.bytes().all(|byte| byte.is_ascii_digit());
    let has_leading_zero = length.len() > 1 && length.starts_with('0');
    let length: u8 = length
        .parse()
        .ok()
        .filter(|&length| is_number && !has_leading_zero && length <= most)
        .ok_or_else(|| format!("has a prefix length that is not a number from 0 to {most}"))?;
    // A prefix inside ::ffff:0:0/96 is the v4 prefix.
    let (address, length) = match (address, address.to_canonical()) {
        (IpAddr::V6(_), IpAddr::V4(mapped)) if length >= 96 => (IpAddr::V4(mapped), length - 96),
        (address, _) => (address, length),
    };
    let network = clear_host_bits(address, length);
    Ok((Cidr { address: network, length }, network == address))
}

fn clear_host_bits(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Ipv4Addr::from(u32::from(address) & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            Ipv6Addr::from(u128::from(address) & mask).into()
        }
    }
}

/// An `ipBlock`.
pub(super) fn decode_block(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<IpBlock> {
    let before = reader.errors();
    let mut cidr = None;
    let mut except: Vec<(Mark, Cidr)> = Vec::new();
    reader.fields(node, "ipBlock", &["cidr", "except"], |reader, key, entry| {
        if key == "cidr" {
            cidr = decode_cidr(reader, &entry.value, "cidr");
        } else {
            for item in reader.items(&entry.value, "except") {
                except.extend(decode_cidr(reader, item, "except").map(|cidr| (item.mark, cidr)));
            }
        }
    });
    let Some(cidr) = cidr else {
        if reader.errors() == before {
            reader.missing(node.mark, "ipBlock", "cidr");
        }
        return None;
    };
    for (mark, hole) in &except {
        if !cidr.contains(hole.address) || hole.length <= cidr.length {
            let message = format!(
                "except `{}/{}` must lie inside cidr `{}/{}` and be smaller",
                hole.address, hole.length, cidr.address, cidr.length
            );
            reader.error(*mark, message);
        }
    }
    Some(IpBlock { cidr, except: except.into_iter().map(|(_, cidr)| cidr).collect() })
}
