//! The services, the same for every tool: one for each place with its two endpoints, and others with
//! endpoints that nobody calls.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::bench::dnat;
use crate::bench::ground::Place;

/// Services' addresses are in it.
pub(crate) const BLOCK: &str = "10.96.0.0/12";

/// What clients ask for.
const PORT: u16 = 80;

/// Where endpoints listen.
pub(crate) const TARGET_PORT: u16 = 8080;

/// The service that the client of a place calls.
pub(crate) fn called(place: Place) -> SocketAddrV4 {
    service(match place {
        Place::Veth => 0,
        Place::Host => 1,
        Place::Routed => 2,
    })
}

/// As Windrose reads them.
pub(crate) fn documents(count: usize) -> impl Iterator<Item = String> {
    (0..number(count)).map(|number| {
        let [first, second] = endpoints(number);
        format!(
            "apiVersion: v1\nkind: Service\n\
             metadata:\n  name: service-{number}\n  namespace: servers\n  \
             annotations: {{windrose.dev/endpoints: \"{first}, {second}\"}}\n\
             spec: {{clusterIP: {}, ports: [{{port: {PORT}, targetPort: {TARGET_PORT}}}]}}\n",
            service(number).ip()
        )
    })
}

/// As Windrose reads them for the edge: at addresses from outside.
pub(crate) fn exposed(count: usize) -> impl Iterator<Item = String> {
    documents(count).map(|document| {
        let (head, address) = document.split_once("clusterIP: ").unwrap_or((&document, ""));
        let (address, rest) = address.split_once(',').unwrap_or((address, ""));
        format!("{head}externalIPs: [{address}],{rest}")
    })
}

/// As nftables reads them; for the hook see [`dnat::ruleset`].
pub(crate) fn ruleset(hook: &str, count: usize) -> String {
    let services = (0..number(count)).map(|number| {
        let endpoints = endpoints(number).map(|address| SocketAddrV4::new(address, TARGET_PORT));
        (service(number), endpoints)
    });
    dnat::ruleset(hook, services)
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn service(number: u32) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 1)) + number), PORT)
}

fn endpoints(number: u32) -> [Ipv4Addr; 2] {
    let place = Place::ALL.into_iter().find(|place| called(*place) == service(number));
    place.map_or_else(
        || {
            let first = u32::from(Ipv4Addr::new(10, 128, 0, 0)) + 2 * number;
            [first, first + 1].map(Ipv4Addr::from)
        },
        |place| [place.server(), place.second()],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_a_service_with_the_addresses_of_its_server() {
        for place in Place::ALL {
            let number = u32::from(*called(place).ip()) - u32::from(Ipv4Addr::new(10, 96, 0, 1));
            assert_eq!(endpoints(number), [place.server(), place.second()]);
        }
        assert_eq!(endpoints(3), [Ipv4Addr::new(10, 128, 0, 6), Ipv4Addr::new(10, 128, 0, 7)]);
        assert_eq!(service(9_999).to_string(), "10.96.39.16:80");
    }

    #[test]
    fn there_are_as_many_services_as_asked_for() {
        assert_eq!(documents(10).count(), 10);
        assert_eq!(ruleset("output", 10).matches("10.96.0.").count(), 20);
    }
}
