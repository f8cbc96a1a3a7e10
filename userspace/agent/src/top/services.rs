//! Connections of services by port and endpoint.

use std::collections::BTreeMap;

use windrose_datapath::abi;

use super::sample::{ServicePort, ServiceTotals};
use crate::book::Book;

/// An endpoint that is no workload.
const UNNAMED: &str = "unnamed";

/// Each port of each service, its endpoints after it. Numbers that nobody knows any more are left out.
pub(super) fn services(
    book: &Book,
    totals: &[(u32, abi::ServiceTotals)],
    loads: &[(u32, abi::EndpointLoad)],
) -> Vec<ServiceTotals> {
    let mut services: BTreeMap<ServicePort, ServiceTotals> = BTreeMap::new();
    for (number, row) in totals {
        let Some(named) = book.service(*number) else { continue };
        // Its addresses of both families are one.
        let port = ServicePort {
            service: super::gather::full(&named.service),
            port: named.port,
            protocol: named.protocol.name().to_owned(),
            endpoint: String::new(),
        };
        let sum = services.entry(port).or_default();
        sum.connections += row.connections;
        sum.refused += row.refused;
        sum.ended += row.ended;
    }
    for (number, row) in loads {
        let Some(named) = book.endpoint(*number) else { continue };
        let live = u64::try_from(row.live).unwrap_or(0);
        let all = ServicePort {
            service: super::gather::full(&named.service),
            port: named.port,
            protocol: named.protocol.name().to_owned(),
            endpoint: String::new(),
        };
        let endpoint = named.name.as_ref().map_or_else(|| UNNAMED.to_owned(), super::gather::full);
        let sum = services.entry(ServicePort { endpoint, ..all.clone() }).or_default();
        sum.live += live;
        sum.connections += row.connections;
        services.entry(all).or_default().live += live;
    }
    services.into_iter().map(|(port, totals)| ServiceTotals { port, ..totals }).collect()
}
