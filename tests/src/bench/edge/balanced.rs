//! Frontends for frames to be balanced by.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use windrose_datapath::abi::Forwarding;
use windrose_datapath::{Capacities, Edge, Frontend, FrontendEndpoint};

use super::frames;

/// A way out, with a neighbour that is known: nobody answers there, and nothing is sent in a test run.
pub(super) const WAY_OUT: &str = "link add out index 4242 type veth peer name far
link set far up
link set out up
addr add 192.0.2.1/24 dev out
neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev out nud permanent
route add 10.0.0.0/8 via 192.0.2.2
";

/// The index of `out`.
const OUT: u32 = 4242;

/// Frontends of which each is the endpoint of the one before.
const CHAIN: u32 = 250;

/// Of the chain, of the pair that translates to each other, and of the services.
const CHAINED: u32 = 0x0a01_0000;
const PAIRED: u32 = 0x0a02_0000;
const SERVED: u32 = 0x0a03_0000;
const ENDPOINTS: u32 = 0x0a10_0000;
/// Clients of flows, one each.
const CLIENTS: u32 = 0x0b00_0000;
const PORT: u16 = 80;

/// How often a frame can be sent on before its hops are used up.
pub(super) const HOPS: u32 = 250;

/// Room for so many services with so many endpoints each, and flows.
pub(super) fn make_room(
    capacities: &mut Capacities,
    services: u32,
    endpoints: u32,
    flows: u32,
) -> Result<()> {
    let frontends = services + CHAIN + 3;
    for (map, room) in [
        ("FRONTENDS", 4 * frontends),
        ("EDGE_ENDPOINTS", services * endpoints + CHAIN + 3),
        // Tables of 65,521 entries, 32 in a row.
        ("FORWARD_TABLES", services * 2_048 + 8 * (CHAIN + 3)),
        ("FORWARD_FLOWS", 2 * flows),
    ] {
        capacities.set(map, room.max(1024)).map_err(anyhow::Error::msg)?;
    }
    Ok(())
}

/// The services, whose endpoints have their frontends' addresses; and those that are translated.
pub(super) fn put(edge: &Edge, services: u32, endpoints: u32) -> Result<()> {
    edge.lead_to(&[OUT])?;
    let frontend = |address: u32, endpoints: Vec<FrontendEndpoint>| Frontend {
        address: Ipv4Addr::from(address).into(),
        port: PORT,
        protocol: 6,
        is_by_client: false,
        sources: None,
        refused_share: 0,
        endpoints,
    };
    let endpoint = |address: u32, forwarding| FrontendEndpoint {
        address: Ipv4Addr::from(address).into(),
        port: PORT,
        weight: 1,
        is_ready: true,
        forwarding,
    };
    let mut frontends: Vec<Frontend> = (0..services)
        .map(|service| {
            let first = ENDPOINTS + service * endpoints;
            let all = (first..first + endpoints).map(|address| endpoint(address, Forwarding::Layer2));
            frontend(SERVED + service, all.collect())
        })
        .collect();
    frontends.extend(
        (CHAINED..CHAINED + CHAIN).map(|own| frontend(own, vec![endpoint(own + 1, Forwarding::Nat)])),
    );
    frontends.extend(
        [(PAIRED, PAIRED + 1), (PAIRED + 1, PAIRED)]
            .map(|(own, other)| frontend(own, vec![endpoint(other, Forwarding::Nat)])),
    );
    edge.balance(&frontends).context("the frontends do not fit")?;
    Ok(())
}

/// Of a flow to one of the services, the n-th.
pub(super) fn served(n: u32, services: u32) -> Vec<u8> {
    frames::flow((CLIENTS + n).into(), 40_000, (SERVED + n % services.max(1)).into(), PORT)
}

/// To a frontend that is translated to another one, and that to the first.
pub(super) fn paired() -> Vec<u8> {
    frames::flow(CLIENTS.into(), 40_000, PAIRED.into(), PORT)
}

/// Through the chain: a new flow at each of its frontends, for each n.
pub(super) fn chained(n: u16) -> Vec<u8> {
    frames::flow(CLIENTS.into(), n, CHAINED.into(), PORT)
}
