//! A run: everything is made once, then measured in turns, round after round.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::case::{Case, loads};
use crate::bench::agent::{Agent, Launcher};
use crate::bench::end::Attempt;
use crate::bench::ground::{Ground, Place};
use crate::bench::haproxy::{Duty, Haproxy};
use crate::bench::numbers::nanoseconds;
use crate::bench::options::Options;
use crate::bench::pair::{Call, Others, Pair};
use crate::bench::policy::{documents, rules};
use crate::bench::report::{Case as _, Report, Sample, Start};
use crate::bench::stage::{self, Stage};
use crate::bench::subject::Subject;

/// How many rules the policy has.
const RULES: usize = 10;

/// Where the proxies listen.
const OUTBOUND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 15_001);
const INBOUND_PORT: u16 = 15_006;

/// Everything that stands while a run lasts.
struct Run<'a> {
    options: &'a Options,
    launcher: Launcher,
    sites: [Site; 2],
    policy: PathBuf,
    stage: Stage,
}

/// A place with its idle proxies: the client's and the server's.
struct Site {
    ground: Ground,
    sidecars: [Haproxy; 2],
}

/// Measures everything.
pub(super) fn measure(options: &Options) -> Result<Report<Case>> {
    let mut report = Report::new(options);
    let run = Run::new(options)?;
    let steps = vec![Case::Plain, Case::Windrose, Case::PlainAgain, Case::Sidecars];
    stage::in_turns(&mut report, steps, |case, round, report| run.take(case, round, report))?;
    report.machine.look_again();
    Ok(report)
}

impl<'a> Run<'a> {
    fn new(options: &'a Options) -> Result<Self> {
        let stage = Stage::new(options.processors)?;
        let addresses = |of: fn(Place) -> Ipv4Addr| Place::DIRECT.map(of).to_vec();
        let client = Subject::new("client", &stage.homes.client, addresses(Place::client));
        let server = Subject::new("server", &stage.homes.server, addresses(Place::server));
        let policy = stage.folder().join("policy");
        documents::write(&policy, &client, &server, RULES)?;
        let launcher = Launcher::new(stage.folder())?;
        let site = |place| Site::new(&stage, options, place);
        let sites = [site(Place::Veth)?, site(Place::Host)?];
        Ok(Self { options, launcher, sites, policy, stage })
    }

    fn take(&self, case: Case, round: usize, report: &mut Report<Case>) -> Result<()> {
        let agent = match case {
            Case::Windrose => Some(self.launcher.start(&self.policy, None)?),
            Case::Plain | Case::PlainAgain | Case::Sidecars => None,
        };
        if let Some(agent) = &agent {
            report.starts.push(Start { case, took_ms: nanoseconds(agent.took) / 1_000_000 });
        }
        for Site { ground, sidecars } in &self.sites {
            let place = ground.place;
            let listen = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, rules::PORT);
            let mut call = Call { listen, address: SocketAddrV4::new(place.server(), rules::PORT) };
            let agent = agent.as_ref().map(Agent::process);
            let mut others = Others { agent, between: Vec::new() };
            if case == Case::Sidecars {
                call.address = OUTBOUND;
                others.between = sidecars.iter().map(Haproxy::process).collect();
            }
            let mut pair = Pair::start(ground, &self.stage.homes, call, &others)?;
            if case == Case::Windrose {
                pair.check(rules::CLOSED_PORT, Attempt::NotPermitted).context("no policy is enforced")?;
            }
            for load in loads() {
                let measured = pair.measure(load, self.options.slice);
                let measured = measured
                    .with_context(|| format!("{}, {}: {}", case.title(), place.title(), load.title()))?;
                report.samples.push(Sample { round, case, place, load, measured });
            }
        }
        Ok(())
    }
}

impl Site {
    fn new(stage: &Stage, options: &Options, place: Place) -> Result<Self> {
        let ground = Ground::new(place)?;
        let inbound = SocketAddrV4::new(place.server(), INBOUND_PORT);
        let own_server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, rules::PORT);
        let client = Duty { name: "outbound", listen: OUTBOUND, endpoints: &[inbound], processor: 0 };
        let processor = options.processors.of_server();
        let server = Duty { name: "inbound", listen: inbound, endpoints: &[own_server], processor };
        let server = Haproxy::start(stage, &ground.server, &server)?;
        let client = Haproxy::start(stage, &ground.client, &client)?;
        Ok(Self { ground, sidecars: [client, server] })
    }
}
