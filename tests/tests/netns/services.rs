//! Services: what is asked for is an address, what is reached is an endpoint.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use windrose_tests::agent::Agent;
use windrose_tests::policy::{isolate, network, service};
use windrose_tests::script::{Outcome, Protocol};
use windrose_tests::tests;

use crate::front::{Front, PORT, TARGET};

tests![
    a_service_is_reached_in_every_way,
    a_service_of_named_addresses_needs_no_workload,
    a_service_is_for_everybody_on_the_host,
    its_peer_is_the_service,
    a_socket_talks_to_several_services,
    nobody_there_is_refused_at_once,
    policy_is_asked_about_the_endpoint,
    a_local_service_has_local_endpoints,
    other_ports_and_protocols_are_left_alone,
];

fn a_service_is_reached_in_every_way() -> Result<()> {
    let front = Front::new(2)?;
    let agent = Agent::start(&front.world, &front.selecting("", ""))?;
    for to in front.every_way() {
        front.web.tcp(to).passes()?;
        front.web.udp(to).passes()?;
        front.web.udp(to).connected().passes()?;
        // Larger than a packet.
        front.web.tcp(to).bytes(1 << 20).passes()?;
        front.web.udp(to).bytes(4096).passes()?;
    }
    ensure!(front.received(Protocol::Tcp)?.iter().sum::<u64>() == 6);
    let metrics = agent.metrics()?;
    let labels = [("namespace", "shop"), ("service", "front"), ("protocol", "TCP")];
    let given = metrics.sum("windrose_service_connections_total", &labels);
    ensure!((given - 6.0).abs() < 0.5, "{}", metrics.lines("windrose_service"));
    let status = agent.json("/status")?;
    ensure!(status["counts"]["services"] == 1 && status["counts"]["endpoints"] == 8, "{status:#}");
    Ok(())
}

fn a_service_of_named_addresses_needs_no_workload() -> Result<()> {
    let front = Front::new(0)?;
    let outside = front.world.outsider("outside").start()?;
    outside.serve(TARGET)?;
    let (v4, v6) = (front.ip4(1), front.ip6(1));
    let policy = service(
        "shop/front",
        &format!("windrose.dev/endpoints: \"{}, {}\"", outside.v4(0).ip(), outside.v6(0).ip()),
        &format!("clusterIPs: [{v4}, '{v6}'], ports: [{{port: {PORT}, targetPort: {TARGET}}}]"),
    );
    let _agent = Agent::start(&front.world, &policy)?;
    for to in front.every_way() {
        front.web.tcp(to).passes()?;
    }
    Ok(())
}

fn a_service_is_for_everybody_on_the_host() -> Result<()> {
    let front = Front::new(1)?;
    let outside = front.world.outsider("outside").start()?;
    let host = front.world.prober().start()?;
    let agent = Agent::start(&front.world, &front.selecting("", ""))?;
    for who in [&outside, &host] {
        for to in front.every_way() {
            who.tcp(to).passes()?;
            who.udp(to).passes()?;
            who.udp(to).connected().passes()?;
        }
        let lasting = who.connect(Protocol::Tcp, front.v4())?;
        lasting.has_peer(front.v4())?;
        let live = agent.metrics()?.sum("windrose_endpoint_connections_active", &[("endpoint", "cart-1")]);
        ensure!((live - 1.0).abs() < 0.5, "{live} live connections of one");
        lasting.close()?;
    }
    Ok(())
}

fn its_peer_is_the_service() -> Result<()> {
    let front = Front::new(3)?;
    let agent = Agent::start(&front.world, &front.selecting("", ""))?;
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for to in front.every_way() {
            let connection = front.web.connect(protocol, to)?;
            connection.exchange(100)?;
            connection.has_peer(to).with_context(|| format!("{protocol:?}"))?;
            if protocol == Protocol::Udp {
                // It names its peer again with a datagram, and must not get another endpoint.
                for _ in 0..4 {
                    let outcome = connection.send_to(to)?;
                    ensure!(outcome == Outcome::Passed, "{to}: {outcome:?}");
                }
            }
        }
        // What is no service is named as it is.
        for to in front.carts[0].both(TARGET) {
            front.web.connect(protocol, to)?.has_peer(to)?;
        }
    }
    let shown = agent.connections()?;
    let asked: Vec<_> = shown.iter().filter(|row| row["service"]["name"] == "shop/front").collect();
    ensure!(asked.len() == 6, "{shown:#?}");
    for row in asked {
        let destination = row["destination"]["workload"].as_str().unwrap_or_default();
        ensure!(destination.starts_with("shop/cart-"), "{row:#}");
        ensure!(row["service"]["port"] == PORT, "{row:#}");
    }
    Ok(())
}

fn a_socket_talks_to_several_services() -> Result<()> {
    let front = Front::new(3)?;
    let mut policy = front.selecting("", "");
    let mut services: Vec<SocketAddr> = vec![front.v4()];
    for last in 2..=4 {
        let ip = front.ip4(last);
        let spec = format!(
            "clusterIP: {ip}, selector: {{app: cart}}, \
             ports: [{{port: 53, protocol: UDP, targetPort: dns}}]"
        );
        policy += &service(&format!("shop/other-{last}"), "", &spec);
        services.push((ip, 53).into());
    }
    let _agent = Agent::start(&front.world, &policy)?;
    for is_v6 in [false, true] {
        let socket = front.web.open_udp(is_v6)?;
        // A v6 socket sends to v4-mapped addresses.
        let mapped = |to: &SocketAddr| match (is_v6, to) {
            (true, SocketAddr::V4(v4)) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            _ => *to,
        };
        let before = front.received(Protocol::Udp)?;
        for round in 0..5 {
            for to in services.iter().map(mapped) {
                let outcome = socket.send_to(to)?;
                ensure!(outcome == Outcome::Passed, "round {round}, {to}: {outcome:?}");
            }
        }
        // It keeps to one endpoint of each.
        let got = front.received_since(Protocol::Udp, &before)?;
        ensure!(got.iter().all(|count| count % 5 == 0), "{got:?}");
        // And to a server by its own address.
        let own = mapped(&front.carts[0].v4(TARGET));
        ensure!(socket.send_to(own)? == Outcome::Passed);
    }
    Ok(())
}

fn nobody_there_is_refused_at_once() -> Result<()> {
    let front = Front::new(1)?;
    let agent = Agent::start(
        &front.world,
        &front
            .service("windrose.dev/endpoints: \"\"", "")
            .replace("targetPort: http", "targetPort: 1")
            .replace("targetPort: dns", "targetPort: 1"),
    )?;
    for to in front.every_way() {
        for probe in [front.web.tcp(to), front.web.udp(to), front.web.udp(to).connected()] {
            let outcome = probe.outcome(windrose_tests::actor::PATIENCE)?;
            ensure!(outcome == Outcome::NobodyListens, "{to}: {outcome:?}");
        }
    }
    agent.await_event(&[
        ("kind", "refused"),
        ("reason", "no_endpoint"),
        ("source.workload", "shop/web"),
        ("destination.port", &PORT.to_string()),
    ])?;
    let metrics = agent.metrics()?;
    let refused = metrics.sum("windrose_service_connections_refused_total", &[("service", "front")]);
    ensure!((refused - 9.0).abs() < 0.5, "{}", metrics.lines("windrose_service"));
    let by_reason = [("reason", "no_endpoint"), ("source_workload", "web")];
    let refused = metrics.sum("windrose_connections_refused_total", &by_reason);
    ensure!((refused - 9.0).abs() < 0.5, "{}", metrics.lines("windrose_connections_refused"));
    Ok(())
}

fn policy_is_asked_about_the_endpoint() -> Result<()> {
    let front = Front::new(2)?;
    let (allowed, denied) = (front.carts[0].v4(0).ip(), front.carts[0].v6(0).ip());
    // By the endpoint's address and port; of the service's address it says nothing.
    let policy = front.selecting("", "")
        + &isolate("shop")
        + &network(
            "shop/web",
            &format!(
                "podSelector: {{matchLabels: {{app: web}}}}, policyTypes: [Egress], egress: [{{to: [\
                 {{ipBlock: {{cidr: {allowed}/32}}}}, {{ipBlock: {{cidr: '{denied}/128'}}}}], \
                 ports: [{{port: {TARGET}}}, {{port: {TARGET}, protocol: UDP}}]}}]"
            ),
        )
        + &network("shop/cart", "podSelector: {matchLabels: {app: cart}}, ingress: [{}]");
    let agent = Agent::start(&front.world, &policy)?;
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let before = front.received(protocol)?;
        let (mut passed, mut refused) = (0, 0);
        for round in 0..60 {
            let to = front.every_way()[round % 3];
            let probe = match protocol {
                Protocol::Tcp => front.web.tcp(to),
                Protocol::Udp if round % 2 == 0 => front.web.udp(to),
                Protocol::Udp => front.web.udp(to).connected(),
            };
            match probe.outcome(windrose_tests::actor::PATIENCE)? {
                Outcome::Passed => passed += 1,
                Outcome::NotPermitted => refused += 1,
                other => anyhow::bail!("{to}: {other:?}"),
            }
        }
        ensure!(passed > 10 && refused > 10, "{passed} passed and {refused} were refused");
        let got = front.received_since(protocol, &before)?;
        ensure!(got == [passed, 0], "{got:?} of {passed}");
    }
    agent.await_event(&[
        ("kind", "refused"),
        ("reason", "isolated"),
        ("destination.workload", "shop/cart-2"),
        ("destination.port", &TARGET.to_string()),
    ])?;
    Ok(())
}

fn a_local_service_has_local_endpoints() -> Result<()> {
    let front = Front::new(1)?;
    // Of another host: it has the label, but no cgroup.
    let remote = front.world.remote("shop/cart-far").label("app", "cart").port("http", TARGET, "TCP");
    let remote = remote.port("dns", TARGET, "UDP").start()?;
    remote.serve(TARGET)?;
    let mut agent = Agent::start(&front.world, &front.selecting("", ", internalTrafficPolicy: Local"))?;
    for _ in 0..10 {
        for to in front.every_way() {
            front.web.tcp(to).passes()?;
        }
    }
    ensure!(remote.received(Protocol::Tcp, TARGET)? == 0);
    agent.apply(&front.selecting("", ", internalTrafficPolicy: Cluster"))?;
    for _ in 0..20 {
        front.web.tcp(front.v4()).passes()?;
    }
    ensure!(remote.received(Protocol::Tcp, TARGET)? > 0);
    Ok(())
}

fn other_ports_and_protocols_are_left_alone() -> Result<()> {
    let front = Front::new(1)?;
    // The service's address is routed to a server that answers at another port.
    let policy = service(
        "shop/front",
        "",
        &format!(
            "clusterIP: {}, selector: {{app: cart}}, ports: [{{port: {PORT}, targetPort: http}}]",
            front.ip4(1)
        ),
    );
    let _agent = Agent::start(&front.world, &policy)?;
    front.web.tcp(front.v4()).passes()?;
    front.web.udp(front.v4()).connected().outcome(windrose_tests::probe::SILENCE)?;
    ensure!(front.received(Protocol::Udp)? == [0], "a service of TCP has balanced UDP");
    let outcome = front.web.tcp((front.ip4(1), TARGET).into()).outcome(windrose_tests::probe::SILENCE)?;
    ensure!(outcome != Outcome::Passed, "a port that the service does not have is answered");
    Ok(())
}
