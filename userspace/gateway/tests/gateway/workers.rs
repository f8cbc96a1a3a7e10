//! Sentences about listening sockets, reloads and the end.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use windrose_gateway::Limits;

use crate::door::{Door, PATIENCE, WEB, response, service, until_true};
use crate::world::{route, upstream};

const OTHER: u16 = 18_081;

fn ok(door: &Door) -> String {
    let (at, _) = door.runtime.block_on(upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    service("a", at) + &route("rules: [{backendRefs: [{name: a, port: 80}]}]")
}

#[test]
fn a_reload_under_load_loses_no_request() {
    let door = Door::open();
    let shop = door.web() + &ok(&door);
    door.publish(&shop);
    let (is_over, served) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for kept in [true, true, false, false] {
            let (door, is_over, served) = (&door, &is_over, &served);
            scope.spawn(move || {
                let mut stream = door.connect(WEB);
                while !is_over.load(Ordering::Relaxed) {
                    if kept {
                        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").unwrap();
                        assert!(response(&mut stream).starts_with("HTTP/1.1 200"));
                    } else {
                        assert!(door.get(WEB, "/").starts_with("HTTP/1.1 200"));
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..40 {
            let before = served.load(Ordering::Relaxed);
            let more = door.listeners(&format!(
                "{{name: web, port: {WEB}, protocol: HTTP}}, {{name: other, port: {OTHER}, protocol: HTTP}}"
            ));
            let text = if round % 2 == 0 { shop.replace(&door.web(), &more) } else { shop.clone() };
            door.publish(&text);
            until_true("more requests are served", || served.load(Ordering::Relaxed) >= before + 20);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    door.gateway.stop();
}

#[test]
fn listeners_come_and_go() {
    let door = Door::open();
    let shop = ok(&door);
    door.publish(&(door.web() + &shop));
    assert!(TcpStream::connect(door.at(OTHER)).is_err());
    let listener = |port: u16| door.listeners(&format!("{{name: web, port: {port}, protocol: HTTP}}"));
    door.publish(&(listener(OTHER) + &shop));
    assert!(door.get(OTHER, "/").ends_with("ok"));
    until_true("the old port is closed", || TcpStream::connect(door.at(WEB)).is_err());
    // At once back again: sockets of before may still be closing.
    for port in [WEB, OTHER, WEB, OTHER] {
        door.publish(&(listener(port) + &shop));
        assert!(door.get(port, "/").ends_with("ok"));
        assert_eq!(door.gateway.failures(), []);
    }
}

#[test]
fn a_port_in_use_harms_no_other_and_is_tried_again() {
    let door = Door::open();
    let foreign = TcpListener::bind(door.at(OTHER)).unwrap();
    let both = door.listeners(&format!(
        "{{name: web, port: {WEB}, protocol: HTTP}}, {{name: other, port: {OTHER}, protocol: HTTP}}"
    ));
    door.publish(&(both + &ok(&door)));
    assert!(door.get(WEB, "/").ends_with("ok"));
    let programmed = door.condition(Some("other"), "Programmed");
    assert!(!programmed.is_true && programmed.reason.name() == "PortUnavailable", "{programmed:?}");
    assert!(programmed.message.contains(&door.at(OTHER).to_string()), "{programmed:?}");
    assert!(door.condition(Some("web"), "Programmed").is_true);
    let of_gateway = door.condition(None, "Programmed");
    assert!(of_gateway.is_true && of_gateway.message.contains("listener other"), "{of_gateway:?}");
    door.gateway.retry();
    assert_eq!(door.gateway.failures().len(), 1);
    drop(foreign);
    door.gateway.retry();
    assert_eq!(door.gateway.failures(), []);
    assert!(door.condition(Some("other"), "Programmed").is_true);
    assert!(door.get(OTHER, "/").ends_with("ok"));
}

#[test]
fn an_address_of_nobody_is_the_gateways_condition() {
    let door = Door::open();
    let elsewhere = door.web().replace(&door.address.to_string(), "192.0.2.77");
    door.publish(&elsewhere);
    for of in [None, Some("web")] {
        let programmed = door.condition(of, "Programmed");
        assert!(!programmed.is_true && programmed.reason.name() == "AddressNotUsable", "{programmed:?}");
    }
}

#[test]
fn what_has_begun_is_finished_when_a_listener_or_the_gateway_ends() {
    let door = Door::open();
    // Two requests, each on a connection of its own, answered when the test says so.
    let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = endpoint.local_addr().unwrap();
    let answer = |mut stream: TcpStream| {
        // What is not read when it is closed would reset it.
        response(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate").unwrap();
    };
    let shop = service("a", at) + &route("rules: [{backendRefs: [{name: a, port: 80}]}]");
    door.publish(&(door.web() + &shop));
    let ask = || {
        let mut stream = door.connect(WEB);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").unwrap();
        stream
    };
    let mut first = ask();
    let (first_asked, _) = endpoint.accept().unwrap();
    // A connection that is idle ends at once.
    let mut idle = door.connect(WEB);
    idle.write_all(b"GET /public/..%2f HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(response(&mut idle).starts_with("HTTP/1.1 400"));
    door.publish(&shop);
    until_true("the port is closed", || TcpStream::connect(door.at(WEB)).is_err());
    assert_eq!(idle.read(&mut [0; 16]).unwrap(), 0);
    door.publish(&(door.web() + &shop));
    let mut second = ask();
    let (second_asked, _) = endpoint.accept().unwrap();
    let Door { gateway, runtime, .. } = door;
    let end = std::thread::spawn(move || gateway.stop());
    answer(first_asked);
    answer(second_asked);
    assert!(response(&mut first).ends_with("late"));
    assert!(response(&mut second).ends_with("late"));
    end.join().unwrap();
    drop(runtime);
}

#[test]
fn the_end_does_not_wait_for_ever() {
    let limits = Limits { drain: Duration::from_millis(200), ..Limits::default() };
    let door = Door::open_with(limits);
    // It takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let shop =
        service("a", silent.local_addr().unwrap()) + &route("rules: [{backendRefs: [{name: a, port: 80}]}]");
    door.publish(&(door.web() + &shop));
    let mut stream = door.connect(WEB);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").unwrap();
    let _asked = silent.accept().unwrap();
    let began = std::time::Instant::now();
    let Door { gateway, runtime, .. } = door;
    gateway.stop();
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0);
    drop(runtime);
}

#[test]
fn a_connection_that_never_said_a_word_does_not_hold_up_the_end() {
    let door = Door::open();
    door.publish(&(door.web() + &ok(&door)));
    let mut silent = door.connect(WEB);
    let counted = |door: &Door| door.gateway.total(|of| of.connections.load(Ordering::Relaxed));
    until_true("it is accepted", || counted(&door) == 1);
    let began = std::time::Instant::now();
    let Door { gateway, runtime, .. } = door;
    gateway.stop();
    // Its head would have 15 s.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(silent.read(&mut [0; 16]).unwrap_or(0), 0);
    drop(runtime);
}

#[test]
fn exchanges_are_counted_by_gateway_listener_and_route() {
    let door = Door::open();
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let dead = service("d", at)
        + &route(
            "hostnames: [shop.example], rules: [{matches: [{path: {value: /d}}], backendRefs: [{name: d, port: 80}]}]",
        );
    door.publish(&(door.web() + &dead));
    assert!(door.get(WEB, "/d").starts_with("HTTP/1.1 503"));
    assert!(door.get(WEB, "/none").starts_with("HTTP/1.1 404"));
    let mut stream = door.connect(WEB);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n").unwrap();
    assert!(response(&mut stream).starts_with("HTTP/1.1 400"));
    // An exchange is counted when its last byte is out.
    until_true("all are counted", || {
        let all = door.gateway.series();
        let count: u64 = all.iter().flat_map(|series| series.times).sum();
        count == 3
    });
    let told: Vec<(String, String, u64)> = door
        .gateway
        .series()
        .iter()
        .flat_map(|series| {
            let route = series.names.route.as_ref().map_or("-", |route| route.name.as_str()).to_owned();
            let listener = series.names.listener.clone();
            // (class, blame): 5xx of the endpoint, 4xx of the client.
            [(5, 2), (4, 1)].map(|(class, blame)| {
                (listener.clone(), format!("{route} {class}xx"), series.exchanges[class][blame])
            })
        })
        .filter(|(_, _, count)| *count > 0)
        .collect();
    let one = |listener: &str, what: &str| (listener.to_owned(), what.to_owned(), 1);
    assert_eq!(told, [one("", "- 4xx"), one("web", "- 4xx"), one("web", "r 5xx")]);
    assert_eq!(door.gateway.total(|counters| counters.exchanges_open.load(Ordering::Relaxed)), 0);
}
