//! Routes of TCP and UDP as exposures.

use std::sync::Arc;

use super::shares::shares;
use super::{Binder, show};
use crate::model::{
    Endpoint, ExposedAt, ExposedEndpoint, Exposure, ExposureSource, Family, Forwarding, Model, TransportRoute,
};
use crate::routing::{Attachment, Condition, ConditionType, Resolved, Transports, transports};

impl Binder<'_, '_> {
    /// Exposes what routes of TCP and UDP reach, after every service.
    pub(super) fn expose_routes(&mut self) {
        if self.model.transport_routes.is_empty() {
            return;
        }
        let model = std::mem::take(&mut self.model);
        self.model.exposures.clone_from(&model.exposures);
        let transports = transports(&model);
        self.warn_of_routes(&transports);
        for attachment in &transports.attachments {
            self.expose_route(&model, attachment);
        }
        let exposures = std::mem::take(&mut self.model.exposures);
        drop(transports);
        self.model = Model { exposures, ..model };
    }

    /// Nobody watches the conditions of objects in files.
    fn warn_of_routes(&mut self, transports: &Transports<'_>) {
        for Resolved { route, backends, status } in &transports.routes {
            if self.faults.is_full_of_warnings() {
                return;
            }
            let kind = route.kind.name();
            if status.parents.is_empty() && !route.parents.is_empty() {
                let message =
                    format!("no `parentRef` of this {kind} names a Gateway of these files and of our class");
                self.faults.warn(route.place.clone(), message);
            }
            for parent in &status.parents {
                let refused = parent
                    .conditions
                    .iter()
                    .find(|condition| condition.kind == ConditionType::Accepted && !condition.is_true);
                let Some(Condition { reason, message, .. }) = refused else { continue };
                let gateway = show(&parent.gateway);
                let message =
                    format!("Gateway {gateway} does not take this {kind}: {message} ({})", reason.name());
                self.faults.warn(route.parents[parent.index].place.clone(), message);
            }
            for (backend, reference) in backends.iter().zip(&route.backends) {
                let Err(why) = &backend.to else { continue };
                let name = show(&reference.name);
                let message = format!("the share of backend {name} is refused: it {why}");
                self.faults.warn(reference.place.clone(), message);
            }
        }
        for (route, listener, holder) in &transports.superseded {
            let message = format!(
                "this {} gets nothing from listener {}, at {}: {} is older or first by its name",
                route.kind.name(),
                listener.name,
                listener.place,
                show(&holder.name)
            );
            self.faults.warn(route.place.clone(), message);
        }
    }

    fn expose_route(&mut self, model: &Model, attachment: &Attachment<'_>) {
        let Attachment { gateway, listener, route, backends } = attachment;
        // Such a gateway is not accepted, which its conditions say.
        if gateway.has_named_address {
            return;
        }
        let at: Vec<ExposedAt> = if gateway.addresses.is_empty() {
            Family::ALL.map(ExposedAt::Node).to_vec()
        } else {
            gateway.addresses.iter().map(|address| ExposedAt::Address(*address)).collect()
        };
        let count = backends.iter().map(|backend| backend.endpoints().len()).sum();
        if !self.takes_room(&listener.place, at.len(), count) {
            return;
        }
        self.check_forwarding(attachment);
        let weighed: Vec<(u32, &[Endpoint])> =
            backends.iter().map(|backend| (backend.weight, backend.endpoints())).collect();
        let is_by_client = backends
            .iter()
            .any(|backend| backend.to.as_ref().is_ok_and(|(service, _)| service.affinity_seconds.is_some()));
        let of_family = Family::ALL.map(|family| {
            if !at.iter().any(|at| at.family() == family) {
                return (Arc::default(), 0);
            }
            let (found, refused) = shares(&weighed, family);
            let exposed = found.into_iter().map(|(endpoint, share)| ExposedEndpoint {
                is_local: self.is_local(&model.workloads, endpoint.address),
                endpoint,
                share,
            });
            (exposed.collect::<Arc<[_]>>(), refused)
        });
        for at in at {
            if let ExposedAt::Address(address) = at
                && let Some((owner, first)) = self.addresses.get(&address)
            {
                let message = format!(
                    "address `{address}` of Gateway {} is that of workload {}, at {first}",
                    show(&gateway.name),
                    show(owner)
                );
                self.faults.error(gateway.place.clone(), message);
                return;
            }
            let (endpoints, refused_share) = of_family[usize::from(at.family() == Family::V6)].clone();
            let exposure = Exposure {
                source: ExposureSource::Route { kind: route.kind, name: route.name.clone() },
                at,
                port: listener.port,
                protocol: route.kind.protocol(),
                endpoints,
                refused_share,
                forwarding: route.forwarding,
                is_by_client,
                source_ranges: Arc::default(),
                place: listener.place.clone(),
            };
            if !self.expose(exposure, &listener.place) {
                return;
            }
        }
    }

    /// As for a service's port.
    fn check_forwarding(&mut self, attachment: &Attachment<'_>) {
        let Attachment { gateway, listener, route, backends } = attachment;
        let TransportRoute { forwarding, .. } = &***route;
        if *forwarding == Forwarding::Nat {
            return;
        }
        let name = forwarding.name();
        if gateway.addresses.is_empty() {
            let message = format!(
                "a Gateway without `addresses` needs `windrose.dev/forwarding: nat`: with `{name}` packets keep \
                 this node's address"
            );
            self.faults.error(route.place.clone(), message);
        }
        for (backend, reference) in backends.iter().zip(&route.backends) {
            if let Some(other) = backend.endpoints().iter().find(|endpoint| endpoint.port != listener.port) {
                let message = format!(
                    "with `windrose.dev/forwarding: {name}` packets keep their port: endpoint {} has port {}, and \
                     clients ask listener {} for {}",
                    other.address, other.port, listener.name, listener.port
                );
                self.faults.error(reference.place.clone(), message);
            }
        }
    }
}
