//! Sockets that services have given an endpoint: counted, and ended with their endpoint.

use std::collections::HashMap;

use windrose_abi::{BalancedRow, EndpointLoad, ServiceTotals, codes::protocol};

use crate::datapath::Datapath;
use crate::error::DatapathError;
use crate::netns::{self, Ending};
use crate::sys;

impl Datapath {
    /// Every live TCP connection and connected UDP socket that a service has given an endpoint. A
    /// walk marks those whose endpoint is gone and whose service ends such.
    pub fn balanced(&self) -> Result<Vec<BalancedRow>, DatapathError> {
        sys::iterate(&self.balanced).map_err(DatapathError::call("walking balanced connections"))
    }

    /// Ends every connection whose endpoint is gone, where its service says so: a TCP client sees a
    /// reset, a UDP one an error of its socket. Says how many were ended.
    pub fn end_departed(&self) -> Result<usize, DatapathError> {
        let mut by_netns: HashMap<u64, Vec<Ending>> = HashMap::new();
        for row in self.balanced()? {
            if row.flags & BalancedRow::DEPARTED != 0 {
                by_netns.entry(row.netns).or_default().push(Ending::from(&row));
            }
        }
        if by_netns.is_empty() { Ok(0) } else { netns::end_connections(&by_netns) }
    }

    /// Loads of endpoints as the kernel counts them, by endpoint number.
    pub fn endpoint_loads(&self) -> Result<Vec<(u32, EndpointLoad)>, DatapathError> {
        self.maps.endpoint_loads.entries()
    }

    /// Totals of services, by service number.
    pub fn service_totals(&self) -> Result<Vec<(u32, ServiceTotals)>, DatapathError> {
        self.maps.service_totals.entries()
    }

    /// Compares the loads of endpoints with the connections that there are. A socket that dies
    /// without a last callback leaves its load too high; what two calls find alike is corrected.
    /// Loads of endpoints that are gone, and have no connection left, are forgotten. Says how many
    /// were wrong.
    pub fn reconcile_loads(&mut self) -> Result<usize, DatapathError> {
        let loads = self.endpoint_loads()?;
        if loads.is_empty() && !self.has_services() {
            return Ok(0);
        }
        let mut live: HashMap<u32, i64> = HashMap::new();
        for row in self.balanced()?.iter().filter(|row| row.protocol == protocol::TCP) {
            *live.entry(row.endpoint).or_default() += 1;
        }
        let (mut suspects, mut corrected) = (HashMap::new(), 0);
        for (endpoint, load) in loads {
            let is = live.remove(&endpoint).unwrap_or(0);
            let excess = load.live - is;
            if excess == 0 {
                if is == 0 && self.maps.endpoints.get(&endpoint)?.is_none() {
                    self.maps.endpoint_loads.delete(&endpoint)?;
                }
            } else if self.suspects.get(&endpoint) == Some(&excess) {
                // A connection that opens or ends meanwhile is found by the next calls.
                self.maps.endpoint_loads.put(&endpoint, &EndpointLoad { live: is, ..load })?;
                corrected += 1;
            } else {
                suspects.insert(endpoint, excess);
            }
        }
        self.suspects = suspects;
        Ok(corrected)
    }
}
