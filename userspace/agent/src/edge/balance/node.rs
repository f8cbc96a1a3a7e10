//! What balancing needs of this node: its addresses, and that it forwards.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use nix::ifaddrs::getifaddrs;
use windrose_policy::model::Family;

/// The addresses of interfaces that the outside can ask for, sorted: none of loopback, and none that
/// are good on one link only.
pub(super) fn addresses(is_asked: impl Fn(&str) -> bool) -> Result<Vec<IpAddr>> {
    let all = getifaddrs().context("cannot list the addresses of this host's interfaces")?;
    let mut addresses: Vec<IpAddr> = all
        .filter(|found| is_asked(&found.interface_name))
        .filter_map(|found| {
            let address = found.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
        })
        .map(|address| address.to_canonical())
        .filter(|address| !address.is_loopback() && !address.is_unspecified() && !is_link_local(address))
        .collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Why what comes in by an interface is not sent on, if the kernel's settings say so.
pub(super) fn not_forwarding(interface: &str, family: Family) -> Option<String> {
    let family_name = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    let path = format!("/proc/sys/net/{family_name}/conf/{interface}/forwarding");
    // An interface without this family has none.
    let value = fs::read_to_string(path).ok()?;
    (value.trim() == "0").then(|| {
        format!(
            "net.{family_name}.conf.{interface}.forwarding is 0: what clients send to frontends by {interface} is \
             left to a network stack that drops it; set it to 1"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_no_address_for_the_outside() {
        assert_eq!(addresses(|name| name == "lo").unwrap(), Vec::<IpAddr>::new());
        assert_eq!(not_forwarding("there-is-none", Family::V4), None);
    }
}
