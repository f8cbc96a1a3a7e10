//! Hosts and prefixes as people write them.

use std::net::{IpAddr, Ipv6Addr};

use windrose_datapath::abi::{Address, PrefixKey};

/// The length of a host.
const HOST: u8 = 128;

/// An address, or a prefix whose host bits are cleared. What lies in `::ffff:0:0/96` is IPv4.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn parse(text: &str) -> Result<PrefixKey, String> {
    let wrong = || format!("`{}` is no IP address or prefix such as 192.0.2.7 or 2001:db8::/32", short(text));
    let (address, length) = match text.split_once('/') {
        None => (text, None),
        Some((address, length)) => (address, Some(length)),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => most,
        Some(digits) => digits
            .parse::<u8>()
            .ok()
            .filter(|length| *length <= most && digits.len() < 4 && !digits.starts_with('+'))
            .ok_or_else(|| format!("`{}` has a length that is no number from 0 to {most}", short(text)))?,
    };
    let (bits, length) = match address {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped().to_bits(), length + 96),
        IpAddr::V6(v6) => (v6.to_bits(), length),
    };
    let mask = u128::MAX.checked_shl(u32::from(HOST - length)).unwrap_or(0);
    Ok(PrefixKey { length: u32::from(length), address: Address::from_bytes((bits & mask).to_be_bytes()) })
}

/// The shortest way to write it.
pub(crate) fn text(prefix: &PrefixKey) -> String {
    let v6 = Ipv6Addr::from(prefix.address.to_bytes());
    match (v6.to_ipv4_mapped(), prefix.length) {
        (Some(v4), 128..) => v4.to_string(),
        (Some(v4), 96..) => format!("{v4}/{}", prefix.length - 96),
        (_, 128..) => v6.to_string(),
        (_, length) => format!("{v6}/{length}"),
    }
}

/// As much of a wrong text as a person needs to find it.
pub(super) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(text_in: &str) -> Result<String, String> {
        parse(text_in).map(|prefix| text(&prefix))
    }

    #[test]
    fn hosts_and_prefixes_are_read_and_written() {
        for (given, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::/0", "::/0"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
        ] {
            assert_eq!(round(given).as_deref(), Ok(expected), "{given}");
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for wrong in [
            "",
            "host",
            "1.2.3",
            "1.2.3.4/33",
            "::/129",
            "1.2.3.4/",
            "1.2.3.4/+8",
            "1.2.3.4/008x",
            "1.2.3.4/-1",
        ] {
            assert!(round(wrong).is_err(), "{wrong}");
        }
    }
}
