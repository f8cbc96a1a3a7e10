//! Balancing at the edge: real clients and servers on both sides of a router that runs the agent.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use windrose_tests::actor::{Actor, PATIENCE};
use windrose_tests::script::{Outcome, Protocol};
use windrose_tests::tests;
use windrose_tests::wait;

use router::{PORT, Router};

#[path = "edge_balance/router.rs"]
mod router;

tests![a_flow_is_translated_there_and_back,];

fn a_flow_is_translated_there_and_back() -> Result<()> {
    let router = Router::new("translated", 2, |router| router.gateway("", ""))?;
    let before = router.front.received(Protocol::Tcp)?;
    for to in router.both() {
        for bytes in [32, 200_000] {
            router.front.web.tcp(to).bytes(bytes).passes().with_context(|| router.tell())?;
        }
    }
    let _ = (before, PORT);
    Ok(())
}
