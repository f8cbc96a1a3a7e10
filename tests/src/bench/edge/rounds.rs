//! Connections through the edge, in turns: a client, what forwards or balances, and two endpoints.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::case::{Case, HOSTS, SERVICES};
use super::frames;
use crate::bench::agent::Launcher;
use crate::bench::ground::{Ground, OUTER, Place};
use crate::bench::haproxy::{Duty, Haproxy};
use crate::bench::nft;
use crate::bench::options::Options;
use crate::bench::pair::{Call, Others, Pair};
use crate::bench::report::{Case as _, LoadKind, Report, Sample};
use crate::bench::services::{self, BLOCK, TARGET_PORT};
use crate::bench::stage::{self, Stage};
use crate::netns::Namespace;

/// Everything that stands while a run lasts.
struct Run<'a> {
    options: &'a Options,
    launcher: Launcher,
    /// For nothing and for Windrose, which is not there in between.
    plain: Ground,
    nftables: Ground,
    proxied: Ground,
    haproxy: Haproxy,
    policy: PathBuf,
    config: PathBuf,
    exposed: PathBuf,
    balancing: PathBuf,
    stage: Stage,
}

/// Measures every case in each round.
pub(super) fn measure(options: &Options, report: &mut Report<Case>) -> Result<()> {
    let run = Run::new(options)?;
    let steps =
        vec![Case::Nothing, Case::Filter, Case::Balanced, Case::Nftables, Case::NothingAgain, Case::Haproxy];
    stage::in_turns(report, steps, |case, round, report| {
        run.take(case, round, report).with_context(|| case.title())
    })?;
    report.machine.look_again();
    Ok(())
}

impl<'a> Run<'a> {
    fn new(options: &'a Options) -> Result<Self> {
        let stage = Stage::new(options.processors)?;
        let ground = || Ground::new(Place::Routed);
        let (plain, nftables, proxied) = (ground()?, ground()?, ground()?);
        nft::load(between(&nftables)?, &services::ruleset("prerouting", SERVICES))?;
        // It takes connections to addresses that nobody has.
        between(&proxied)?.ip(&format!("route add local {BLOCK} dev lo\n"))?;
        let endpoints =
            [Place::Routed.server(), Place::Routed.second()].map(|own| SocketAddrV4::new(own, TARGET_PORT));
        let duty = Duty {
            name: "edge",
            listen: services::called(Place::Routed),
            endpoints: &endpoints,
            processor: options.processors.of_server(),
        };
        let haproxy = Haproxy::start(&stage, between(&proxied)?, &duty)?;
        let launcher = Launcher::within(Arc::clone(between(&plain)?), stage.folder())?;
        let policy = stage.folder().join("policy");
        fs::create_dir_all(&policy)?;
        let hosts: String = (0..HOSTS)
            .filter_map(|n| Some(format!("{}\n", frames::host(u32::try_from(2 * n).ok()?))))
            .collect();
        stage.write("denied.txt", &hosts)?;
        let config = stage.write(
            "edge.yaml",
            &format!("edge:\n  interfaces: [{{name: {OUTER}}}]\n  deny: [{{file: denied.txt}}]\n"),
        )?;
        let exposed = stage.folder().join("exposed");
        fs::create_dir_all(&exposed)?;
        let documents: Vec<String> = services::exposed(SERVICES).collect();
        stage.write("exposed/services.yaml", &documents.join("---\n"))?;
        let balancing = stage.write(
            "balancing.yaml",
            &format!(
                "edge:\n  interfaces: [{{name: {OUTER}}}]\n  balance: {{enabled: true, health_check: {{enabled: \
                 false}}}}\ncapacities: {{edge_endpoints: 4096}}\n"
            ),
        )?;
        Ok(Self {
            options,
            launcher,
            plain,
            nftables,
            proxied,
            haproxy,
            policy,
            config,
            exposed,
            balancing,
            stage,
        })
    }

    fn take(&self, case: Case, round: usize, report: &mut Report<Case>) -> Result<()> {
        let direct = SocketAddrV4::new(Place::Routed.server(), TARGET_PORT);
        let service = services::called(Place::Routed);
        let mut others = Others::default();
        let mut agent = None;
        let (ground, address) = match case {
            Case::Nothing | Case::NothingAgain => (&self.plain, direct),
            Case::Filter => {
                let started = self.launcher.start(&self.policy, Some(&self.config))?;
                others.agent = Some(started.process());
                agent = Some(started);
                (&self.plain, direct)
            }
            Case::Balanced => {
                let started = self.launcher.start(&self.exposed, Some(&self.balancing))?;
                others.agent = Some(started.process());
                agent = Some(started);
                (&self.plain, service)
            }
            Case::Nftables => (&self.nftables, service),
            Case::Haproxy => {
                others.between = vec![self.haproxy.process()];
                (&self.proxied, service)
            }
        };
        let call = Call { listen: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, TARGET_PORT), address };
        let mut pair = Pair::start(ground, &self.stage.homes, call, &others)?;
        for load in LoadKind::USUAL {
            let measured = pair.measure(load, self.options.slice)?;
            report.samples.push(Sample { round, case, place: Place::Routed, load, measured });
        }
        drop(agent);
        Ok(())
    }
}

fn between(ground: &Ground) -> Result<&Arc<Namespace>> {
    ground.edge.as_ref().context("nothing is between the ends")
}
