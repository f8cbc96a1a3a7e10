//! A run: everything is made once, then measured in turns, round after round.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::case::{Case, SIZES};
use crate::bench::agent::Launcher;
use crate::bench::ground::{Ground, Place};
use crate::bench::hooks;
use crate::bench::nft;
use crate::bench::numbers::nanoseconds;
use crate::bench::options::Options;
use crate::bench::pair::{Call, Others, Pair};
use crate::bench::report::{Case as _, LoadKind, Report, Sample, Start};
use crate::bench::services::{self, BLOCK, TARGET_PORT};
use crate::bench::stage::{self, Stage};
use crate::bench::subject::{self, Subject};

/// Everything that stands while a run lasts.
struct Run<'a> {
    options: &'a Options,
    launcher: Launcher,
    /// Without rulesets: for nothing and for Windrose, which is attached to cgroups.
    plain: [Ground; 2],
    nftables: Vec<(usize, [Ground; 2])>,
    stage: Stage,
}

/// Measures everything.
pub(super) fn measure(options: &Options) -> Result<Report<Case>> {
    let mut report = Report::new(options);
    eprintln!("writing services, loading rulesets ...");
    let run = Run::new(options, &mut report.starts)?;
    stage::in_turns(&mut report, steps(), |case, round, report| run.take(case, round, report))?;
    eprintln!("statistics of programs ...");
    for size in [SIZES[0], SIZES[2]] {
        let config = run.stage.write("statistics.yaml", "statistics: true\n")?;
        let agent = run.launcher.start(&run.policy(size), Some(&config))?;
        for ground in &run.plain {
            let call = call(ground.place, Case::Windrose { services: size });
            let (homes, slice) = (&run.stage.homes, options.slice);
            report.hooks.extend(hooks::measure(&agent, ground, homes, call, size, slice)?);
        }
    }
    report.machine.look_again();
    Ok(report)
}

/// The tools take turns, and the baseline is at both ends of every other step.
fn steps() -> Vec<Case> {
    let mut steps = vec![Case::Nothing, Case::Unserved];
    for (turn, services) in SIZES.into_iter().enumerate() {
        steps.extend([Case::Windrose { services }, Case::Nftables { services }]);
        if turn == SIZES.len() / 2 {
            steps.push(Case::NothingAgain);
        }
    }
    steps
}

/// The server listens on both endpoints' addresses; the client calls one of them or the service.
fn call(place: Place, case: Case) -> Call {
    let address = match case {
        Case::Nothing | Case::NothingAgain | Case::Unserved => SocketAddrV4::new(place.server(), TARGET_PORT),
        Case::Windrose { .. } | Case::Nftables { .. } => services::called(place),
    };
    Call { listen: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, TARGET_PORT), address }
}

impl<'a> Run<'a> {
    fn new(options: &'a Options, starts: &mut Vec<Start<Case>>) -> Result<Self> {
        let stage = Stage::new(options.processors)?;
        let clients = Place::DIRECT.map(Place::client).to_vec();
        let servers = Place::DIRECT.into_iter().flat_map(|place| [place.server(), place.second()]);
        let workloads = [
            Subject::new("client", &stage.homes.client, clients).document(),
            Subject::new("server", &stage.homes.server, servers.collect()).document(),
        ];
        for size in [0].into_iter().chain(SIZES) {
            let documents: Vec<String> = workloads.iter().cloned().chain(services::documents(size)).collect();
            subject::write(&stage.folder().join(format!("services-{size}")), &documents)?;
        }
        let launcher = Launcher::new(stage.folder())?;
        let ground = |place| {
            let ground = Ground::new(place)?;
            ground.route(BLOCK)?;
            Ok::<_, anyhow::Error>(ground)
        };
        let mut nftables = Vec::new();
        for services in SIZES {
            let case = Case::Nftables { services };
            let grounds = [ground(Place::Veth)?, ground(Place::Host)?];
            let ruleset = services::ruleset("output", services);
            for ground in &grounds {
                let begun = Instant::now();
                nft::load(&ground.client, &ruleset).with_context(|| case.title())?;
                starts.push(Start { case, took_ms: nanoseconds(begun.elapsed()) / 1_000_000 });
            }
            nftables.push((services, grounds));
        }
        let plain = [ground(Place::Veth)?, ground(Place::Host)?];
        Ok(Self { options, launcher, plain, nftables, stage })
    }

    fn policy(&self, services: usize) -> PathBuf {
        self.stage.folder().join(format!("services-{services}"))
    }

    fn take(&self, case: Case, round: usize, report: &mut Report<Case>) -> Result<()> {
        let services = match case {
            Case::Nothing | Case::NothingAgain => return self.places(&self.plain, case, round, None, report),
            Case::Nftables { services } => {
                let found = self.nftables.iter().find(|(size, _)| *size == services);
                let (_, grounds) = found.context("no such ruleset is loaded")?;
                return self.places(grounds, case, round, None, report);
            }
            Case::Unserved => 0,
            Case::Windrose { services } => services,
        };
        let agent = self.launcher.start(&self.policy(services), None)?;
        report.starts.push(Start { case, took_ms: nanoseconds(agent.took) / 1_000_000 });
        self.places(&self.plain, case, round, Some(agent.process()), report)
    }

    /// Every load in both places. That the service is balanced needs no look: nobody has its address.
    fn places(
        &self,
        grounds: &[Ground],
        case: Case,
        round: usize,
        agent: Option<u32>,
        report: &mut Report<Case>,
    ) -> Result<()> {
        for ground in grounds {
            let place = ground.place;
            let others = Others { agent, between: Vec::new() };
            let mut pair = Pair::start(ground, &self.stage.homes, call(place, case), &others)?;
            for load in LoadKind::USUAL {
                let measured = pair.measure(load, self.options.slice);
                let measured = measured.with_context(|| format!("{}, {}", case.title(), place.title()))?;
                report.samples.push(Sample { round, case, place, load, measured });
            }
        }
        Ok(())
    }
}
