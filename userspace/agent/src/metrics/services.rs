//! Connections of services: how many got an endpoint, which one, and how many none.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use windrose_datapath::abi::{EndpointLoad, ServiceTotals};
use windrose_policy::model::{ObjectName, Protocol};

use super::families::label;
use crate::book::Book;

/// The labels of a port of a service; its addresses of both families are one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    service: ObjectName,
    number: u16,
    protocol: Protocol,
}

/// The labels of an endpoint. Those without a name are one: an address is no label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    of: Port,
    name: Option<ObjectName>,
}

/// Everything of services.
#[derive(Debug, Default)]
pub(super) struct Services {
    pub(super) ports: BTreeMap<Port, ServiceTotals>,
    pub(super) endpoints: BTreeMap<Endpoint, EndpointLoad>,
}

impl EncodeLabelSet for Port {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        label(encoder, "namespace", &self.service.namespace)?;
        label(encoder, "service", &self.service.name)?;
        label(encoder, "port", &self.number.to_string())?;
        label(encoder, "protocol", self.protocol.name())
    }
}

impl EncodeLabelSet for Endpoint {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        self.of.encode(encoder)?;
        label(encoder, "endpoint", self.name.as_ref().map_or("", |name| &name.name))
    }
}

/// Adds everything up. Rows of services that nobody knows any more are left out.
pub(super) fn collect(
    book: &Book,
    totals: &[(u32, ServiceTotals)],
    loads: &[(u32, EndpointLoad)],
) -> Services {
    let mut services = Services::default();
    for (number, row) in totals {
        let Some(named) = book.service(*number) else { continue };
        let port = Port { service: named.service.clone(), number: named.port, protocol: named.protocol };
        let sum = services.ports.entry(port).or_default();
        sum.connections += row.connections;
        sum.refused += row.refused;
        sum.ended += row.ended;
    }
    for (number, row) in loads {
        let Some(named) = book.endpoint(*number) else { continue };
        let of = Port { service: named.service.clone(), number: named.port, protocol: named.protocol };
        let sum = services.endpoints.entry(Endpoint { of, name: named.name.clone() }).or_default();
        sum.live += row.live.max(0);
        sum.connections += row.connections;
    }
    services
}
