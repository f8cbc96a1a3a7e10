//! Changed services: an address and port of each becomes a row, and each endpoint of it.

use std::net::IpAddr;

use windrose_abi::{EndpointSlot, EndpointState, ServiceKey, ServiceSlot};

use crate::model::{Balancing, Endpoint, Model, ObjectName, Protocol, Service, ServicePort};

use super::Compiler;
use super::differences::shared_differences;
use super::error::CompileError;
use super::lists::EMPTY;
use super::maglev::{self, MAX_ENDPOINTS, Weighted};
use super::number::{Content, Digest};
use super::prefix::{bits, wire};

/// One address and port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceRef {
    /// The service.
    pub service: ObjectName,
    /// The address that clients ask for.
    pub address: IpAddr,
    /// The port that clients ask for.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// One endpoint of a service's port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EndpointRef {
    /// The service.
    pub service: ObjectName,
    /// The port that clients ask for.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The endpoint's own address.
    pub address: IpAddr,
    /// The endpoint's own port.
    pub target: u16,
}

impl EndpointRef {
    /// An endpoint of a port of a service.
    pub fn new(service: &Service, port: &ServicePort, endpoint: &Endpoint) -> Self {
        Self {
            service: service.name.clone(),
            port: port.port,
            protocol: port.protocol,
            address: endpoint.address,
            target: endpoint.port,
        }
    }
}

/// A row of a service as it was compiled. It holds one use of every number in it.
#[derive(Debug)]
pub(super) struct BalancedPort {
    key: ServiceKey,
    number: u32,
    table: u32,
    endpoints: Vec<u32>,
}

impl Compiler {
    pub(super) fn update_services(&mut self, before: &Model, after: &Model) {
        let differences = shared_differences(&before.services, &after.services);
        // All that goes goes first: an address may move to another service.
        for (name, old, _) in &differences {
            if old.is_some() {
                self.remove_service(name);
            }
        }
        for (name, _, new) in differences {
            let Some(service) = new else { continue };
            let mut ports = Vec::new();
            for port in &service.ports {
                for address in &service.addresses {
                    ports.push(self.add_port(service, port, *address));
                }
            }
            self.services.insert(name.clone(), ports);
        }
    }

    fn remove_service(&mut self, name: &ObjectName) {
        for mut balanced in self.services.remove(name).unwrap_or_default() {
            self.record.services.set(&mut self.tables.services, balanced.key, None);
            self.names.services.release(balanced.number);
            for endpoint in balanced.endpoints {
                self.record.endpoints.set(&mut self.tables.endpoints, endpoint, None);
                self.names.endpoints.release(endpoint);
            }
            self.replace_table(&mut balanced.table, &[]);
        }
    }

    fn add_port(&mut self, service: &Service, port: &ServicePort, address: IpAddr) -> BalancedPort {
        let ServicePort { port: number, protocol, .. } = *port;
        let key = ServiceKey {
            address: wire(bits(address)),
            port: number,
            protocol: protocol.number(),
            reserved: 0,
        };
        let reference = ServiceRef { service: service.name.clone(), address, port: number, protocol };
        // 2^32 of either do not fit into memory.
        let number = self.names.services.acquire(&reference).unwrap_or_default();
        let mut ready: Vec<Weighted> = Vec::new();
        let mut endpoints = Vec::new();
        for endpoint in &port.endpoints {
            if endpoint.address.is_ipv4() != address.is_ipv4() {
                continue;
            }
            let reference = EndpointRef::new(service, port, endpoint);
            let endpoint_number = self.names.endpoints.acquire(&reference).unwrap_or_default();
            self.record.endpoints.set(&mut self.tables.endpoints, endpoint_number, Some(slot(endpoint)));
            endpoints.push(endpoint_number);
            if endpoint.is_ready {
                ready.push((endpoint_number, endpoint.weight));
            }
        }
        if ready.len() > MAX_ENDPOINTS {
            self.errors.push(CompileError::too_many_endpoints(service, port, ready.len()));
            ready.truncate(MAX_ENDPOINTS);
        }
        ready.sort_unstable();
        let mut balanced = BalancedPort { key, number, table: EMPTY, endpoints };
        let mut row = ServiceSlot {
            service: number,
            affinity_s: service.affinity_seconds.unwrap_or(0),
            flags: flags(service),
            ..ServiceSlot::ZERO
        };
        match &ready[..] {
            [] => {}
            [(only, _)] => row.only = *only,
            _ => {
                row.size = maglev::size(&ready);
                let table = maglev::fill(&ready, row.size);
                self.replace_table(&mut balanced.table, &table);
                row.table = balanced.table;
            }
        }
        self.record.services.set(&mut self.tables.services, key, Some(row));
        balanced
    }

    fn replace_table(&mut self, holder: &mut u32, table: &[u32]) {
        let (entries, touched) = (&mut self.tables.balance_tables, &mut self.record.balance_tables);
        self.balance_tables.replace(holder, table, entries, touched);
    }
}

fn slot(endpoint: &Endpoint) -> EndpointSlot {
    let state = if endpoint.is_ready { EndpointState::Ready } else { EndpointState::Draining };
    EndpointSlot {
        address: wire(bits(endpoint.address)),
        port: endpoint.port,
        weight: endpoint.weight,
        state: state as u8,
    }
}

const fn flags(service: &Service) -> u32 {
    let choice = match service.balancing {
        Balancing::LeastLoaded => 0,
        Balancing::Maglev => ServiceSlot::MAGLEV,
    };
    choice | if service.ends_removed { ServiceSlot::END } else { 0 }
}

impl Content for ServiceRef {
    fn digest(&self, digest: &mut Digest) {
        self.service.digest(digest);
        digest.bytes(&bits(self.address).to_be_bytes());
        digest.word(u32::from(self.port));
        digest.bytes(&[self.protocol.number()]);
    }
}

impl Content for EndpointRef {
    fn digest(&self, digest: &mut Digest) {
        self.service.digest(digest);
        digest.word(u32::from(self.port));
        digest.bytes(&[self.protocol.number()]);
        digest.bytes(&bits(self.address).to_be_bytes());
        digest.word(u32::from(self.target));
    }
}
