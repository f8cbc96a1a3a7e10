//! The cast of most tests: a client and a server of one namespace.

use anyhow::Result;
use windrose_tests::actor::Actor;
use windrose_tests::world::World;

/// Where the server listens, TCP and UDP, both families.
pub(crate) const PORT: u16 = 8080;

/// Another port where it does.
pub(crate) const OTHER: u16 = 9090;

/// `shop/web` and `shop/cart`, which listens.
pub(crate) struct Pair {
    pub(crate) world: World,
    pub(crate) web: Actor,
    pub(crate) cart: Actor,
}

impl Pair {
    pub(crate) fn new() -> Result<Self> {
        let world = World::new()?;
        let web = world.workload("shop/web").label("app", "web").start()?;
        let cart = world
            .workload("shop/cart")
            .label("app", "cart")
            .port("http", PORT, "TCP")
            .port("dns", PORT, "UDP")
            .start()?;
        for port in [PORT, OTHER] {
            cart.serve(port)?;
        }
        Ok(Self { world, web, cart })
    }

    /// The server's address in both families and as a v4-mapped one.
    pub(crate) fn every_way(&self, port: u16) -> [std::net::SocketAddr; 3] {
        [self.cart.v4(port), self.cart.v6(port), self.cart.mapped(port)]
    }
}
