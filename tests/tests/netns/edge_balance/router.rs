//! The stage of these tests: the host routes between a client and servers, each behind a link of its
//! own, and the agent's edge is on all of these links.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use windrose_tests::actor::Actor;
use windrose_tests::agent::Agent;
use windrose_tests::offload;

use crate::edge::Files;
use crate::front::{Front, TARGET};

/// What clients ask for.
pub(super) const PORT: u16 = 80;

/// Health checks as fast as they can be.
const BALANCE: &str = "  balance: {enabled: true, health_check: {interval: 1s, timeout: 1s, unhealthy_after: 2, healthy_after: 1}}\n";

/// A router, a client and servers.
pub(super) struct Router {
    // Dropped first: it detaches.
    pub(super) agent: Agent,
    pub(super) front: Front,
    pub(super) host: Actor,
    _files: Files,
}

/// What a policy is made of, before the agent is started.
pub(super) struct Plan<'a> {
    pub(super) front: &'a Front,
    pub(super) host: &'a Actor,
}

impl Router {
    /// `servers` are `app: cart` and listen at [`TARGET`].
    pub(super) fn new(name: &str, servers: usize, policy: impl FnOnce(&Plan<'_>) -> String) -> Result<Self> {
        let front = Front::new(servers)?;
        let host = front.world.prober().start()?;
        for parameter in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            host.namespace().set(parameter, "1")?;
        }
        let mut interfaces = Vec::new();
        for actor in front.carts.iter().chain([&front.web]) {
            let interface = format!("veth{}", number(actor));
            set_apart(&host, actor, &interface)?;
            interfaces.push(format!("{{name: {interface}, mode: native}}"));
        }
        let files = Files::new(name)?;
        let text = format!("edge:\n  interfaces: [{}]\n{BALANCE}", interfaces.join(", "));
        files.write("agent.yaml", &text)?;
        let config = files.path("agent.yaml");
        let policy = policy(&Plan { front: &front, host: &host });
        let agent = Agent::start_with(&front.world, &policy, &["--config", &config.to_string_lossy()])?;
        let router = Self { agent, front, host, _files: files };
        for interface in router.edge()?["interfaces"].as_array().context("no interfaces")? {
            ensure!(interface["mode"] == "native", "{interface}");
        }
        Ok(router)
    }

    /// `/status` of the edge.
    pub(super) fn edge(&self) -> Result<Value> {
        Ok(self.agent.json("/status")?["edge"].clone())
    }

    /// `/edge/frontends`.
    pub(super) fn frontends(&self) -> Result<Vec<Value>> {
        let answer = self.agent.json("/edge/frontends")?;
        Ok(answer.as_array().context("no list of frontends")?.clone())
    }

    /// The gateway's address and port in both families.
    pub(super) fn both(&self) -> [SocketAddr; 2] {
        let plan = Plan { front: &self.front, host: &self.host };
        plan.addresses().map(|address| SocketAddr::new(address, PORT))
    }

    /// For failures.
    pub(super) fn tell(&self) -> String {
        let metrics = self.agent.metrics().map(|metrics| metrics.lines("windrose_edge")).unwrap_or_default();
        format!(
            "{metrics}\n{:#?}\n{}",
            self.frontends().unwrap_or_default(),
            self.agent.log().lines().filter(|line| line.contains("edge")).collect::<Vec<_>>().join("\n")
        )
    }
}

impl Plan<'_> {
    /// Addresses that are nobody's: they are routed to the host.
    pub(super) fn addresses(&self) -> [std::net::IpAddr; 2] {
        let subnet = self.front.world.host().0.octets()[2];
        [
            std::net::Ipv4Addr::new(203, 0, 113, subnet).into(),
            std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, u16::from(subnet), 0, 0, 0, 1).into(),
        ]
    }

    /// A Gateway with a TCPRoute and a UDPRoute to the Service `shop/front`, which selects the
    /// servers.
    pub(super) fn gateway(&self, annotations: &str, more: &str) -> String {
        let [v4, v6] = self.addresses();
        let routes: String = [("TCPRoute", "web"), ("UDPRoute", "dns")]
            .iter()
            .map(|(kind, listener)| {
                format!(
                    "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: front, \
                     namespace: shop, annotations: {{{annotations}}}}}\nspec: {{parentRefs: [{{name: outside, \
                     sectionName: {listener}}}], rules: [{{backendRefs: [{{name: front, port: 80}}]}}]}}\n"
                )
            })
            .collect();
        format!(
            "{}---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: outside, namespace: \
             shop}}\nspec: {{gatewayClassName: windrose, addresses: [{{type: IPAddress, value: {v4}}}, {{type: \
             IPAddress, value: '{v6}'}}], listeners: [{{name: web, port: {PORT}, protocol: TCP}}, {{name: dns, port: \
             {PORT}, protocol: UDP}}]}}\n{routes}",
            self.front.selecting("", more)
        )
    }
}

/// Actors are numbered; so are the host's ends of their links.
fn number(actor: &Actor) -> u8 {
    match actor.v4(TARGET) {
        SocketAddr::V4(v4) => v4.ip().octets()[3],
        SocketAddr::V6(_) => 0,
    }
}

/// Takes an actor off the bridge: the host routes to it. What it sends has whole checksums, as what
/// comes by a wire has; and it takes frames that are sent to it by XDP.
fn set_apart(host: &Actor, actor: &Actor, interface: &str) -> Result<()> {
    let [v4, v6] = actor.both(0).map(|address| address.ip());
    let [via4, via6] = host.both(0).map(|address| address.ip());
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
         addr add {v6}/128 dev eth0 nodad\n\
         route replace {via4}/32 dev eth0\n\
         route replace {via6}/128 dev eth0\n\
         route replace default via {via4}\n\
         route replace default via {via6}\n"
    ))?;
    offload::set(actor.namespace(), "eth0", "tx-checksum-ip-generic", false)?;
    offload::set(actor.namespace(), "eth0", "rx-gro", true)
}
