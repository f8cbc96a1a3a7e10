//! The agent dies, and enforcement does not.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use windrose_tests::actor::PATIENCE;
use windrose_tests::agent::Agent;
use windrose_tests::policy::{isolate, network};
use windrose_tests::script::Protocol;
use windrose_tests::tests;
use windrose_tests::wait;

use crate::pair::{OTHER, PORT, Pair};

tests![
    killed_under_load_it_leaves_everything_as_it_was,
    a_restart_keeps_counters_and_adopts_what_is_attached,
    a_restart_with_another_policy_enforces_that_one,
    a_polite_end_leaves_enforcement_in_place,
    pins_of_another_layout_are_refused_by_name,
    detaching_removes_everything,
    a_hangup_reads_the_policy_again,
];

fn policy() -> String {
    isolate("shop")
        + &network(
            "shop/allow",
            "podSelector: {}, policyTypes: [Ingress, Egress], \
             ingress: [{from: [{podSelector: {}}], ports: [{port: 8080}, {port: 8080, protocol: UDP}]}], \
             egress: [{to: [{podSelector: {}}], ports: [{port: 8080}, {port: 8080, protocol: UDP}]}]",
        )
}

/// The allowed is allowed and the forbidden forbidden, for new connections.
fn expect_enforced(pair: &Pair) -> Result<()> {
    for to in pair.every_way(PORT) {
        pair.web.tcp(to).passes()?;
        pair.web.udp(to).passes()?;
    }
    for to in pair.every_way(OTHER) {
        pair.web.tcp(to).is_refused()?;
        pair.web.udp(to).is_refused()?;
    }
    Ok(())
}

fn killed_under_load_it_leaves_everything_as_it_was() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &policy())?;
    let mut connections = Vec::new();
    for to in pair.every_way(PORT) {
        connections.push(pair.web.connect(Protocol::Tcp, to)?);
        connections.push(pair.web.connect(Protocol::Udp, to)?);
    }
    for connection in &connections {
        connection.load(256)?;
    }
    for round in 0..3 {
        agent.kill()?;
        expect_enforced(&pair).with_context(|| format!("without an agent, round {round}"))?;
        for connection in &connections {
            let before = connection.load_so_far()?;
            wait::until_true("the load goes on", PATIENCE, || Ok(connection.load_so_far()? > before))?;
        }
        agent.restart()?;
        expect_enforced(&pair).with_context(|| format!("with a new agent, round {round}"))?;
    }
    for connection in &connections {
        connection.stop_load()?;
    }
    let live = agent.connections()?;
    for connection in live.iter().filter(|row| row["kind"] == "connection") {
        ensure!(connection["found"] == false, "adopted as if it were older than enforcement: {connection:#}");
    }
    let ended: Vec<_> = agent.events()?.into_iter().filter(|event| event["kind"] == "ended_late").collect();
    ensure!(ended.is_empty(), "{ended:#?}");
    Ok(())
}

fn a_restart_keeps_counters_and_adopts_what_is_attached() -> Result<()> {
    const REFUSED: &str = "windrose_connections_refused_total";
    const OPENED: &str = "windrose_connections_opened_total";
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &policy())?;
    let links = agent.links()?;
    ensure!(links.len() >= 8, "{links:?}");
    let generation = agent.generation()?;
    pair.web.tcp(pair.cart.v4(PORT)).passes()?;
    pair.web.tcp(pair.cart.v4(OTHER)).is_refused()?;
    let before = agent.metrics()?;
    ensure!(
        before.sum(REFUSED, &[]) >= 1.0 && before.sum(OPENED, &[]) >= 1.0,
        "{}",
        before.lines("windrose_connections")
    );
    agent.kill()?;
    // Counted although nobody is there to count.
    pair.web.tcp(pair.cart.v4(PORT)).passes()?;
    pair.web.tcp(pair.cart.v4(OTHER)).is_refused()?;
    agent.restart()?;
    let after = agent.metrics()?;
    for name in [REFUSED, OPENED] {
        let (was, is) = (before.sum(name, &[]), after.sum(name, &[]));
        ensure!(is > was, "{name} was {was} and is {is}");
    }
    ensure!(agent.generation()? >= generation, "the generation went back");
    ensure!(agent.links()? == links, "{:?}, once {links:?}", agent.links()?);
    let programs = agent.json("/status")?["programs"].clone();
    let attached = programs.as_array().with_context(|| format!("no list of programs: {programs}"))?;
    let mut names: Vec<_> = attached.iter().map(|program| program["name"].to_string()).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    ensure!(names.len() == count && count > 0, "some are attached twice: {programs:#}");
    Ok(())
}

fn a_restart_with_another_policy_enforces_that_one() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &policy())?;
    let doomed = pair.web.connect(Protocol::Tcp, pair.cart.v4(PORT))?;
    doomed.exchange(100)?;
    agent.kill()?;
    agent.write(&isolate("shop"))?;
    pair.web.tcp(pair.cart.v4(PORT)).passes()?;
    agent.restart()?;
    pair.web.tcp(pair.cart.v4(PORT)).is_refused()?;
    let outcome = doomed.await_end(PATIENCE)?;
    ensure!(outcome == windrose_tests::script::Outcome::Reset, "{outcome:?}");
    Ok(())
}

fn a_polite_end_leaves_enforcement_in_place() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &policy())?;
    agent.signal(Signal::SIGTERM)?;
    let status = agent.await_exit()?;
    ensure!(status.success(), "{status}");
    expect_enforced(&pair)
}

fn pins_of_another_layout_are_refused_by_name() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::prepare(&pair.world, &policy(), &[])?;
    let foreign = agent.pins()?.join("abi-0");
    fs::create_dir_all(&foreign)?;
    agent.run()?;
    let ended = agent.await_exit();
    let left = fs::read_dir(agent.pins()?)?.count();
    fs::remove_dir(&foreign)?;
    fs::remove_dir(agent.pins()?)?;
    let status = ended?;
    ensure!(!status.success(), "it ran on foreign pins");
    let log = agent.log();
    ensure!(log.contains("abi-0") || (log.contains("ABI") && log.contains('0')), "{log}");
    ensure!(log.contains("detach"), "it does not say what to do: {log}");
    ensure!(left == 1, "it left something half attached");
    pair.web.tcp(pair.cart.v4(OTHER)).passes()
}

fn detaching_removes_everything() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &policy())?;
    let lasting = pair.web.connect(Protocol::Tcp, pair.cart.v4(PORT))?;
    lasting.load(100)?;
    expect_enforced(&pair)?;
    agent.kill()?;
    let output = agent.detach()?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(!agent.pins()?.exists(), "pins stay");
    for to in pair.every_way(OTHER) {
        pair.web.tcp(to).passes()?;
        pair.web.udp(to).passes()?;
    }
    lasting.stop_load()?;
    // Again: nothing to do is no error.
    let output = agent.detach()?;
    ensure!(output.status.success(), "{output:?}");
    // And enforcement can begin anew.
    agent.restart()?;
    expect_enforced(&pair)
}

fn a_hangup_reads_the_policy_again() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, "")?;
    let before = agent.generation()?;
    agent.write(&policy())?;
    agent.signal(Signal::SIGHUP)?;
    wait::until_true("the policy is in force", Duration::from_secs(5), || Ok(agent.generation()? > before))?;
    expect_enforced(&pair)
}
