//! What a workload accepts: decided before its socket sees a byte.

use anyhow::{Result, ensure};
use windrose_tests::agent::Agent;
use windrose_tests::policy::network;
use windrose_tests::script::{Manner, Protocol};
use windrose_tests::tests;

use crate::pair::{OTHER, PORT, Pair};

tests![
    a_refused_connection_is_dropped_before_it_is_accepted,
    a_connection_needs_both_ends_consent,
    a_socket_of_both_families_is_no_way_around,
    a_rule_lets_in_its_peer_and_nobody_else,
    a_datagram_in_fragments_is_dropped_whole,
    a_remote_workload_is_a_peer_by_its_address,
];

const NO_INGRESS: &str = "podSelector: {matchLabels: {app: cart}}, policyTypes: [Ingress]";

fn a_refused_connection_is_dropped_before_it_is_accepted() -> Result<()> {
    let pair = Pair::new()?;
    let agent = Agent::start(&pair.world, &network("shop/cart", NO_INGRESS))?;
    for to in pair.every_way(PORT) {
        pair.web.tcp(to).is_dropped()?;
        pair.web.udp(to).is_dropped()?;
        pair.web.udp(to).connected().is_dropped()?;
    }
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        ensure!(pair.cart.received(protocol, PORT)? == 0, "something got through by {protocol:?}");
    }
    agent.await_event(&[("kind", "refused"), ("direction", "ingress")])?;
    Ok(())
}

fn a_connection_needs_both_ends_consent() -> Result<()> {
    let pair = Pair::new()?;
    let sends = network(
        "shop/web",
        "podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], \
         egress: [{to: [{podSelector: {matchLabels: {app: cart}}}], ports: [{port: 8080}]}]",
    );
    let takes = network(
        "shop/cart",
        &format!(
            "{NO_INGRESS}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: web}}}}}}], \
             ports: [{{port: 9090}}, {{port: 8080}}]}}]"
        ),
    );
    let nothing = network("shop/cart", NO_INGRESS);
    let mut agent = Agent::start(&pair.world, &(sends.clone() + &nothing))?;
    pair.web.tcp(pair.cart.v4(PORT)).is_dropped()?;
    agent.apply(&(sends + &takes))?;
    for to in pair.every_way(PORT) {
        pair.web.tcp(to).passes()?;
    }
    // The receiver would take it; the sender must not send it.
    for to in pair.every_way(OTHER) {
        pair.web.tcp(to).is_refused()?;
    }
    agent.apply(&nothing)?;
    pair.web.tcp(pair.cart.v6(PORT)).is_dropped()
}

fn a_socket_of_both_families_is_no_way_around() -> Result<()> {
    let pair = Pair::new()?;
    pair.cart.listen(Protocol::Tcp, "[::]:7070".parse()?, true, Manner::Echo)?;
    pair.cart.listen(Protocol::Udp, "[::]:7070".parse()?, true, Manner::Echo)?;
    let mut agent = Agent::start(&pair.world, &network("shop/cart", NO_INGRESS))?;
    for to in pair.every_way(7070) {
        pair.web.tcp(to).is_dropped()?;
        pair.web.udp(to).is_dropped()?;
    }
    let web = pair.web.v4(0).ip();
    let rule = format!(
        "ingress: [{{from: [{{ipBlock: {{cidr: {web}/32}}}}], ports: [{{port: 7070}}, {{port: 7070, protocol: UDP}}]}}]"
    );
    agent.apply(&network("shop/cart", &format!("{NO_INGRESS}, {rule}")))?;
    for to in [pair.cart.v4(7070), pair.cart.mapped(7070)] {
        pair.web.tcp(to).passes()?;
        pair.web.udp(to).passes()?;
    }
    pair.web.tcp(pair.cart.v6(7070)).is_dropped()
}

fn a_rule_lets_in_its_peer_and_nobody_else() -> Result<()> {
    let pair = Pair::new()?;
    let stranger = pair.world.workload("shop/stranger").label("app", "stranger").start()?;
    let outside = pair.world.outsider("outside").start()?;
    let rule = "ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], \
                ports: [{port: 8080}, {port: 8080, protocol: UDP}]}]";
    let _agent = Agent::start(&pair.world, &network("shop/cart", &format!("{NO_INGRESS}, {rule}")))?;
    for to in pair.every_way(PORT) {
        pair.web.tcp(to).passes()?;
        pair.web.udp(to).passes()?;
        for other in [&stranger, &outside] {
            other.tcp(to).is_dropped()?;
            other.udp(to).is_dropped()?;
        }
    }
    pair.web.tcp(pair.cart.v4(OTHER)).is_dropped()
}

fn a_datagram_in_fragments_is_dropped_whole() -> Result<()> {
    let pair = Pair::new()?;
    let rule = "ingress: [{ports: [{port: 8080, protocol: UDP}]}]";
    let _agent = Agent::start(&pair.world, &network("shop/cart", &format!("{NO_INGRESS}, {rule}")))?;
    for (open, closed) in pair.every_way(PORT).into_iter().zip(pair.every_way(OTHER)) {
        pair.web.udp(open).bytes(4096).passes()?;
        pair.web.udp(closed).bytes(4096).is_dropped()?;
    }
    ensure!(pair.cart.received(Protocol::Udp, OTHER)? == 0, "a refused datagram arrived");
    Ok(())
}

fn a_remote_workload_is_a_peer_by_its_address() -> Result<()> {
    let pair = Pair::new()?;
    let remote = pair.world.remote("shop/remote").label("app", "remote").start()?;
    remote.serve(PORT)?;
    let policy = [
        network(
            "shop/cart",
            &format!(
                "{NO_INGRESS}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: remote}}}}}}]}}]"
            ),
        ),
        // Whoever enforces for remote, it is not this agent.
        network("shop/remote", "podSelector: {matchLabels: {app: remote}}, policyTypes: [Ingress, Egress]"),
    ];
    let _agent = Agent::start(&pair.world, &policy.concat())?;
    remote.tcp(pair.cart.v4(PORT)).passes()?;
    pair.web.tcp(pair.cart.v4(PORT)).is_dropped()?;
    pair.web.tcp(remote.v6(PORT)).passes()
}
