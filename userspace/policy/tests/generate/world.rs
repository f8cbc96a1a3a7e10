//! Random models and flows from a seed: few names and labels, so that much matches.
//!
//! Use it from a test file with `#[path = "generate/world.rs"] mod generate;`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use windrose_policy::decision::{Endpoint, Flow};
use windrose_policy::model::{Labels, Model, NamedPort, Namespace, ObjectName, Protocol, Workload};
use windrose_policy::place::Place;
use windrose_policy::reference::endpoint;

mod policies;
mod random;
mod services;

pub(crate) use random::Rng;

/// The host's own addresses in generated flows.
pub(crate) const HOSTS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 0, 3, 200)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xc8))];

const NAMESPACES: [&str; 3] = ["shop", "bank", "ops"];
const PORTS: [u16; 9] = [1, 53, 80, 81, 443, 8080, 9000, 65534, 65535];
const PORT_NAMES: [&str; 3] = ["http", "dns", "admin"];
const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// A model: up to 3 namespaces, 8 workloads, 6 network and 6 cluster policies. Equal seeds give
/// equal models. All places are dummies, each another line.
pub(crate) fn model(seed: u64) -> Model {
    let mut maker = Maker { rng: Rng::new(seed), line: 0 };
    let mut model = Model::default();
    for name in NAMESPACES {
        let namespace = maker.namespace(name);
        model.namespaces.insert(name.to_owned(), namespace);
    }
    let mut addresses = BTreeSet::new();
    for number in 0..=maker.rng.below(8) {
        let workload = maker.workload(number, &mut addresses);
        model.workloads.insert(workload.name.clone(), Arc::new(workload));
    }
    for number in 0..maker.rng.below(7) {
        let policy = maker.network_policy(number);
        model.network_policies.insert(policy.name.clone(), Arc::new(policy));
    }
    for number in 0..maker.rng.below(7) {
        let policy = maker.cluster_policy(number);
        model.cluster_policies.insert(policy.name.clone(), Arc::new(policy));
    }
    let mut taken = BTreeSet::new();
    for number in 0..maker.rng.below(4) {
        let service = maker.service(number);
        if service.addresses.iter().all(|address| taken.insert(*address)) {
            model.services.insert(service.name.clone(), Arc::new(service));
        }
    }
    model
}

/// A flow that is likely to hit something in the model: both ends are of one family, and each is
/// what its address says it is.
pub(crate) fn flow(model: &Model, rng: &mut Rng) -> Flow {
    let is_v4 = rng.chance(60);
    let source = end(model, rng, is_v4);
    let destination = if rng.chance(4) { source.clone() } else { end(model, rng, is_v4) };
    let protocol = [6, 6, 6, 6, 17, 17, 17, 132, 132, 1, 58, 47][rng.index(12)];
    let is_ported = matches!(protocol, 6 | 17 | 132);
    let destination_port = if is_ported { port(model, rng, &destination) } else { 0 };
    Flow { source, destination, protocol, destination_port }
}

fn end(model: &Model, rng: &mut Rng, is_v4: bool) -> Endpoint {
    let owned = if rng.chance(75) { workload_address(model, rng, is_v4) } else { None };
    let address = owned.unwrap_or_else(|| any_address(rng, is_v4));
    endpoint(model, address, &HOSTS)
}

fn workload_address(model: &Model, rng: &mut Rng, is_v4: bool) -> Option<IpAddr> {
    let workload = model.workloads.values().nth(rng.index(model.workloads.len()))?;
    let of_family = |address: &&IpAddr| address.is_ipv4() == is_v4;
    let count = workload.addresses.iter().filter(of_family).count();
    if count == 0 {
        return None;
    }
    workload.addresses.iter().filter(of_family).nth(rng.index(count)).copied()
}

/// An address in or near the CIDRs that policies name, the world, the host, or loopback.
fn any_address(rng: &mut Rng, is_v4: bool) -> IpAddr {
    let low = rng.byte(17);
    let third = rng.byte(5);
    match (is_v4, rng.below(20)) {
        (true, 0) => Ipv4Addr::LOCALHOST.into(),
        (true, 1) => HOSTS[0],
        (true, 2) => Ipv4Addr::new(192, 0, 2, low).into(),
        (true, 3) => Ipv4Addr::new(10, 1, 0, low).into(),
        (true, _) => Ipv4Addr::new(10, 0, third, low).into(),
        (false, 0) => Ipv6Addr::LOCALHOST.into(),
        (false, 1) => HOSTS[1],
        (false, 2) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, low.into()).into(),
        (false, _) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, third.into(), low.into()).into(),
    }
}

/// A port of the destination, or one at or beside the edges that rules have.
fn port(model: &Model, rng: &mut Rng, destination: &Endpoint) -> u16 {
    let owner = destination.workload.as_ref().and_then(|name| model.workloads.get(name));
    if let Some(workload) = owner
        && !workload.ports.is_empty()
        && rng.chance(50)
    {
        return workload.ports[rng.index(workload.ports.len())].port;
    }
    let port = PORTS[rng.index(PORTS.len())];
    match rng.below(4) {
        0 => port.saturating_add(1),
        1 => port.saturating_sub(1).max(1),
        _ => port,
    }
}

/// What models are made with.
struct Maker {
    rng: Rng,
    line: u32,
}

impl Maker {
    fn place(&mut self) -> Place {
        self.line += 1;
        Place { file: "generated.yaml".into(), line: self.line, column: 1 }
    }

    fn namespace(&mut self, name: &str) -> Namespace {
        let mut labels = self.labels(&["env", "team"], &["a", "b"]);
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
        let place = self.rng.chance(80).then(|| self.place());
        Namespace { labels: Arc::new(labels), audit: self.rng.chance(8), place }
    }

    fn workload(&mut self, number: u64, taken: &mut BTreeSet<IpAddr>) -> Workload {
        let mut addresses = Vec::new();
        for is_v4 in [true, false] {
            for _ in 0..self.rng.below(3) {
                // Now and then a workload has a loopback address of its own.
                let address = if self.rng.chance(3) && is_v4 {
                    Ipv4Addr::new(127, 0, 0, 1 + self.rng.byte(2)).into()
                } else {
                    self.private_address(is_v4)
                };
                if taken.insert(address) {
                    addresses.push(address);
                }
            }
        }
        let mut ports = Vec::new();
        for name in PORT_NAMES {
            if self.rng.chance(50) {
                ports.push(NamedPort {
                    name: name.to_owned(),
                    port: self.pick(&PORTS),
                    protocol: self.protocol(),
                });
            }
        }
        let namespace = self.pick(&NAMESPACES).to_owned();
        let name = format!("w{number}");
        Workload {
            cgroup: self.rng.chance(70).then(|| format!("{namespace}/{name}")),
            name: ObjectName { namespace, name },
            labels: self.labels(&["app", "tier"], &["web", "db", ""]),
            addresses,
            ports,
            place: self.place(),
        }
    }

    fn private_address(&mut self, is_v4: bool) -> IpAddr {
        let low = self.rng.byte(16);
        let third = self.rng.byte(4);
        if is_v4 {
            Ipv4Addr::new(10, 0, third, low).into()
        } else {
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, third.into(), low.into()).into()
        }
    }

    fn labels(&mut self, keys: &[&str], values: &[&str]) -> Labels {
        let mut labels = BTreeMap::new();
        for key in keys {
            if self.rng.chance(70) {
                labels.insert((*key).to_owned(), self.pick(values).to_owned());
            }
        }
        labels
    }

    fn protocol(&mut self) -> Protocol {
        // TCP more often: a rule and a flow should meet.
        if self.rng.chance(40) { Protocol::Tcp } else { self.pick(&PROTOCOLS) }
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.rng.index(choices.len())]
    }
}
