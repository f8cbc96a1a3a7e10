//! What policy exposes, as the edge balances it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use windrose_datapath::abi::{Address, Forwarding as How, PrefixKey};
use windrose_datapath::{Frontend, FrontendEndpoint};
use windrose_policy::model::{
    Cidr, ExposedAt, ExposedEndpoint, Exposure, ExposureKey, Family, Forwarding, Protocol,
};

/// A frontend and what asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Its endpoints are those of `frontend`, in the same order.
    pub(super) exposure: Arc<Exposure>,
    /// As the data path takes it.
    pub(super) frontend: Frontend,
    /// Every endpoint that policy wants to be used fails its checks, and so all are used.
    pub(super) fails_open: bool,
}

/// Every frontend of a policy on a node with these addresses. `is_down` says which endpoints fail
/// their checks.
pub(super) fn wanted(
    exposures: &BTreeMap<ExposureKey, Arc<Exposure>>,
    node: &[IpAddr],
    is_down: impl Fn(SocketAddr) -> bool,
) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for exposure in exposures.values() {
        let at: Vec<IpAddr> = match exposure.at {
            ExposedAt::Address(address) => vec![address],
            ExposedAt::Node(family) => {
                let is_free = |address: &IpAddr| {
                    let key = (ExposedAt::Address(*address), exposure.port, exposure.protocol);
                    Family::of(*address) == family && !exposures.contains_key(&key)
                };
                node.iter().copied().filter(is_free).collect()
            }
        };
        let (endpoints, fails_open) = endpoints(exposure, &is_down);
        wanted.extend(at.into_iter().map(|address| Wanted {
            exposure: Arc::clone(exposure),
            frontend: Frontend {
                address,
                port: exposure.port,
                protocol: exposure.protocol.number(),
                is_by_client: exposure.is_by_client,
                sources: sources(exposure),
                endpoints: endpoints.clone(),
                refused_share: exposure.refused_share,
            },
            fails_open,
        }));
    }
    wanted
}

/// Which endpoints a connection is tried to. Not those that drain: they get packets all the while.
pub(super) fn targets(wanted: &[Wanted]) -> BTreeSet<SocketAddr> {
    let tcp = wanted.iter().filter(|wanted| wanted.exposure.protocol == Protocol::Tcp);
    let used = tcp.flat_map(|wanted| wanted.exposure.endpoints.iter()).filter(|endpoint| endpoint.share != 0);
    used.map(address).collect()
}

/// Where it is.
pub(super) fn address(endpoint: &ExposedEndpoint) -> SocketAddr {
    (endpoint.endpoint.address, endpoint.endpoint.port).into()
}

fn endpoints(exposure: &Exposure, is_down: &impl Fn(SocketAddr) -> bool) -> (Vec<FrontendEndpoint>, bool) {
    let is_up =
        |endpoint: &ExposedEndpoint| exposure.protocol != Protocol::Tcp || !is_down(address(endpoint));
    let mut used = exposure.endpoints.iter().filter(|endpoint| endpoint.share != 0).peekable();
    let fails_open = used.peek().is_some() && !used.any(is_up);
    let forwarding = match exposure.forwarding {
        Forwarding::Nat => How::Nat,
        Forwarding::Ipip => How::Ipip,
        Forwarding::Layer2 => How::Layer2,
    };
    let endpoints = exposure.endpoints.iter().map(|exposed| FrontendEndpoint {
        address: exposed.endpoint.address,
        port: exposed.endpoint.port,
        weight: exposed.share.max(1),
        is_ready: exposed.share != 0 && (fails_open || is_up(exposed)),
        forwarding,
    });
    (endpoints.collect(), fails_open)
}

/// The ranges of the exposure's family; `None`: everybody.
fn sources(exposure: &Exposure) -> Option<Vec<PrefixKey>> {
    if exposure.source_ranges.is_empty() {
        return None;
    }
    let of_family = |range: &&Cidr| Family::of(range.address) == exposure.at.family();
    Some(exposure.source_ranges.iter().filter(of_family).map(prefix).collect())
}

fn prefix(range: &Cidr) -> PrefixKey {
    let (address, more) = match range.address {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped(), 96),
        IpAddr::V6(v6) => (v6, 0),
    };
    PrefixKey { length: u32::from(range.length) + more, address: Address::from_bytes(address.octets()) }
}

#[cfg(test)]
mod tests {
    use windrose_policy::source::{Source, parse};

    use super::*;

    fn exposures(text: &str) -> BTreeMap<ExposureKey, Arc<Exposure>> {
        let source = Source { name: "p.yaml".to_owned(), text: text.to_owned() };
        parse(&[source]).unwrap().model.exposures
    }

    fn service(more: &str, spec: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop, annotations: \
             {{windrose.dev/endpoints: '10.0.0.1, 10.0.0.2'{more}}}}}\nspec: {{clusterIP: 10.96.0.1, ports: \
             [{{port: 80, targetPort: 8080, nodePort: 30080}}], {spec}}}\n"
        )
    }

    fn balancer(spec: &str) -> String {
        service("", &format!("type: LoadBalancer{spec}"))
            + "status: {loadBalancer: {ingress: [{ip: 203.0.113.1}]}}\n"
    }

    fn shown(wanted: &[Wanted]) -> Vec<String> {
        let ready = |wanted: &Wanted| {
            let ready = wanted.frontend.endpoints.iter().filter(|endpoint| endpoint.is_ready);
            ready.map(|endpoint| endpoint.address.to_string()).collect::<Vec<_>>().join(" ")
        };
        wanted
            .iter()
            .map(|one| format!("{} {}: {}", one.frontend.address, one.frontend.port, ready(one)))
            .collect()
    }

    #[test]
    fn a_node_port_is_at_every_address_of_its_family() {
        let exposures = exposures(&balancer(""));
        let node = ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|address| address.parse().unwrap());
        assert_eq!(
            shown(&wanted(&exposures, &node, |_| false)),
            [
                "203.0.113.1 80: 10.0.0.1 10.0.0.2",
                "192.0.2.1 30080: 10.0.0.1 10.0.0.2",
                "192.0.2.2 30080: 10.0.0.1 10.0.0.2"
            ]
        );
    }

    #[test]
    fn an_address_is_asked_for_before_the_node() {
        let other = "---\napiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: shop, annotations: \
             {windrose.dev/endpoints: '10.0.0.9'}}\nspec: {type: LoadBalancer, clusterIP: 10.96.0.2, ports: \
             [{port: 30080}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}\n";
        let exposures = exposures(&(service("", "type: NodePort") + other));
        let node = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap());
        assert_eq!(
            shown(&wanted(&exposures, &node, |_| false)),
            ["192.0.2.1 30080: 10.0.0.9", "192.0.2.2 30080: 10.0.0.1 10.0.0.2"]
        );
    }

    #[test]
    fn who_fails_gets_nothing_new_unless_all_do() {
        let exposures = exposures(&balancer(""));
        let first: SocketAddr = "10.0.0.1:8080".parse().unwrap();
        let one = wanted(&exposures, &[], |at| at == first);
        assert_eq!(shown(&one), ["203.0.113.1 80: 10.0.0.2"]);
        assert!(!one[0].fails_open);
        let all = wanted(&exposures, &[], |_| true);
        assert_eq!(shown(&all), ["203.0.113.1 80: 10.0.0.1 10.0.0.2"]);
        assert!(all[0].fails_open);
        assert_eq!(targets(&all).len(), 2);
    }

    #[test]
    fn a_family_without_a_range_is_nobodys() {
        let open = exposures(&balancer(""));
        assert_eq!(wanted(&open, &[], |_| false)[0].frontend.sources, None);
        let v6 = exposures(&balancer(", loadBalancerSourceRanges: ['2001:db8::/32']"));
        assert_eq!(wanted(&v6, &[], |_| false)[0].frontend.sources, Some(Vec::new()));
        let v4 = exposures(&balancer(", loadBalancerSourceRanges: [198.51.100.0/24, '2001:db8::/32']"));
        let sources = wanted(&v4, &[], |_| false).remove(0).frontend.sources.unwrap();
        assert_eq!(sources.len(), 1);
        assert_eq!(sources[0].length, 120);
    }
}
