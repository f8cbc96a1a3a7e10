//! Which endpoint of a service a connection gets.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use windrose_tests::actor::PATIENCE;
use windrose_tests::agent::Agent;
use windrose_tests::script::{Outcome, Protocol};
use windrose_tests::tests;
use windrose_tests::wait;

use crate::front::Front;

tests![
    lasting_connections_are_spread_by_load,
    connections_follow_the_weights,
    a_weight_of_nothing_gets_nothing_new,
    a_client_of_maglev_stays,
    a_client_with_affinity_stays_for_a_while,
    connections_that_end_are_no_load,
];

fn lasting_connections_are_spread_by_load() -> Result<()> {
    let front = Front::new(3)?;
    let agent = Agent::start(&front.world, &front.selecting("", ""))?;
    let mut lasting = Vec::new();
    for round in 0..60 {
        lasting.push(front.web.connect(Protocol::Tcp, front.every_way()[round % 3])?);
    }
    // A connection is there before its server has taken it.
    wait::until_true("every connection is accepted", PATIENCE, || {
        Ok(front.received(Protocol::Tcp)?.iter().sum::<u64>() == 60)
    })?;
    let got = front.received(Protocol::Tcp)?;
    // The two families have loads of their own: 40 connections and 20.
    ensure!(got.iter().all(|count| (17..=23).contains(count)), "{got:?}");
    let metrics = agent.metrics()?;
    for (server, got) in (1..).zip(&got) {
        let labels = [("service", "front"), ("port", "80"), ("endpoint", &*format!("cart-{server}"))];
        let live = metrics.sum("windrose_endpoint_connections_active", &labels);
        let got = f64::from(u32::try_from(*got)?);
        ensure!((live - got).abs() < 0.5, "{}", metrics.lines("windrose_endpoint"));
    }
    Ok(())
}

fn connections_follow_the_weights() -> Result<()> {
    let front = Front::new(2)?;
    let mut agent = Agent::start(&front.world, &front.selecting("windrose.dev/weights: \"cart-1=3\"", ""))?;
    // Connections that last are weighed against the weights.
    let mut lasting = Vec::new();
    for _ in 0..80 {
        lasting.push(front.web.connect(Protocol::Tcp, front.v4())?);
    }
    let got = front.received(Protocol::Tcp)?;
    ensure!((56..=64).contains(&got[0]), "{got:?} lasting connections by weights of 3 and 1");
    // Those that do not are spread at random: five standard deviations of 200.
    agent.apply(&front.selecting("windrose.dev/weights: \"cart-2=9\"", ""))?;
    let before = front.received(Protocol::Udp)?;
    for round in 0..200 {
        let to = front.every_way()[round % 3];
        let probe = front.web.udp(to);
        if round % 2 == 0 { probe.connected().passes()? } else { probe.passes()? }
    }
    let got = front.received_since(Protocol::Udp, &before)?;
    ensure!((159..=200).contains(&got[1]), "{got:?} datagrams by weights of 1 and 9");
    Ok(())
}

fn a_weight_of_nothing_gets_nothing_new() -> Result<()> {
    let front = Front::new(2)?;
    let mut agent = Agent::start(&front.world, &front.selecting("", ""))?;
    let mut lasting = Vec::new();
    for _ in 0..10 {
        lasting.push(front.web.connect(Protocol::Tcp, front.v4())?);
    }
    agent.apply(&front.selecting("windrose.dev/weights: \"cart-1=0\"", ""))?;
    let before = front.received(Protocol::Tcp)?;
    for round in 0..10 {
        front.web.tcp(front.every_way()[round % 3]).passes()?;
    }
    ensure!(front.received_since(Protocol::Tcp, &before)? == [0, 10]);
    for connection in &lasting {
        connection.exchange(100)?;
    }
    Ok(())
}

fn a_client_of_maglev_stays() -> Result<()> {
    let front = Front::new(3)?;
    let others: Vec<_> = (0..12)
        .map(|number| front.world.workload(&format!("shop/client-{number}")).start())
        .collect::<Result<_>>()?;
    let annotations = "windrose.dev/balancing: maglev";
    let mut agent = Agent::start(&front.world, &front.selecting(annotations, ""))?;
    // Where each client is: the one server that gets all of its connections.
    let places = |rounds: u64| -> Result<Vec<usize>> {
        others
            .iter()
            .map(|client| {
                let before = front.received(Protocol::Tcp)?;
                for _ in 0..rounds {
                    client.tcp(front.v4()).passes()?;
                }
                let got = front.received_since(Protocol::Tcp, &before)?;
                let place = got.iter().position(|count| *count == rounds);
                ensure!(place.is_some(), "a client of Maglev was spread: {got:?}");
                Ok(place.unwrap_or_default())
            })
            .collect()
    };
    let before = places(5)?;
    ensure!(before.iter().any(|place| *place != before[0]), "all clients have one endpoint");
    agent.kill()?;
    agent.restart()?;
    ensure!(places(2)? == before, "a new agent has moved clients");
    // One server less moves its clients; of the others few.
    let gone = before[0];
    let named = format!("{annotations}, windrose.dev/weights: \"cart-{}=0\"", gone + 1);
    agent.apply(&front.selecting(&named, ""))?;
    let after = places(2)?;
    ensure!(!after.contains(&gone), "clients stay with an endpoint that takes none");
    let moved = before.iter().zip(&after).filter(|(was, is)| **was != gone && was != is).count();
    ensure!(moved <= 2, "{moved} clients of other endpoints have moved: {before:?}, {after:?}");
    Ok(())
}

fn a_client_with_affinity_stays_for_a_while() -> Result<()> {
    const SECONDS: u64 = 1;
    let front = Front::new(3)?;
    let more = format!(
        ", sessionAffinity: ClientIP, sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {SECONDS}}}}}"
    );
    let mut agent = Agent::start(&front.world, &front.selecting("", &more))?;
    let before = front.received(Protocol::Tcp)?;
    for _ in 0..12 {
        front.web.tcp(front.v4()).passes()?;
    }
    let got = front.received_since(Protocol::Tcp, &before)?;
    ensure!(got.contains(&12), "a client with affinity was spread: {got:?}");
    let home = got.iter().position(|count| *count == 12).unwrap_or_default();
    // When it has been away for longer, it may get another.
    let mut last = Instant::now();
    wait::until_true("affinity to end", Duration::from_mins(1), || {
        if last.elapsed() <= Duration::from_millis(SECONDS * 1000 + 100) {
            return Ok(false);
        }
        let before = front.received(Protocol::Tcp)?;
        front.web.tcp(front.v4()).passes()?;
        last = Instant::now();
        Ok(front.received_since(Protocol::Tcp, &before)?[home] == 0)
    })?;
    // An endpoint that takes nothing new keeps nobody.
    agent.apply(&front.selecting("windrose.dev/weights: \"cart-1=0, cart-2=0\"", &more))?;
    let before = front.received(Protocol::Tcp)?;
    for _ in 0..5 {
        front.web.tcp(front.v4()).passes()?;
    }
    ensure!(front.received_since(Protocol::Tcp, &before)? == [0, 0, 5]);
    Ok(())
}

fn connections_that_end_are_no_load() -> Result<()> {
    let front = Front::new(2)?;
    // A second service whose target nobody listens at, and a third that nobody answers for.
    let (closed, silent) = (front.ip4(2), front.ip4(3));
    let policy = front.selecting("", "")
        + &windrose_tests::policy::service(
            "shop/closed",
            "",
            &format!("clusterIP: {closed}, selector: {{app: cart}}, ports: [{{port: 80, targetPort: 1}}]"),
        )
        + &windrose_tests::policy::service(
            "shop/silent",
            "windrose.dev/endpoints: \"10.77.255.253\"",
            &format!("clusterIP: {silent}, ports: [{{port: 80}}]"),
        );
    let agent = Agent::start(&front.world, &policy)?;
    let mut open = Vec::new();
    for _ in 0..6 {
        open.push(front.web.connect(Protocol::Tcp, front.v4())?);
        front.web.tcp(front.v6()).passes()?;
        let refused = front.web.tcp((closed, 80).into()).outcome(PATIENCE)?;
        ensure!(refused == Outcome::NobodyListens, "{refused:?}");
        let unanswered = front.web.tcp((silent, 80).into()).outcome(Duration::from_millis(100))?;
        ensure!(unanswered != Outcome::Passed);
    }
    let live = |agent: &Agent| -> Result<f64> {
        Ok(agent.metrics()?.sum("windrose_endpoint_connections_active", &[]))
    };
    let is = live(&agent)?;
    ensure!((is - 6.0).abs() < 0.5, "{is} live of 6");
    for connection in open {
        connection.half_close(10)?;
        connection.close()?;
    }
    wait::until_true("no load is left", PATIENCE, || Ok(live(&agent)? < 0.5))
}
