//! What a workload may open: refused at once with EPERM, before a packet leaves.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use windrose_tests::agent::Agent;
use windrose_tests::policy::network;
use windrose_tests::script::Protocol;
use windrose_tests::tests;

use crate::pair::{OTHER, PORT, Pair};

tests![
    a_refused_connect_or_send_fails_at_once_with_eperm,
    a_rule_opens_its_port_and_no_other,
    an_open_workload_reaches_everybody,
    losing_one_direction_says_nothing_of_the_other,
    a_datagram_in_fragments_follows_the_verdict,
];

const NO_EGRESS: &str = "podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]";

fn a_refused_connect_or_send_fails_at_once_with_eperm() -> Result<()> {
    let pair = Pair::new()?;
    let agent = Agent::start(&pair.world, &network("shop/web", NO_EGRESS))?;
    for to in pair.every_way(PORT) {
        let start = Instant::now();
        pair.web.tcp(to).is_refused()?;
        pair.web.udp(to).is_refused()?;
        pair.web.udp(to).connected().is_refused()?;
        ensure!(start.elapsed() < Duration::from_secs(2), "a refusal took its time");
    }
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        ensure!(pair.cart.received(protocol, PORT)? == 0, "something got through by {protocol:?}");
    }
    // An address of nobody is no way out either.
    pair.web.tcp("10.77.0.250:80".parse()?).is_refused()?;
    agent.await_event(&[("kind", "refused"), ("direction", "egress")])?;
    Ok(())
}

fn a_rule_opens_its_port_and_no_other() -> Result<()> {
    let pair = Pair::new()?;
    let rule = "egress: [{to: [{podSelector: {matchLabels: {app: cart}}}], \
                ports: [{port: 8080}, {port: 8080, protocol: UDP}]}]";
    let _agent = Agent::start(&pair.world, &network("shop/web", &format!("{NO_EGRESS}, {rule}")))?;
    for to in pair.every_way(PORT) {
        pair.web.tcp(to).passes()?;
        pair.web.udp(to).passes()?;
        pair.web.udp(to).connected().passes()?;
    }
    for to in pair.every_way(OTHER) {
        pair.web.tcp(to).is_refused()?;
        pair.web.udp(to).is_refused()?;
    }
    Ok(())
}

fn an_open_workload_reaches_everybody() -> Result<()> {
    let pair = Pair::new()?;
    let outside = pair.world.outsider("outside").start()?;
    outside.serve(PORT)?;
    // Ingress of web is isolated; its egress is not.
    let policy = network("shop/web", "podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]");
    let _agent = Agent::start(&pair.world, &policy)?;
    for to in outside.both(PORT).into_iter().chain(pair.every_way(PORT)) {
        pair.web.tcp(to).passes()?;
        pair.web.udp(to).passes()?;
    }
    Ok(())
}

fn losing_one_direction_says_nothing_of_the_other() -> Result<()> {
    let pair = Pair::new()?;
    pair.web.serve(PORT)?;
    let _agent = Agent::start(&pair.world, &network("shop/web", NO_EGRESS))?;
    // web answers though it may open nothing: replies are allowed by state.
    for to in pair.web.both(PORT) {
        pair.cart.tcp(to).passes()?;
        pair.cart.udp(to).passes()?;
        pair.cart.udp(to).connected().bytes(4096).passes()?;
    }
    pair.web.tcp(pair.cart.v4(PORT)).is_refused()
}

fn a_datagram_in_fragments_follows_the_verdict() -> Result<()> {
    let pair = Pair::new()?;
    let rule = "egress: [{ports: [{port: 8080, protocol: UDP}]}]";
    let _agent = Agent::start(&pair.world, &network("shop/web", &format!("{NO_EGRESS}, {rule}")))?;
    for (open, closed) in pair.every_way(PORT).into_iter().zip(pair.every_way(OTHER)) {
        pair.web.udp(open).bytes(4096).passes()?;
        pair.web.udp(closed).bytes(4096).is_refused()?;
    }
    Ok(())
}
