//! `ClusterNetworkPolicy`: tiers, priorities, actions.

use anyhow::{Context as _, Result};
use windrose_tests::agent::Agent;
use windrose_tests::policy::{cluster, isolate, network};
use windrose_tests::probe::Probe;
use windrose_tests::tests;

use crate::pair::{OTHER, PORT, Pair};

tests![
    tiers_are_asked_in_their_order,
    priorities_and_places_order_the_rules_of_a_tier,
    a_rule_means_its_protocols_and_networks,
    an_accept_covers_replies_and_says_nothing_of_the_other_end,
    a_peer_of_an_unknown_form_denies,
];

const SHOP: &str = "subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: shop}}}";
const CART: &str = "subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: cart}}}}";
const WEB: &str = "subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}}";

/// Ingress rules that do this with traffic of every workload.
fn ingress(action: &str) -> String {
    format!("ingress: [{{name: r, action: {action}, from: [{{namespaces: {{}}}}]}}]")
}

fn expect(probe: &Probe<'_>, passes: bool) -> Result<()> {
    if passes { probe.passes() } else { probe.is_dropped() }
}

fn tiers_are_asked_in_their_order() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, "")?;
    let allow = network("shop/cart", "podSelector: {matchLabels: {app: cart}}, ingress: [{}]");
    let refuse = network("shop/cart", "podSelector: {matchLabels: {app: cart}}, policyTypes: [Ingress]");
    let admin = |action| cluster("admin", "Admin", 10, &format!("{CART}, {}", ingress(action)));
    let baseline = |action| cluster("baseline", "Baseline", 10, &format!("{CART}, {}", ingress(action)));
    let cases: &[(&str, &[&str], bool)] = &[
        ("admin denies", &[&admin("Deny"), &allow], false),
        ("admin accepts", &[&admin("Accept"), &refuse, &baseline("Deny")], true),
        ("admin passes, and the policy refuses", &[&admin("Pass"), &refuse, &baseline("Accept")], false),
        ("admin passes, and the policy allows", &[&admin("Pass"), &allow, &baseline("Deny")], true),
        ("no policy selects, and the baseline denies", &[&baseline("Deny")], false),
        ("admin passes, and the baseline denies", &[&admin("Pass"), &baseline("Deny")], false),
        ("the policy is final before the baseline", &[&allow, &baseline("Deny")], true),
        ("the policy's refusal is final too", &[&refuse, &baseline("Accept")], false),
        ("the baseline passes", &[&baseline("Pass")], true),
    ];
    for (name, policies, passes) in cases {
        agent.apply(&policies.concat())?;
        for to in pair.cart.both(PORT) {
            expect(&pair.web.tcp(to), *passes).context(*name)?;
            expect(&pair.web.udp(to), *passes).context(*name)?;
        }
    }
    Ok(())
}

fn priorities_and_places_order_the_rules_of_a_tier() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, "")?;
    let admin =
        |name, priority, action| cluster(name, "Admin", priority, &format!("{CART}, {}", ingress(action)));
    let in_a_list = |first: &str, second: &str| {
        let rules = format!(
            "{CART}, ingress: [{{name: a, action: {first}, from: [{{namespaces: {{}}}}]}}, \
             {{name: b, action: {second}, from: [{{namespaces: {{}}}}]}}]"
        );
        cluster("one", "Admin", 5, &rules)
    };
    for (name, policy, passes) in [
        ("lower first", admin("z", 0, "Accept") + &admin("a", 1, "Deny"), true),
        ("lower first, whatever its place", admin("a", 1000, "Accept") + &admin("z", 999, "Deny"), false),
        ("equal ones by name", admin("b", 7, "Deny") + &admin("a", 7, "Accept"), true),
        ("rules in list order", in_a_list("Deny", "Accept"), false),
        ("rules in list order, again", in_a_list("Accept", "Deny"), true),
        ("a pass skips the tier", admin("a", 1, "Pass") + &admin("b", 2, "Deny"), true),
    ] {
        agent.apply(&policy)?;
        expect(&pair.web.tcp(pair.cart.v4(PORT)), passes).context(name)?;
    }
    Ok(())
}

fn a_rule_means_its_protocols_and_networks() -> Result<()> {
    let pair = Pair::new()?;
    let deny = |peers: &str, protocols: &str| {
        let rule = format!("{WEB}, egress: [{{action: Deny, to: [{peers}], protocols: [{protocols}]}}]");
        cluster("deny", "Admin", 1, &rule)
    };
    let cart = pair.cart.v4(0).ip();
    let everybody = "{namespaces: {}}";
    let mut agent = Agent::start(&pair.world, &deny(everybody, "{tcp: {destinationPort: {number: 8080}}}"))?;
    pair.web.tcp(pair.cart.v6(PORT)).is_refused()?;
    pair.web.tcp(pair.cart.v6(OTHER)).passes()?;
    pair.web.udp(pair.cart.v6(PORT)).passes()?;
    agent.apply(&deny(everybody, "{udp: {destinationPort: {range: {start: 9000, end: 9090}}}}"))?;
    pair.web.udp(pair.cart.v4(OTHER)).is_refused()?;
    pair.web.udp(pair.cart.v4(PORT)).passes()?;
    agent.apply(&deny(everybody, "{destinationNamedPort: http}"))?;
    pair.web.tcp(pair.cart.v4(PORT)).is_refused()?;
    pair.web.udp(pair.cart.v4(PORT)).passes()?;
    agent.apply(&deny(&format!("{{networks: [{cart}/32]}}"), "{tcp: {destinationPort: {number: 8080}}}"))?;
    pair.web.tcp(pair.cart.v4(PORT)).is_refused()?;
    pair.web.tcp(pair.cart.mapped(PORT)).is_refused()?;
    pair.web.tcp(pair.cart.v6(PORT)).passes()
}

fn an_accept_covers_replies_and_says_nothing_of_the_other_end() -> Result<()> {
    let pair = Pair::new()?;
    pair.web.serve(PORT)?;
    let accept_out = cluster(
        "out",
        "Admin",
        1,
        &format!("{WEB}, egress: [{{action: Accept, to: [{{namespaces: {{}}}}]}}]"),
    );
    let accept_in = cluster("in", "Admin", 2, &format!("{CART}, {}", ingress("Accept")));
    let mut agent = Agent::start(&pair.world, &(accept_out.clone() + &isolate("shop")))?;
    // cart's own isolation still refuses it.
    pair.web.tcp(pair.cart.v4(PORT)).is_dropped()?;
    agent.apply(&(accept_out + &accept_in + &isolate("shop")))?;
    pair.web.tcp(pair.cart.v4(PORT)).passes()?;
    pair.web.udp(pair.cart.v6(PORT)).passes()?;
    // Replies pass; a connection the other way is no reply.
    pair.cart.tcp(pair.web.v4(PORT)).is_refused()
}

fn a_peer_of_an_unknown_form_denies() -> Result<()> {
    let pair = Pair::new()?;
    let rule = |action: &str| {
        let rules =
            format!("{SHOP}, egress: [{{action: {action}, to: [{{domainNames: [\"example.com\"]}}]}}]");
        cluster("names", "Admin", 1, &rules)
    };
    let mut agent = Agent::start(&pair.world, &rule("Deny"))?;
    pair.web.tcp(pair.cart.v4(PORT)).is_refused()?;
    agent.apply(&rule("Pass"))?;
    pair.web.udp(pair.cart.v6(PORT)).is_refused()?;
    // In an Accept it matches nothing: the policy below decides.
    agent.apply(&(rule("Accept") + &isolate("shop")))?;
    pair.web.tcp(pair.cart.v4(PORT)).is_refused()?;
    agent.apply(&rule("Accept"))?;
    pair.web.tcp(pair.cart.v4(PORT)).passes()
}
