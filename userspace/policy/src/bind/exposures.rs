//! What the outside may ask for, into the model.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::Binder;
use super::services::Workloads;
use crate::document::{PortObject, ServiceObject};
use crate::model::{Endpoint, ExposedAt, ExposedEndpoint, Exposure, ExposureSource, Family, Forwarding};
use crate::place::Place;

/// Exposures of a policy at most: a short text can ask for many.
const EXPOSURES: usize = 65_536;

/// Endpoints of all exposures at most, those that share a list counted once.
const ENDPOINTS: usize = 1_000_000;

/// How many are exposed.
#[derive(Default)]
pub(super) struct Room {
    exposures: usize,
    endpoints: usize,
}

impl Binder<'_, '_> {
    /// Whether what a service exposes still fits; an error the first time that it does not.
    pub(super) fn has_room_for(&mut self, service: &ServiceObject) -> bool {
        let node_ports = service.ports.iter().filter(|port| port.node_port.is_some()).count();
        let exposures =
            service.outside.addresses.len() * service.ports.len() + node_ports * Family::ALL.len();
        self.takes_room(&service.place, exposures, 0)
    }

    /// Counts so many more exposures and endpoints; `false`, and an error the first time, if that is
    /// more than may be.
    pub(super) fn takes_room(&mut self, place: &Place, exposures: usize, endpoints: usize) -> bool {
        let had_room = self.room.exposures <= EXPOSURES && self.room.endpoints <= ENDPOINTS;
        self.room.exposures += exposures;
        self.room.endpoints += endpoints;
        let what = if self.room.exposures > EXPOSURES {
            format!("{EXPOSURES} addresses and ports")
        } else if self.room.endpoints > ENDPOINTS {
            format!("{ENDPOINTS} endpoints")
        } else {
            return true;
        };
        if had_room {
            self.faults.error(place.clone(), format!("from here on more than {what} are exposed together"));
        }
        false
    }

    /// Exposes a port of a service at its addresses from outside, and at its node port.
    pub(super) fn expose_service(
        &mut self,
        service: &ServiceObject,
        port: &PortObject,
        endpoints: &[Endpoint],
        workloads: &Workloads,
    ) {
        let outside = &service.outside;
        if outside.addresses.is_empty() && port.node_port.is_none() {
            return;
        }
        if !self.takes_room(&service.place, 0, endpoints.len()) {
            return;
        }
        self.check_forwarding_of(service, port, endpoints);
        let of_family = Family::ALL.map(|family| {
            let of_it = endpoints.iter().filter(|endpoint| Family::of(endpoint.address) == family);
            let exposed = of_it.filter_map(|endpoint| {
                let is_local = self.is_local(workloads, endpoint.address);
                (is_local || !outside.is_local).then(|| ExposedEndpoint {
                    share: if endpoint.is_ready { endpoint.weight.into() } else { 0 },
                    endpoint: endpoint.clone(),
                    is_local,
                })
            });
            exposed.collect::<Arc<[_]>>()
        });
        let ranges: Arc<[_]> = outside.source_ranges.as_slice().into();
        let exposure = |at: ExposedAt, number: u16, has_ranges: bool| Exposure {
            source: ExposureSource::Service { name: service.name.clone(), port: port.name.clone() },
            at,
            port: number,
            protocol: port.protocol,
            endpoints: of_family[usize::from(at.family() == Family::V6)].clone(),
            refused_share: 0,
            forwarding: outside.forwarding,
            is_by_client: service.affinity_seconds.is_some(),
            source_ranges: if has_ranges { ranges.clone() } else { Arc::default() },
            place: port.place.clone(),
        };
        for this in &outside.addresses {
            let exposure = exposure(ExposedAt::Address(this.address), port.port, this.is_balancer);
            // Who is there already has claimed the address, and that is an error already.
            self.model.exposures.entry(exposure.key()).or_insert_with(|| Arc::new(exposure));
        }
        let Some((place, number)) = &port.node_port else { return };
        for family in Family::ALL {
            if service.addresses().any(|(_, address)| Family::of(address) == family) {
                // Upstream's proxies restrict addresses of load balancers only.
                let exposure = exposure(ExposedAt::Node(family), *number, false);
                if !self.expose(exposure, place) {
                    break;
                }
            }
        }
    }

    /// Puts it into the model; `false` and an error if somebody is there.
    pub(super) fn expose(&mut self, exposure: Exposure, place: &Place) -> bool {
        let (port, protocol) = (exposure.port, exposure.protocol.name());
        match self.model.exposures.entry(exposure.key()) {
            Entry::Vacant(entry) => {
                entry.insert(Arc::new(exposure));
                true
            }
            Entry::Occupied(entry) => {
                let first = entry.get();
                let at = match first.at {
                    ExposedAt::Address(address) => format!("`{address}` port {port}/{protocol}"),
                    ExposedAt::Node(_) => format!("node port {port}/{protocol}"),
                };
                let message = format!("{at} is already that of {}, at {}", first.source, first.place);
                self.faults.error(place.clone(), message);
                false
            }
        }
    }

    /// Without translation an endpoint gets the address and port that the client asked for.
    fn check_forwarding_of(&mut self, service: &ServiceObject, port: &PortObject, endpoints: &[Endpoint]) {
        let forwarding = service.outside.forwarding;
        if forwarding == Forwarding::Nat {
            return;
        }
        let name = forwarding.name();
        if let Some((place, _)) = &port.node_port {
            let message = format!(
                "a node port needs `windrose.dev/forwarding: nat`: with `{name}` packets keep this node's \
                 address; remove `nodePort`"
            );
            self.faults.error(place.clone(), message);
        }
        if let Some(other) = endpoints.iter().find(|endpoint| endpoint.port != port.port) {
            let message = format!(
                "with `windrose.dev/forwarding: {name}` packets keep their port: endpoint {} has port {}, and \
                 clients ask for {}",
                other.address, other.port, port.port
            );
            self.faults.error(port.target_place.clone(), message);
        }
    }
}
