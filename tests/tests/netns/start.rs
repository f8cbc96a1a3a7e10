//! The first moments: of a workload, and of enforcement.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use windrose_tests::actor::PATIENCE;
use windrose_tests::agent::Agent;
use windrose_tests::cgroup;
use windrose_tests::policy::{isolate, network};
use windrose_tests::script::{Act, Outcome, Protocol};
use windrose_tests::tests;
use windrose_tests::world::World;

use crate::pair::{OTHER, PORT, Pair};

tests![
    a_workload_that_starts_later_has_its_policy_from_its_first_packet,
    a_workload_that_comes_back_has_its_policy_again,
    processes_that_run_already_are_enforced,
    connections_older_than_enforcement_are_put_under_policy,
    a_workload_that_is_described_later_is_enforced,
    a_process_that_moves_into_a_workload_is_enforced,
    a_packet_that_finds_an_accepted_socket_undescribed_passes,
];

fn a_workload_that_starts_later_has_its_policy_from_its_first_packet() -> Result<()> {
    let world = World::new()?;
    let cart = world.workload("shop/cart").start()?;
    cart.serve(PORT)?;
    let role = world.workload("shop/web").label("app", "web").describe();
    let policy =
        network("shop/web", "podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress]");
    let _agent = Agent::start(&world, &policy)?;
    let web = role.start_described()?;
    // Its very first act.
    web.tcp(cart.v4(PORT)).is_refused()?;
    web.udp(cart.v6(PORT)).is_refused()?;
    web.serve(PORT)?;
    cart.tcp(web.v4(PORT)).is_dropped()?;
    ensure!(cart.received(Protocol::Tcp, PORT)? == 0 && web.received(Protocol::Tcp, PORT)? == 0);
    Ok(())
}

fn a_workload_that_comes_back_has_its_policy_again() -> Result<()> {
    let world = World::new()?;
    let cart = world.workload("shop/cart").start()?;
    cart.serve(PORT)?;
    let policy = network("shop/web", "podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]");
    let web = world.workload("shop/web").label("app", "web").start()?;
    let _agent = Agent::start(&world, &policy)?;
    web.tcp(cart.v4(PORT)).is_refused()?;
    let folder = cgroup_of(&web)?;
    drop(web);
    cgroup::remove(&folder);
    ensure!(!folder.exists());
    // Another cgroup of that name: another id.
    let web = world.workload("shop/web").start_described()?;
    ensure!(cgroup_of(&web)? == folder);
    web.tcp(cart.v4(PORT)).is_refused()
}

/// The cgroup that the kernel says an actor is in.
fn cgroup_of(actor: &windrose_tests::actor::Actor) -> Result<std::path::PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", actor.process()))?;
    let name = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    Ok(cgroup::root().unwrap_or_else(|| std::path::Path::new("/")).join(name))
}

fn processes_that_run_already_are_enforced() -> Result<()> {
    let pair = Pair::new()?;
    // Sockets that are open before enforcement, on both sides.
    let bound = pair.web.connect(Protocol::Udp, pair.cart.v4(PORT))?;
    bound.exchange(10)?;
    let _agent = Agent::start(&pair.world, &isolate("shop"))?;
    for to in pair.every_way(PORT) {
        pair.web.tcp(to).is_refused()?;
        pair.web.udp(to).is_refused()?;
    }
    let outside = pair.world.outsider("outside").start()?;
    for to in pair.every_way(PORT) {
        outside.tcp(to).is_dropped()?;
        outside.udp(to).is_dropped()?;
    }
    let outcome = bound.try_exchange(10, Duration::from_millis(500))?;
    ensure!(outcome == Outcome::NotPermitted, "a connected UDP socket older than enforcement: {outcome:?}");
    Ok(())
}

fn connections_older_than_enforcement_are_put_under_policy() -> Result<()> {
    let pair = Pair::new()?;
    let outside = pair.world.outsider("outside").start()?;
    let doomed = pair.web.connect(Protocol::Tcp, pair.cart.v4(OTHER))?;
    let doomed_too = outside.connect(Protocol::Tcp, pair.cart.v6(PORT))?;
    let lasting = pair.web.connect(Protocol::Tcp, pair.cart.v6(PORT))?;
    let lasting_too = pair.web.connect(Protocol::Tcp, pair.cart.v4(PORT))?;
    for connection in [&doomed, &doomed_too, &lasting, &lasting_too] {
        connection.exchange(1000)?;
    }
    lasting.load(100)?;
    let policy = isolate("shop")
        + &network(
            "shop/allow",
            "podSelector: {}, policyTypes: [Ingress, Egress], \
             ingress: [{from: [{podSelector: {}}], ports: [{port: 8080}]}], \
             egress: [{to: [{podSelector: {}}], ports: [{port: 8080}]}]",
        );
    let agent = Agent::start(&pair.world, &policy)?;
    let ready = Instant::now();
    for (name, connection) in [("refused egress", &doomed), ("refused ingress", &doomed_too)] {
        let outcome = connection.await_end(PATIENCE)?;
        ensure!(outcome == Outcome::Reset, "{name}: {outcome:?}");
    }
    ensure!(ready.elapsed() < Duration::from_secs(2), "{:?} after it was ready", ready.elapsed());
    lasting.stop_load()?;
    lasting_too.exchange(1000)?;
    let live = agent.connections()?;
    let found = live.iter().filter(|row| row["found"] == true).count();
    ensure!(found >= 2, "{live:#?}");
    Ok(())
}

fn a_workload_that_is_described_later_is_enforced() -> Result<()> {
    let world = World::new()?;
    let cart = world.workload("shop/cart").start()?;
    cart.serve(PORT)?;
    let policy = network("shop/web", "podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]");
    let mut agent = Agent::start(&world, &policy)?;
    // Its cgroup exists before anything names it.
    let unknown = world.outsider("shop/web").label("app", "web").start_described()?;
    unknown.tcp(cart.v4(PORT)).passes()?;
    world.document(serde_json::json!({
        "apiVersion": "windrose.dev/v1alpha1",
        "kind": "Workload",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {
            "cgroup": cgroup_of(&unknown)?.strip_prefix(cgroup::root().unwrap_or_else(|| std::path::Path::new("/")))?,
            "addresses": [unknown.v4(0).ip()],
        },
    }));
    agent.apply(&policy)?;
    unknown.tcp(cart.v4(PORT)).is_refused()
}

fn a_process_that_moves_into_a_workload_is_enforced() -> Result<()> {
    let pair = Pair::new()?;
    let mover = pair.world.outsider("mover").start()?;
    let policy = network("shop/web", "podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]");
    let _agent = Agent::start(&pair.world, &policy)?;
    mover.tcp(pair.cart.v4(PORT)).passes()?;
    let processes = cgroup_of(&pair.web)?.join("cgroup.procs");
    mover.must(Act::Join { processes: processes.to_string_lossy().into_owned() })?;
    mover.tcp(pair.cart.v4(PORT)).is_refused()?;
    mover.udp(pair.cart.v6(PORT)).is_refused()
}

/// Packets are filtered before their socket is locked: one of data can find the accepted socket, on
/// another processor, before the program that describes it. It once decided a connection without a
/// peer, and silenced it. Without that program every accepted socket stays as such a packet finds it.
fn a_packet_that_finds_an_accepted_socket_undescribed_passes() -> Result<()> {
    let pair = Pair::new()?;
    let policy = isolate("shop")
        + &network(
            "shop/allow",
            "podSelector: {}, policyTypes: [Ingress, Egress], \
             ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 8080}]}], \
             egress: [{to: [{podSelector: {matchLabels: {app: cart}}}], ports: [{port: 8080}]}]",
        );
    let mut agent = Agent::start(&pair.world, &policy)?;
    agent.kill()?;
    agent.unpin_link("connection_life")?;
    for to in pair.every_way(PORT) {
        let connection = pair.web.connect(Protocol::Tcp, to)?;
        connection.exchange(64)?;
        connection.exchange(100_000)?;
    }
    pair.web.tcp(pair.cart.v4(OTHER)).is_refused()?;
    Ok(())
}
