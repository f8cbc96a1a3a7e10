//! Who is selected: labels of workloads and of namespaces, alone, together and side by side.

use anyhow::{Context as _, Result};
use serde_json::json;
use windrose_tests::actor::Actor;
use windrose_tests::agent::Agent;
use windrose_tests::policy::network;
use windrose_tests::tests;
use windrose_tests::world::World;

tests![peers_are_those_that_the_selectors_select, the_subject_is_what_the_pod_selector_selects];

const PORT: u16 = 8080;

/// Four clients and a server, `shop/cart`.
struct Market {
    world: World,
    cart: Actor,
    clients: Vec<Actor>,
}

impl Market {
    fn new() -> Result<Self> {
        let world = World::new()?;
        world.document(json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ops", "labels": {"team": "ops"}},
        }));
        let cart = world.workload("shop/cart").label("app", "cart").start()?;
        cart.serve(PORT)?;
        let clients = vec![
            world.workload("shop/web").label("app", "web").start()?,
            world.workload("shop/bare").start()?,
            world.workload("ops/web").label("app", "web").start()?,
            world.workload("ops/bare").start()?,
            world.outsider("outside").start()?,
        ];
        Ok(Self { world, cart, clients })
    }

    /// Checks that just these clients reach the server by TCP.
    fn expect(&self, passing: &[&str]) -> Result<()> {
        for client in &self.clients {
            let probe = client.tcp(self.cart.v4(PORT));
            if passing.contains(&client.name()) { probe.passes()? } else { probe.is_dropped()? }
        }
        Ok(())
    }
}

fn peers_are_those_that_the_selectors_select() -> Result<()> {
    let market = Market::new()?;
    let all = ["shop/web", "shop/bare", "ops/web", "ops/bare", "outside"];
    let cases: &[(&str, &[&str])] = &[
        ("ingress: []", &[]),
        ("ingress: [{}]", &all),
        ("ingress: [{from: []}]", &all),
        // Alone: of the policy's own namespace.
        ("ingress: [{from: [{podSelector: {}}]}]", &all[..2]),
        ("ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]", &all[..1]),
        ("ingress: [{from: [{namespaceSelector: {}}]}]", &all[..4]),
        ("ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}}]}]", &all[2..4]),
        (
            "ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}]}]",
            &all[..2],
        ),
        // One peer with both: and. Two peers: or.
        (
            "ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}, podSelector: {matchLabels: {app: web}}}]}]",
            &["ops/web"],
        ),
        (
            "ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}}, {podSelector: {matchLabels: {app: web}}}]}]",
            &["shop/web", "ops/web", "ops/bare"],
        ),
        // Rules add up.
        (
            "ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}, \
             {from: [{namespaceSelector: {matchLabels: {team: ops}}, podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}}]}]",
            &["shop/web", "ops/bare"],
        ),
        (
            "ingress: [{from: [{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: Exists}]}}]}]",
            &["shop/web", "ops/web"],
        ),
        (
            "ingress: [{from: [{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: In, values: [web, x]}]}}]}]",
            &["shop/web", "ops/web"],
        ),
        // NotIn matches an absent label too.
        (
            "ingress: [{from: [{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}}]}]",
            &["shop/bare", "ops/bare"],
        ),
    ];
    let mut agent = Agent::start(&market.world, "")?;
    market.expect(&all)?;
    for (rules, passing) in cases {
        let spec = format!("podSelector: {{matchLabels: {{app: cart}}}}, {rules}");
        agent.apply(&network("shop/cart", &spec))?;
        market.expect(passing).with_context(|| format!("under {rules}"))?;
    }
    Ok(())
}

fn the_subject_is_what_the_pod_selector_selects() -> Result<()> {
    let market = Market::new()?;
    let all = ["shop/web", "shop/bare", "ops/web", "ops/bare", "outside"];
    let mut agent = Agent::start(&market.world, "")?;
    for (name, selector, is_isolated) in [
        ("shop/cart", "podSelector: {}", true),
        ("shop/cart", "podSelector: {matchExpressions: [{key: app, operator: Exists}]}", true),
        ("shop/cart", "podSelector: {matchLabels: {app: web}}", false),
        // A policy selects in its own namespace only.
        ("ops/cart", "podSelector: {}", false),
        // Without policyTypes and without an egress section it says nothing of egress.
        ("ops/web", "podSelector: {}, ingress: []", false),
    ] {
        agent.apply(&network(name, selector))?;
        market.expect(if is_isolated { &[] } else { &all }).with_context(|| format!("{name}: {selector}"))?;
    }
    Ok(())
}
