//! What is counted and reported of each connection.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use windrose_tests::actor::PATIENCE;
use windrose_tests::agent::{Agent, has};
use windrose_tests::policy::{isolate, line_of, network};
use windrose_tests::script::{Manner, Protocol};
use windrose_tests::tests;
use windrose_tests::trial;
use windrose_tests::wait;

use crate::pair::{OTHER, PORT, Pair};

tests![
    the_bytes_of_a_connection_are_exact_each_way,
    the_bytes_of_a_flow_are_exact_each_way,
    a_connection_names_its_rule_and_its_ends,
    every_kind_of_event_is_reported,
    refusals_are_counted_by_workload_and_reason,
    events_can_be_followed,
    metrics_pass_the_linter,
];

const RULES: &str = "podSelector: {}, policyTypes: [Ingress, Egress],\n\
    \x20 ingress:\n  - from: [{podSelector: {}}] # ingress rule\n    ports: [{port: 8080}, {port: 8080, protocol: UDP}, {port: 7}]\n\
    \x20 egress:\n  - to: [{podSelector: {}}] # egress rule\n    ports: [{port: 8080}, {port: 8080, protocol: UDP}, {port: 7}]\n";

/// Everything within shop on port 8080, in block style so that each rule has a line of its own.
fn policy() -> String {
    let rules = RULES.replace("podSelector: {}, policyTypes", "  podSelector: {}\n  policyTypes");
    let rules = rules.replace("Egress],\n", "Egress]\n");
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: allow, namespace: shop}}\nspec:\n{rules}"
    )
}

/// The row of a direction among live connections.
fn row(agent: &Agent, direction: &str, protocol: &str) -> Result<Option<Value>> {
    let rows = agent.connections()?;
    Ok(rows.into_iter().find(|row| has(row, &[("direction", direction), ("protocol", protocol)])))
}

fn the_bytes_of_a_connection_are_exact_each_way() -> Result<()> {
    let pair = Pair::new()?;
    pair.cart.listen(Protocol::Tcp, "0.0.0.0:7".parse()?, false, Manner::Sink)?;
    let agent = Agent::start(&pair.world, &policy())?;
    let echo = pair.web.connect(Protocol::Tcp, pair.cart.v6(PORT))?;
    echo.exchange(300_000)?;
    for direction in ["egress", "ingress"] {
        let row = wait::until("the row has all bytes", PATIENCE, || {
            let row = row(&agent, direction, "TCP")?;
            Ok(row.filter(|row| row["bytes_sent"] == 300_000 && row["bytes_received"] == 300_000))
        });
        let row = row.with_context(|| format!("{direction}: {:#?}", agent.connections()))?;
        ensure!(row["retransmits"].as_u64().is_some(), "{row:#}");
        ensure!(row["rtt_seconds"].as_f64().is_some_and(|rtt| rtt > 0.0 && rtt < 1.0), "{row:#}");
        ensure!(row["min_rtt_seconds"].as_f64().is_some_and(|rtt| (0.0..1.0).contains(&rtt)), "{row:#}");
        ensure!(
            row["packets_sent"].as_u64() > Some(4) && row["packets_received"].as_u64() > Some(4),
            "{row:#}"
        );
        ensure!(row["state"] == "established", "{row:#}");
        ensure!(row["time"].is_string() && row["last_active"].is_string(), "{row:#}");
    }
    echo.close()?;
    let closed =
        [("kind", "closed"), ("protocol", "TCP"), ("bytes_sent", "300000"), ("bytes_received", "300000")];
    for direction in ["egress", "ingress"] {
        let event = agent.await_event(&[&closed[..], &[("direction", direction)]].concat())?;
        ensure!(event["lifetime_seconds"].as_f64().is_some_and(|time| time > 0.0), "{event:#}");
    }

    // Each way its own number: the sink answers 123456 bytes with the 6 of their count.
    let sink = pair.web.connect(Protocol::Tcp, pair.cart.v4(7))?;
    ensure!(sink.half_close(123_456)? == 6);
    sink.close()?;
    let ways = [("egress", "123456", "6"), ("ingress", "6", "123456")];
    for (direction, sent, received) in ways {
        agent.await_event(&[
            ("kind", "closed"),
            ("direction", direction),
            ("bytes_sent", sent),
            ("bytes_received", received),
        ])?;
    }
    // No live row is left, and the totals have it all.
    wait::until_true("no connection is live", PATIENCE, || Ok(row(&agent, "egress", "TCP")?.is_none()))?;
    let metrics = agent.metrics()?;
    for (name, egress, ingress) in [
        ("windrose_sent_bytes_total", 423_456.0, 300_006.0),
        ("windrose_received_bytes_total", 300_006.0, 423_456.0),
    ] {
        for (direction, bytes) in [("egress", egress), ("ingress", ingress)] {
            let labels =
                [("direction", direction), ("source_workload", "web"), ("destination_workload", "cart")];
            let sum = metrics.sum(name, &labels);
            ensure!((sum - bytes).abs() < 0.5, "{name} {direction} is {sum}, not {bytes}");
        }
    }
    Ok(())
}

fn the_bytes_of_a_flow_are_exact_each_way() -> Result<()> {
    let pair = Pair::new()?;
    let agent = Agent::start(&pair.world, &policy())?;
    for to in [pair.cart.v4(PORT), pair.cart.v6(PORT)] {
        let flow = pair.web.connect(Protocol::Udp, to)?;
        // The last is in fragments on the way.
        for size in [1, 100, 4096] {
            flow.exchange(size)?;
        }
        for direction in ["egress", "ingress"] {
            let row = wait::until("the row has all bytes", PATIENCE, || {
                let rows = agent.connections()?;
                Ok(rows.into_iter().find(|row| {
                    has(
                        row,
                        &[
                            ("direction", direction),
                            ("protocol", "UDP"),
                            ("bytes_sent", "4197"),
                            ("bytes_received", "4197"),
                            ("packets_sent", "3"),
                            ("packets_received", "3"),
                            ("destination.address", &to.ip().to_string()),
                        ],
                    )
                }))
            });
            row.with_context(|| format!("{direction} {to}: {:#?}", agent.connections()))?;
        }
        flow.close()?;
    }
    Ok(())
}

fn a_connection_names_its_rule_and_its_ends() -> Result<()> {
    let pair = Pair::new()?;
    let policy = policy();
    let agent = Agent::start(&pair.world, &policy)?;
    let connection = pair.web.connect(Protocol::Tcp, pair.cart.v4(PORT))?;
    connection.exchange(10)?;
    for (direction, comment, workload) in
        [("egress", "# egress rule", "shop/web"), ("ingress", "# ingress rule", "shop/cart")]
    {
        let row = row(&agent, direction, "TCP")?.with_context(|| format!("no {direction} row"))?;
        let expected = [
            ("verdict", "allow"),
            ("workload", workload),
            ("source.workload", "shop/web"),
            ("source.address", &pair.web.v4(0).ip().to_string()),
            ("destination.workload", "shop/cart"),
            ("destination.address", &pair.cart.v4(0).ip().to_string()),
            ("destination.port", "8080"),
            ("found", "false"),
            ("audited", "false"),
        ];
        ensure!(has(&row, &expected), "{row:#}");
        let line = line_of(&policy, comment);
        let rule = &row["rule"];
        ensure!(rule["line"] == line && rule["name"] == "allow", "not line {line}: {row:#}");
        ensure!(rule["file"].as_str().is_some_and(|file| file.ends_with("policy.yaml")), "{row:#}");
    }
    connection.close()
}

fn every_kind_of_event_is_reported() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &policy())?;
    pair.web.tcp(pair.cart.v4(OTHER)).is_refused()?;
    pair.web.udp(pair.cart.v4(OTHER)).is_refused()?;
    pair.web.tcp(pair.cart.v6(PORT)).passes()?;
    pair.web.udp(pair.cart.v6(PORT)).passes()?;
    let doomed = pair.web.connect(Protocol::Tcp, pair.cart.v4(PORT))?;
    agent.apply(&isolate("shop"))?;
    doomed.await_end(PATIENCE)?;
    for protocol in ["TCP", "UDP"] {
        let ends =
            [("protocol", protocol), ("source.workload", "shop/web"), ("destination.workload", "shop/cart")];
        for (kind, direction) in [("refused", "egress"), ("opened", "egress"), ("opened", "ingress")] {
            agent.await_event(&[&ends[..], &[("kind", kind), ("direction", direction)]].concat())?;
        }
    }
    agent.await_event(&[("kind", "closed"), ("protocol", "TCP")])?;
    agent.await_event(&[("kind", "ended_late"), ("protocol", "TCP")])?;
    let audited = windrose_tests::policy::network_in_audit(
        "shop/isolate",
        "podSelector: {}, policyTypes: [Ingress, Egress]",
    );
    agent.apply(&audited)?;
    pair.web.tcp(pair.cart.v4(OTHER)).passes()?;
    agent.await_event(&[("kind", "audited"), ("direction", "egress")])?;
    agent.await_event(&[("kind", "audited"), ("direction", "ingress")])?;
    Ok(())
}

fn refusals_are_counted_by_workload_and_reason() -> Result<()> {
    const REFUSED: &str = "windrose_connections_refused_total";
    let pair = Pair::new()?;
    let policy =
        network("shop/web", "podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress]");
    let agent = Agent::start(&pair.world, &policy)?;
    for _ in 0..5 {
        pair.web.tcp(pair.cart.v4(PORT)).is_refused()?;
    }
    let metrics = agent.metrics()?;
    let count = metrics.sum(REFUSED, &[("reason", "isolated")]);
    ensure!((count - 5.0).abs() < 0.5, "{count} refusals counted:\n{}", metrics.lines(REFUSED));
    // Retries of one attempt are one refusal; what is dropped counts packets elsewhere.
    pair.web.serve(PORT)?;
    pair.cart.tcp(pair.web.v4(PORT)).outcome(std::time::Duration::from_millis(2500))?;
    let metrics = agent.metrics()?;
    let count = metrics.sum(REFUSED, &[("reason", "isolated")]);
    ensure!((count - 6.0).abs() < 0.5, "{count} refusals counted:\n{}", metrics.lines(REFUSED));
    for address in [pair.web.v4(0).ip().to_string(), pair.cart.v6(0).ip().to_string()] {
        ensure!(!metrics.text().contains(&address), "an address in a label:\n{}", metrics.text());
    }
    Ok(())
}

fn events_can_be_followed() -> Result<()> {
    let pair = Pair::new()?;
    let agent = Agent::start(&pair.world, &policy())?;
    let stream = agent.open("/flows?follow")?;
    pair.web.tcp(pair.cart.v4(OTHER)).is_refused()?;
    for line in BufReader::new(stream).lines() {
        let line = line.context("the stream gave no refusal")?;
        let Ok(event) = serde_json::from_str::<Value>(line.trim().trim_start_matches("data:")) else {
            continue;
        };
        if has(&event, &[("kind", "refused"), ("source.workload", "shop/web")]) {
            return Ok(());
        }
    }
    anyhow::bail!("the stream ended")
}

fn metrics_pass_the_linter() -> Result<()> {
    if !trial::is_installed("promtool") {
        eprintln!("ignored, needs promtool (package prometheus)");
        ensure!(std::env::var_os("WINDROSE_REQUIRE").is_none(), "promtool is required here");
        return Ok(());
    }
    let pair = Pair::new()?;
    let agent = Agent::start(&pair.world, &policy())?;
    pair.web.tcp(pair.cart.v4(PORT)).passes()?;
    pair.web.udp(pair.cart.v6(PORT)).passes()?;
    pair.web.tcp(pair.cart.v4(OTHER)).is_refused()?;
    let metrics = agent.metrics()?;
    let mut linter = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    linter.stdin.take().context("promtool has no input")?.write_all(metrics.text().as_bytes())?;
    let output = linter.wait_with_output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success() && said.trim().is_empty(), "{said}\n{}", metrics.text());
    Ok(())
}
