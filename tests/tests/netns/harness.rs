//! The worlds themselves, without an agent: what is asserted elsewhere as refused is possible here.

use std::time::Duration;

use anyhow::{Result, ensure};
use windrose_tests::probe::SILENCE;
use windrose_tests::script::{Act, Manner, Outcome, Protocol};
use windrose_tests::tests;
use windrose_tests::world::World;

tests![
    actors_reach_each_other_in_every_way,
    what_nobody_listens_for_is_told_apart,
    a_ping_gets_its_reply_in_both_families,
    a_load_counts_its_exchanges,
    a_half_closed_connection_is_read_to_its_end,
    packets_without_ports_arrive,
    everything_is_gone_with_the_world,
];

fn actors_reach_each_other_in_every_way() -> Result<()> {
    let world = World::new()?;
    let (web, cart) = (world.workload("shop/web").start()?, world.workload("shop/cart").start()?);
    cart.serve(8080)?;
    cart.listen(Protocol::Tcp, "[::]:9090".parse()?, true, Manner::Echo)?;
    for to in cart.both(8080).into_iter().chain([cart.mapped(8080)]) {
        web.tcp(to).passes()?;
        web.udp(to).passes()?;
        web.udp(to).connected().passes()?;
        web.udp(to).bytes(4096).passes()?;
    }
    web.tcp(cart.v4(9090)).passes()?;
    web.tcp(cart.v6(9090)).from_port(1234).passes()?;
    ensure!(cart.received(Protocol::Tcp, 8080)? == 3);
    ensure!(cart.received(Protocol::Udp, 8080)? == 9);
    let host = world.prober().start()?;
    host.tcp(cart.v6(8080)).passes()
}

fn what_nobody_listens_for_is_told_apart() -> Result<()> {
    let world = World::new()?;
    let (web, cart) = (world.workload("shop/web").start()?, world.workload("shop/cart").start()?);
    ensure!(web.tcp(cart.v4(1)).outcome(SILENCE)? == Outcome::NobodyListens);
    ensure!(web.udp(cart.v6(1)).connected().outcome(SILENCE)? == Outcome::NobodyListens);
    ensure!(web.udp("10.77.0.250:1".parse()?).outcome(SILENCE)? == Outcome::Silence);
    Ok(())
}

fn a_ping_gets_its_reply_in_both_families() -> Result<()> {
    let world = World::new()?;
    let (web, cart) = (world.workload("shop/web").start()?, world.workload("shop/cart").start()?);
    for to in cart.both(0) {
        ensure!(web.ping(to, Duration::from_secs(5))? == Outcome::Passed);
    }
    Ok(())
}

fn a_load_counts_its_exchanges() -> Result<()> {
    let world = World::new()?;
    let (web, cart) = (world.workload("shop/web").start()?, world.workload("shop/cart").start()?);
    cart.serve(8080)?;
    let connection = web.connect(Protocol::Tcp, cart.v4(8080))?;
    connection.load(100)?;
    windrose_tests::wait::until_true("100 exchanges", Duration::from_secs(10), || {
        Ok(connection.load_so_far()? >= 100)
    })?;
    ensure!(connection.stop_load()? >= 100);
    connection.exchange(1_000_000)
}

fn a_half_closed_connection_is_read_to_its_end() -> Result<()> {
    let world = World::new()?;
    let (web, cart) = (world.workload("shop/web").start()?, world.workload("shop/cart").start()?);
    cart.listen(Protocol::Tcp, "0.0.0.0:7".parse()?, false, Manner::Sink)?;
    let connection = web.connect(Protocol::Tcp, cart.v4(7))?;
    ensure!(connection.half_close(123_456)? == 6);
    connection.close()
}

fn packets_without_ports_arrive() -> Result<()> {
    let world = World::new()?;
    let (web, cart) = (world.workload("shop/web").start()?, world.workload("shop/cart").start()?);
    for (to, is_v6) in [(cart.v4(0), false), (cart.v6(0), true)] {
        cart.must(Act::ListenRaw { protocol: 253, is_v6 })?;
        web.must(Act::SendRaw { protocol: 253, to, bytes: 100 })?;
    }
    windrose_tests::wait::until_true("both packets", Duration::from_secs(5), || {
        Ok(cart.must(Act::Received { protocol: None, port: 253 })? == 2)
    })
}

fn everything_is_gone_with_the_world() -> Result<()> {
    let world = World::new()?;
    let web = world.workload("shop/web").start()?;
    let process = format!("/proc/{}", web.process());
    let line = std::fs::read_to_string(format!("{process}/cgroup"))?;
    let name = line.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default().to_owned();
    let folder = windrose_tests::cgroup::root().map(|root| root.join(&name)).unwrap_or_default();
    ensure!(name.ends_with("/shop-web") && folder.is_dir(), "in the cgroup {name:?}");
    drop((web, world));
    ensure!(!std::path::Path::new(&process).exists() && !folder.exists());
    Ok(())
}
