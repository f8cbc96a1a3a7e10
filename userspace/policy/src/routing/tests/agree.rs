//! The compiled matcher and the slow one choose the same rule, for every request.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::model::{
    BackendRef, Gateway, Hostname, HttpRoute, Listener, ListenerProtocol, Method, ParentRef, PathMatch,
    Pattern, RouteMatch, RouteNamespaces, RouteRule, Value, ValueMatch,
};
use crate::place::Place;

const HOSTNAMES: [&str; 7] =
    ["a.example", "b.example", "x.a.example", "*.example", "*.a.example", "*.b", "example"];
const HOSTS: [&str; 8] =
    ["a.example", "b.example", "x.a.example", "y.x.a.example", "example", "c.b", "b", ".example"];
const PATHS: [&str; 10] = ["/", "/a", "/a/", "/ab", "/a/b", "/a/b/", "/a/b/c", "/b", "/b/x", "/ab/c"];
const METHODS: [&str; 3] = ["GET", "PUT", "get"];
const HEADERS: [&[(&str, &str)]; 4] =
    [&[], &[("x", "1")], &[("x", "2"), ("y", "1")], &[("x", "1"), ("x", "1"), ("y", "2")]];
const QUERIES: [&str; 3] = ["", "q=1", "q=2&r=1&q=1"];

/// 8 hosts, 10 paths, 3 methods, 4 sets of headers, 3 queries: each case asks 2,880 requests, and 350
/// cases a million.
const CASES: u32 = 350;

fn place() -> Place {
    Place { file: "t".into(), line: 1, column: 1 }
}

fn hostname(text: &str) -> Hostname {
    match text.strip_prefix("*.") {
        Some(name) => Hostname::new(name, true),
        None => Hostname::new(text, false),
    }
}

fn paths() -> impl Strategy<Value = PathMatch> {
    let text = |text: &'static str| text.into();
    prop_oneof![
        select(&["/", "/a", "/a/", "/a/b", "/b"][..]).prop_map(move |path| PathMatch::Exact(text(path))),
        select(&["", "/a", "/a/b", "/a/b/c", "/b", "/ab"][..])
            .prop_map(move |path| PathMatch::Prefix(text(path))),
        select(&["/a.*", "/[ab]", "/a/b", "/.*", "/a/b/c|/", "/a|/b/x"][..])
            .prop_map(|pattern| PathMatch::Regex(Pattern::new(pattern).unwrap())),
    ]
}

fn values(names: [&'static str; 2]) -> impl Strategy<Value = Vec<ValueMatch>> {
    let value = prop_oneof![
        select(&["1", "2", "1, 1"][..]).prop_map(|text| Value::Exact(text.into())),
        select(&["[12]", ".*"][..]).prop_map(|pattern| Value::Regex(Pattern::new(pattern).unwrap())),
    ];
    (option::weighted(0.3, value.clone()), option::weighted(0.3, value)).prop_map(move |(first, second)| {
        let pairs = names.into_iter().zip([first, second]);
        pairs.filter_map(|(name, value)| Some(ValueMatch { name: name.into(), value: value? })).collect()
    })
}

fn matches() -> impl Strategy<Value = RouteMatch> {
    let method = option::weighted(0.3, select(&[Method::Get, Method::Put][..]));
    (paths(), method, values(["x", "y"]), values(["q", "r"]))
        .prop_map(|(path, method, headers, queries)| RouteMatch { path, method, headers, queries })
}

fn rules() -> impl Strategy<Value = Vec<RouteRule>> {
    let backend = BackendRef {
        foreign: None,
        name: name("shop", "cart"),
        port: Some(80),
        weight: 1,
        filters: Vec::new(),
        place: place(),
    };
    let rule = vec(matches(), 1..4).prop_map(move |matches| RouteRule {
        name: String::new(),
        matches,
        filters: Vec::new(),
        backends: vec![backend.clone()],
        request_timeout: None,
        try_timeout: None,
        retry: None,
        place: place(),
    });
    vec(rule, 1..4)
}

/// Routes of several ages and listeners.
fn routes(listeners: usize) -> impl Strategy<Value = Vec<HttpRoute>> {
    let created = option::of(select(&["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"][..]));
    let route = (btree_set(select(&HOSTNAMES[..]), 0..3), created, rules(), option::of(0..listeners));
    vec(route, 0..8).prop_map(|routes| {
        let routes = routes.into_iter().enumerate();
        let route =
            |(index, (hostnames, created, rules, listener)): (usize, (_, Option<&str>, _, Option<usize>))| {
                let hostnames: std::collections::BTreeSet<&str> = hostnames;
                HttpRoute {
                    name: name("shop", &format!("r{index}")),
                    created: created.map(ToOwned::to_owned),
                    parents: vec![ParentRef {
                        foreign: None,
                        gateway: name("shop", "g"),
                        listener: listener.map(|listener| format!("l{listener}")),
                        port: None,
                        place: place(),
                    }],
                    hostnames: hostnames.into_iter().map(hostname).collect(),
                    rules,
                    place: place(),
                }
            };
        routes.map(route).collect()
    })
}

fn models() -> impl Strategy<Value = Model> {
    let hostnames = option::weighted(0.7, select(&HOSTNAMES[..]));
    btree_set(hostnames, 1..4).prop_flat_map(|hostnames| {
        routes(hostnames.len()).prop_map(move |routes| {
            let listener = |(index, host): (usize, Option<&str>)| Listener {
                name: format!("l{index}"),
                hostname: host.map(hostname),
                port: 80,
                protocol: ListenerProtocol::Http,
                certificates: Vec::new(),
                namespaces: RouteNamespaces::Same,
                kinds: None,
                place: place(),
            };
            let gateway = Gateway {
                name: name("shop", "g"),
                class: "windrose".to_owned(),
                created: None,
                listeners: hostnames.iter().copied().enumerate().map(listener).collect(),
                addresses: Vec::new(),
                has_named_address: false,
                place: place(),
            };
            Model {
                gateways: BTreeMap::from([(gateway.name.clone(), Arc::new(gateway))]),
                http_routes: routes.into_iter().map(|route| (route.name.clone(), Arc::new(route))).collect(),
                ..Model::default()
            }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2_000, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn both_matchers_choose_the_same_rule(model in models()) {
        let routing = attach(&model);
        let bind = &routing.binds[0];
        let matcher = Matcher::new(bind);
        for headers in HEADERS {
            let headers: Vec<(String, String)> =
                headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            for host in HOSTS {
                for path in PATHS {
                    for (method, query) in METHODS.iter().flat_map(|method| QUERIES.map(|query| (*method, query))) {
                        let request = Request { method, host, path, query, headers: &headers };
                        let (slow, fast) = (reference::choose(bind, &request), matcher.choose(&request));
                        prop_assert_eq!(&slow, &fast, "{} {}{}?{} {:?}", method, host, path, query, headers);
                    }
                }
            }
        }
    }
}
