//! Windrose on real sockets, in network namespaces and cgroups of the tests' own.

use std::process::ExitCode;

use windrose_tests::trial;

#[path = "netns/accounting.rs"]
mod accounting;
#[path = "netns/answers.rs"]
mod answers;
#[path = "netns/audit.rs"]
mod audit;
#[path = "netns/balancing.rs"]
mod balancing;
#[path = "netns/blocks.rs"]
mod blocks;
#[path = "netns/cluster.rs"]
mod cluster;
#[path = "netns/edge.rs"]
mod edge;
#[path = "netns/edge_balance.rs"]
mod edge_balance;
#[path = "netns/edge_fetch.rs"]
mod edge_fetch;
#[path = "netns/egress.rs"]
mod egress;
#[path = "netns/endpoints.rs"]
mod endpoints;
#[path = "netns/front.rs"]
mod front;
#[path = "netns/gateway.rs"]
mod gateway;
#[path = "netns/harness.rs"]
mod harness;
#[path = "netns/host.rs"]
mod host;
#[path = "netns/ingress.rs"]
mod ingress;
#[path = "netns/packets.rs"]
mod packets;
#[path = "netns/pair.rs"]
mod pair;
#[path = "netns/ports.rs"]
mod ports;
#[path = "netns/profile.rs"]
mod profile;
#[path = "netns/reload.rs"]
mod reload;
#[path = "netns/selectors.rs"]
mod selectors;
#[path = "netns/services.rs"]
mod services;
#[path = "netns/start.rs"]
mod start;
#[path = "netns/state.rs"]
mod state;
#[path = "netns/survival.rs"]
mod survival;
#[path = "netns/top.rs"]
mod top;

fn main() -> ExitCode {
    let tests = [
        accounting::tests(),
        answers::tests(),
        audit::tests(),
        balancing::tests(),
        blocks::tests(),
        cluster::tests(),
        edge::tests(),
        edge_balance::tests(),
        edge_fetch::tests(),
        egress::tests(),
        endpoints::tests(),
        gateway::tests(),
        harness::tests(),
        host::tests(),
        ingress::tests(),
        packets::tests(),
        ports::tests(),
        profile::tests(),
        reload::tests(),
        selectors::tests(),
        services::tests(),
        start::tests(),
        state::tests(),
        survival::tests(),
        top::tests(),
    ];
    trial::run(tests.concat(), &[])
}
