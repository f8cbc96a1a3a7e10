//! The cast of tests of services: a client, some servers of one sort, and the service before them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use windrose_tests::actor::Actor;
use windrose_tests::policy::service;
use windrose_tests::script::Protocol;
use windrose_tests::world::World;

/// Where the servers listen, TCP and UDP, both families.
pub(crate) const TARGET: u16 = 8080;

/// What clients ask the service for.
pub(crate) const PORT: u16 = 80;

/// `shop/web`, and `shop/cart-1` and so on, labelled `app: cart`.
pub(crate) struct Front {
    pub(crate) world: World,
    pub(crate) web: Actor,
    pub(crate) carts: Vec<Actor>,
    // No two worlds have the same: agents of other tests see these sockets, too.
    subnet: u8,
}

impl Front {
    pub(crate) fn new(servers: usize) -> Result<Self> {
        let world = World::new()?;
        let subnet = world.host().0.octets()[2];
        let web = world.workload("shop/web").label("app", "web").start()?;
        let mut carts = Vec::new();
        for number in 1..=servers {
            let cart = world
                .workload(&format!("shop/cart-{number}"))
                .label("app", "cart")
                .port("http", TARGET, "TCP")
                .port("dns", TARGET, "UDP")
                .start()?;
            cart.serve(TARGET)?;
            carts.push(cart);
        }
        Ok(Self { world, web, carts, subnet })
    }

    /// The service's v4 address; `last` tells services of one world apart.
    pub(crate) fn ip4(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 96, self.subnet, last)
    }

    /// The service's v6 address.
    pub(crate) fn ip6(&self, last: u8) -> Ipv6Addr {
        Ipv6Addr::new(0xfd96, 0, 0, u16::from(self.subnet), 0, 0, 0, u16::from(last))
    }

    /// The service `shop/front` in v4.
    pub(crate) fn v4(&self) -> SocketAddr {
        (self.ip4(1), PORT).into()
    }

    /// The service `shop/front` in v6.
    pub(crate) fn v6(&self) -> SocketAddr {
        (self.ip6(1), PORT).into()
    }

    /// Both, and v4 mapped into v6.
    pub(crate) fn every_way(&self) -> [SocketAddr; 3] {
        [self.v4(), self.v6(), (self.ip4(1).to_ipv6_mapped(), PORT).into()]
    }

    /// The service `shop/front` of both families, TCP and UDP, with annotations and more of its spec.
    pub(crate) fn service(&self, annotations: &str, more: &str) -> String {
        let (v4, v6) = (self.ip4(1), self.ip6(1));
        service(
            "shop/front",
            annotations,
            &format!(
                "clusterIPs: [{v4}, '{v6}'], ports: [{{name: http, port: {PORT}, targetPort: http}}, \
                 {{name: dns, port: {PORT}, protocol: UDP, targetPort: dns}}]{more}"
            ),
        )
    }

    /// The same with a selector.
    pub(crate) fn selecting(&self, annotations: &str, more: &str) -> String {
        self.service(annotations, &format!(", selector: {{app: cart}}{more}"))
    }

    /// An `EndpointSlice` of `shop/front`: of each server its conditions, in YAML's flow style, or
    /// nothing if it is not in the slice.
    pub(crate) fn slice(&self, conditions: &[Option<&str>]) -> String {
        let of_family = |family: &str, address: fn(&Actor) -> IpAddr| {
            let endpoints: Vec<String> = self
                .carts
                .iter()
                .zip(conditions)
                .filter_map(|(cart, conditions)| {
                    let address = address(cart);
                    conditions.map(|said| format!("{{addresses: ['{address}'], conditions: {{{said}}}}}"))
                })
                .collect();
            format!(
                "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                 metadata: {{name: front-{}, namespace: shop, labels: {{kubernetes.io/service-name: front}}}}\n\
                 addressType: {family}\n\
                 ports: [{{name: http, port: {TARGET}}}, {{name: dns, port: {TARGET}, protocol: UDP}}]\n\
                 endpoints: [{}]\n",
                family.to_lowercase(),
                endpoints.join(", ")
            )
        };
        of_family("IPv4", |cart| cart.v4(0).ip()) + &of_family("IPv6", |cart| cart.v6(0).ip())
    }

    /// What each server has got so far.
    pub(crate) fn received(&self, protocol: Protocol) -> Result<Vec<u64>> {
        self.carts.iter().map(|cart| cart.received(protocol, TARGET)).collect()
    }

    /// What each server has got since `before`.
    pub(crate) fn received_since(&self, protocol: Protocol, before: &[u64]) -> Result<Vec<u64>> {
        Ok(self.received(protocol)?.iter().zip(before).map(|(is, was)| is - was).collect())
    }
}
