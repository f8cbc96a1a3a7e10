//! Whether a block covers a workload's address: all addresses in order, so that a question costs
//! a binary search and one more for each hole.

use std::net::IpAddr;

use crate::model::{Cidr, Model, ObjectName};

/// The addresses of all workloads, sorted; v4 before v6.
#[derive(Debug)]
pub(super) struct Blocks<'a> {
    addresses: Vec<(IpAddr, &'a ObjectName)>,
}

impl<'a> Blocks<'a> {
    /// Those of a model.
    pub(super) fn new(model: &'a Model) -> Self {
        let workloads = model.workloads.values();
        let mut addresses: Vec<_> = workloads
            .flat_map(|workload| workload.addresses.iter().map(|&address| (address, &workload.name)))
            .collect();
        addresses.sort_unstable();
        Self { addresses }
    }

    /// A workload with an address in `cidr` and in no hole.
    pub(super) fn covered(&self, cidr: &Cidr, except: &[Cidr]) -> Option<&'a ObjectName> {
        let mut holes: Vec<&Cidr> = except.iter().collect();
        // By first address: the walk below meets each hole once.
        holes.sort_unstable();
        let mut holes = holes.into_iter().peekable();
        let last = last_address(cidr);
        let mut index = self.addresses.partition_point(|(address, _)| *address < cidr.address);
        while let Some((address, owner)) = self.addresses.get(index) {
            if *address > last {
                return None;
            }
            while holes.next_if(|hole| last_address(hole) < *address).is_some() {}
            match holes.peek() {
                Some(hole) if hole.contains(*address) => {
                    let end = last_address(hole);
                    let rest = &self.addresses[index..];
                    index += rest.partition_point(|(address, _)| *address <= end);
                }
                _ => return Some(owner),
            }
        }
        None
    }
}

fn last_address(cidr: &Cidr) -> IpAddr {
    match cidr.address {
        IpAddr::V4(network) => {
            let host = u32::MAX.checked_shr(cidr.length.into()).unwrap_or(0);
            IpAddr::V4((u32::from(network) | host).into())
        }
        IpAddr::V6(network) => {
            let host = u128::MAX.checked_shr(cidr.length.into()).unwrap_or(0);
            IpAddr::V6((u128::from(network) | host).into())
        }
    }
}
