//! Endpoints that come, drain and go, under load.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use windrose_tests::actor::{Connection, PATIENCE};
use windrose_tests::agent::Agent;
use windrose_tests::script::{Outcome, Protocol};
use windrose_tests::tests;
use windrose_tests::wait;

use crate::front::Front;

tests![
    draining_breaks_no_connection,
    endpoints_come_and_go_under_load,
    conditions_say_who_takes_connections,
    a_connection_ends_with_its_endpoint_if_the_service_says_so,
    a_connection_outlives_its_endpoint_otherwise,
    without_an_agent_balancing_goes_on,
    a_datagram_leaves_an_endpoint_that_is_gone,
    services_that_do_not_fit_are_refused_with_the_numbers,
];

const READY: Option<&str> = Some("ready: true");
const DRAINING: Option<&str> = Some("ready: false, serving: true, terminating: true");

/// Loads in every way, TCP and UDP.
fn loads(front: &Front, each: usize) -> Result<Vec<Connection<'_>>> {
    let mut connections = Vec::new();
    for _ in 0..each {
        for to in front.every_way() {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let connection = front.web.connect(protocol, to)?;
                connection.load(256)?;
                connections.push(connection);
            }
        }
    }
    Ok(connections)
}

/// Every load goes on.
fn expect_progress(connections: &[Connection<'_>]) -> Result<()> {
    for connection in connections {
        let before = connection.load_so_far()?;
        wait::until_true("the load goes on", PATIENCE, || Ok(connection.load_so_far()? > before))?;
    }
    Ok(())
}

fn draining_breaks_no_connection() -> Result<()> {
    let front = Front::new(3)?;
    let mut agent =
        Agent::start(&front.world, &(front.service("", "") + &front.slice(&[READY, READY, READY])))?;
    let connections = loads(&front, 2)?;
    let end = "windrose.dev/on-endpoint-removed: end";
    agent.apply(&(front.service(end, "") + &front.slice(&[DRAINING, READY, READY])))?;
    let before = front.received(Protocol::Tcp)?;
    for round in 0..15 {
        front.web.tcp(front.every_way()[round % 3]).passes()?;
    }
    let got = front.received_since(Protocol::Tcp, &before)?;
    ensure!(got[0] == 0, "a draining endpoint got new connections: {got:?}");
    expect_progress(&connections)?;
    // Now two drain, and then the first is ready again.
    agent.apply(&(front.service(end, "") + &front.slice(&[DRAINING, DRAINING, READY])))?;
    expect_progress(&connections)?;
    agent.apply(&(front.service(end, "") + &front.slice(&[READY, DRAINING, DRAINING])))?;
    let before = front.received(Protocol::Tcp)?;
    front.web.tcp(front.v4()).passes()?;
    ensure!(front.received_since(Protocol::Tcp, &before)? == [1, 0, 0]);
    expect_progress(&connections)?;
    for connection in &connections {
        connection.stop_load()?;
    }
    Ok(())
}

fn endpoints_come_and_go_under_load() -> Result<()> {
    let front = Front::new(3)?;
    let mut agent =
        Agent::start(&front.world, &(front.service("", "") + &front.slice(&[READY, None, None])))?;
    let connections = loads(&front, 2)?;
    for round in 0..12 {
        // Always one more or one less, and never none.
        let here = |server: usize| if (round + server).is_multiple_of(3) { None } else { READY };
        agent.apply(&(front.service("", "") + &front.slice(&[here(0), here(1), here(2)])))?;
        for to in front.every_way() {
            front.web.tcp(to).passes().with_context(|| format!("round {round}"))?;
            front.web.udp(to).passes().with_context(|| format!("round {round}"))?;
        }
        expect_progress(&connections).with_context(|| format!("round {round}"))?;
    }
    for connection in &connections {
        connection.stop_load()?;
    }
    let got = front.received(Protocol::Tcp)?;
    ensure!(got.iter().all(|count| *count > 3), "{got:?}");
    Ok(())
}

fn conditions_say_who_takes_connections() -> Result<()> {
    // More of the spec, the conditions of each server, and who takes new connections.
    type Case = (&'static str, [Option<&'static str>; 3], [bool; 3]);
    let front = Front::new(3)?;
    let cases: [Case; 4] = [
        // What is not said is meant well.
        ("", [Some(""), Some("ready: false"), None], [true, false, false]),
        ("", [Some("ready: true, terminating: true"), READY, None], [false, true, false]),
        (", publishNotReadyAddresses: true", [None, Some("ready: false"), DRAINING], [false, true, false]),
        ("", [DRAINING, DRAINING, None], [false, false, false]),
    ];
    let mut agent = Agent::start(&front.world, "")?;
    for (more, conditions, takes) in cases {
        agent.apply(&(front.service("", more) + &front.slice(&conditions)))?;
        let before = front.received(Protocol::Tcp)?;
        for round in 0..24 {
            let outcome = front.web.tcp(front.every_way()[round % 3]).outcome(PATIENCE)?;
            let expected = if takes.contains(&true) { Outcome::Passed } else { Outcome::NobodyListens };
            ensure!(outcome == expected, "{conditions:?}: {outcome:?}");
        }
        let got = front.received_since(Protocol::Tcp, &before)?;
        for (got, takes) in got.iter().zip(takes) {
            ensure!((*got > 0) == takes, "{conditions:?}: {got:?}");
        }
    }
    Ok(())
}

fn a_connection_ends_with_its_endpoint_if_the_service_says_so() -> Result<()> {
    let front = Front::new(2)?;
    let outside = front.world.outsider("outside").start()?;
    let end = front.service("windrose.dev/on-endpoint-removed: end", "");
    let mut agent = Agent::start(&front.world, &(end.clone() + &front.slice(&[READY, None])))?;
    for client in [&front.web, &outside] {
        for to in front.every_way() {
            let doomed = client.connect(Protocol::Tcp, to)?;
            let datagrams = client.connect(Protocol::Udp, to)?;
            doomed.exchange(1000)?;
            datagrams.exchange(100)?;
            agent.apply(&(end.clone() + &front.slice(&[None, READY])))?;
            let start = Instant::now();
            let outcome = doomed.await_end(PATIENCE)?;
            ensure!(outcome == Outcome::Reset, "{to}: the client saw {outcome:?}");
            ensure!(start.elapsed() < Duration::from_secs(1), "{:?} after the change", start.elapsed());
            let outcome = datagrams.await_end(PATIENCE)?;
            ensure!(outcome == Outcome::Reset, "{to} by UDP: the client saw {outcome:?}");
            client.tcp(to).passes()?;
            agent.apply(&(end.clone() + &front.slice(&[READY, None])))?;
        }
    }
    wait::until_true("the ends are counted", Duration::from_secs(20), || {
        let ended = agent.metrics()?.sum("windrose_service_connections_ended_total", &[("service", "front")]);
        Ok((ended - 12.0).abs() < 0.5)
    })
    .with_context(|| agent.metrics().map(|metrics| metrics.lines("windrose_service")).unwrap_or_default())?;
    let late = agent.metrics()?.sum("windrose_connections_ended_late_total", &[]);
    ensure!(late < 0.5, "{late} of them are counted as late denials");
    Ok(())
}

fn a_connection_outlives_its_endpoint_otherwise() -> Result<()> {
    let front = Front::new(2)?;
    let mut agent = Agent::start(&front.world, &(front.service("", "") + &front.slice(&[READY, None])))?;
    let connections = loads(&front, 1)?;
    agent.apply(&(front.service("", "") + &front.slice(&[None, READY])))?;
    expect_progress(&connections)?;
    // Without its Service, too.
    agent.apply("")?;
    expect_progress(&connections)?;
    for connection in &connections {
        connection.stop_load()?;
    }
    let outcome = front.web.tcp(front.v4()).outcome(windrose_tests::probe::SILENCE)?;
    ensure!(outcome != Outcome::Passed, "a service that is gone is answered");
    Ok(())
}

fn without_an_agent_balancing_goes_on() -> Result<()> {
    let front = Front::new(2)?;
    let mut agent = Agent::start(&front.world, &front.selecting("", ""))?;
    let (links, generation) = (agent.links()?, agent.generation()?);
    let connections = loads(&front, 1)?;
    let before = front.received(Protocol::Tcp)?;
    let mut lasting = Vec::new();
    for round in 0..3 {
        agent.kill()?;
        for number in 0..10 {
            lasting.push(front.web.connect(Protocol::Tcp, front.every_way()[number % 3])?);
            front.web.udp(front.every_way()[number % 3]).passes()?;
        }
        let got = front.received_since(Protocol::Tcp, &before)?;
        ensure!(got[0].abs_diff(got[1]) <= 4, "round {round}: {got:?}");
        expect_progress(&connections)?;
        agent.restart()?;
        ensure!(agent.links()? == links, "{:?}, once {links:?}", agent.links()?);
        // The same files give the same rows: there was nothing to write.
        ensure!(agent.generation()? == generation, "a restart has changed rows of services");
        let live = agent.metrics()?.sum("windrose_endpoint_connections_active", &[]);
        let open = f64::from(u32::try_from(3 + lasting.len())?);
        ensure!((live - open).abs() < 0.5, "round {round}: {live} live of {open}");
    }
    expect_progress(&connections)?;
    agent.kill()?;
    let output = agent.detach()?;
    ensure!(output.status.success(), "{output:?}");
    // What is connected stays so; what is asked for is nobody's again.
    expect_progress(&connections)?;
    let outcome = front.web.tcp(front.v4()).outcome(windrose_tests::probe::SILENCE)?;
    ensure!(outcome != Outcome::Passed, "a service is answered after detaching");
    Ok(())
}

fn a_datagram_leaves_an_endpoint_that_is_gone() -> Result<()> {
    let front = Front::new(2)?;
    let mut agent = Agent::start(&front.world, &(front.service("", "") + &front.slice(&[READY, READY])))?;
    let (first, second) = (front.web.open_udp(false)?, front.web.open_udp(true)?);
    let mut expect = |slice: &str, servers: [bool; 2]| -> Result<()> {
        agent.apply(&(front.service("", "") + slice))?;
        let before = front.received(Protocol::Udp)?;
        for _ in 0..4 {
            for (socket, to) in [(&first, front.v4()), (&second, front.v6())] {
                let outcome = socket.send_to(to)?;
                ensure!(outcome == Outcome::Passed, "{to}: {outcome:?}");
            }
        }
        let got = front.received_since(Protocol::Udp, &before)?;
        ensure!(got.iter().zip(servers).all(|(count, may)| may || *count == 0), "{got:?}, {servers:?}");
        Ok(())
    };
    expect(&front.slice(&[READY, None]), [true, false])?;
    expect(&front.slice(&[READY, READY]), [true, false])?;
    // It keeps to one that drains, and leaves one that is gone.
    expect(&front.slice(&[DRAINING, READY]), [true, false])?;
    expect(&front.slice(&[None, READY]), [false, true])
}

fn services_that_do_not_fit_are_refused_with_the_numbers() -> Result<()> {
    let front = Front::new(2)?;
    let file = std::env::temp_dir().join(format!("windrose-test-{}-services.yaml", std::process::id()));
    fs::write(&file, "capacities: {endpoints: 6, balance_tables: 8}\n")?;
    let policy = front.service("", "") + &front.slice(&[READY, None]);
    let started = Agent::start_with(&front.world, &policy, &["--config", &file.to_string_lossy()]);
    fs::remove_file(&file)?;
    let mut agent = started?;
    agent.apply_refused(&(front.service("", "") + &front.slice(&[READY, READY])))?;
    let log = agent.log();
    ensure!(log.contains("ENDPOINTS needs 8 entries and has room for 6"), "{log}");
    ensure!(log.contains("BALANCE_TABLES needs 32 entries and has room for 8"), "{log}");
    for to in front.every_way() {
        front.web.tcp(to).passes()?;
    }
    Ok(())
}
