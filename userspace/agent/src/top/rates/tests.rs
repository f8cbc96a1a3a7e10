//! Rates between samples: over ends of connections, restarts and new beginnings.

use super::*;
use crate::top::sample::{DropTotals, ProgramTotals};

/// A sample of one pair so many seconds after the beginning.
fn at(seconds: u64, opened: u64, bytes_sent: u64) -> Sample {
    Sample {
        monotonic_ns: seconds * 1_000_000_000,
        epoch: 1,
        pairs: vec![PairTotals {
            pair: Pair { source: "a/b".to_owned(), port: 80, ..Pair::default() },
            opened,
            bytes_sent,
            rtt: vec![0, 0, 0, 0, 0, 0, opened],
            ..PairTotals::default()
        }],
        ..Sample::default()
    }
}

fn is(rate: f64, expected: f64) -> bool {
    (rate - expected).abs() < 1e-6
}

#[test]
fn the_first_sample_has_totals_and_no_rates() {
    let reading = Rates::default().next(at(1, 10, 1000));
    let pair = &reading.pairs[0];
    assert_eq!((pair.opened, pair.bytes_sent, pair.rtt_p50_us), (10, 1000, None));
    assert!(is(reading.seconds, 0.0) && is(pair.opened_per_second, 0.0));
}

#[test]
fn rates_are_what_came_between_by_the_second() {
    let mut rates = Rates::default();
    rates.next(at(1, 10, 1000));
    let reading = rates.next(at(3, 30, 5000));
    let pair = &reading.pairs[0];
    assert!(is(reading.seconds, 2.0) && is(pair.opened_per_second, 10.0), "{pair:?}");
    assert!(is(pair.bytes_sent_per_second, 2000.0), "{pair:?}");
    assert!(pair.rtt_p50_us.is_some_and(|rtt| (64.0..128.0).contains(&rtt)), "{pair:?}");
}

#[test]
fn a_pair_that_appears_began_at_nothing() {
    let mut rates = Rates::default();
    rates.next(Sample { pairs: vec![], ..at(1, 0, 0) });
    assert!(is(rates.next(at(2, 7, 0)).pairs[0].opened_per_second, 7.0));
}

#[test]
fn a_connection_that_ends_while_the_agent_reads_is_not_counted_twice() {
    let mut rates = Rates::default();
    rates.next(at(1, 1, 1000));
    assert!(is(rates.next(at(2, 1, 200)).pairs[0].bytes_sent_per_second, 0.0));
    assert!(is(rates.next(at(3, 1, 1100)).pairs[0].bytes_sent_per_second, 100.0));
}

#[test]
fn after_counters_began_anew_there_are_no_rates_for_once() {
    let mut rates = Rates::default();
    rates.next(at(1, 1000, 1000));
    let reading = rates.next(Sample { epoch: 2, ..at(2, 5, 50) });
    assert!(is(reading.seconds, 0.0) && is(reading.pairs[0].opened_per_second, 0.0));
    let reading = rates.next(Sample { epoch: 2, ..at(3, 7, 150) });
    assert!(is(reading.pairs[0].opened_per_second, 2.0), "{reading:?}");
    assert!(is(reading.pairs[0].bytes_sent_per_second, 100.0), "{reading:?}");
}

#[test]
fn a_clock_that_stands_still_gives_no_rate() {
    let mut rates = Rates::default();
    rates.next(at(1, 1, 1));
    assert!(is(rates.next(at(1, 9, 9)).pairs[0].opened_per_second, 0.0));
}

#[test]
fn a_refusal_is_a_row_of_its_pair_without_a_port() {
    let sample = |seconds, attempts| {
        let drop = |audited| Drop {
            source: "a/b".to_owned(),
            destination: "c/d".to_owned(),
            audited,
            ..Drop::default()
        };
        let drops = [false, true].map(|audited| DropTotals { drop: drop(audited), attempts });
        Sample { drops: drops.into(), ..at(seconds, 1, 1) }
    };
    let mut rates = Rates::default();
    rates.next(sample(1, 10));
    let reading = rates.next(sample(2, 14));
    assert_eq!(reading.pairs.len(), 2);
    let refused = reading.pairs.iter().find(|row| row.pair.destination == "c/d").unwrap();
    assert_eq!((refused.refused, refused.active, refused.pair.port), (14, 0, 0));
    assert!(is(refused.refused_per_second, 4.0), "what is only audited is no refusal");
}

#[test]
fn a_connection_that_was_not_listed_before_has_a_rate_only_if_it_is_new() {
    let sample = |seconds, list: Vec<ConnectionTotals>| Sample { connections: list, ..at(seconds, 0, 0) };
    let connection = |id, bytes_sent, age_seconds| ConnectionTotals {
        id,
        bytes_sent,
        age_seconds,
        ..ConnectionTotals::default()
    };
    let mut rates = Rates::default();
    rates.next(sample(1, vec![connection(1, 100, 50.0)]));
    let reading = rates.next(sample(
        2,
        vec![connection(1, 160, 51.0), connection(2, 40, 0.5), connection(3, 1_000_000, 99.0)],
    ));
    let sent: Vec<f64> = reading.connections.iter().map(|row| row.bytes_sent_per_second).collect();
    assert!(is(sent[0], 60.0) && is(sent[1], 40.0) && is(sent[2], 0.0), "{sent:?}");
}

#[test]
fn a_program_is_shown_by_the_run_and_as_a_share_of_a_processor() {
    let sample = |seconds, runs, run_time_ns| {
        let program =
            ProgramTotals { program: "connect4".to_owned(), runs, run_time_ns, ..Default::default() };
        Sample { programs: vec![program], ..at(seconds, 0, 0) }
    };
    let mut rates = Rates::default();
    rates.next(sample(1, 1000, 500_000));
    let program = rates.next(sample(2, 101_000, 50_500_000)).programs.remove(0);
    assert!(is(program.runs_per_second, 100_000.0) && is(program.cpu_share, 0.05), "{program:?}");
    assert!(program.ns_per_run.is_some_and(|ns| is(ns, 500.0)), "{program:?}");
    // A new agent has put its own program in its place.
    let program = rates.next(sample(3, 10, 4000)).programs.remove(0);
    assert!(is(program.runs_per_second, 10.0), "{program:?}");
    assert!(program.ns_per_run.is_some_and(|ns| is(ns, 400.0)), "{program:?}");
    assert_eq!(rates.next(sample(4, 10, 4000)).programs[0].ns_per_run, None);
}
