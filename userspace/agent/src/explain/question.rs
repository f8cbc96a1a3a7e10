//! What is asked: two ends, a protocol and a port.

use std::net::{IpAddr, Ipv4Addr};

use windrose_policy::decision::{Endpoint, Flow};
use windrose_policy::model::{Model, ObjectName, Service, ServicePort};
use windrose_policy::reference;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    from: Name,
    to: Name,
    protocol: u8,
    port: u16,
}

/// How an end is named.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    /// A workload, or as a destination a service.
    Object(ObjectName),
    Address(IpAddr),
}

impl Question {
    /// Reads the words of a command line or query.
    ///
    /// # Errors
    ///
    /// What is wrong with which of them.
    pub(crate) fn parse(from: &str, to: &str, port: Option<u16>, protocol: &str) -> Result<Self, String> {
        let protocol = parse_protocol(protocol)?;
        let has_ports = matches!(protocol, 6 | 17 | 132);
        let port = match (port, has_ports) {
            (Some(0) | None, true) => {
                return Err(format!(
                    "{} needs a destination port from 1 to 65535",
                    reference::protocol_name(protocol)
                ));
            }
            (Some(1..), false) => {
                return Err(format!(
                    "{} has no ports: leave the port out",
                    reference::protocol_name(protocol)
                ));
            }
            (port, _) => port.unwrap_or_default(),
        };
        Ok(Self { from: Name::parse("from", from)?, to: Name::parse("to", to)?, protocol, port })
    }

    /// Every flow that is asked about: with every ready endpoint, if the destination is a service.
    ///
    /// # Errors
    ///
    /// An end that is unknown, or a service without the port or without a ready endpoint.
    pub(super) fn flows(&self, model: &Model, host_addresses: &[IpAddr]) -> Result<Vec<Flow>, String> {
        let Some((service, port)) = self.service(model)? else {
            let pairs = self.pairs(model, host_addresses)?.into_iter();
            return Ok(pairs.map(|(source, destination)| self.flow(source, destination)).collect());
        };
        let ready = port.endpoints.iter().filter(|endpoint| {
            let is_v4 = endpoint.address.is_ipv4();
            endpoint.is_ready
                && match &self.to {
                    Name::Address(address) => address.is_ipv4() == is_v4,
                    Name::Object(_) => service.addresses.iter().any(|address| address.is_ipv4() == is_v4),
                }
        });
        let mut flows = Vec::new();
        for endpoint in ready {
            let one = Self { to: Name::Address(endpoint.address), port: endpoint.port, ..self.clone() };
            let pairs = one.pairs(model, host_addresses)?.into_iter();
            flows.extend(pairs.map(|(source, destination)| one.flow(source, destination)));
        }
        if flows.is_empty() {
            let ObjectName { namespace, name } = &service.name;
            return Err(format!(
                "Service {namespace}/{name} has no ready endpoint for port {}: who asks for it is refused",
                self.port
            ));
        }
        Ok(flows)
    }

    /// The service that the destination is, and its port.
    fn service<'m>(&self, model: &'m Model) -> Result<Option<(&'m Service, &'m ServicePort)>, String> {
        let service = match &self.to {
            Name::Address(to) => model.services.values().find(|service| service.addresses.contains(to)),
            Name::Object(name) if !model.workloads.contains_key(name) => model.services.get(name),
            Name::Object(_) => None,
        };
        let Some(service) = service else { return Ok(None) };
        let port = service
            .ports
            .iter()
            .find(|port| port.port == self.port && port.protocol.number() == self.protocol);
        match (port, &self.to) {
            (Some(port), _) => Ok(Some((service, port))),
            // An address takes everything; what is not the service's port goes there as it is.
            (None, Name::Address(_)) => Ok(None),
            (None, Name::Object(name)) => {
                let known: Vec<String> = service
                    .ports
                    .iter()
                    .map(|port| format!("{}/{}", port.port, port.protocol.name()))
                    .collect();
                Err(format!(
                    "Service {}/{} has no port {}/{}; it has {}",
                    name.namespace,
                    name.name,
                    self.port,
                    reference::protocol_name(self.protocol),
                    known.join(", ")
                ))
            }
        }
    }

    /// Every pair of addresses of one family, in the order in which the workloads list them. A
    /// workload without addresses is explained with the unspecified one.
    fn pairs(&self, model: &Model, host_addresses: &[IpAddr]) -> Result<Vec<(Endpoint, Endpoint)>, String> {
        let mut from = self.from.endpoints(model, host_addresses)?;
        let mut to = self.to.endpoints(model, host_addresses)?;
        if from.is_empty() {
            from.extend(self.from.without_address(to.first()));
        }
        if to.is_empty() {
            to.extend(self.to.without_address(from.first()));
        }
        let mut pairs = Vec::new();
        for destination in &to {
            for source in &from {
                if source.address.is_ipv4() == destination.address.is_ipv4() {
                    pairs.push((source.clone(), destination.clone()));
                }
            }
        }
        Ok(pairs)
    }

    fn flow(&self, source: Endpoint, destination: Endpoint) -> Flow {
        Flow { source, destination, protocol: self.protocol, destination_port: self.port }
    }

    pub(super) fn notes(&self, model: &Model) -> Vec<String> {
        let asked = match (&self.to, self.service(model)) {
            (Name::Address(address), Ok(Some((service, _)))) => Some((address.to_string(), service)),
            (Name::Object(name), Ok(Some((service, _)))) => {
                Some((format!("{}/{}", name.namespace, name.name), service))
            }
            _ => None,
        };
        let mut notes: Vec<String> = asked
            .map(|(asked, service)| {
                let ObjectName { namespace, name } = &service.name;
                format!(
                    "{asked} port {} is Service {namespace}/{name}: policy is asked about the endpoint that a \
                     connection gets",
                    self.port
                )
            })
            .into_iter()
            .collect();
        notes.extend(self.notes_of_workloads(model));
        notes
    }

    fn notes_of_workloads(&self, model: &Model) -> Vec<String> {
        [&self.from, &self.to]
            .into_iter()
            .filter_map(|name| match name {
                Name::Object(name) => model.workloads.get(name),
                Name::Address(_) => None,
            })
            .filter(|workload| workload.addresses.is_empty())
            .map(|workload| {
                let ObjectName { namespace, name } = &workload.name;
                format!("{namespace}/{name} has no address in the policy: blocks of addresses cannot match it here")
            })
            .collect()
    }
}

impl Name {
    fn parse(field: &str, text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self::Object(ObjectName { namespace: namespace.to_owned(), name: name.to_owned() }))
            }
            _ => Err(format!("{field} is `{text}`: it must be a workload as NAMESPACE/NAME, or an address")),
        }
    }

    fn endpoints(&self, model: &Model, host_addresses: &[IpAddr]) -> Result<Vec<Endpoint>, String> {
        match self {
            Self::Address(address) => Ok(vec![reference::endpoint(model, *address, host_addresses)]),
            Self::Object(name) => {
                let workload = model.workloads.get(name).ok_or_else(|| unknown(model, name))?;
                let end = |address: &IpAddr| Endpoint {
                    address: *address,
                    workload: Some(name.clone()),
                    is_host: host_addresses.contains(address),
                };
                Ok(workload.addresses.iter().map(end).collect())
            }
        }
    }

    fn without_address(&self, other: Option<&Endpoint>) -> Option<Endpoint> {
        let Self::Object(name) = self else { return None };
        let address = match other.map(|other| other.address) {
            Some(IpAddr::V6(_)) => IpAddr::from([0_u16; 8]),
            Some(IpAddr::V4(_)) | None => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        };
        Some(Endpoint { address, workload: Some(name.clone()), is_host: false })
    }
}

fn unknown(model: &Model, wrong: &ObjectName) -> String {
    let ObjectName { namespace, name } = wrong;
    let same_name = model.workloads.keys().find(|known| known.name == *name);
    let same_namespace = model.workloads.keys().filter(|known| known.namespace == *namespace);
    let others: Vec<&str> = same_namespace.map(|known| known.name.as_str()).take(10).collect();
    let hint = match same_name {
        Some(known) => format!("; did you mean {}/{}?", known.namespace, known.name),
        None if others.is_empty() => {
            format!("; the policy has {} workloads, and none in that namespace", model.workloads.len())
        }
        None => format!("; {namespace} has {}", others.join(", ")),
    };
    format!("no workload {namespace}/{name}{hint}")
}

fn parse_protocol(text: &str) -> Result<u8, String> {
    match text.to_ascii_uppercase().as_str() {
        "ICMP" => Ok(1),
        "TCP" => Ok(6),
        "UDP" => Ok(17),
        "ICMPV6" => Ok(58),
        "SCTP" => Ok(132),
        number => number.parse().map_err(|_| {
            format!("protocol is `{text}`: it must be TCP, UDP, SCTP, ICMP, ICMPv6 or a number up to 255")
        }),
    }
}
