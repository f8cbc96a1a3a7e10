//! The addresses of the host that the agent runs on.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use nix::ifaddrs::getifaddrs;

/// Every address of every interface, sorted: traffic from these is the workloads' own host
/// speaking (point 8 of what a policy means).
pub(crate) fn addresses() -> Result<Vec<IpAddr>> {
    let interfaces = getifaddrs().context("cannot list the addresses of this host's interfaces")?;
    let mut addresses: Vec<IpAddr> = interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
        })
        .map(|address| address.to_canonical())
        .collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_among_the_hosts() {
        assert!(addresses().unwrap().iter().any(IpAddr::is_loopback));
    }
}
