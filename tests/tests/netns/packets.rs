//! Packets that no socket would send: IP options, extension headers, fragments made by hand.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use windrose_tests::actor::{Actor, PATIENCE};
use windrose_tests::agent::Agent;
use windrose_tests::policy::network;
use windrose_tests::script::{Act, Outcome, Protocol};
use windrose_tests::tests;
use windrose_tests::wait;
use windrose_tests::wire::{self, V4};

use crate::pair::{OTHER, PORT, Pair};

tests![
    options_and_extension_headers_hide_no_port,
    fragments_follow_the_verdict_of_their_first,
    a_packet_with_too_many_headers_is_dropped,
    nobody_sends_with_another_workloads_address,
    a_flow_without_room_is_refused_and_counted,
];

const REFUSED: &str = "windrose_connections_refused_total";

const POLICY: &str =
    "podSelector: {matchLabels: {app: cart}}, ingress: [{ports: [{port: 8080, protocol: UDP}]}]";

/// Sends packets and says whether a datagram reached cart's server at a port.
fn arrives(sender: &Actor, pair: &Pair, to: SocketAddr, packets: &[Vec<u8>]) -> Result<bool> {
    let before = pair.cart.received(Protocol::Udp, to.port())?;
    for packet in packets {
        sender.must(Act::SendPacket { to, packet: packet.clone() })?;
    }
    let arrived = || Ok(pair.cart.received(Protocol::Udp, to.port())? > before);
    Ok(wait::until_true("it arrives", Duration::from_millis(300), arrived).is_ok())
}

fn v4s(from: SocketAddr, to: SocketAddr) -> Result<(Ipv4Addr, Ipv4Addr)> {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else { bail!("not v4") };
    Ok((*from.ip(), *to.ip()))
}

fn v6s(from: SocketAddr, to: SocketAddr) -> Result<(Ipv6Addr, Ipv6Addr)> {
    let (SocketAddr::V6(from), SocketAddr::V6(to)) = (from, to) else { bail!("not v6") };
    Ok((*from.ip(), *to.ip()))
}

fn options_and_extension_headers_hide_no_port() -> Result<()> {
    let pair = Pair::new()?;
    let outside = pair.world.outsider("outside").start()?;
    let _agent = Agent::start(&pair.world, &network("shop/cart", POLICY))?;
    // No-operations, and a record of one route (RFC 791, section 3.1).
    let options: [&[u8]; 3] = [&[], &[1, 1, 1, 1], &[7, 7, 4, 0, 0, 0, 0, 0]];
    for (port, is_open) in [(PORT, true), (OTHER, false)] {
        let (from, to) = (outside.v4(4000), pair.cart.v4(port));
        for options in options {
            let (source, destination) = v4s(from, to)?;
            let header = V4 { options, ..V4::default() };
            let packet = wire::v4(source, destination, header, &wire::udp(from, to, b"hello"));
            ensure!(arrives(&outside, &pair, to, &[packet])? == is_open, "port {port}, options {options:?}");
        }
        let (from, to) = (outside.v6(4000), pair.cart.v6(port));
        for headers in 0..=3 {
            let (source, destination) = v6s(from, to)?;
            let datagram = wire::udp(from, to, b"hello");
            let packet = wire::v6_behind_options(source, destination, headers, &datagram);
            ensure!(arrives(&outside, &pair, to, &[packet])? == is_open, "port {port}, {headers} headers");
        }
    }
    Ok(())
}

fn fragments_follow_the_verdict_of_their_first() -> Result<()> {
    let pair = Pair::new()?;
    let outside = pair.world.outsider("outside").start()?;
    let _agent = Agent::start(&pair.world, &network("shop/cart", POLICY))?;
    for (port, is_open) in [(PORT, true), (OTHER, false)] {
        let (from, to) = (outside.v4(4000), pair.cart.v4(port));
        let (source, destination) = v4s(from, to)?;
        let datagram = wire::udp(from, to, &[0x5a; 1000]);
        let piece = |offset: u16, end: usize| {
            let has_more = end < datagram.len();
            let header = V4 { has_more, offset, identification: port, ..V4::default() };
            wire::v4(source, destination, header, &datagram[usize::from(offset)..end])
        };
        let pieces = [piece(0, 8), piece(8, 504), piece(504, datagram.len())];
        ensure!(arrives(&outside, &pair, to, &pieces)? == is_open, "port {port}, v4 fragments");
        ensure!(!arrives(&outside, &pair, to, &pieces[1..])?, "later fragments arrived alone");

        let (from, to) = (outside.v6(4000), pair.cart.v6(port));
        let (source, destination) = v6s(from, to)?;
        let datagram = wire::udp(from, to, &[0x5a; 1000]);
        let piece = |offset: u16, end: usize| {
            let has_more = end < datagram.len();
            wire::v6_fragment(source, destination, offset, has_more, &datagram[usize::from(offset)..end])
        };
        let pieces = [piece(0, 504), piece(504, datagram.len())];
        ensure!(arrives(&outside, &pair, to, &pieces)? == is_open, "port {port}, v6 fragments");
    }
    Ok(())
}

fn a_packet_with_too_many_headers_is_dropped() -> Result<()> {
    let pair = Pair::new()?;
    let outside = pair.world.outsider("outside").start()?;
    let mut agent = Agent::start(&pair.world, "")?;
    let (from, to) = (outside.v6(4000), pair.cart.v6(PORT));
    let (source, destination) = v6s(from, to)?;
    let packet = wire::v6_behind_options(source, destination, 12, &wire::udp(from, to, b"hello"));
    agent.apply(&network("shop/cart", POLICY))?;
    ensure!(!arrives(&outside, &pair, to, std::slice::from_ref(&packet))?, "it arrived");
    wait::until_true("it is counted with its reason", PATIENCE, || {
        let metrics = agent.metrics()?;
        Ok(metrics.sum(REFUSED, &[("reason", "unparsable")]) > 0.0)
    })
    .with_context(|| agent.metrics().map(|metrics| metrics.lines(REFUSED)).unwrap_or_default())?;
    // The kernel alone would have delivered it.
    agent.kill()?;
    agent.detach()?;
    ensure!(arrives(&outside, &pair, to, &[packet])?, "it does not arrive without policy either");
    Ok(())
}

fn nobody_sends_with_another_workloads_address() -> Result<()> {
    let pair = Pair::new()?;
    let rogue = pair.world.workload("shop/rogue").start()?;
    let policy = network(
        "shop/cart",
        "podSelector: {matchLabels: {app: cart}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]",
    );
    let agent = Agent::start(&pair.world, &policy)?;
    let to = pair.cart.v4(PORT);
    for (from, sender, passes) in [(pair.web.v4(4000), &rogue, false), (pair.web.v4(4000), &pair.web, true)] {
        let (source, destination) = v4s(from, to)?;
        let packet = wire::v4(source, destination, V4::default(), &wire::udp(from, to, b"hello"));
        let outcome = sender.perform(Act::SendPacket { to, packet })?.outcome;
        let expected = if passes { Outcome::Passed } else { Outcome::NotPermitted };
        ensure!(outcome == expected, "{} with web's address: {outcome:?}", sender.name());
    }
    let spoofed = agent.metrics()?.sum(REFUSED, &[("reason", "spoofed_source")]);
    ensure!(spoofed > 0.5, "{}", agent.metrics()?.lines(REFUSED));
    Ok(())
}

fn a_flow_without_room_is_refused_and_counted() -> Result<()> {
    let pair = Pair::new()?;
    let file = std::env::temp_dir().join(format!("windrose-test-{}-room.yaml", std::process::id()));
    std::fs::write(&file, "capacities: {flows: 8}\n")?;
    let started = Agent::start_with(&pair.world, "", &["--config", &file.to_string_lossy()]);
    let agent = started.inspect_err(|_| drop(std::fs::remove_file(&file)))?;
    std::fs::remove_file(&file)?;
    // Each is two flows: one of either end.
    let mut outcomes = Vec::new();
    for _ in 0..10 {
        outcomes.push(pair.web.udp(pair.cart.v4(PORT)).outcome(windrose_tests::probe::SILENCE)?);
    }
    ensure!(outcomes.starts_with(&[Outcome::Passed, Outcome::Passed]), "{outcomes:?}");
    ensure!(!outcomes[5..].contains(&Outcome::Passed), "{outcomes:?}");
    let metrics = agent.metrics()?;
    ensure!(metrics.sum(REFUSED, &[("reason", "no_room")]) > 0.5, "{}", metrics.lines(REFUSED));
    // TCP has its room with the socket.
    pair.web.tcp(pair.cart.v4(PORT)).passes()
}
