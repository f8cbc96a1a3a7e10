//! The stage of these tests: the host routes between a client and servers, each behind a link of its
//! own, and the agent's edge is on all of these links.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use windrose_datapath::{Capacities, Edge, EdgeConfig, Machine, Mode, Pins};
use windrose_tests::actor::{Actor, Connection, PATIENCE};
use windrose_tests::agent::Agent;
use windrose_tests::script::Protocol;
use windrose_tests::world::PREFIX;
use windrose_tests::{offload, wait};

use crate::edge::Files;
use crate::front::{Front, PORT, TARGET};

/// Health checks as fast as they can be.
const BALANCE: &str =
    "  balance: {enabled: true, health_check: {interval: 1s, unhealthy_after: 2, healthy_after: 1}}\n";

/// A router, a client and servers.
pub(super) struct Router {
    pub(super) files: Files,
    pub(super) host: Actor,
    pub(super) front: Front,
    // Taken apart in this order, it is dropped first, as it must be: it detaches.
    pub(super) agent: Agent,
}

impl Router {
    /// The servers are `app: cart`, listen at [`TARGET`], and are the host's neighbours. Frames are
    /// balanced by the driver's hook, which has no packets with half a checksum, as a wire has none.
    pub(super) fn new(name: &str, servers: usize, policy: impl FnOnce(&Front) -> String) -> Result<Self> {
        Self::with("native", name, servers, policy)
    }

    /// Likewise, balanced in the network stack.
    pub(super) fn generic(name: &str, servers: usize, policy: impl FnOnce(&Front) -> String) -> Result<Self> {
        Self::with("generic", name, servers, policy)
    }

    fn with(mode: &str, name: &str, servers: usize, policy: impl FnOnce(&Front) -> String) -> Result<Self> {
        let front = Front::new(servers)?;
        let host = front.world.prober().start()?;
        for parameter in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            host.namespace().set(parameter, "1")?;
        }
        let mut interfaces = Vec::new();
        for actor in front.carts.iter().chain([&front.web]) {
            set_apart(&host, actor)?;
            if mode == "native" {
                become_a_wire(actor)?;
            }
            interfaces.push(format!("{{name: {}, mode: {mode}}}", interface(actor)));
        }
        let files = Files::new(&format!("balance-{name}"))?;
        let text = format!("edge:\n  interfaces: [{}]\n{BALANCE}", interfaces.join(", "));
        files.write("agent.yaml", &text)?;
        let config = files.path("agent.yaml");
        let arguments = ["--config", &config.to_string_lossy()];
        let agent = Agent::start_with(&front.world, &policy(&front), &arguments)?;
        for interface in edge(&agent)?["interfaces"].as_array().context("no interfaces")? {
            ensure!(interface["mode"] == mode, "{interface}");
        }
        Ok(Self { files, host, front, agent })
    }
}

/// `/status` of the edge.
pub(super) fn edge(agent: &Agent) -> Result<Value> {
    Ok(agent.json("/status")?["edge"].clone())
}

/// `/edge/frontends`.
pub(super) fn frontends(agent: &Agent) -> Result<Vec<Value>> {
    let answer = agent.json("/edge/frontends")?;
    Ok(answer.as_array().context("no list of frontends")?.clone())
}

/// What a failure is told with.
pub(super) fn tell(agent: &Agent) -> String {
    let metrics = agent.metrics().map(|metrics| metrics.lines("windrose_edge_")).unwrap_or_default();
    let counted: Vec<&str> = metrics.lines().filter(|line| !line.ends_with(" 0")).collect();
    let frontends: Vec<String> = frontends(agent).unwrap_or_default().iter().map(Value::to_string).collect();
    format!("{}\n{}\n{}", counted.join("\n"), frontends.join("\n"), agent.log())
}

/// Addresses that are nobody's, and are routed to the host.
pub(super) fn addresses(front: &Front) -> [IpAddr; 2] {
    let subnet = front.world.host().0.octets()[2];
    [
        Ipv4Addr::new(203, 0, 113, subnet).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, u16::from(subnet), 0, 0, 0, 1).into(),
    ]
}

/// These with [`PORT`].
pub(super) fn both(front: &Front) -> [SocketAddr; 2] {
    addresses(front).map(|address| SocketAddr::new(address, PORT))
}

/// The Service `shop/front`, which selects the servers, and what exposes it: [`gateway`].
pub(super) fn exposed(front: &Front) -> String {
    front.selecting("", "") + &gateway(front, "", "{name: front, port: 80}")
}

/// A Gateway at [`both`], and a route for each of its listeners, with annotations and backends.
pub(super) fn gateway(front: &Front, annotations: &str, backends: &str) -> String {
    let [v4, v6] = addresses(front);
    let route = |kind: &str, listener: &str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\n\
             metadata: {{name: front, namespace: shop, annotations: {{{annotations}}}}}\n\
             spec: {{parentRefs: [{{name: outside, sectionName: {listener}}}], \
             rules: [{{backendRefs: [{backends}]}}]}}\n"
        )
    };
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n\
         metadata: {{name: outside, namespace: shop}}\n\
         spec: {{gatewayClassName: windrose, \
         addresses: [{{type: IPAddress, value: {v4}}}, {{type: IPAddress, value: '{v6}'}}], \
         listeners: [{{name: web, port: {PORT}, protocol: TCP}}, {{name: dns, port: {PORT}, protocol: UDP}}]}}\n\
         {}{}",
        route("TCPRoute", "web"),
        route("UDPRoute", "dns")
    )
}

/// Begins loads, three of TCP and one of UDP and so on, in both families.
pub(super) fn loads(front: &Front, count: usize) -> Result<Vec<Connection<'_>>> {
    let mut loads = Vec::new();
    for turn in 0..count {
        let (protocol, bytes) = if turn % 4 == 3 { (Protocol::Udp, 1_000) } else { (Protocol::Tcp, 10_000) };
        let connection = front.web.connect(protocol, both(front)[turn / 4 % 2])?;
        connection.load(bytes)?;
        loads.push(connection);
    }
    Ok(loads)
}

/// Fails unless each makes some exchanges more.
pub(super) fn go_on(loads: &[Connection<'_>]) -> Result<()> {
    for load in loads {
        let before = load.load_so_far().context("a load broke")?;
        wait::until_true("a load goes on", PATIENCE, || Ok(load.load_so_far()? > before + 10))?;
    }
    Ok(())
}

/// The host's end of an actor's link. Actors are numbered, and so are these.
pub(super) fn interface(actor: &Actor) -> String {
    let number = match actor.v4(TARGET) {
        SocketAddr::V4(v4) => v4.ip().octets()[3],
        SocketAddr::V6(_) => 0,
    };
    format!("veth{number}")
}

/// What the actor sends has whole checksums, and it takes frames that XDP sends to it.
fn become_a_wire(actor: &Actor) -> Result<()> {
    offload::set(actor.namespace(), "eth0", "tx-checksum-ip-generic", false)?;
    offload::set(actor.namespace(), "eth0", "rx-gro", true)
}

/// Takes an actor off the bridge: the host routes to it.
fn set_apart(host: &Actor, actor: &Actor) -> Result<()> {
    let [v4, v6] = actor.both(0).map(|address| address.ip());
    let [via4, via6] = host.both(0).map(|address| address.ip());
    let interface = interface(actor);
    host.namespace().ip(&format!(
        "link set {interface} nomaster\n\
         addr add {via4}/32 dev {interface}\n\
         addr add {via6}/128 dev {interface} nodad\n\
         route add {v4}/32 dev {interface} src {via4}\n\
         route add {v6}/128 dev {interface} src {via6}\n"
    ))?;
    actor.namespace().ip(&format!(
        "addr add {v4}/32 dev eth0\n\
         addr del {v4}/16 dev eth0\n\
         addr del {v6}/64 dev eth0\n\
         addr add {v6}/128 dev eth0 nodad\n"
    ))?;
    routes(host, actor)
}

/// A program on an actor's own interface. A veth does not deliver what XDP sends back to where it came
/// from unless there is one (`veth_xdp_flush` of Linux 6.18); wires do not mind.
pub(super) struct Hearing {
    _edge: Edge,
    pins: Pins,
}

impl Hearing {
    pub(super) fn of(actor: &Actor) -> Result<Self> {
        let machine = Machine::inspect().context("this machine has no XDP")?;
        let name = format!("{PREFIX}{}-hearing-{}", std::process::id(), interface(actor));
        let pins = Pins::below(&machine.bpffs, &name);
        let edge = actor.namespace().within(|| {
            let mut capacities = Capacities::default();
            for map in ["deny_hosts", "deny_prefixes", "deny_notes", "buckets"] {
                capacities.set(map, 16).map_err(anyhow::Error::msg)?;
            }
            let edge = Edge::open(&pins, &capacities, EdgeConfig::default())?;
            edge.attach("eth0", Mode::Native)?;
            Ok(edge)
        })?;
        Ok(Self { _edge: edge, pins })
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        let removed = Edge::remove(&self.pins).and_then(|_| self.pins.remove());
        if let Err(error) = removed {
            eprintln!("warning: a program of a test stays: {error}");
        }
    }
}

/// The routes of an actor, all by the host; gone when its link was down.
pub(super) fn routes(host: &Actor, actor: &Actor) -> Result<()> {
    let [via4, via6] = host.both(0).map(|address| address.ip());
    actor.namespace().ip(&format!(
        "route replace {via4}/32 dev eth0\n\
         route replace {via6}/128 dev eth0\n\
         route replace default via {via4}\n\
         route replace default via {via6}\n"
    ))
}
