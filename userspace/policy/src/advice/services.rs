//! Warnings about services.

use std::net::IpAddr;

use crate::fault::Faults;
use crate::model::{Model, Service, ServicePort};

/// Ports that nobody answers, and addresses of a family that no endpoint has.
pub(super) fn advise(model: &Model, faults: &mut Faults) {
    for service in model.services.values() {
        if faults.is_full_of_warnings() {
            return;
        }
        for port in &service.ports {
            advise_port(service, port, faults);
        }
    }
}

fn advise_port(service: &Service, port: &ServicePort, faults: &mut Faults) {
    let is_answered = |address: &IpAddr| {
        let is_v4 = address.is_ipv4();
        port.endpoints.iter().any(|endpoint| endpoint.is_ready && endpoint.address.is_ipv4() == is_v4)
    };
    let silent: Vec<&IpAddr> = service.addresses.iter().filter(|address| !is_answered(address)).collect();
    let what = format!("port {}/{} of this Service", port.port, port.protocol.name());
    let message = match silent[..] {
        [] => return,
        [address] if service.addresses.len() > 1 => {
            format!("{what} has no ready endpoint of the family of {address}: who asks for that is refused")
        }
        _ => format!("{what} has no ready endpoint: who asks for it is refused"),
    };
    faults.warn(port.place.clone(), message);
}
