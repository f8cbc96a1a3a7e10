//! Address blocks: cidr and except, of both families, as written on the wire.

use anyhow::{Context as _, Result};
use windrose_tests::agent::Agent;
use windrose_tests::policy::network;
use windrose_tests::tests;

use crate::pair::{PORT, Pair};

tests![
    an_exception_narrows_its_own_rule_only,
    a_block_of_one_family_says_nothing_of_the_other,
    a_block_matches_workloads_addresses_too,
];

const EGRESS: &str = "podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]";

fn an_exception_narrows_its_own_rule_only() -> Result<()> {
    let pair = Pair::new()?;
    let outside = pair.world.outsider("outside").start()?;
    outside.serve(PORT)?;
    let (cart, other) = (pair.cart.v4(0).ip(), outside.v4(0).ip());
    let all_but_cart = format!("{{to: [{{ipBlock: {{cidr: 10.77.0.0/16, except: [{cart}/32]}}}}]}}");
    let all_but_other = format!("{{to: [{{ipBlock: {{cidr: 10.77.0.0/16, except: [{other}/32]}}}}]}}");
    let mut agent =
        Agent::start(&pair.world, &network("shop/web", &format!("{EGRESS}, egress: [{all_but_cart}]")))?;
    for (to, reply) in
        [(pair.cart.v4(PORT), false), (pair.cart.mapped(PORT), false), (outside.v4(PORT), true)]
    {
        for probe in [pair.web.tcp(to), pair.web.udp(to)] {
            let outcome = if reply { probe.passes() } else { probe.is_refused() };
            outcome.context("all but cart")?;
        }
    }
    agent.apply(&network("shop/web", &format!("{EGRESS}, egress: [{all_but_cart}, {all_but_other}]")))?;
    pair.web.tcp(pair.cart.v4(PORT)).passes()?;
    pair.web.tcp(pair.cart.mapped(PORT)).passes()?;
    pair.web.udp(outside.v4(PORT)).passes()
}

fn a_block_of_one_family_says_nothing_of_the_other() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(
        &pair.world,
        &network("shop/web", &format!("{EGRESS}, egress: [{{to: [{{ipBlock: {{cidr: 0.0.0.0/0}}}}]}}]")),
    )?;
    pair.web.tcp(pair.cart.v4(PORT)).passes()?;
    pair.web.tcp(pair.cart.mapped(PORT)).passes()?;
    pair.web.tcp(pair.cart.v6(PORT)).is_refused()?;
    agent.apply(&network(
        "shop/web",
        &format!("{EGRESS}, egress: [{{to: [{{ipBlock: {{cidr: \"::/0\", except: [\"fd99::/16\"]}}}}]}}]"),
    ))?;
    pair.web.tcp(pair.cart.v4(PORT)).is_refused()?;
    pair.web.tcp(pair.cart.mapped(PORT)).is_refused()?;
    pair.web.tcp(pair.cart.v6(PORT)).passes()?;
    pair.web.udp(pair.cart.v6(PORT)).passes()
}

fn a_block_matches_workloads_addresses_too() -> Result<()> {
    let pair = Pair::new()?;
    let web = pair.web.v6(0).ip();
    let policy = network(
        "shop/cart",
        &format!(
            "podSelector: {{matchLabels: {{app: cart}}}}, ingress: [{{from: [{{ipBlock: {{cidr: {web}/128}}}}]}}]"
        ),
    );
    let _agent = Agent::start(&pair.world, &policy)?;
    pair.web.tcp(pair.cart.v6(PORT)).passes()?;
    pair.web.udp(pair.cart.v6(PORT)).passes()?;
    pair.web.tcp(pair.cart.v4(PORT)).is_dropped()
}
