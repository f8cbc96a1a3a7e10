//! A run: everything is made once, then measured in turns, round after round.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::case::{Case, SIZES, TYPICAL};
use super::documents;
use super::rules::{CLOSED_PORT, HALF_OPEN_PORT, PORT};
use super::rulesets::{Layout, Ruleset};
use crate::bench::agent::{Agent, Launcher};
use crate::bench::end::Attempt;
use crate::bench::ground::{Ground, Place};
use crate::bench::hooks;
use crate::bench::numbers::nanoseconds;
use crate::bench::options::Options;
use crate::bench::pair::{Call, Others, Pair};
use crate::bench::report::{Case as _, LoadKind, Report, Sample, Start};
use crate::bench::stage::{self, Stage};
use crate::bench::subject::Subject;

/// How often the agent is asked where it is watched: 60 times as often as Prometheus would.
const WATCH: Duration = Duration::from_millis(250);

/// Everything that stands while a run lasts.
struct Run<'a> {
    options: &'a Options,
    launcher: Launcher,
    /// Without rules: for no agent and for Windrose, which is attached to cgroups.
    plain: [Ground; 2],
    nftables: Vec<(Case, [Ground; 2])>,
    stage: Stage,
}

/// What a round does.
#[derive(Debug, Clone, Copy)]
enum Step {
    Nothing(Case),
    Windrose(usize),
    Nftables(usize),
}

/// Which traffic passes: shows what is enforced.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// All.
    Open,
    /// Only what is allowed, refused with EPERM at connect.
    Refused,
    /// Only what is allowed, the rest dropped.
    Dropped,
}

/// Measures everything.
pub(super) fn measure(options: &Options) -> Result<Report<Case>> {
    let mut report = Report::new(options);
    eprintln!("writing policies, loading rulesets ...");
    let run = Run::new(options, &mut report.starts)?;
    stage::in_turns(&mut report, run.steps(), |step, round, report| run.take(step, round, report))?;
    eprintln!("statistics of programs ...");
    for rules in [SIZES[0], SIZES[3]] {
        let config = run.stage.write("statistics.yaml", "statistics: true\n")?;
        let agent = run.launcher.start(&run.policy(rules), Some(&config))?;
        for ground in &run.plain {
            let (homes, slice) = (&run.stage.homes, options.slice);
            report.hooks.extend(hooks::measure(&agent, ground, homes, call(ground.place), rules, slice)?);
        }
    }
    report.machine.look_again();
    Ok(report)
}

fn call(place: Place) -> Call {
    Call::direct(SocketAddrV4::new(place.server(), PORT))
}

impl<'a> Run<'a> {
    fn new(options: &'a Options, starts: &mut Vec<Start<Case>>) -> Result<Self> {
        let stage = Stage::new(options.processors)?;
        let addresses = |of: fn(Place) -> Ipv4Addr| Place::DIRECT.map(of).to_vec();
        let client = Subject::new("client", &stage.homes.client, addresses(Place::client));
        let server = Subject::new("server", &stage.homes.server, addresses(Place::server));
        for rules in SIZES {
            let folder = stage.folder().join(format!("policy-{rules}"));
            documents::write(&folder, &client, &server, rules)?;
        }
        let launcher = Launcher::new(stage.folder())?;
        let mut nftables = Vec::new();
        for (layout, stateful, rules) in rulesets(options.long_chains) {
            let case = Case::Nftables { layout, stateful, rules };
            let begun = Instant::now();
            let ground = |place: Place| {
                let ground = Ground::new(place)?;
                let (client, server) = (place.client(), place.server());
                let ruleset = Ruleset { layout, is_stateful: stateful, count: rules, client, server };
                ruleset.load(&ground).with_context(|| case.title())?;
                Ok::<_, anyhow::Error>(ground)
            };
            let veth = ground(Place::Veth)?;
            starts.push(Start { case, took_ms: nanoseconds(begun.elapsed()) / 1_000_000 });
            nftables.push((case, [veth, ground(Place::Host)?]));
        }
        let plain = [Ground::new(Place::Veth)?, Ground::new(Place::Host)?];
        Ok(Self { options, launcher, plain, nftables, stage })
    }

    fn policy(&self, rules: usize) -> PathBuf {
        self.stage.folder().join(format!("policy-{rules}"))
    }

    /// The tools take turns, and the baseline is at both ends of every other step.
    fn steps(&self) -> Vec<Step> {
        let mut steps = vec![Step::Nothing(Case::Nothing)];
        for (turn, size) in SIZES.into_iter().enumerate() {
            if turn == SIZES.len() / 2 {
                steps.push(Step::Nothing(Case::NothingAgain));
            }
            steps.push(Step::Windrose(size));
            let of_size = |(number, (case, _)): (usize, &(Case, _))| match case {
                Case::Nftables { rules, .. } if *rules == size => Some(Step::Nftables(number)),
                _ => None,
            };
            steps.extend(self.nftables.iter().enumerate().filter_map(of_size));
        }
        steps
    }

    fn take(&self, step: Step, round: usize, report: &mut Report<Case>) -> Result<()> {
        match step {
            Step::Nothing(case) => self.places(&self.plain, case, round, (Expected::Open, None), report),
            Step::Nftables(number) => {
                let (case, grounds) = &self.nftables[number];
                self.places(grounds, *case, round, (Expected::Dropped, None), report)
            }
            Step::Windrose(rules) => {
                let agent = self.launcher.start(&self.policy(rules), None)?;
                let enforced = (Expected::Refused, Some(agent.process()));
                let case = Case::Windrose { rules };
                report.starts.push(Start { case, took_ms: nanoseconds(agent.took) / 1_000_000 });
                self.places(&self.plain, case, round, enforced, report)?;
                if rules == TYPICAL {
                    let case = Case::Watched { rules };
                    watched(&agent, || self.places(&self.plain, case, round, enforced, report))?;
                }
                Ok(())
            }
        }
    }

    /// Every load in both places, after a look at what is enforced.
    fn places(
        &self,
        grounds: &[Ground],
        case: Case,
        round: usize,
        (expected, agent): (Expected, Option<u32>),
        report: &mut Report<Case>,
    ) -> Result<()> {
        for ground in grounds {
            let place = ground.place;
            let others = Others { agent, between: Vec::new() };
            let mut pair = Pair::start(ground, &self.stage.homes, call(place), &others)?;
            for (port, expected) in expected.attempts() {
                let checked = pair.check(port, expected);
                checked.with_context(|| format!("{}, {}", case.title(), place.title()))?;
            }
            for load in LoadKind::USUAL {
                let measured = pair.measure(load, self.options.slice)?;
                report.samples.push(Sample { round, case, place, load, measured });
            }
        }
        Ok(())
    }
}

impl Expected {
    /// At ports that ingress, and that egress does not allow.
    const fn attempts(self) -> [(u16, Attempt); 2] {
        let (half_open, closed) = match self {
            Self::Open => (Attempt::NobodyListens, Attempt::NobodyListens),
            Self::Refused => (Attempt::Silence, Attempt::NotPermitted),
            Self::Dropped => (Attempt::Silence, Attempt::Silence),
        };
        [(HALF_OPEN_PORT, half_open), (CLOSED_PORT, closed)]
    }
}

/// All that nftables is measured with.
fn rulesets(long_chains: bool) -> impl Iterator<Item = (Layout, bool, usize)> {
    SIZES.into_iter().flat_map(move |rules| {
        [(Layout::Chains, true), (Layout::Sets, true), (Layout::Chains, false), (Layout::Sets, false)]
            .into_iter()
            .filter(move |(_, stateful)| *stateful || rules == TYPICAL)
            .filter(move |(layout, _)| *layout == Layout::Sets || rules < SIZES[3] || long_chains)
            .map(move |(layout, stateful)| (layout, stateful, rules))
    })
}

/// Does `work` while another thread reads what an operator would.
fn watched<T>(agent: &Agent<'_>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                agent.get("/metrics")?;
                agent.get("/connections")?;
                thread::park_timeout(WATCH);
            }
            Ok::<_, anyhow::Error>(())
        });
        let result = work();
        is_over.store(true, Ordering::Relaxed);
        reader.thread().unpark();
        match reader.join() {
            Ok(read) => read.and(result),
            Err(_) => anyhow::bail!("the thread that watches panicked"),
        }
    })
}
