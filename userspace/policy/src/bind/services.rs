//! Services to the model: each port's endpoints are found, and what must be unique is.

use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Binder, duplicate, show};
use crate::document::{PortObject, ServiceObject, SliceObject, Target, Weighed};
use crate::fault::quoted;
use crate::model::{Endpoint, ObjectName, Protocol, Requirement, Selector, Service, ServicePort, Workload};
use crate::place::Place;

/// What belongs to services, as it was read; bound when every workload is known.
#[derive(Default)]
pub(super) struct Pending<'o> {
    services: BTreeMap<ObjectName, &'o ServiceObject>,
    slices: BTreeMap<ObjectName, &'o SliceObject>,
}

/// An address, a port and a protocol.
type Claim = (IpAddr, u16, Protocol);

/// Workloads by name.
type Workloads = BTreeMap<ObjectName, Arc<Workload>>;

/// Workloads by (namespace, label's key, label's value).
type Labelled<'w> = HashMap<(&'w str, &'w str, &'w str), Vec<&'w Arc<Workload>>>;

impl<'o> Binder<'o, '_> {
    pub(super) fn service(&mut self, object: &'o ServiceObject) {
        self.use_namespace(&object.name.namespace);
        match self.pending.services.entry(object.name.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(object);
            }
            Entry::Occupied(first) => {
                let message = duplicate("Service", &show(&object.name), &first.get().place);
                self.faults.error(object.place.clone(), message);
            }
        }
    }

    pub(super) fn slice(&mut self, object: &'o SliceObject) {
        self.use_namespace(&object.name.namespace);
        match self.pending.slices.entry(object.name.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(object);
            }
            Entry::Occupied(first) => {
                let message = duplicate("EndpointSlice", &show(&object.name), &first.get().place);
                self.faults.error(object.place.clone(), message);
            }
        }
    }

    /// Binds every service, after every workload.
    pub(super) fn services(&mut self) {
        let Pending { services, slices } = std::mem::take(&mut self.pending);
        if services.is_empty() && slices.is_empty() {
            return;
        }
        let mut slices_of: HashMap<ObjectName, Vec<&SliceObject>> = HashMap::new();
        for slice in slices.values() {
            let Some(service) = &slice.service else { continue };
            let name = ObjectName { namespace: slice.name.namespace.clone(), name: service.clone() };
            if services.contains_key(&name) {
                slices_of.entry(name).or_default().push(slice);
            } else {
                let message = format!("there is no Service {}: this EndpointSlice is ignored", show(&name));
                self.faults.warn(slice.place.clone(), message);
            }
        }
        let workloads = std::mem::take(&mut self.model.workloads);
        let labelled = index(&workloads, &services);
        let mut claims: HashMap<Claim, (ObjectName, Place)> = HashMap::new();
        for service in services.values().filter(|service| !service.addresses.is_empty()) {
            self.claim(service, &mut claims);
            let slices = slices_of.get(&service.name).map_or(&[][..], Vec::as_slice);
            let bound = self.bind_service(service, slices, &labelled, &workloads);
            self.model.services.insert(service.name.clone(), Arc::new(bound));
        }
        self.model.workloads = workloads;
    }

    /// Refuses an address that is a workload's, or another service's with the same port.
    fn claim(&mut self, service: &ServiceObject, claims: &mut HashMap<Claim, (ObjectName, Place)>) {
        for (place, address) in &service.addresses {
            if let Some((owner, first)) = self.addresses.get(address) {
                let message = format!(
                    "address `{address}` of this Service is that of workload {}, at {first}",
                    show(owner)
                );
                self.faults.error(place.clone(), message);
                continue;
            }
            for port in &service.ports {
                let PortObject { port: number, protocol, .. } = port;
                let claim = (*address, *number, *protocol);
                if let Some((owner, first)) = claims.get(&claim) {
                    let message = format!(
                        "`{address}` port {number}/{} is already that of Service {}, at {first}",
                        protocol.name(),
                        show(owner)
                    );
                    self.faults.error(port.place.clone(), message);
                } else {
                    claims.insert(claim, (service.name.clone(), port.place.clone()));
                }
            }
        }
    }

    fn bind_service(
        &mut self,
        service: &ServiceObject,
        slices: &[&SliceObject],
        labelled: &Labelled<'_>,
        workloads: &Workloads,
    ) -> Service {
        if let Some((place, _)) = &service.endpoints
            && (service.selector.is_some() || !slices.is_empty())
        {
            let message = "a Service with a selector or with EndpointSlices has its endpoints from there: \
                 remove `windrose.dev/endpoints`";
            self.faults.error(place.clone(), message);
        }
        let selected = match &service.selector {
            Some(selector) if slices.is_empty() => select(labelled, &service.name.namespace, selector),
            _ => Vec::new(),
        };
        let weights = Weights::new(service);
        let ports = service
            .ports
            .iter()
            .map(|port| {
                let found = if slices.is_empty() {
                    self.written_endpoints(service, port, &selected)
                } else {
                    self.slices_endpoints(service, port, slices)
                };
                let endpoints = found
                    .into_iter()
                    .filter(|endpoint| !service.is_local || self.is_local(workloads, endpoint.address));
                ServicePort {
                    name: port.name.clone(),
                    port: port.port,
                    protocol: port.protocol,
                    endpoints: in_order(endpoints.map(|endpoint| weights.applied(endpoint)).collect()),
                    place: port.place.clone(),
                }
            })
            .collect();
        for unused in weights.unused(&selected) {
            let message = "no endpoint of this Service has this name: its weight has no effect";
            self.faults.warn(unused.clone(), message);
        }
        Service {
            name: service.name.clone(),
            addresses: service.addresses.iter().map(|(_, address)| *address).collect(),
            ports,
            balancing: service.balancing,
            affinity_seconds: service.affinity_seconds,
            ends_removed: service.ends_removed,
            place: service.place.clone(),
        }
    }

    /// Of the workloads that a selector selects, or of the annotation.
    fn written_endpoints(
        &mut self,
        service: &ServiceObject,
        port: &PortObject,
        selected: &[&Arc<Workload>],
    ) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        for workload in selected {
            let target = match &port.target {
                Target::Number(number) => Some(*number),
                Target::Name(name) => workload
                    .ports
                    .iter()
                    .find(|named| named.name == *name && named.protocol == port.protocol)
                    .map(|named| named.port),
            };
            let Some(target) = target else { continue };
            endpoints.extend(workload.addresses.iter().map(|address| Endpoint {
                address: *address,
                port: target,
                weight: 1,
                is_ready: true,
                name: Some(workload.name.clone()),
            }));
        }
        let named = service.endpoints.as_ref().map_or(&[][..], |(_, named)| named);
        match &port.target {
            Target::Name(name) if !named.is_empty() || (!selected.is_empty() && endpoints.is_empty()) => {
                let why = if named.is_empty() {
                    format!(
                        "no workload that the selector selects has a port of {} with this name",
                        port.protocol.name()
                    )
                } else {
                    "the endpoints of `windrose.dev/endpoints` have no named ports".to_owned()
                };
                self.faults
                    .error(port.target_place.clone(), format!("unknown targetPort {}: {why}", quoted(name)));
            }
            Target::Name(_) => {}
            Target::Number(number) => {
                endpoints.extend(named.iter().map(|(address, weight)| Endpoint {
                    address: *address,
                    port: *number,
                    weight: (*weight).max(1),
                    is_ready: *weight != 0,
                    name: self.owner(*address),
                }));
            }
        }
        endpoints
    }

    fn slices_endpoints(
        &mut self,
        service: &ServiceObject,
        port: &PortObject,
        slices: &[&SliceObject],
    ) -> Vec<Endpoint> {
        let mut is_known = false;
        let mut endpoints = Vec::new();
        for slice in slices {
            for of_slice in &slice.ports {
                if of_slice.name != port.name || of_slice.protocol != port.protocol {
                    continue;
                }
                is_known = true;
                endpoints.extend(slice.endpoints.iter().map(|endpoint| Endpoint {
                    address: endpoint.address,
                    port: of_slice.port,
                    weight: 1,
                    is_ready: !endpoint.is_terminating && (endpoint.is_ready || service.takes_unready),
                    name: self.owner(endpoint.address).or_else(|| {
                        let name = endpoint.target.clone()?;
                        Some(ObjectName { namespace: slice.name.namespace.clone(), name })
                    }),
                }));
            }
        }
        if !is_known {
            let message = format!(
                "no EndpointSlice of this Service has a port of {} with the name {}",
                port.protocol.name(),
                quoted(&port.name)
            );
            self.faults.warn(port.place.clone(), message);
        }
        endpoints
    }

    fn owner(&self, address: IpAddr) -> Option<ObjectName> {
        self.addresses.get(&address).map(|(owner, _)| owner.clone())
    }

    /// Whether the address is that of a workload of this host.
    fn is_local(&self, workloads: &Workloads, address: IpAddr) -> bool {
        let owner = self.addresses.get(&address).and_then(|(owner, _)| workloads.get(owner));
        owner.is_some_and(|workload| workload.cgroup.is_some())
    }
}

/// `windrose.dev/weights`.
struct Weights<'s> {
    service: &'s ServiceObject,
}

impl<'s> Weights<'s> {
    const fn new(service: &'s ServiceObject) -> Self {
        Self { service }
    }

    fn applied(&self, mut endpoint: Endpoint) -> Endpoint {
        let namespace = &self.service.name.namespace;
        let weight = self.service.weights.iter().rev().find(|weight| match &weight.of {
            Weighed::Address(address) => *address == endpoint.address,
            Weighed::Workload(name) => endpoint
                .name
                .as_ref()
                .is_some_and(|found| found.name == *name && found.namespace == *namespace),
        });
        match weight.map(|weight| weight.share) {
            None => {}
            // No share of the new, and what it has goes on.
            Some(0) => endpoint.is_ready = false,
            Some(weight) => endpoint.weight = weight,
        }
        endpoint
    }

    /// Weights of workloads that the selector does not select.
    fn unused<'a>(&'a self, selected: &'a [&Arc<Workload>]) -> impl Iterator<Item = &'s Place> + 'a {
        let has_selector = self.service.selector.is_some();
        self.service.weights.iter().filter_map(move |weight| match &weight.of {
            Weighed::Workload(name) if has_selector && !selected.is_empty() => {
                (!selected.iter().any(|workload| workload.name.name == *name)).then_some(&weight.place)
            }
            _ => None,
        })
    }
}

/// Sorted, each address and port once: an endpoint that moves from one slice to another is in both
/// for a while, and is ready if it is in one.
fn in_order(mut endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    endpoints.sort_by(|a, b| {
        (a.address, a.port, !a.is_ready, a.weight).cmp(&(b.address, b.port, !b.is_ready, b.weight))
    });
    endpoints.dedup_by(|a, b| (a.address, a.port) == (b.address, b.port));
    endpoints
}

/// The labels that services ask for, and who has them: a service looks at those only who have its
/// rarest.
fn index<'w>(workloads: &'w Workloads, services: &BTreeMap<ObjectName, &'w ServiceObject>) -> Labelled<'w> {
    let mut labelled: Labelled<'w> = HashMap::new();
    for service in services.values() {
        for requirement in service.selector.iter().flat_map(|selector| &selector.requirements) {
            if let Requirement::In(key, values) = requirement {
                for value in values {
                    labelled.entry((&service.name.namespace, key, value)).or_default();
                }
            }
        }
    }
    if labelled.is_empty() {
        return labelled;
    }
    for workload in workloads.values() {
        for (key, value) in &workload.labels {
            if let Some(list) = labelled.get_mut(&(&*workload.name.namespace, &**key, &**value)) {
                list.push(workload);
            }
        }
    }
    labelled
}

fn select<'w>(labelled: &Labelled<'w>, namespace: &str, selector: &Selector) -> Vec<&'w Arc<Workload>> {
    let candidates = selector.requirements.iter().filter_map(|requirement| match requirement {
        Requirement::In(key, values) => labelled.get(&(namespace, key, values.first()?)),
        _ => None,
    });
    let rarest = candidates.min_by_key(|list| list.len());
    rarest.into_iter().flatten().filter(|workload| selector.matches(&workload.labels)).copied().collect()
}
