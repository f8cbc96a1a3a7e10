//! A run: everything is made once, then measured in turns, round after round.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::agent::{self, Agent, Launcher};
use super::documents::{self, Subject};
use super::ground::{Ground, Place};
use super::hooks;
use super::nftables::{Layout, Ruleset};
use super::numbers::nanoseconds;
use super::options::Options;
use super::pair::{Expected, Homes, Pair};
use super::report::{Configuration, Machine, Report, Sample, Start};
use crate::cgroup::{self, Cgroup};

/// How many rules there are to be.
pub(crate) const SIZES: [usize; 4] = [10, 1_000, 10_000, 100_000];

/// The size that is also measured watched, and without connection tracking.
pub(crate) const TYPICAL: usize = 1_000;

/// Of the cgroup above both ends' and of the folder of files; the process's number follows.
const NAME: &str = "windrose-bench";

/// How often the agent is asked where it is watched: 60 times as often as Prometheus would.
const WATCH: Duration = Duration::from_millis(250);

/// Everything that stands while a run lasts.
struct Stage<'a> {
    options: &'a Options,
    folder: Folder,
    homes: Homes,
    launcher: Launcher,
    /// Without rules: for no agent and for Windrose, which is attached to cgroups.
    plain: [Ground; 2],
    nftables: Vec<(Configuration, [Ground; 2])>,
    // Below the others, which are removed before it.
    _cgroup: Cgroup,
}

/// A folder that is removed on drop.
struct Folder(PathBuf);

/// What a round does.
#[derive(Debug, Clone, Copy)]
enum Step {
    Nothing(Configuration),
    Windrose(usize),
    Nftables(usize),
}

/// Measures everything.
pub(crate) fn measure(options: &Options) -> Result<Report> {
    let begun = Instant::now();
    let load_before = load_average();
    let mut report = Report {
        machine: Machine {
            processors: thread::available_parallelism().map_or(1, usize::from),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            load_before,
            load_after: load_before,
            disturbed_by: Vec::new(),
        },
        rounds: options.rounds,
        slice_ms: nanoseconds(options.slice) / 1_000_000,
        processors: options.processors,
        samples: Vec::new(),
        starts: Vec::new(),
        hooks: Vec::new(),
    };
    eprintln!("writing policies, loading rulesets ...");
    let stage = Stage::new(options, &mut report.starts)?;
    let mut steps = stage.steps();
    let mut others = BTreeSet::new();
    for round in 0..options.rounds {
        eprintln!("round {} of {} at {} s", round + 1, options.rounds, begun.elapsed().as_secs());
        for step in &steps {
            others.extend(agent::others());
            stage.take(*step, round, &mut report).with_context(|| format!("{step:?}"))?;
        }
        // What changes steadily in a round is for each configuration as often before as after.
        steps.reverse();
    }
    eprintln!("statistics of programs at {} s", begun.elapsed().as_secs());
    for rules in [SIZES[0], SIZES[3]] {
        let config = stage.folder.0.join("statistics.yaml");
        fs::write(&config, "statistics: true\n")?;
        let agent = stage.launcher.start(&stage.policy(rules), Some(&config))?;
        for ground in &stage.plain {
            report.hooks.extend(hooks::measure(&agent, ground, &stage.homes, rules, options.slice)?);
        }
    }
    report.machine.load_after = load_average();
    report.machine.disturbed_by = others.into_iter().collect();
    eprintln!("done after {} s", begun.elapsed().as_secs());
    Ok(report)
}

impl<'a> Stage<'a> {
    fn new(options: &'a Options, starts: &mut Vec<Start>) -> Result<Self> {
        remove_leftovers()?;
        let name = format!("{NAME}-{}", std::process::id());
        let folder = Folder(std::env::temp_dir().join(&name));
        fs::create_dir_all(&folder.0).with_context(|| format!("cannot make {}", folder.0.display()))?;
        let cgroup = Cgroup::below_root(&name)?;
        let home = |end: &str| {
            let home = Cgroup::below_root(&format!("{name}/{end}"))?;
            home.make()?;
            Ok::<_, anyhow::Error>(home)
        };
        let homes =
            Homes { client: home("client")?, server: home("server")?, processors: options.processors };
        let subject = |name, home: &Cgroup, address: fn(Place) -> std::net::Ipv4Addr| Subject {
            name,
            cgroup: home.name().to_owned(),
            addresses: Place::ALL.map(address).into(),
        };
        let client = subject("client", &homes.client, Place::client);
        let server = subject("server", &homes.server, Place::server);
        for rules in SIZES {
            documents::write(&folder.0.join(format!("policy-{rules}")), &client, &server, rules)?;
        }
        let launcher = Launcher::new(&folder.0)?;
        let mut nftables = Vec::new();
        for (layout, stateful, rules) in rulesets(options.long_chains) {
            let configuration = Configuration::Nftables { layout, stateful, rules };
            let begun = Instant::now();
            let ground = |place: Place| {
                let (client, server) = (place.client(), place.server());
                let ruleset = Ruleset { layout, is_stateful: stateful, count: rules, client, server };
                Ground::with(place, &ruleset).with_context(|| configuration.title())
            };
            let veth = ground(Place::Veth)?;
            starts.push(Start { configuration, took_ms: nanoseconds(begun.elapsed()) / 1_000_000 });
            nftables.push((configuration, [veth, ground(Place::Host)?]));
        }
        let plain = [Ground::new(Place::Veth)?, Ground::new(Place::Host)?];
        Ok(Self { options, folder, homes, launcher, plain, nftables, _cgroup: cgroup })
    }

    fn policy(&self, rules: usize) -> PathBuf {
        self.folder.0.join(format!("policy-{rules}"))
    }

    /// The tools take turns, and the baseline is at both ends of every other step.
    fn steps(&self) -> Vec<Step> {
        let mut steps = vec![Step::Nothing(Configuration::Nothing)];
        for (turn, size) in SIZES.into_iter().enumerate() {
            if turn == SIZES.len() / 2 {
                steps.push(Step::Nothing(Configuration::NothingAgain));
            }
            steps.push(Step::Windrose(size));
            let of_size = |(number, (configuration, _)): (usize, &(Configuration, _))| match configuration {
                Configuration::Nftables { rules, .. } if *rules == size => Some(Step::Nftables(number)),
                _ => None,
            };
            steps.extend(self.nftables.iter().enumerate().filter_map(of_size));
        }
        steps
    }

    fn take(&self, step: Step, round: usize, report: &mut Report) -> Result<()> {
        match step {
            Step::Nothing(configuration) => {
                self.places(&self.plain, configuration, round, (Expected::Open, None), report)
            }
            Step::Nftables(number) => {
                let (configuration, grounds) = &self.nftables[number];
                self.places(grounds, *configuration, round, (Expected::Dropped, None), report)
            }
            Step::Windrose(rules) => {
                let agent = self.launcher.start(&self.policy(rules), None)?;
                let enforced = (Expected::Refused, Some(agent.process()));
                let configuration = Configuration::Windrose { rules };
                report.starts.push(Start { configuration, took_ms: nanoseconds(agent.took) / 1_000_000 });
                self.places(&self.plain, configuration, round, enforced, report)?;
                if rules == TYPICAL {
                    let configuration = Configuration::Watched { rules };
                    watched(&agent, || self.places(&self.plain, configuration, round, enforced, report))?;
                }
                Ok(())
            }
        }
    }

    /// Every load in both places, after a look at what is enforced.
    fn places(
        &self,
        grounds: &[Ground],
        configuration: Configuration,
        round: usize,
        (expected, agent): (Expected, Option<u32>),
        report: &mut Report,
    ) -> Result<()> {
        for ground in grounds {
            let place = ground.place;
            let mut pair = Pair::start(ground, &self.homes, agent)?;
            pair.check(expected).with_context(|| format!("{}, {}", configuration.title(), place.title()))?;
            let loads = pair.measure(self.options.slice)?;
            report.samples.push(Sample { round, configuration, place, loads });
        }
        Ok(())
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

/// Of the last minute; 0 if the kernel does not say.
fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// Cgroups and folders of runs that were interrupted; their agent's pins are removed by the launcher.
/// Refuses to go on beside another run: both would be measured.
fn remove_leftovers() -> Result<()> {
    let temporary = std::env::temp_dir();
    for folder in cgroup::root().into_iter().chain([temporary.as_path()]) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            let Some(process) = name.strip_prefix(NAME).and_then(|rest| rest.strip_prefix('-')) else {
                continue;
            };
            ensure!(!Path::new("/proc").join(process).exists(), "process {process} is measuring already");
            if folder == temporary {
                // What cannot be removed is in nobody's way.
                let _ = fs::remove_dir_all(entry.path());
            } else {
                cgroup::remove(&entry.path());
            }
        }
    }
    Ok(())
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("warning: {} stays: {error}", self.0.display());
        }
    }
}
