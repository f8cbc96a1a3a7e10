//! Warnings about services.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::fault::Faults;
use crate::model::{Endpoint, ExposureSource, Family, Model, Service, ServicePort};

/// Ports that nobody answers, addresses of a family that no endpoint has, and exposures of neither.
pub(super) fn advise(model: &Model, faults: &mut Faults) {
    for service in model.services.values() {
        if faults.is_full_of_warnings() {
            return;
        }
        for port in &service.ports {
            advise_port(service, port, faults);
        }
    }
    advise_exposures(model, faults);
}

/// Exposures that answer nobody, though their Service has endpoints.
fn advise_exposures(model: &Model, faults: &mut Faults) {
    // A port may be at several addresses.
    let mut said = BTreeSet::new();
    for exposure in model.exposures.values() {
        let ExposureSource::Service { name, port } = &exposure.source else { continue };
        if exposure.endpoints.iter().any(|endpoint| endpoint.share != 0) || said.contains(&exposure.place) {
            continue;
        }
        let found = model.services.get(name).and_then(|service| {
            service.ports.iter().find(|known| known.name == *port && known.protocol == exposure.protocol)
        });
        let is_of_family = |endpoint: &&Endpoint| Family::of(endpoint.address) == exposure.at.family();
        // Who has none at all is told so already.
        if found
            .is_some_and(|port| port.endpoints.iter().filter(is_of_family).any(|endpoint| endpoint.is_ready))
        {
            let message = "`externalTrafficPolicy` is Local, and no ready endpoint of this port is on this host: the \
                 outside is refused";
            faults.warn(exposure.place.clone(), message);
            said.insert(&exposure.place);
        }
    }
}

fn advise_port(service: &Service, port: &ServicePort, faults: &mut Faults) {
    let is_answered = |address: &IpAddr| {
        let family = Family::of(*address);
        port.endpoints.iter().any(|endpoint| endpoint.is_ready && Family::of(endpoint.address) == family)
    };
    // What is so of one address is so of all of its family.
    let silent: Vec<&IpAddr> = Family::ALL
        .iter()
        .filter_map(|family| service.addresses.iter().find(|address| Family::of(**address) == *family))
        .filter(|address| !is_answered(address))
        .collect();
    let is_silent = !service.addresses.iter().any(is_answered);
    let what = format!("port {}/{} of this Service", port.port, port.protocol.name());
    let message = match silent[..] {
        [] => return,
        [address] if !is_silent => {
            format!("{what} has no ready endpoint of the family of {address}: who asks for that is refused")
        }
        _ => format!("{what} has no ready endpoint: who asks for it is refused"),
    };
    faults.warn(port.place.clone(), message);
}
