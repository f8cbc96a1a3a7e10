//! What passes by state and not by rule: replies, related ICMP; and what is of no protocol of policy.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use windrose_tests::actor::PATIENCE;
use windrose_tests::agent::Agent;
use windrose_tests::policy::{isolate, network};
use windrose_tests::probe::SILENCE;
use windrose_tests::script::{Act, Outcome, Protocol};
use windrose_tests::tests;
use windrose_tests::wait;

use crate::pair::{PORT, Pair};

tests![
    an_isolated_workload_gets_the_answers_to_what_it_sent,
    a_port_unreachable_of_an_allowed_flow_arrives,
    an_open_workload_answers_pings,
    an_isolated_workload_neither_answers_nor_sends_pings,
    the_kernel_answers_nothing_in_an_isolated_workloads_name,
    neighbour_discovery_works_under_isolation,
    other_protocols_of_an_isolated_workload_are_dropped,
    a_connection_that_idles_goes_on,
];

/// shop/web may send to cart's port and to cart's dead port, and lets nothing in.
const WEB: &str = "podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress], \
    egress: [{to: [{podSelector: {matchLabels: {app: cart}}}], \
    ports: [{port: 8080}, {port: 8080, protocol: UDP}, {port: 1}, {port: 1, protocol: UDP}]}]";

fn an_isolated_workload_gets_the_answers_to_what_it_sent() -> Result<()> {
    let pair = Pair::new()?;
    let _agent = Agent::start(&pair.world, &network("shop/web", WEB))?;
    for to in pair.every_way(PORT) {
        pair.web.tcp(to).bytes(100_000).passes()?;
        pair.web.udp(to).passes()?;
        pair.web.udp(to).connected().bytes(4096).passes()?;
    }
    Ok(())
}

fn a_port_unreachable_of_an_allowed_flow_arrives() -> Result<()> {
    let pair = Pair::new()?;
    let _agent = Agent::start(&pair.world, &network("shop/web", WEB))?;
    for to in pair.every_way(1) {
        let outcome = pair.web.udp(to).connected().outcome(SILENCE)?;
        ensure!(outcome == Outcome::NobodyListens, "UDP to {to}: {outcome:?}");
        let outcome = pair.web.tcp(to).outcome(SILENCE)?;
        ensure!(outcome == Outcome::NobodyListens, "TCP to {to}: {outcome:?}");
    }
    Ok(())
}

fn an_open_workload_answers_pings() -> Result<()> {
    let pair = Pair::new()?;
    let host = pair.world.prober().start()?;
    let policy = network("shop/nobody", "podSelector: {matchLabels: {app: nobody}}");
    let _agent = Agent::start(&pair.world, &policy)?;
    for to in pair.cart.both(0) {
        for from in [&pair.web, &host] {
            let outcome = from.ping(to, PATIENCE)?;
            ensure!(outcome == Outcome::Passed, "{} to {to}: {outcome:?}", from.name());
        }
    }
    Ok(())
}

fn an_isolated_workload_neither_answers_nor_sends_pings() -> Result<()> {
    let pair = Pair::new()?;
    let outside = pair.world.outsider("outside").start()?;
    let host = pair.world.prober().start()?;
    let _agent = Agent::start(
        &pair.world,
        &network("shop/cart", "podSelector: {matchLabels: {app: cart}}, policyTypes: [Ingress, Egress]"),
    )?;
    for to in pair.cart.both(0) {
        for from in [&pair.web, &outside] {
            let outcome = from.ping(to, SILENCE)?;
            ensure!(outcome == Outcome::Silence, "{} to {to}: {outcome:?}", from.name());
        }
        // The host's own probes get in.
        let outcome = host.ping(to, PATIENCE)?;
        ensure!(outcome == Outcome::Passed, "host to {to}: {outcome:?}");
    }
    for to in outside.both(0) {
        let outcome = pair.cart.ping(to, SILENCE)?;
        ensure!(outcome == Outcome::NotPermitted, "cart to {to}: {outcome:?}");
    }
    Ok(())
}

fn the_kernel_answers_nothing_in_an_isolated_workloads_name() -> Result<()> {
    let pair = Pair::new()?;
    let _agent = Agent::start(&pair.world, &isolate("shop"))?;
    let outside = pair.world.outsider("outside").start()?;
    // Neither a reset nor an ICMP error tells that nobody listens there.
    outside.tcp(pair.cart.v4(1)).is_dropped()?;
    // TCP over IPv6 is left out: its reset leaves without a socket (tcp_v6_send_response, Linux 6.18),
    // past every hook of cgroups.
    for to in pair.cart.both(1) {
        outside.udp(to).connected().is_dropped()?;
    }
    Ok(())
}

fn neighbour_discovery_works_under_isolation() -> Result<()> {
    let pair = Pair::new()?;
    let takes = network(
        "shop/cart",
        "podSelector: {matchLabels: {app: cart}}, policyTypes: [Ingress, Egress], ingress: [{ports: [{port: 8080}]}]",
    );
    let _agent = Agent::start(&pair.world, &(network("shop/web", WEB) + &takes))?;
    for _ in 0..3 {
        for actor in [&pair.web, &pair.cart] {
            actor.namespace().ip("neigh flush all\n")?;
        }
        pair.web.tcp(pair.cart.v6(PORT)).passes()?;
        pair.web.tcp(pair.cart.v4(PORT)).passes()?;
    }
    Ok(())
}

fn other_protocols_of_an_isolated_workload_are_dropped() -> Result<()> {
    let pair = Pair::new()?;
    let raw = |is_v6| Act::ListenRaw { protocol: 253, is_v6 };
    let send = |to: SocketAddr| Act::SendRaw { protocol: 253, to, bytes: 64 };
    let count = Act::Received { protocol: None, port: 253 };
    for is_v6 in [false, true] {
        pair.cart.must(raw(is_v6))?;
    }
    let mut agent = Agent::start(&pair.world, "")?;
    for to in pair.cart.both(0) {
        pair.web.must(send(to))?;
    }
    wait::until_true("both packets arrive at an open workload", PATIENCE, || {
        Ok(pair.cart.must(count.clone())? == 2)
    })?;

    // Even where every rule allows everything: the rules speak of TCP, UDP and SCTP.
    let takes = network(
        "shop/cart",
        "podSelector: {matchLabels: {app: cart}}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]",
    );
    agent.apply(&takes)?;
    for to in pair.cart.both(0) {
        pair.web.must(send(to))?;
    }
    for to in pair.web.both(0) {
        let outcome = pair.cart.perform(send(to))?.outcome;
        ensure!(outcome == Outcome::NotPermitted, "cart to {to}: {outcome:?}");
    }
    wait::throughout("nothing more arrives", Duration::from_millis(200), || {
        Ok(pair.cart.must(count.clone())? == 2)
    })?;
    pair.web.tcp(pair.cart.v4(PORT)).passes()
}

fn a_connection_that_idles_goes_on() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &network("shop/web", WEB))?;
    let tcp = pair.web.connect(Protocol::Tcp, pair.cart.v4(PORT))?;
    let udp = pair.web.connect(Protocol::Udp, pair.cart.v6(PORT))?;
    tcp.exchange(10)?;
    udp.exchange(10)?;
    // The policy has another generation when they speak again; their replies are still replies.
    agent.apply(&network("shop/web", WEB))?;
    tcp.exchange(10)?;
    udp.exchange(10)?;
    tcp.close()?;
    udp.close()
}
