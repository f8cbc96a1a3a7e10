//! Sentences about upstreams: shares, failures, connections that are kept, time.

use std::sync::atomic::Ordering::Relaxed;

use windrose_gateway::refusal::Refusal;

use crate::world::{World, policy, route, upstream, upstream_with};

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

#[tokio::test]
async fn weights_are_kept_exactly_and_a_bad_backend_has_its_share_of_500() {
    let (a, _) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na").await;
    let (b, _) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb").await;
    let rules = "rules: [{backendRefs: [{name: a, port: 80, weight: 7}, {name: b, port: 80, weight: 2}, {name: none, port: 80}]}]";
    let world = World::start(&policy(&route(rules), &[a, b])).await;
    let mut counts = [0; 3];
    for _ in 0..100 {
        let answer = world.get("/").await;
        let at = match (status(&answer), answer.chars().last()) {
            ("200", Some('a')) => 0,
            ("200", _) => 1,
            ("500", _) => 2,
            _ => panic!("{answer}"),
        };
        counts[at] += 1;
    }
    assert_eq!(counts, [70, 20, 10]);
    assert_eq!(world.server.counters().refusals(Refusal::BadBackend), 10);
    world.stop().await;
}

#[tokio::test]
async fn no_endpoint_is_503_and_an_unreachable_one_too() {
    let text =
        policy(&route("rules: [{backendRefs: [{name: a, port: 80}]}]"), &["127.0.0.1:1".parse().unwrap()]);
    let world = World::start(&text).await;
    assert_eq!(status(&world.get("/").await), "503");
    // Each try was counted: nothing was sent, so trying again is safe.
    assert_eq!(world.server.counters().retries.load(Relaxed), 2);
    world.stop().await;
    let world = World::start(&text.replace("'127.0.0.1'", "'127.0.0.1=0'")).await;
    assert_eq!(status(&world.get("/").await), "503");
    assert_eq!(world.server.counters().refusals(Refusal::NoEndpoint), 1);
    world.stop().await;
}

#[tokio::test]
async fn connections_to_upstreams_are_kept() {
    let (world, seen) = World::with_route("rules: [{backendRefs: [{name: a, port: 80}]}]").await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    world.raw(format!("{request}{request}{request}{last}").as_bytes()).await;
    assert_eq!(seen.lock().unwrap().len(), 4);
    let counters = world.server.counters();
    assert_eq!(counters.upstream_opened.load(Relaxed) + counters.upstream_reused.load(Relaxed), 4);
    assert!(counters.upstream_reused.load(Relaxed) >= 1);
    world.stop().await;
}

#[tokio::test]
async fn a_kept_connection_that_the_upstream_ended_costs_no_request() {
    let (up, seen) =
        upstream_with(|_| "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".to_owned(), true).await;
    let world = World::start(&policy(&route("rules: [{backendRefs: [{name: a, port: 80}]}]"), &[up])).await;
    for _ in 0..50 {
        assert_eq!(status(&world.get("/").await), "200");
    }
    assert_eq!(seen.lock().unwrap().len(), 50);
    world.stop().await;
}

#[tokio::test]
async fn an_upstream_that_dies_in_the_middle_is_reported_truthfully() {
    let (up, _) =
        upstream_with(|_| "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_owned(), true).await;
    let mut world =
        World::start(&policy(&route("rules: [{backendRefs: [{name: a, port: 80}]}]"), &[up])).await;
    let answer = world.get("/").await;
    // The length was promised; what is missing is missing.
    assert!(answer.contains("content-length: 100") && answer.ends_with("half"), "{answer}");
    let line = world.line().await;
    assert!(line.contains(r#""cut_short":true"#), "{line}");
    world.stop().await;
}

#[tokio::test]
async fn an_upstream_that_answers_nonsense_is_502_and_a_post_is_not_sent_twice() {
    for answer in ["", "nonsense\r\n\r\n"] {
        let (up, seen) = upstream_with(move |_| answer.to_owned(), true).await;
        let retry = "rules: [{backendRefs: [{name: a, port: 80}], retry: {attempts: 3}}]";
        let world = World::start(&policy(&route(retry), &[up])).await;
        let post = world
            .raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
            .await;
        assert_eq!(status(&post), "502", "{post}");
        assert_eq!(seen.lock().unwrap().len(), 1);
        // A GET may be.
        assert_eq!(status(&world.get("/").await), "502");
        assert_eq!(seen.lock().unwrap().len(), 5);
        world.stop().await;
    }
}

#[tokio::test]
async fn a_status_that_the_route_names_is_tried_again() {
    let count = std::sync::atomic::AtomicU32::new(0);
    let answer = move |_: &str| {
        let is_third = count.fetch_add(1, Relaxed) == 2;
        let status = if is_third { "200 OK" } else { "503 Busy" };
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
    };
    let (up, _) = upstream_with(answer, false).await;
    let rules =
        "rules: [{backendRefs: [{name: a, port: 80}], retry: {codes: [503], attempts: 5, backoff: 1ms}}]";
    let mut world = World::start(&policy(&route(rules), &[up])).await;
    assert_eq!(status(&world.get("/").await), "200");
    assert!(world.line().await.contains(r#""tries":3"#));
    world.stop().await;
}

#[tokio::test]
async fn an_upstream_that_is_too_slow_is_504() {
    // It takes connections and never answers.
    let slow = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = slow.local_addr().unwrap();
    for (timeouts, refusal) in
        [("{request: 100ms}", Refusal::RequestTimeout), ("{backendRequest: 100ms}", Refusal::TryTimeout)]
    {
        let rules = format!("rules: [{{backendRefs: [{{name: a, port: 80}}], timeouts: {timeouts}}}]");
        let world = World::start(&policy(&route(&rules), &[at])).await;
        assert_eq!(status(&world.get("/").await), "504");
        assert_eq!(world.server.counters().refusals(refusal), 1);
        world.stop().await;
    }
    drop(slow);
}
