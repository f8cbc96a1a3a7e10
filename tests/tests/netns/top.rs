//! `windrose top` on real connections, as JSON.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use windrose_tests::agent::{Agent, has};
use windrose_tests::policy::{isolate, network};
use windrose_tests::script::Protocol;
use windrose_tests::tests;

use crate::front::Front;
use crate::pair::{OTHER, PORT, Pair};

tests![
    it_shows_pairs_connections_drops_and_programs,
    it_shows_services_and_their_endpoints,
    statistics_are_on_only_for_whoever_looks,
    without_a_terminal_or_an_agent_it_says_so,
];

fn policy() -> String {
    isolate("shop")
        + &network(
            "shop/allow",
            "podSelector: {}, policyTypes: [Ingress, Egress], \
             ingress: [{from: [{podSelector: {}}], ports: [{port: 8080}]}], \
             egress: [{to: [{podSelector: {}}], ports: [{port: 8080}]}]",
        )
}

fn reading(agent: &Agent, arguments: &[&str]) -> Result<Value> {
    let output = agent.verb(&[&["top", "--output", "json", "--interval", "300ms"], arguments].concat())?;
    ensure!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).context("no JSON")
}

/// The row of a list that has these members.
fn row<'a>(reading: &'a Value, list: &str, members: &[(&str, &str)]) -> Result<&'a Value> {
    let rows = reading[list].as_array().with_context(|| format!("no {list}"))?;
    let found = rows.iter().find(|row| has(row, members));
    found.with_context(|| format!("none of {list} has {members:?}: {rows:#?}"))
}

fn number(row: &Value, member: &str) -> Result<f64> {
    row[member].as_f64().with_context(|| format!("no number {member} in {row:#}"))
}

fn it_shows_pairs_connections_drops_and_programs() -> Result<()> {
    let pair = Pair::new()?;
    let agent = Agent::start(&pair.world, &policy())?;
    let lasting = pair.web.connect(Protocol::Tcp, pair.cart.v4(PORT))?;
    lasting.load(256)?;
    pair.web.tcp(pair.cart.v4(OTHER)).is_refused()?;
    let seen = reading(&agent, &["--programs"])?;
    lasting.stop_load()?;
    let ends = [("source", "shop/web"), ("destination", "shop/cart"), ("port", "8080"), ("protocol", "TCP")];
    let row_of_pair = row(&seen, "pairs", &ends)?;
    ensure!(number(row_of_pair, "active")? > 0.5, "{row_of_pair:#}");
    ensure!(number(row_of_pair, "bytes_sent_per_second")? > 0.0, "{row_of_pair:#}");
    let connection = row(&seen, "connections", &[("direction", "egress"), ("state", "established")])?;
    ensure!(number(connection, "bytes_sent_per_second")? > 0.0, "{connection:#}");
    ensure!(connection["path"] == "stack" && connection["service"] == "", "{connection:#}");
    let drop =
        row(&seen, "drops", &[("reason", "isolated"), ("source", "shop/web"), ("direction", "egress")])?;
    ensure!(number(drop, "attempts")? > 0.5, "{drop:#}");
    ensure!(drop["rule"].as_str().is_some_and(|rule| rule.contains("isolat")), "{drop:#}");
    let program = row(&seen, "programs", &[("program", "packet_egress")])?;
    ensure!(number(program, "runs_per_second")? > 0.0 && number(program, "ns_per_run")? > 0.0, "{program:#}");
    Ok(())
}

fn it_shows_services_and_their_endpoints() -> Result<()> {
    let front = Front::new(2)?;
    let agent = Agent::start(&front.world, &front.selecting("", ""))?;
    let lasting = front.web.connect(Protocol::Tcp, front.v4())?;
    lasting.exchange(100)?;
    let seen = reading(&agent, &[])?;
    let all = row(&seen, "services", &[("service", "shop/front"), ("protocol", "TCP"), ("endpoint", "")])?;
    ensure!((number(all, "live")? - 1.0).abs() < 0.5 && number(all, "connections")? > 0.5, "{all:#}");
    let rows = seen["services"].as_array().context("no services")?;
    let tcp = rows.iter().filter(|row| row["protocol"] == "TCP" && row["endpoint"] != "");
    let live: f64 = tcp.filter_map(|row| row["live"].as_f64()).sum();
    ensure!((live - 1.0).abs() < 0.5, "{rows:#?}");
    row(&seen, "connections", &[("direction", "egress"), ("service", "shop/front")])?;
    lasting.close()
}

fn statistics_are_on_only_for_whoever_looks() -> Result<()> {
    let pair = Pair::new()?;
    let agent = Agent::start(&pair.world, &policy())?;
    ensure!(agent.json("/status")?["statistics"] == false);
    ensure!(reading(&agent, &[])?["statistics"] == false, "switched on although nobody asked");
    ensure!(reading(&agent, &["--programs"])?["statistics"] == true);
    let off = || Ok(agent.json("/status")?["statistics"] == false);
    windrose_tests::wait::until_true("statistics are off", std::time::Duration::from_secs(20), off)
}

fn without_a_terminal_or_an_agent_it_says_so() -> Result<()> {
    let pair = Pair::new()?;
    let agent = Agent::start(&pair.world, &policy())?;
    for (arguments, says) in
        [(&["top"][..], "no terminal"), (&["top", "--admin", "127.0.0.1:1"][..], "no agent answers")]
    {
        let output = agent.verb(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && said.contains(says), "{arguments:?}: {said}");
    }
    Ok(())
}
