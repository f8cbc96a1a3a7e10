//! What a report makes of counts that are known.

use windrose_datapath::LookUps;
use windrose_datapath::abi::RuleTimesKey;

use super::*;

fn program(name: &'static str, id: u32, run_count: u64, run_time_ns: u64) -> ProgramStatus {
    ProgramStatus {
        name,
        hook: format!("cgroup {name}"),
        id,
        verified_instructions: 57_000,
        instructions: 400,
        machine_code_bytes: 2400,
        run_count,
        run_time_ns,
    }
}

/// 1000 runs of connect4 at 500 ns, 900 verdicts of one rule and 100 of none, in two seconds.
pub(in crate::profile) fn taken() -> Taken {
    let spent = |verdicts, timed, ns: u64| Spent { verdicts, timed, sum_ns: timed * ns };
    let mut hit_times = [0; TIME_BUCKETS];
    // 128 to 159 ns.
    hit_times[28] = 800;
    let mut miss_times = [0; TIME_BUCKETS];
    // 1024 to 1279 ns, and one that was interrupted.
    (miss_times[40], miss_times[64]) = (90, 1);
    let rule = RuleTimesKey { rule: 7, origin: 4, direction: 1, ..RuleTimesKey::ZERO };
    let open = RuleTimesKey { rule: 0, origin: 1, direction: 0, ..RuleTimesKey::ZERO };
    let look_ups = |kind, count, ns: u64| LookUps { kind, count, sum_ns: count * ns };
    Taken {
        began: "2026-11-23T14:03:21.000000Z".to_owned(),
        seconds: 2.0,
        counted_seconds: 2.5,
        statistics_cost: StatisticsCost { in_run_time_ns: 40.0, per_run_ns: Some(70.0) },
        programs_before: vec![program("connect4", 3, 500, 250_000), program("packet_egress", 4, 9, 900)],
        programs: vec![
            program("packet_egress", 4, 9, 900),
            program("connect4", 3, 1500, 750_000),
            // A program that was not there before.
            program("sendmsg4", 9, 10, 100),
        ],
        program_memory: vec![ProgramMemory { program: "connect4", memory_bytes: 8192 }],
        measured: Measured {
            hits: spent(880, 800, 140),
            misses: spent(120, 90, 1120),
            hit_times,
            miss_times,
            rules: vec![
                (open, [spent(100, 100, 120), Spent::default()]),
                (rule, [spent(780, 700, 140), spent(120, 90, 1120)]),
            ],
            unnamed: 3,
            runs: 1600,
            sampled_runs: 100,
            look_ups: vec![
                look_ups(Lookup::Clock, 100, 20),
                look_ups(Lookup::Address, 150, 80),
                look_ups(Lookup::Rule, 25, 15),
                look_ups(Lookup::Prefix, 0, 0),
            ],
        },
        maps: vec![
            MapMemory {
                map: "FLOWS".to_owned(),
                key_bytes: 28,
                value_bytes: 112,
                capacity: 65_536,
                memory_bytes: 1 << 20,
            },
            MapMemory {
                map: "RULES".to_owned(),
                key_bytes: 12,
                value_bytes: 32,
                capacity: 1 << 20,
                memory_bytes: 9 << 20,
            },
            MapMemory {
                map: ".rodata".to_owned(),
                key_bytes: 4,
                value_bytes: 700,
                capacity: 1,
                memory_bytes: 8192,
            },
        ],
        fill: vec![MapFill { map: "RULES", entries: 12, capacity: 1 << 20 }],
        generation: 4,
        processors: 2,
    }
}

fn is(value: f64, expected: f64) -> bool {
    (value - expected).abs() < 1e-6
}

#[test]
fn what_statistics_take_is_taken_off_a_run() {
    let report = reckon(&taken(), &Book::default());
    let connect = &report.hooks[0];
    assert_eq!(
        (connect.program.as_str(), connect.runs, connect.counted_run_time_ns),
        ("connect4", 1000, 500_000)
    );
    assert!(connect.ns_per_run.is_some_and(|ns| is(ns, 460.0)), "{connect:?}");
    assert!(is(connect.runs_per_second, 400.0) && is(connect.cpu_share, 460e-9 * 400.0), "{connect:?}");
    assert_eq!(connect.memory_bytes, 8192);
    // Less than statistics take: nothing, and not less than nothing.
    let cheap = report.hooks.iter().find(|hook| hook.program == "sendmsg4").unwrap();
    assert_eq!((cheap.runs, cheap.ns_per_run), (10, Some(0.0)));
    let idle = report.hooks.iter().find(|hook| hook.program == "packet_egress").unwrap();
    assert_eq!((idle.runs, idle.ns_per_run), (0, None));
}

#[test]
fn what_the_clock_takes_is_taken_off_means_and_quantiles_and_not_off_the_histogram() {
    let report = reckon(&taken(), &Book::default());
    assert!(report.measuring.clock_ns.is_some_and(|ns| is(ns, 20.0)));
    assert!(report.hits.mean_ns.is_some_and(|ns| is(ns, 120.0)) && is(report.hits.per_second, 440.0));
    assert!(report.hits.p50_ns.is_some_and(|ns| (108.0..140.0).contains(&ns)), "{:?}", report.hits);
    assert_eq!(report.hits.histogram, [Bucket { from_ns: 128, to_ns: 160, count: 800 }]);
    assert_eq!(report.misses.histogram.len(), 64 - 40 + 1);
    assert!(report.misses.p99_ns.is_some_and(|ns| ns > 60_000.0), "{:?}", report.misses);
}

#[test]
fn the_most_expensive_rule_comes_first() {
    let report = reckon(&taken(), &Book::default());
    let [rule, open] = &report.rules[..] else { panic!("{:?}", report.rules) };
    assert_eq!(
        (rule.origin.as_str(), rule.direction.as_str(), rule.verdict.as_str()),
        ("isolated", "egress", "allow")
    );
    // Verdicts that were not timed count with the mean of the others.
    assert!(is(rule.total_ns, 780.0 * 120.0 + 120.0 * 1100.0), "{rule:?}");
    assert_eq!((open.name().as_str(), open.ns_per_miss), ("open, ingress", None));
    assert_eq!(report.verdicts_of_other_rules, 3);
}

#[test]
fn sampled_look_ups_stand_for_all() {
    let report = reckon(&taken(), &Book::default());
    let [address, rule] = &report.look_ups[..] else { panic!("{:?}", report.look_ups) };
    assert_eq!((address.map.as_str(), address.timed), ("addresses", 150));
    // 1.5 a run, 800 runs a second.
    assert!(is(address.per_run, 1.5) && is(address.per_second, 1200.0), "{address:?}");
    assert!(address.mean_ns.is_some_and(|ns| is(ns, 60.0)) && is(address.cpu_share, 1200.0 * 60e-9));
    assert_eq!(rule.mean_ns, Some(0.0), "faster than the clock is read");
}

#[test]
fn maps_are_listed_by_their_memory() {
    let maps = reckon(&taken(), &Book::default()).maps;
    let names: Vec<&str> = maps.iter().map(|map| map.map.as_str()).collect();
    assert_eq!(names, ["RULES", "FLOWS", ".rodata"]);
    assert_eq!((maps[0].entries, maps[1].entries), (Some(12), None));
}

#[test]
fn nothing_measured_is_a_report_without_means() {
    let nothing = Measured {
        runs: 0,
        sampled_runs: 0,
        look_ups: vec![],
        rules: vec![],
        unnamed: 0,
        ..taken().measured
    };
    let nothing = Measured {
        hits: Spent::default(),
        misses: Spent::default(),
        hit_times: [0; TIME_BUCKETS],
        miss_times: [0; TIME_BUCKETS],
        ..nothing
    };
    let report =
        reckon(&Taken { measured: nothing, seconds: 0.0, counted_seconds: 0.0, ..taken() }, &Book::default());
    assert_eq!((report.hits.mean_ns, report.hits.p99_ns, report.measuring.clock_ns), (None, None, None));
    assert!(
        report.hits.histogram.is_empty() && report.look_ups.is_empty() && is(report.hooks[0].cpu_share, 0.0)
    );
}
