//! The view on screens of every size, character by character.

use std::fmt::Write as _;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::output::golden;
use crate::top::model::Key;
use crate::top::rates::{ConnectionRates, DropRates, PairRates, ProgramRates, ServiceRates};
use crate::top::sample::{ConnectionTotals, Drop, Pair, ServicePort, ServiceTotals};

fn pair(source: &str, destination: &str, port: u16, n: u32) -> PairRates {
    let rate = f64::from(n);
    PairRates {
        pair: Pair {
            source: source.to_owned(),
            destination: destination.to_owned(),
            port,
            protocol: "TCP".to_owned(),
        },
        active: u64::from(n),
        opened: u64::from(n) * 1000,
        opened_per_second: rate * 1.5,
        bytes_sent: u64::from(n) * 100_000,
        bytes_sent_per_second: rate * 1234.5,
        bytes_received: 5,
        bytes_received_per_second: rate * 98_765.4,
        rtt_p50_us: Some(rate * 7.7),
        rtt_p99_us: Some(rate * 1777.7),
        ..PairRates::default()
    }
}

fn connection(source: &str, destination: &str) -> ConnectionRates {
    ConnectionRates {
        connection: ConnectionTotals {
            source: source.to_owned(),
            destination: destination.to_owned(),
            protocol: "TCP".to_owned(),
            direction: "egress".to_owned(),
            state: "established".to_owned(),
            path: "stack".to_owned(),
            service: "shop/cart".to_owned(),
            decided_by: "shop/web egress[0] (policies/demo/shop.yaml:21:7)".to_owned(),
            bytes_sent: 4200,
            bytes_received: 5_800_000,
            rtt_us: 54,
            age_seconds: 725.0,
            ..ConnectionTotals::default()
        },
        bytes_sent_per_second: 42.0,
        bytes_received_per_second: 58_000.0,
    }
}

fn reading() -> Reading {
    let refused = PairRates {
        refused: 12,
        refused_per_second: 3.0,
        pair: pair("guest/intruder", "bank/payments", 0, 0).pair,
        ..PairRates::default()
    };
    let drop = |audited| DropRates {
        drop: Drop {
            reason: "isolated".to_owned(),
            rule: "shop/web egress isolation".to_owned(),
            place: "policies/demo/shop.yaml:11:18".to_owned(),
            source: "shop/web".to_owned(),
            destination: "outside".to_owned(),
            protocol: "UDP".to_owned(),
            direction: "egress".to_owned(),
            audited,
        },
        attempts: 100,
        attempts_per_second: if audited { 0.0 } else { 2.5 },
    };
    let program = |program: &str, n: u32| ProgramRates {
        program: program.to_owned(),
        hook: "cgroup connect4".to_owned(),
        runs_per_second: f64::from(n) * 12.5,
        ns_per_run: (n > 0).then(|| f64::from(n) * 100.0),
        cpu_share: f64::from(n) / 1000.0,
    };
    let at_edge = DropRates {
        drop: Drop { reason: "denied_host".to_owned(), direction: "edge".to_owned(), ..Drop::default() },
        attempts: 40_000,
        attempts_per_second: 1000.0,
    };
    let service = |endpoint: &str, n: u32| ServiceRates {
        totals: ServiceTotals {
            port: ServicePort {
                service: "shop/cart".to_owned(),
                port: 80,
                protocol: "TCP".to_owned(),
                endpoint: endpoint.to_owned(),
            },
            live: u64::from(n),
            connections: u64::from(n) * 100,
            refused: 4,
            ended: 1,
        },
        connections_per_second: f64::from(n) * 2.5,
        refused_per_second: 0.5,
    };
    Reading {
        time: "2026-11-23T14:03:21.123456Z".to_owned(),
        seconds: 1.0,
        generation: 4,
        processors: 2,
        statistics: true,
        dropped_packets: 40,
        dropped_packets_per_second: 5.0,
        live: 1200,
        pairs: vec![
            pair("shop/web", "shop/cart", 8080, 12),
            pair("shop/a-workload-with-a-very-long-name-indeed", "bank/payments", 8443, 3),
            pair("outside", "shop/web", 443, 1),
            refused,
        ],
        connections: vec![
            connection("shop/web:47909", "shop/cart:8080"),
            connection("[fd77::1]:5", "shop/web:443"),
        ],
        drops: vec![drop(false), drop(true), at_edge],
        services: vec![service("", 12), service("shop/cart-1", 9), service("unnamed", 3)],
        programs: vec![program("connect4", 3), program("packet_ingress", 40), program("walk_connections", 0)],
        ..Reading::default()
    }
}

fn model(view: View) -> Model {
    let mut model = Model::new("127.0.0.1:9901".to_owned(), view);
    model.take(Ok(reading()));
    model
}

/// What a terminal of this size shows.
fn screen(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(model, frame.area(), frame.buffer_mut())).unwrap();
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for y in 0..height {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[test]
fn golden_screens() {
    let mut said = String::new();
    let mut show = |what: &str, model: &Model, width, height| {
        writeln!(said, "=== {what}, {width}x{height}").unwrap();
        said += &screen(model, width, height);
    };
    for view in VIEWS {
        for (width, height) in [(80, 24), (200, 12)] {
            show(view_name(view), &model(view), width, height);
        }
    }
    let mut empty = Model::new("127.0.0.1:9901".to_owned(), View::Pairs);
    show("before the first answer", &empty, 80, 8);
    empty.take(Ok(Reading { time: "2026-11-23T14:03:21.1Z".to_owned(), ..Reading::default() }));
    show("nothing", &empty, 80, 8);
    empty.take(Err("no agent answers at 127.0.0.1:9901".to_owned()));
    show("the agent is gone", &empty, 80, 8);
    let mut helping = model(View::Pairs);
    helping.press(Key::Char('?'), 10);
    show("help", &helping, 80, 24);
    let mut typing = model(View::Pairs);
    for key in "/cart".chars() {
        typing.press(Key::Char(key), 10);
    }
    show("a filter is typed", &typing, 80, 10);
    typing.press(Key::Enter, 10);
    typing.press(Key::Char('p'), 10);
    show("filtered and paused", &typing, 80, 10);
    for (width, height) in [(40, 10), (20, 5), (12, 3), (5, 2), (1, 1)] {
        show("pairs", &model(View::Pairs), width, height);
    }
    golden::assert("top.txt", &said);
}

#[test]
fn no_size_is_too_small_or_too_large() {
    for view in VIEWS {
        let mut model = model(view);
        model.is_coloured = true;
        for is_helping in [false, true] {
            model.is_helping = is_helping;
            for height in (0..20).chain([100, 300]) {
                for width in (0..40).chain([79, 80, 81, 300]) {
                    screen(&model, width, height);
                    model.first = usize::MAX;
                    model.clamp(all_rows(&model).len(), page(&model, height));
                }
            }
        }
    }
}

#[test]
fn a_screen_that_changes_its_size_is_drawn_anew() {
    let model = model(View::Connections);
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    for (width, height) in [(80, 24), (3, 2), (200, 60), (0, 0), (80, 24)] {
        terminal.backend_mut().resize(width, height);
        terminal.autoresize().unwrap();
        terminal.draw(|frame| draw(&model, frame.area(), frame.buffer_mut())).unwrap();
    }
    let first: String = (0..12).map(|x| terminal.backend().buffer()[(x, 0)].symbol()).collect();
    assert_eq!(first, "windrose top");
}

#[test]
fn every_row_can_be_reached() {
    let mut model = model(View::Pairs);
    let mut reading = reading();
    reading.pairs = (0..100).map(|n| pair(&format!("shop/w{n:03}"), "shop/cart", 80, n)).collect();
    model.take(Ok(reading));
    model.press(Key::End, 10);
    assert!(screen(&model, 80, 24).contains("shop/w000"), "the last of a descending order");
    model.clamp(all_rows(&model).len(), page(&model, 24));
    model.press(Key::Home, 10);
    assert!(screen(&model, 80, 24).contains("shop/w099"));
    for height in 3..24 {
        assert!(page(&model, height) > 0, "{height}");
    }
}

#[test]
fn colours_are_only_where_they_are_wanted() {
    let mut model = model(View::Pairs);
    let area = Rect::new(0, 0, 80, 24);
    for is_coloured in [false, true] {
        model.is_coloured = is_coloured;
        let mut buffer = Buffer::empty(area);
        draw(&model, area, &mut buffer);
        assert_eq!(buffer.content.iter().any(|cell| cell.fg != Color::Reset), is_coloured);
    }
}
