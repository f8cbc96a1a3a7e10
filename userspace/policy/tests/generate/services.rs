//! Random services, with endpoints among the addresses of workloads and others.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use windrose_policy::model::{Balancing, Endpoint, ObjectName, Protocol, Service, ServicePort};

use super::{Maker, NAMESPACES};

impl Maker {
    /// A service; `number` names it, and its addresses are few, so that they move between services.
    pub(super) fn service(&mut self, number: u64) -> Service {
        let last = 1 + self.rng.byte(4);
        let v4 = IpAddr::from(Ipv4Addr::new(10, 96, 0, last));
        let v6 = IpAddr::from(Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, last.into()));
        let addresses = match self.rng.below(4) {
            0 => vec![v4],
            1 => vec![v6],
            _ => vec![v4, v6],
        };
        let mut ports = BTreeMap::new();
        for _ in 0..=self.rng.below(2) {
            let port = self.service_port();
            ports.insert((port.port, port.protocol), port);
        }
        let namespace = self.pick(&NAMESPACES).to_owned();
        Service {
            name: ObjectName { namespace, name: format!("s{number}") },
            addresses,
            ports: ports.into_values().collect(),
            balancing: if self.rng.chance(40) { Balancing::Maglev } else { Balancing::LeastLoaded },
            affinity_seconds: self.rng.chance(30).then_some(60),
            ends_removed: self.rng.chance(30),
            place: self.place(),
        }
    }

    fn service_port(&mut self) -> ServicePort {
        let mut endpoints = BTreeMap::new();
        for _ in 0..self.rng.below(9) {
            let is_v4 = self.rng.chance(60);
            let address = self.private_address(is_v4);
            let port = self.pick(&[80, 8080]);
            let weight = if self.rng.chance(70) { 1 } else { 1 + self.rng.byte(20) };
            let is_ready = self.rng.chance(75);
            endpoints.insert((address, port), Endpoint { address, port, weight, is_ready, name: None });
        }
        ServicePort {
            name: String::new(),
            port: self.pick(&[80, 443]),
            protocol: self.pick(&[Protocol::Tcp, Protocol::Udp]),
            endpoints: endpoints.into_values().collect(),
            place: self.place(),
        }
    }
}
