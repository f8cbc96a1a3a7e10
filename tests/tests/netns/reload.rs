//! Policies that change while traffic flows.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use windrose_tests::actor::PATIENCE;
use windrose_tests::agent::Agent;
use windrose_tests::policy::{isolate, network};
use windrose_tests::script::{Outcome, Protocol};
use windrose_tests::tests;
use windrose_tests::wait;

use crate::pair::{OTHER, PORT, Pair};

tests![
    connections_that_stay_allowed_lose_nothing_under_twenty_changes,
    a_connection_that_is_no_longer_allowed_is_ended_within_a_second,
    a_flow_that_is_no_longer_allowed_is_silenced,
    a_connection_is_ended_by_its_receivers_policy_too,
    a_bad_policy_leaves_the_old_one_in_force,
    a_policy_that_does_not_fit_is_refused_with_the_numbers,
    a_policy_that_grows_and_shrinks_leaves_no_rows,
];

/// Isolates shop, with a rule of web's for these ports and as much noise as `round` says.
fn policy(ports: &str, round: usize) -> String {
    let sends = network(
        "shop/web",
        &format!(
            "podSelector: {{matchLabels: {{app: web}}}}, policyTypes: [Egress], \
             egress: [{{to: [{{podSelector: {{matchLabels: {{app: cart}}}}}}], ports: [{ports}]}}]"
        ),
    );
    let takes = network(
        "shop/cart",
        &format!("podSelector: {{matchLabels: {{app: cart}}}}, ingress: [{{ports: [{ports}]}}]"),
    );
    let noise: String = (0..round)
        .map(|number| {
            let spec = format!(
                "podSelector: {{}}, policyTypes: [Ingress, Egress], \
                 egress: [{{to: [{{ipBlock: {{cidr: 10.99.{number}.0/24}}}}], ports: [{{port: {}}}]}}]",
                number + 1
            );
            network(&format!("shop/noise-{number}"), &spec)
        })
        .collect();
    isolate("shop") + &sends + &takes + &noise
}

const BOTH: &str = "{port: 8080}, {port: 8080, protocol: UDP}";

fn connections_that_stay_allowed_lose_nothing_under_twenty_changes() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &policy(BOTH, 0))?;
    let mut connections = Vec::new();
    for to in pair.every_way(PORT) {
        connections.push(pair.web.connect(Protocol::Tcp, to)?);
        connections.push(pair.web.connect(Protocol::Udp, to)?);
    }
    for connection in &connections {
        connection.load(512)?;
    }
    let first = agent.generation()?;
    for round in 1..=20 {
        agent.apply(&policy(BOTH, round % 7))?;
        // Each lives through each policy.
        for connection in &connections {
            let before = connection.load_so_far().with_context(|| format!("change {round}"))?;
            wait::until_true("the load goes on", PATIENCE, || {
                Ok(connection.load_so_far().with_context(|| format!("change {round}"))? > before)
            })?;
        }
    }
    ensure!(agent.generation()? >= first + 20);
    for connection in &connections {
        ensure!(connection.stop_load()? > 20);
    }
    let ended: Vec<_> = agent.events()?.into_iter().filter(|event| event["kind"] == "ended_late").collect();
    ensure!(ended.is_empty(), "{ended:#?}");
    Ok(())
}

fn a_connection_that_is_no_longer_allowed_is_ended_within_a_second() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &policy("{port: 8080}, {port: 9090}", 0))?;
    for (to, stays) in pair.every_way(PORT).into_iter().zip(pair.every_way(OTHER)) {
        let doomed = pair.web.connect(Protocol::Tcp, to)?;
        let lasting = pair.web.connect(Protocol::Tcp, stays)?;
        doomed.exchange(1000)?;
        lasting.exchange(1000)?;
        agent.apply(&policy("{port: 9090}", 0))?;
        let start = Instant::now();
        let outcome = doomed.await_end(PATIENCE)?;
        ensure!(outcome == Outcome::Reset, "the client saw {outcome:?}");
        ensure!(start.elapsed() < Duration::from_secs(1), "{:?} after the change", start.elapsed());
        lasting.exchange(1000)?;
        agent.await_event(&[
            ("kind", "ended_late"),
            ("reason", "late_denial"),
            ("source.workload", "shop/web"),
            ("destination.workload", "shop/cart"),
        ])?;
        pair.web.tcp(to).is_refused()?;
        agent.apply(&policy("{port: 8080}, {port: 9090}", 0))?;
    }
    let ended = agent.metrics()?.sum("windrose_connections_ended_late_total", &[("direction", "egress")]);
    ensure!(ended > 2.5, "{ended} late denials counted of three");
    Ok(())
}

fn a_flow_that_is_no_longer_allowed_is_silenced() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &policy(BOTH, 0))?;
    for to in pair.every_way(PORT) {
        let flow = pair.web.connect(Protocol::Udp, to)?;
        flow.exchange(100)?;
        agent.apply(&policy("{port: 8080}", 0))?;
        let outcome = flow.try_exchange(100, Duration::from_secs(1))?;
        ensure!(outcome == Outcome::NotPermitted, "a send of a refused flow: {outcome:?}");
        agent.await_event(&[("kind", "ended_late"), ("protocol", "UDP")])?;
        agent.apply(&policy(BOTH, 0))?;
        flow.exchange(100)?;
    }
    Ok(())
}

fn a_connection_is_ended_by_its_receivers_policy_too() -> Result<()> {
    let pair = Pair::new()?;
    let outside = pair.world.outsider("outside").start()?;
    let mut agent = Agent::start(&pair.world, "")?;
    for to in pair.cart.both(PORT) {
        let connection = outside.connect(Protocol::Tcp, to)?;
        connection.exchange(1000)?;
        agent.apply(&isolate("shop"))?;
        let start = Instant::now();
        // The kernel aborts the server's socket; its reset tells the client.
        let outcome = connection.await_end(PATIENCE)?;
        ensure!(outcome == Outcome::Reset, "the client saw {outcome:?}");
        ensure!(start.elapsed() < Duration::from_secs(1), "{:?} after the change", start.elapsed());
        agent.apply("")?;
    }
    Ok(())
}

fn a_bad_policy_leaves_the_old_one_in_force() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &policy(BOTH, 0))?;
    for bad in [
        "---\nkind: NetworkPolicy\n",
        "{",
        &network("shop/web", "podSelector: {}, ingres: []"),
        &network("shop/web", "podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}]"),
        &(isolate("shop") + &isolate("shop")),
    ] {
        agent.apply_refused(bad).with_context(|| format!("for {bad:?}"))?;
        pair.web.tcp(pair.cart.v4(PORT)).passes()?;
        pair.web.tcp(pair.cart.v4(OTHER)).is_refused()?;
    }
    ensure!(agent.log().contains("policy.yaml:"), "no place in the log:\n{}", agent.log());
    let failures = agent.metrics()?.sum("windrose_policy_reload_failures_total", &[]);
    ensure!(failures >= 5.0, "{failures} failures counted");
    // And a good one ends it.
    agent.apply(&policy("{port: 9090}", 0))?;
    pair.web.tcp(pair.cart.v4(OTHER)).passes()?;
    pair.web.tcp(pair.cart.v4(PORT)).is_refused()
}

fn a_policy_that_does_not_fit_is_refused_with_the_numbers() -> Result<()> {
    let pair = Pair::new()?;
    let file = std::env::temp_dir().join(format!("windrose-test-{}-capacities.yaml", std::process::id()));
    fs::write(&file, "capacities: {prefixes: 16}\n")?;
    let started = Agent::start_with(&pair.world, &policy(BOTH, 2), &["--config", &file.to_string_lossy()]);
    let mut agent = started.inspect_err(|_| drop(fs::remove_file(&file)))?;
    fs::remove_file(&file)?;
    agent.apply_refused(&policy(BOTH, 40))?;
    let log = agent.log();
    ensure!(log.to_lowercase().contains("prefixes") && log.contains("16"), "no numbers in the log:\n{log}");
    pair.web.tcp(pair.cart.v4(PORT)).passes()?;
    pair.web.tcp(pair.cart.v4(OTHER)).is_refused()?;
    agent.apply(&policy("{port: 9090}", 3))?;
    pair.web.tcp(pair.cart.v4(OTHER)).passes()
}

fn a_policy_that_grows_and_shrinks_leaves_no_rows() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &policy(BOTH, 1))?;
    // Rows of the slot that is not read are swept by the next change at the latest.
    agent.apply(&policy(BOTH, 1))?;
    agent.apply(&policy(BOTH, 1))?;
    let before = keys(&agent)?;
    ensure!(before > 0, "no fill of maps in the status");
    agent.apply(&policy(BOTH, 60))?;
    ensure!(keys(&agent)? > before);
    ensure!(agent.metrics()?.sum("windrose_map_entries", &[]) > 60.0);
    for _ in 0..3 {
        agent.apply(&policy(BOTH, 1))?;
    }
    wait::until_true("the rows are gone", PATIENCE, || Ok(keys(&agent)? <= before))
}

/// The keys of all maps: the status counts them, metrics say what the agent knows it has written.
fn keys(agent: &Agent) -> Result<u64> {
    let status = agent.json("/status")?;
    let maps = status["maps"].as_array().context("no maps in the status")?;
    Ok(maps.iter().filter_map(|map| map["entries"].as_u64()).sum())
}
