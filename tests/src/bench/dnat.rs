//! Services as nftables balances them: by DNAT, with maps.

use std::fmt::Write as _;
use std::net::SocketAddrV4;

/// The best that nftables can do for services with two endpoints each: at random one of two maps from a
/// service's address and port to an endpoint's, so that a connection's first packet costs one look-up
/// however many services there are, and later ones what connection tracking costs.
///
/// `hook` is `output` for connections that begin in the namespace, `prerouting` for those that it forwards.
pub(crate) fn ruleset(
    hook: &str,
    services: impl Iterator<Item = (SocketAddrV4, [SocketAddrV4; 2])>,
) -> String {
    let mut maps = [String::new(), String::new()];
    for (service, endpoints) in services {
        for (map, endpoint) in maps.iter_mut().zip(endpoints) {
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(
                map,
                "    {} . {} : {} . {},",
                service.ip(),
                service.port(),
                endpoint.ip(),
                endpoint.port()
            );
        }
    }
    let mut text = String::from("table ip bench {\n");
    for (name, elements) in ["first", "second"].into_iter().zip(maps) {
        let _ = write!(
            text,
            "  map {name} {{ type ipv4_addr . inet_service : ipv4_addr . inet_service; elements = {{\n{elements}\
             \x20 }} }}\n  chain to_{name} {{\n    meta l4proto tcp dnat ip to ip daddr . tcp dport map @{name}\n  }}\n"
        );
    }
    let _ = writeln!(
        text,
        "  chain {hook} {{\n    type nat hook {hook} priority -100; policy accept;\n    \
         numgen random mod 2 vmap {{ 0 : goto to_first, 1 : goto to_second }}\n  }}\n}}"
    );
    text
}
