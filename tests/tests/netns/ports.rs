//! Which ports a rule means: numbers, ranges, names, protocols.

use anyhow::{Context as _, Result};
use windrose_tests::agent::Agent;
use windrose_tests::policy::network;
use windrose_tests::script::Protocol::{Tcp, Udp};
use windrose_tests::tests;
use windrose_tests::world::World;

tests![a_rule_means_its_ports, a_named_port_is_resolved_at_each_destination];

fn a_rule_means_its_ports() -> Result<()> {
    let world = World::new()?;
    let web = world.workload("shop/web").start()?;
    let cart = world
        .workload("shop/cart")
        .label("app", "cart")
        .port("http", 8080, "TCP")
        .port("dns", 8081, "UDP")
        .start()?;
    let ports = [8079, 8080, 8081, 8082];
    for port in ports {
        cart.serve(port)?;
    }
    let mut agent = Agent::start(&world, "")?;
    let cases: &[(&str, &[_])] = &[
        // The protocol defaults to TCP.
        ("{port: 8080}", &[(Tcp, 8080)]),
        ("{port: 8080, protocol: UDP}", &[(Udp, 8080)]),
        ("{port: 8080}, {port: 8082, protocol: UDP}", &[(Tcp, 8080), (Udp, 8082)]),
        // A missing port is every port of that protocol.
        ("{protocol: TCP}", &[(Tcp, 8079), (Tcp, 8080), (Tcp, 8081), (Tcp, 8082)]),
        ("{protocol: UDP}", &[(Udp, 8079), (Udp, 8080), (Udp, 8081), (Udp, 8082)]),
        // Ends included.
        ("{port: 8080, endPort: 8081}", &[(Tcp, 8080), (Tcp, 8081)]),
        ("{port: 8080, endPort: 8080, protocol: UDP}", &[(Udp, 8080)]),
        ("{port: http}", &[(Tcp, 8080)]),
        ("{port: dns, protocol: UDP}", &[(Udp, 8081)]),
        // The name exists with another protocol only.
        ("{port: dns}", &[]),
        ("{port: no-such-port}", &[]),
        ("{protocol: SCTP}", &[]),
    ];
    for (written, open) in cases {
        let ingress =
            format!("podSelector: {{matchLabels: {{app: cart}}}}, ingress: [{{ports: [{written}]}}]");
        agent.apply(&network("shop/cart", &ingress))?;
        for port in ports {
            for (protocol, probe) in [(Tcp, web.tcp(cart.v4(port))), (Udp, web.udp(cart.v6(port)))] {
                let is_open = open.contains(&(protocol, port));
                let outcome = if is_open { probe.passes() } else { probe.is_dropped() };
                outcome.with_context(|| format!("ports: [{written}]"))?;
            }
        }
    }
    Ok(())
}

fn a_named_port_is_resolved_at_each_destination() -> Result<()> {
    let world = World::new()?;
    let web = world.workload("shop/web").label("app", "web").start()?;
    let old = world.workload("shop/old").port("http", 8080, "TCP").start()?;
    let new = world.workload("shop/new").port("http", 8081, "TCP").start()?;
    for server in [&old, &new] {
        server.serve(8080)?;
        server.serve(8081)?;
    }
    let policy = network(
        "shop/web",
        "podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], \
         egress: [{to: [{podSelector: {}}], ports: [{port: http}]}]",
    );
    let _agent = Agent::start(&world, &policy)?;
    web.tcp(old.v4(8080)).passes()?;
    web.tcp(old.v4(8081)).is_refused()?;
    web.tcp(new.v6(8080)).is_refused()?;
    web.tcp(new.v6(8081)).passes()?;
    web.udp(old.v4(8080)).is_refused()
}
