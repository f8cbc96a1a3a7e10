//! Refused ingress that is answered: resets and ICMP errors instead of silence.

use std::net::{SocketAddr, SocketAddrV6};
use std::time::Duration;

use anyhow::{Result, ensure};
use windrose_tests::actor::{Actor, PATIENCE};
use windrose_tests::agent::Agent;
use windrose_tests::policy::{isolate, network};
use windrose_tests::probe::SILENCE;
use windrose_tests::script::{Act, Outcome, Protocol};
use windrose_tests::tests;
use windrose_tests::wait;
use windrose_tests::wire::{self, V4};
use windrose_tests::world::World;

use crate::pair::{PORT, Pair};

tests![
    a_refused_connection_is_reset_at_once,
    a_refused_connection_is_told_that_it_is_prohibited,
    a_refused_datagram_is_answered,
    a_closed_port_answers_like_a_refused_one,
    each_attempt_from_one_port_is_answered,
    a_lost_answer_is_given_again_and_counted_as_one_attempt,
    workloads_in_the_hosts_network_are_answered,
    a_link_local_client_is_answered,
    a_broadcast_is_not_answered,
    what_has_no_ports_stays_unanswered,
    a_copy_for_a_raw_socket_takes_no_answer_away,
    audit_answers_nothing,
    without_an_option_or_an_agent_nothing_is_answered,
];

const SENT: &str = "windrose_deny_answers_total";
const SUPPRESSED: &str = "windrose_deny_answers_suppressed_total";
const REFUSED: &str = "windrose_connections_refused_total";

/// A port at which nobody listens.
const CLOSED: u16 = 1;

/// Cart lets nothing in.
fn no_ingress() -> String {
    network("shop/cart", "podSelector: {matchLabels: {app: cart}}, policyTypes: [Ingress]")
}

fn start(world: &World, manner: &str) -> Result<Agent> {
    Agent::start_with(world, &no_ingress(), &["--refused-ingress", manner])
}

/// What "administratively prohibited" is to a client of Linux: EHOSTUNREACH by ICMP
/// (`icmp_err_convert`), EACCES over IPv6 (`tab_unreach`).
fn prohibited(to: SocketAddr) -> Outcome {
    match to {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_none() => Outcome::NotPermitted,
        _ => Outcome::Unreachable,
    }
}

fn a_refused_connection_is_reset_at_once() -> Result<()> {
    let pair = Pair::new()?;
    let agent = start(&pair.world, "reset")?;
    for to in pair.every_way(PORT) {
        for _ in 0..2 {
            pair.web.tcp(to).is_answered(&Outcome::NobodyListens)?;
        }
        // The first SYN is: it is repeated after a second at the earliest.
        wait::until_true("an answer to a first SYN", PATIENCE, || {
            Ok(pair.web.tcp(to).outcome(Duration::from_millis(900))? == Outcome::NobodyListens)
        })?;
    }
    ensure!(pair.cart.received(Protocol::Tcp, PORT)? == 0, "something got through");
    let metrics = agent.metrics()?;
    ensure!(metrics.sum(SENT, &[("kind", "reset")]) > 5.5, "{}", metrics.lines(SENT));
    ensure!(metrics.sum(REFUSED, &[("reason", "isolated")]) > 5.5, "{}", metrics.lines(REFUSED));
    ensure!(metrics.sum("windrose_dropped_packets_total", &[]) > 5.5);
    Ok(())
}

fn a_refused_connection_is_told_that_it_is_prohibited() -> Result<()> {
    let pair = Pair::new()?;
    let agent = start(&pair.world, "unreachable")?;
    for to in pair.every_way(PORT) {
        for _ in 0..2 {
            pair.web.tcp(to).is_answered(&prohibited(to))?;
        }
    }
    let metrics = agent.metrics()?;
    ensure!(metrics.sum(SENT, &[("kind", "unreachable")]) > 5.5, "{}", metrics.lines(SENT));
    ensure!(metrics.sum(SENT, &[("kind", "reset")]) < 0.5, "{}", metrics.lines(SENT));
    Ok(())
}

fn a_refused_datagram_is_answered() -> Result<()> {
    for manner in ["reset", "unreachable"] {
        let pair = Pair::new()?;
        let _agent = start(&pair.world, manner)?;
        for to in pair.every_way(PORT) {
            let expected = if manner == "reset" { Outcome::NobodyListens } else { prohibited(to) };
            for bytes in [1, 32, 4096] {
                pair.web.udp(to).connected().bytes(bytes).is_answered(&expected)?;
            }
            // Nobody tells an unconnected socket.
            pair.web.udp(to).is_dropped()?;
        }
    }
    Ok(())
}

fn a_closed_port_answers_like_a_refused_one() -> Result<()> {
    let pair = Pair::new()?;
    let agent = start(&pair.world, "reset")?;
    for to in pair.every_way(CLOSED) {
        pair.web.tcp(to).is_answered(&Outcome::NobodyListens)?;
        pair.web.udp(to).connected().is_answered(&Outcome::NobodyListens)?;
    }
    drop(agent);
    let _agent = start(&pair.world, "unreachable")?;
    for to in pair.every_way(CLOSED) {
        pair.web.udp(to).connected().is_answered(&prohibited(to))?;
        // The kernel's own reset leaves over IPv6, past every hook of cgroups.
        if prohibited(to) == Outcome::Unreachable {
            pair.web.tcp(to).is_answered(&prohibited(to))?;
        }
    }
    Ok(())
}

fn each_attempt_from_one_port_is_answered() -> Result<()> {
    let pair = Pair::new()?;
    let agent = start(&pair.world, "reset")?;
    for to in pair.every_way(PORT) {
        for _ in 0..3 {
            pair.web.tcp(to).from_port(40_001).is_answered(&Outcome::NobodyListens)?;
        }
    }
    let refused = agent.metrics()?.sum(REFUSED, &[("protocol", "TCP")]);
    ensure!((8.5..9.5).contains(&refused), "{refused} attempts counted of 9");
    Ok(())
}

fn a_lost_answer_is_given_again_and_counted_as_one_attempt() -> Result<()> {
    let pair = Pair::new()?;
    let agent = start(&pair.world, "reset")?;
    let (web4, web6) = (pair.web.v4(0).ip(), pair.web.v6(0).ip());
    for (to, way) in [(pair.cart.v4(PORT), format!("{web4}/32")), (pair.cart.v6(PORT), format!("{web6}/128"))]
    {
        let before = agent.metrics()?.sum(REFUSED, &[]);
        let failed = agent.metrics()?.sum(SUPPRESSED, &[("reason", "failed")]);
        pair.cart.namespace().ip(&format!("route add blackhole {way}\n"))?;
        let attempt = pair.web.begin(Act::Probe {
            protocol: Protocol::Tcp,
            to,
            from_port: 0,
            bytes: 1,
            is_connected: false,
            patience_ms: 20_000,
        })?;
        wait::until_true("the first answer is lost", PATIENCE, || {
            Ok(agent.metrics()?.sum(SUPPRESSED, &[("reason", "failed")]) > failed)
        })?;
        pair.cart.namespace().ip(&format!("route del blackhole {way}\n"))?;
        let outcome = attempt.wait()?.outcome;
        ensure!(outcome == Outcome::NobodyListens, "{outcome:?} to {to}");
        let attempts = agent.metrics()?.sum(REFUSED, &[]) - before;
        ensure!((0.5..1.5).contains(&attempts), "{attempts} attempts counted to {to}");
    }
    let unanswered = agent.events()?.into_iter().filter(|event| event["kind"] == "unanswered").count();
    ensure!(unanswered == 0, "the log of flows shows what is no event of a connection");
    Ok(())
}

fn workloads_in_the_hosts_network_are_answered() -> Result<()> {
    let world = World::new()?;
    let rogue = world.guest("shop/rogue").label("app", "rogue").start()?;
    let cart = world.guest("shop/cart").label("app", "cart").start()?;
    cart.serve(PORT)?;
    let (v4, v6) = world.host();
    let ways = ["127.0.0.1:8080".parse()?, "[::1]:8080".parse()?, (v4, PORT).into(), (v6, PORT).into()];
    for manner in ["reset", "unreachable"] {
        let _agent = start(&world, manner)?;
        for to in ways {
            let expected = if manner == "reset" { Outcome::NobodyListens } else { prohibited(to) };
            rogue.tcp(to).is_answered(&expected)?;
            rogue.udp(to).connected().is_answered(&expected)?;
        }
    }
    Ok(())
}

/// The link-local address of an actor's interface, once it may be used.
fn link_local(actor: &Actor) -> Result<SocketAddrV6> {
    wait::until("a link-local address", PATIENCE, || {
        // address, index, prefix length, scope, flags, name (net/ipv6/addrconf.c, `if6_seq_show`)
        let table =
            actor.namespace().within(|| Ok(std::fs::read_to_string("/proc/thread-self/net/if_inet6")?))?;
        let found = table.lines().find_map(|line| {
            const TENTATIVE: u32 = 0x40;
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            let &[address, index, _, "20", flags, "eth0"] = fields.as_slice() else { return None };
            let is_usable = u32::from_str_radix(flags, 16).ok()? & TENTATIVE == 0;
            let address = u128::from_str_radix(address, 16).ok()?.into();
            let index = u32::from_str_radix(index, 16).ok()?;
            is_usable.then(|| SocketAddrV6::new(address, PORT, 0, index))
        });
        Ok(found)
    })
}

fn a_link_local_client_is_answered() -> Result<()> {
    let pair = Pair::new()?;
    let (here, there) = (link_local(&pair.web)?, link_local(&pair.cart)?);
    let to = SocketAddrV6::new(*there.ip(), PORT, 0, here.scope_id()).into();
    pair.web.tcp(to).passes()?;
    let _agent = start(&pair.world, "reset")?;
    pair.web.tcp(to).is_answered(&Outcome::NobodyListens)?;
    pair.web.udp(to).connected().is_answered(&Outcome::NobodyListens)
}

fn a_broadcast_is_not_answered() -> Result<()> {
    let pair = Pair::new()?;
    let outside = pair.world.outsider("outside").start()?;
    let agent = start(&pair.world, "reset")?;
    let from = outside.v4(4000);
    let (SocketAddr::V4(source), SocketAddr::V4(cart)) = (from, pair.cart.v4(PORT)) else { return Ok(()) };
    let mut expected = 0.0;
    for (to, is_answered) in [
        ("10.77.255.255".parse()?, false),
        ("255.255.255.255".parse()?, false),
        ("224.0.0.1".parse()?, false),
        (*cart.ip(), true),
    ] {
        let to = (to, PORT).into();
        let SocketAddr::V4(destination) = to else { continue };
        let packet = wire::v4(*source.ip(), *destination.ip(), V4::default(), &wire::udp(from, to, b"hello"));
        outside.must(Act::SendPacket { to, packet })?;
        let address = destination.ip().to_string();
        agent.await_event(&[("kind", "refused"), ("destination.address", &address)])?;
        expected += if is_answered { 1.0 } else { 0.0 };
    }
    wait::until_true("the last one is answered", PATIENCE, || {
        Ok(agent.metrics()?.sum(SENT, &[]) >= expected)
    })?;
    let metrics = agent.metrics()?;
    ensure!(metrics.sum(SENT, &[]) <= expected, "{}", metrics.lines(SENT));
    ensure!(metrics.sum(SUPPRESSED, &[]) < 0.5, "not even tried: {}", metrics.lines(SUPPRESSED));
    Ok(())
}

fn what_has_no_ports_stays_unanswered() -> Result<()> {
    let pair = Pair::new()?;
    for is_v6 in [false, true] {
        pair.cart.must(Act::ListenRaw { protocol: 253, is_v6 })?;
        // Gets a copy of every segment, and must not have them answered.
        pair.cart.must(Act::ListenRaw { protocol: 6, is_v6 })?;
    }
    let web = "podSelector: {matchLabels: {app: cart}}, ingress: [{ports: [{port: 8080}]}]";
    let agent = Agent::start_with(&pair.world, &network("shop/cart", web), &["--refused-ingress", "reset"])?;
    for to in pair.cart.both(0) {
        let outcome = pair.web.ping(to, SILENCE)?;
        ensure!(outcome == Outcome::Silence, "{outcome:?} of a ping to {to}");
        pair.web.must(Act::SendRaw { protocol: 253, to, bytes: 64 })?;
    }
    for to in pair.every_way(PORT) {
        pair.web.tcp(to).passes()?;
    }
    // What cart opens itself comes back to ports that policy does not let in.
    pair.web.serve(PORT)?;
    for to in pair.web.both(PORT) {
        pair.cart.tcp(to).bytes(100_000).passes()?;
    }
    let metrics = agent.metrics()?;
    ensure!(metrics.sum(SENT, &[]) < 0.5, "{}", metrics.lines(SENT));
    Ok(())
}

fn a_copy_for_a_raw_socket_takes_no_answer_away() -> Result<()> {
    let pair = Pair::new()?;
    for (protocol, is_v6) in [(6, false), (6, true), (17, false), (17, true)] {
        pair.cart.must(Act::ListenRaw { protocol, is_v6 })?;
    }
    let _agent = start(&pair.world, "reset")?;
    for to in pair.every_way(PORT) {
        pair.web.tcp(to).is_answered(&Outcome::NobodyListens)?;
        pair.web.udp(to).connected().is_answered(&Outcome::NobodyListens)?;
    }
    Ok(())
}

fn audit_answers_nothing() -> Result<()> {
    let pair = Pair::new()?;
    let agent = Agent::start_with(&pair.world, &isolate("shop"), &["--audit", "--refused-ingress", "reset"])?;
    for to in pair.every_way(PORT) {
        pair.web.tcp(to).passes()?;
        pair.web.udp(to).connected().passes()?;
    }
    agent.await_event(&[("kind", "audited"), ("direction", "ingress"), ("protocol", "UDP")])?;
    let metrics = agent.metrics()?;
    ensure!(metrics.sum(SENT, &[]) + metrics.sum(SUPPRESSED, &[]) < 0.5, "{}", metrics.lines(SENT));
    Ok(())
}

fn without_an_option_or_an_agent_nothing_is_answered() -> Result<()> {
    let pair = Pair::new()?;
    let mut agent = Agent::start(&pair.world, &no_ingress())?;
    for to in pair.every_way(PORT) {
        pair.web.tcp(to).is_dropped()?;
        pair.web.udp(to).connected().is_dropped()?;
    }
    ensure!(agent.metrics()?.sum(SENT, &[]) < 0.5);
    agent.kill()?;
    // Another agent adopts what this one left, and has the option.
    agent.restart_with(&["--refused-ingress", "reset"])?;
    pair.web.tcp(pair.cart.v4(PORT)).is_answered(&Outcome::NobodyListens)?;
    agent.kill()?;
    for to in pair.every_way(PORT) {
        pair.web.tcp(to).is_dropped()?;
    }
    agent.restart()?;
    pair.web.tcp(pair.cart.v6(PORT)).is_answered(&Outcome::NobodyListens)
}
