//! What the edge balances, and what went where.

use std::net::{IpAddr, Ipv6Addr};

use windrose_abi::{Address, EndpointState, Forwarding, PrefixKey, ServiceKey};

use super::Edge;
use crate::error::DatapathError;

mod held;
mod maps;

use held::EndpointKey;
pub(super) use held::Forwarder;
pub(super) use maps::{Capacity, ForwardMaps};

/// An address and port that the edge balances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontend {
    /// In canonical form.
    pub address: IpAddr,
    /// 1 to 65535.
    pub port: u16,
    /// `IPPROTO_TCP` or `IPPROTO_UDP`.
    pub protocol: u8,
    /// All flows of a client go to one endpoint.
    pub is_by_client: bool,
    /// Who may ask for it; `None`: everybody.
    pub sources: Option<Vec<PrefixKey>>,
    /// Of the address's family, each address and port once.
    pub endpoints: Vec<FrontendEndpoint>,
    /// The part of new flows that is refused, in the unit of the endpoints' weights.
    pub refused_share: u32,
}

/// One of its endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrontendEndpoint {
    /// In canonical form.
    pub address: IpAddr,
    /// 1 to 65535.
    pub port: u16,
    /// Its share against the others', from 1.
    pub weight: u32,
    /// It takes new flows; else it keeps those that it has.
    pub is_ready: bool,
    /// How packets get there.
    pub forwarding: Forwarding,
}

/// What went to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardTotals {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// How packets get there.
    pub forwarding: Forwarding,
    /// It takes new flows.
    pub is_ready: bool,
    /// Flows that were given it.
    pub flows: u64,
    /// Packets sent to it.
    pub packets: u64,
    /// Bytes of these, from their IP header on.
    pub bytes: u64,
}

/// What [`Edge::balance`] has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balanced {
    /// Frontends there are.
    pub frontends: usize,
    /// Of these, those with a new row or table.
    pub changed: usize,
    /// Those that are gone.
    pub removed: usize,
    /// Endpoints there are.
    pub endpoints: usize,
}

fn address(address: IpAddr) -> Address {
    Address::from_bytes(match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    })
}

fn ip(address: &Address) -> IpAddr {
    Ipv6Addr::from(address.to_bytes()).to_canonical()
}

impl Frontend {
    fn key(&self) -> ServiceKey {
        ServiceKey { address: address(self.address), port: self.port, protocol: self.protocol, reserved: 0 }
    }
}

impl FrontendEndpoint {
    fn key(&self) -> EndpointKey {
        (address(self.address), self.port, self.forwarding as u8)
    }
}

impl Edge {
    /// Has exactly these frontends balanced. What stays is not touched; flows keep their endpoints
    /// while these exist.
    ///
    /// # Errors
    ///
    /// No room in a map, more frontends than [`windrose_abi::forward::MAX_RETURNS`] before one
    /// endpoint, or the kernel's. Frontends that were there before go on.
    pub fn balance(&self, wanted: &[Frontend]) -> Result<Balanced, DatapathError> {
        let Some(maps) = &self.forward else { return Ok(Balanced::default()) };
        let mut held = self.forwarder();
        let outcome = held.balance(maps, wanted);
        if outcome.is_err() {
            // Some of it may be written: what the maps hold is read anew. Serials are not used twice.
            let serial = held.serial;
            let capacity = Capacity {
                frontends: held.numbers.capacity(),
                endpoints: held.indices.capacity(),
                rows: held.rows.capacity(),
            };
            *held = maps.read(capacity)?;
            held.serial = held.serial.max(serial);
        }
        outcome
    }

    /// Frames are sent on to these interfaces, and to the one that they came from; what is for others
    /// is left to the stack.
    pub fn lead_to(&self, interfaces: &[u32]) -> Result<(), DatapathError> {
        let Some(maps) = &self.forward else { return Ok(()) };
        for interface in interfaces {
            maps.devices.put(interface, &[*interface, 0])?;
        }
        for (there, _) in maps.devices.entries()? {
            if !interfaces.contains(&there) {
                maps.devices.delete(&there)?;
            }
        }
        Ok(())
    }

    /// What went to each endpoint, over every interface and processor.
    pub fn forwarded(&self) -> Result<Vec<ForwardTotals>, DatapathError> {
        let Some(hops) = self.ebpf.map("FORWARD_HOPS") else { return Ok(Vec::new()) };
        let hops: aya::maps::PerCpuArray<_, windrose_abi::ForwardHop> =
            hops.try_into().map_err(|_| DatapathError::Object { what: "map", name: "FORWARD_HOPS" })?;
        let held = self.forwarder();
        held.endpoints
            .values()
            .map(|(index, row)| {
                let hops = hops.get(index, 0).map_err(|error| {
                    DatapathError::call("reading map FORWARD_HOPS")(std::io::Error::other(error))
                })?;
                let mut totals = ForwardTotals {
                    address: ip(&row.address),
                    port: row.port,
                    forwarding: Forwarding::try_from(row.forwarding).unwrap_or(Forwarding::Nat),
                    is_ready: row.state == EndpointState::Ready as u8,
                    flows: 0,
                    packets: 0,
                    bytes: 0,
                };
                for hop in hops.iter().filter(|hop| hop.serial == row.serial) {
                    totals.flows += hop.flows;
                    totals.packets += hop.packets;
                    totals.bytes += hop.bytes;
                }
                Ok(totals)
            })
            .collect()
    }
}
