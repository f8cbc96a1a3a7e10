//! Sockets that services have given an endpoint: counted, and ended with their endpoint.

use std::collections::HashMap;

use windrose_abi::{BalancedRow, EndpointLoad, ServiceTotals};

use crate::datapath::Datapath;
use crate::error::DatapathError;
use crate::netns::{self, Ending};
use crate::sys;

impl Datapath {
    /// Every live TCP connection and connected UDP socket that a service has given an endpoint. A
    /// walk marks those whose endpoint is gone and whose service ends such.
    pub fn balanced(&self) -> Result<Vec<BalancedRow>, DatapathError> {
        sys::iterate(&self.loaded().balanced).map_err(DatapathError::call("walking balanced connections"))
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
        for row in self.balanced()?.iter().filter(|row| row.flags & BalancedRow::COUNTED != 0) {
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

#[cfg(test)]
mod tests {
    use windrose_abi::{EndpointRow, EndpointSlot};

    use super::*;
    use crate::{Capacities, Machine, Pins};

    /// A data path of its own, attached to nothing; gone with it.
    struct Own(Datapath, Pins);

    impl Drop for Own {
        fn drop(&mut self) {
            let _ = self.1.remove();
        }
    }

    fn own() -> Option<Own> {
        let machine = match Machine::inspect() {
            Ok(machine) => machine,
            Err(missing) => {
                assert!(std::env::var_os("WINDROSE_REQUIRE").is_none(), "{missing}");
                eprintln!("ignored: {missing}");
                return None;
            }
        };
        let pins = Pins::below(&machine.bpffs, &format!("windrose-loads-{}", std::process::id()));
        let datapath = Datapath::open(machine, pins.clone(), Capacities::default()).unwrap();
        Some(Own(datapath, pins))
    }

    #[test]
    fn a_load_that_leaked_is_corrected_and_forgotten_with_its_endpoint() {
        let Some(Own(datapath, _)) = &mut own() else { return };
        let endpoint = EndpointRow { slots: [EndpointSlot { state: 1, ..EndpointSlot::ZERO }; 2] };
        datapath.maps.endpoints.put(&7, &endpoint).unwrap();
        let load = |live| EndpointLoad { live, connections: 9 };
        for leaked in [3, -2] {
            datapath.maps.endpoint_loads.put(&7, &load(leaked)).unwrap();
            assert_eq!(datapath.reconcile_loads().unwrap(), 0, "one look may meet a connection that opens");
            assert_eq!(datapath.reconcile_loads().unwrap(), 1);
            assert_eq!(datapath.endpoint_loads().unwrap(), [(7, load(0))]);
        }
        datapath.maps.endpoints.delete(&7).unwrap();
        assert_eq!(datapath.reconcile_loads().unwrap(), 0);
        assert_eq!(datapath.endpoint_loads().unwrap(), []);
    }
}
