//! What a look-up costs with 10 routes and with 10,000: `cargo run --release --example routes`.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use windrose_policy::routing::{Matcher, Request, attach};
use windrose_policy::source::{Source, parse};

/// Every route has ten paths of its own; a hundred share a host.
fn text(routes: usize) -> String {
    let mut text = String::from(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\n\
         spec: {gatewayClassName: windrose, listeners: [{name: web, port: 80, protocol: HTTP}]}\n",
    );
    for index in 0..routes {
        let rules: Vec<String> =
            (0..10).map(|rule| format!("{{matches: [{{path: {{value: /v1/r{index}/p{rule}}}}}]}}")).collect();
        let _ = write!(
            text,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r{index}}}\nspec: \
             {{parentRefs: [{{name: g}}], hostnames: [h{}.example], rules: [{}]}}\n",
            index / 100,
            rules.join(", ")
        );
    }
    text
}

fn main() {
    for routes in [10, 10_000] {
        let sources = [Source { name: "routes.yaml".to_owned(), text: text(routes) }];
        let started = Instant::now();
        let Ok(parsed) = parse(&sources) else { return eprintln!("the policy is refused") };
        let routing = attach(&parsed.model);
        let matcher = Matcher::new(&routing.binds[0]);
        let compiled = started.elapsed();
        // Others than the cache holds, in no order: 7919 is a prime.
        let asked: Vec<(String, String)> = (0..10_000)
            .map(|index| {
                let route = index * 7919 % routes;
                (format!("h{}.example", route / 100), format!("/v1/r{route}/p{}/item/17", index % 10))
            })
            .collect();
        let headers: Vec<(String, String)> = Vec::new();
        for _ in 0..3 {
            let started = Instant::now();
            for _ in 0..100 {
                for (host, path) in &asked {
                    let request = Request { method: "GET", host, path, query: "", headers: &headers };
                    assert!(black_box(matcher.choose(&request)).is_some());
                }
            }
            let each = started.elapsed() / 1_000_000;
            println!("{routes} routes: {each:?} a look-up; read and compiled in {compiled:?}");
        }
    }
}
