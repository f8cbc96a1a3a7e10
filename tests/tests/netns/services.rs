//! Services: what is asked for is an address, what is reached is an endpoint.

use anyhow::Result;
use windrose_tests::agent::Agent;
use windrose_tests::policy::service;
use windrose_tests::tests;

use crate::pair::{PORT, Pair};

tests![an_address_that_is_nobodys_reaches_its_endpoint];

fn an_address_that_is_nobodys_reaches_its_endpoint() -> Result<()> {
    let pair = Pair::new()?;
    let endpoint = pair.cart.v4(PORT).ip();
    let policy = service(
        "shop/front",
        &format!("windrose.dev/endpoints: \"{endpoint}\""),
        &format!("clusterIP: 10.96.0.1, ports: [{{port: 80, targetPort: {PORT}}}]"),
    );
    let _agent = Agent::start(&pair.world, &policy)?;
    pair.web.tcp("10.96.0.1:80".parse()?).passes()?;
    pair.web.tcp("[::ffff:10.96.0.1]:80".parse()?).passes()
}
