//! A workload's own host, the workload itself, and workloads that share the host's network.

use anyhow::{Result, ensure};
use windrose_tests::agent::Agent;
use windrose_tests::policy::{isolate, network};
use windrose_tests::script::Protocol;
use windrose_tests::tests;
use windrose_tests::world::World;

use crate::pair::{PORT, Pair};

tests![
    the_hosts_probes_get_in_and_nobody_elses,
    the_host_is_no_way_out,
    a_workload_reaches_itself,
    workloads_in_the_hosts_network_are_told_apart,
];

fn the_hosts_probes_get_in_and_nobody_elses() -> Result<()> {
    let pair = Pair::new()?;
    let host = pair.world.prober().start()?;
    let _agent = Agent::start(&pair.world, &isolate("shop"))?;
    for to in pair.every_way(PORT) {
        host.tcp(to).passes()?;
        host.udp(to).passes()?;
        host.udp(to).connected().passes()?;
        pair.web.tcp(to).is_refused()?;
    }
    let outside = pair.world.outsider("outside").start()?;
    outside.tcp(pair.cart.v4(PORT)).is_dropped()
}

fn the_host_is_no_way_out() -> Result<()> {
    let pair = Pair::new()?;
    let host = pair.world.prober().start()?;
    host.serve(PORT)?;
    let _agent = Agent::start(&pair.world, &isolate("shop"))?;
    let (v4, v6) = pair.world.host();
    for to in [(v4, PORT).into(), (v6, PORT).into()] {
        pair.web.tcp(to).is_refused()?;
        pair.web.udp(to).is_refused()?;
    }
    ensure!(host.received(Protocol::Tcp, PORT)? == 0);
    Ok(())
}

fn a_workload_reaches_itself() -> Result<()> {
    let pair = Pair::new()?;
    let _agent = Agent::start(&pair.world, &isolate("shop"))?;
    let loopback = ["127.0.0.1:8080".parse()?, "[::1]:8080".parse()?, "[::ffff:127.0.0.1]:8080".parse()?];
    for to in pair.every_way(PORT).into_iter().chain(loopback) {
        pair.cart.tcp(to).passes()?;
        pair.cart.udp(to).passes()?;
        pair.cart.udp(to).connected().passes()?;
    }
    Ok(())
}

fn workloads_in_the_hosts_network_are_told_apart() -> Result<()> {
    let world = World::new()?;
    let web = world.guest("shop/web").label("app", "web").start()?;
    let rogue = world.guest("shop/rogue").label("app", "rogue").start()?;
    let cart = world.guest("shop/cart").label("app", "cart").start()?;
    let host = world.prober().start()?;
    cart.serve(PORT)?;
    let policy = network(
        "shop/cart",
        "podSelector: {matchLabels: {app: cart}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]",
    );
    let _agent = Agent::start(&world, &policy)?;
    let loopback = ["127.0.0.1:8080".parse()?, "[::1]:8080".parse()?];
    let (v4, v6) = world.host();
    for to in loopback.into_iter().chain([(v4, PORT).into(), (v6, PORT).into()]) {
        web.tcp(to).passes()?;
        web.udp(to).passes()?;
        rogue.tcp(to).is_dropped()?;
        rogue.udp(to).is_dropped()?;
        host.tcp(to).passes()?;
        host.udp(to).passes()?;
    }
    Ok(())
}
