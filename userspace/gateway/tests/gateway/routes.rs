//! Sentences about routes and filters, end to end.

use crate::world::{World, model, policy, route, upstream};
use windrose_gateway::Snapshot;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nKeep-Alive: timeout=5\r\nX-Up: 1\r\n\r\n";

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

#[tokio::test]
async fn requests_follow_their_routes_and_the_log_says_which() {
    let (a, seen_a) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na").await;
    let (b, _) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb").await;
    let text = policy(
        &route(
            "hostnames: [shop.example], rules: [{matches: [{path: {value: /a}}], backendRefs: [{name: a, port: 80}]}, \
             {matches: [{headers: [{name: x-b, value: '1'}]}], backendRefs: [{name: b, port: 80}]}]",
        ),
        &[a, b],
    );
    let mut world = World::start(&text).await;
    let answer = world.get("/a/../a//x?q=1").await;
    assert!(answer.ends_with("\r\n\r\na"), "{answer:?}");
    {
        let seen = seen_a.lock().unwrap();
        assert!(seen[0].starts_with("GET /a/x?q=1 HTTP/1.1\r\n"), "{}", seen[0]);
        for header in ["host: shop.example\r\n", "x-forwarded-for: 127.0.0.1\r\n", "via: 1.1 windrose\r\n"] {
            assert!(seen[0].contains(header), "{}", seen[0]);
        }
    }
    let line = world.line().await;
    for part in [
        r#""method":"GET""#,
        r#""path":"/a/x""#,
        r#""status":200"#,
        r#""route":"default/r""#,
        r#""rule":0"#,
        r#""place":"shop.yaml:"#,
        r#""sent_bytes":1"#,
        r#""cut_short":false"#,
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(world.ask("GET /x HTTP/1.1\r\nHost: shop.example:80\r\nX-B: 1").await.ends_with('b'));
    assert_eq!(status(&world.get("/x").await), "404");
    assert_eq!(status(&world.ask("GET /a HTTP/1.1\r\nHost: other.example").await), "404");
    assert_eq!(status(&world.get("/public/..%2fadmin").await), "400");
    assert_eq!(status(&world.ask("CONNECT a:80 HTTP/1.1\r\nHost: a:80").await), "405");
    world.stop().await;
}

#[tokio::test]
async fn a_client_cannot_say_who_it_came_through() {
    let (world, seen) = World::with_route("rules: [{backendRefs: [{name: a, port: 80}]}]").await;
    world.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6").await;
    assert!(!seen.lock().unwrap()[0].contains("6.6.6.6"));
    world.stop().await;
}

#[tokio::test]
async fn a_refusal_is_a_problem_document_for_who_takes_one() {
    let world = World::start(&policy("", &[])).await;
    let answer = world.ask("GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json").await;
    assert!(answer.contains("content-type: application/problem+json"), "{answer}");
    assert!(answer.ends_with(r#""status":404,"reason":"no_route"}"#), "{answer}");
    world.stop().await;
}

#[tokio::test]
async fn headers_are_changed_both_ways() {
    let (up, seen) =
        upstream("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nKeep-Alive: timeout=5\r\nX-Up: 1\r\n\r\nx").await;
    let rules = "rules: [{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: new}], \
                 add: [{name: x-add, value: more}], remove: [x-gone]}}, {type: ResponseHeaderModifier, \
                 responseHeaderModifier: {remove: [x-up], set: [{name: x-ours, value: yes1}]}}], backendRefs: [{name: a, \
                 port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: x-be, value: a}]}}]}]}]";
    let world = World::start(&policy(&route(rules), &[up])).await;
    let answer = world.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Set: old\r\nX-Add: one\r\nX-Gone: 1").await;
    {
        let seen = &seen.lock().unwrap()[0];
        assert!(
            seen.contains("x-set: new\r\n") && !seen.contains("old") && !seen.contains("x-gone"),
            "{seen}"
        );
        assert!(seen.contains("x-add: one\r\nx-add: more\r\n") && seen.contains("x-be: a\r\n"), "{seen}");
    }
    assert!(
        answer.contains("x-ours: yes1") && !answer.contains("x-up") && !answer.contains("keep-alive"),
        "{answer}"
    );
    assert!(OK.contains("X-Up"));
    world.stop().await;
}

#[tokio::test]
async fn a_redirect_says_where() {
    let of = |redirect: &str| {
        route(&format!(
            "rules: [{{matches: [{{path: {{value: /old}}}}], filters: [{{type: RequestRedirect, requestRedirect: {redirect}}}]}}]"
        ))
    };
    for (redirect, expected) in [
        ("{scheme: https, statusCode: 301}", "301 location: https://shop.example/old/x?q=1"),
        ("{hostname: new.example}", "302 location: http://new.example/old/x?q=1"),
        ("{port: 8080}", "302 location: http://shop.example:8080/old/x?q=1"),
        (
            "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}, statusCode: 308}",
            "308 location: http://shop.example/new/x?q=1",
        ),
        (
            "{path: {type: ReplaceFullPath, replaceFullPath: /new}}",
            "302 location: http://shop.example/new?q=1",
        ),
    ] {
        let world = World::start(&policy(&of(redirect), &[])).await;
        let answer = world.get("/old/x?q=1").await;
        let location = answer.lines().find(|line| line.starts_with("location")).unwrap_or_default();
        assert_eq!(format!("{} {location}", status(&answer)), expected);
        world.stop().await;
    }
}

#[tokio::test]
async fn a_rewrite_changes_what_the_upstream_sees() {
    for (change, path, expected) in [
        ("{type: ReplacePrefixMatch, replacePrefixMatch: /v2}", "/v1/x?q=1", "/v2/x?q=1"),
        ("{type: ReplacePrefixMatch, replacePrefixMatch: /}", "/v1/x", "/x"),
        ("{type: ReplacePrefixMatch, replacePrefixMatch: /}", "/v1", "/"),
        ("{type: ReplacePrefixMatch, replacePrefixMatch: ''}", "/v1/", "/"),
        ("{type: ReplaceFullPath, replaceFullPath: /one}", "/v1/x?q=1", "/one?q=1"),
    ] {
        let rules = format!(
            "rules: [{{matches: [{{path: {{value: /v1}}}}], filters: [{{type: URLRewrite, urlRewrite: {{hostname: in.example, \
             path: {change}}}}}], backendRefs: [{{name: a, port: 80}}]}}]"
        );
        let (world, seen) = World::with_route(&rules).await;
        world.get(path).await;
        let seen = seen.lock().unwrap()[0].clone();
        assert!(seen.starts_with(&format!("GET {expected} HTTP/1.1\r\n")), "{change}: {seen}");
        assert!(
            seen.contains("host: in.example\r\n") && seen.contains("x-forwarded-host: shop.example\r\n"),
            "{seen}"
        );
        world.stop().await;
    }
}

#[tokio::test]
async fn a_preflight_is_answered_here_and_responses_say_who_may_read() {
    let rules = "rules: [{matches: [{method: PUT}], filters: [{type: CORS, cors: {allowOrigins: ['https://a.example'], \
                 allowMethods: [PUT]}}], backendRefs: [{name: a, port: 80}]}]";
    let (world, seen) = World::with_route(rules).await;
    let preflight = "OPTIONS / HTTP/1.1\r\nHost: a\r\nAccess-Control-Request-Method: PUT\r\nOrigin: https://";
    let answer = world.ask(&format!("{preflight}a.example")).await;
    assert!(answer.contains("access-control-allow-methods: PUT"), "{answer}");
    let answer = world.ask(&format!("{preflight}b.example")).await;
    assert!(status(&answer) == "204" && !answer.contains("access-control"), "{answer}");
    assert!(seen.lock().unwrap().is_empty());
    let answer = world.ask("PUT / HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example").await;
    assert!(answer.contains("access-control-allow-origin: https://a.example"), "{answer}");
    world.stop().await;
}

#[tokio::test]
async fn a_filter_that_is_not_carried_out_refuses() {
    let rules = "rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}}}], backendRefs: [{name: a, port: 80}]}]";
    let (world, seen) = World::with_route(rules).await;
    assert_eq!(status(&world.get("/").await), "500");
    assert!(seen.lock().unwrap().is_empty());
    world.stop().await;
}

#[tokio::test]
async fn a_new_snapshot_is_in_force_for_the_next_request_of_a_connection() {
    let world = World::start(&policy("", &[])).await;
    assert_eq!(status(&world.get("/").await), "404");
    world.published.publish(Snapshot::new(&model(&policy(&route("rules: [{}]"), &[]))));
    // A rule without backends.
    assert_eq!(status(&world.get("/").await), "500");
    world.stop().await;
}
