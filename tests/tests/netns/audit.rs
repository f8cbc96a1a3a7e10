//! Audit: decided, reported with the rule, and passed.

use anyhow::{Result, ensure};
use serde_json::json;
use windrose_tests::agent::Agent;
use windrose_tests::policy::{isolate, line_of, network, network_in_audit};
use windrose_tests::tests;

use crate::pair::{PORT, Pair};

tests![
    a_policy_in_audit_reports_and_lets_pass,
    a_namespace_in_audit_reports_and_lets_pass,
    an_agent_in_audit_reports_and_lets_pass,
    audit_ends_with_its_annotation,
];

/// Everything passes, and the refusals that would be are reported of both ends.
fn expect_audit(pair: &Pair, agent: &Agent, rule_line: Option<usize>) -> Result<()> {
    for to in pair.every_way(PORT) {
        pair.web.tcp(to).passes()?;
        pair.web.udp(to).passes()?;
        pair.web.udp(to).connected().passes()?;
    }
    for (protocol, direction) in
        [("TCP", "egress"), ("UDP", "egress"), ("TCP", "ingress"), ("UDP", "ingress")]
    {
        let event = agent.await_event(&[
            ("kind", "audited"),
            ("verdict", "deny"),
            ("protocol", protocol),
            ("direction", direction),
            ("source.workload", "shop/web"),
            ("destination.workload", "shop/cart"),
        ])?;
        if let Some(line) = rule_line {
            ensure!(event["rule"]["line"] == line, "not line {line}: {event:#}");
        }
    }
    let refused: Vec<_> = agent.events()?.into_iter().filter(|event| event["kind"] == "refused").collect();
    ensure!(refused.is_empty(), "audit refuses: {refused:#?}");
    Ok(())
}

fn a_policy_in_audit_reports_and_lets_pass() -> Result<()> {
    let pair = Pair::new()?;
    let policy = network_in_audit("shop/isolate", "podSelector: {}, policyTypes: [Ingress, Egress]");
    let agent = Agent::start(&pair.world, &policy)?;
    expect_audit(&pair, &agent, None)?;
    // In audit by itself alone: another policy is in force.
    drop(agent);
    let enforced = network("shop/web", "podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]");
    let _agent = Agent::start(&pair.world, &(policy + &enforced))?;
    pair.web.tcp(pair.cart.v4(PORT)).is_refused()
}

fn a_namespace_in_audit_reports_and_lets_pass() -> Result<()> {
    let pair = Pair::new()?;
    pair.world.document(json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "shop", "annotations": {"windrose.dev/audit": "true"}},
    }));
    let policy = isolate("shop");
    let agent = Agent::start(&pair.world, &policy)?;
    expect_audit(&pair, &agent, Some(line_of(&policy, "metadata:")))
}

fn an_agent_in_audit_reports_and_lets_pass() -> Result<()> {
    let pair = Pair::new()?;
    let agent = Agent::start_with(&pair.world, &isolate("shop"), &["--audit"])?;
    expect_audit(&pair, &agent, None)
}

fn audit_ends_with_its_annotation() -> Result<()> {
    let pair = Pair::new()?;
    let spec = "podSelector: {}, policyTypes: [Ingress, Egress]";
    let mut agent = Agent::start(&pair.world, &network_in_audit("shop/isolate", spec))?;
    pair.web.tcp(pair.cart.v4(PORT)).passes()?;
    agent.apply(&network("shop/isolate", spec))?;
    pair.web.tcp(pair.cart.v4(PORT)).is_refused()?;
    agent.apply(&network_in_audit("shop/isolate", spec))?;
    pair.web.tcp(pair.cart.v4(PORT)).passes()
}
