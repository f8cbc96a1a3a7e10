//! `windrose run`: starts every task in order, and ends them in order.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use windrose_datapath::{Datapath, Machine, Pins};
use windrose_policy::tables::Settings;

use crate::agent::Agent;
use crate::answers::Sender;
use crate::cli::RunArgs;
use crate::config::Config;
use crate::edge::{self, Guard, Keeper};
use crate::enforce::{Enforcer, Policy, Trigger, notify};
use crate::events::Reader;
use crate::housekeeping::{self, Ended};
use crate::north::North;
use crate::refused::Refused;
use crate::watch::Watch;
use crate::{admin, answers, hosts, logging};

/// Triggers that wait for the enforcer; more of them would ask for the same again.
const TRIGGERS: usize = 64;

/// So long may answers to operators take after the agent was told to end.
const GRACE: Duration = Duration::from_secs(2);

/// Enforces until it is told to end.
///
/// Nothing touches the kernel before everything that can be wrong with the command line, the
/// configuration, the admin address and the policy has been looked at.
pub(crate) fn run(args: RunArgs) -> Result<()> {
    let config = configure(&args)?;
    logging::start(&config.log)?;
    let listener = listen(&config)?;
    if args.gateway_only {
        return alone(config, args.policy, listener);
    }
    let machine = Machine::inspect().context("this machine cannot enforce")?;
    let pins = Pins::below(&machine.bpffs, &args.pins);
    let has_pins = pins.exist();

    let answers = config.refused_ingress.manner();
    let settings =
        Settings { audit_all: config.audit, answers: answers.is_some(), host_addresses: hosts::addresses()? };
    let mut policy = Policy::new(args.policy, settings);
    // Without pins a fault ends the start before anything is loaded.
    let early = if has_pins { None } else { Some(policy.read(0)?) };

    let mut datapath = Datapath::open(machine, pins.clone(), config.capacities.clone())
        .context("cannot open the data path; nothing is attached")?;
    // Before a policy is, which may be refused.
    match datapath.replace_adopted() {
        Ok(false) => {}
        Ok(true) => tracing::info!("the programs of an earlier agent were others: replaced"),
        Err(error) => {
            tracing::warn!(error = error.with_causes(), "cannot replace the programs that are attached");
        }
    }
    let read = if let Some(read) = early {
        Ok(read)
    } else {
        match datapath.pinned_tables() {
            Ok(pinned) => policy.take_over(&pinned),
            Err(error) => tracing::warn!(error = error.with_causes(), "cannot read the pinned tables"),
        }
        policy.read(datapath.generation())
    };
    let north = North::new(&config.gateway)?;
    let edge = Guard::open(&pins, &config.capacities, &config.edge, &config.state).inspect_err(|_| {
        if !has_pins {
            // They enforce nothing yet.
            let _ = pins.remove();
        }
    })?;
    let (triggers, waiting) = sync_channel(TRIGGERS);
    datapath.set_flow_idle(config.flow_idle);
    datapath.set_profiling(config.profile).context("cannot load programs that time verdicts")?;
    let ring = datapath.take_events().context("the ring buffer of events cannot be read")?;
    let agent = Arc::new(Agent::new(Some(datapath), edge, north, config, triggers));
    let watch = watch_files(&agent, &policy);
    let mut enforcer = Enforcer::new(Arc::clone(&agent), policy, watch);
    let reload = enforcer.start(read);
    if !reload.ok && agent.generation() == 0 {
        // A policy that does not fit, for one, or pins of a start that was cut short: they enforce
        // nothing.
        pins.remove().context("cannot remove what was pinned")?;
        return Err(Refused { what: "policy", faults: reload.faults }.into());
    }
    if agent.config.statistics {
        agent.statistics.keep().context("cannot turn the kernel's run-time statistics on")?;
    }
    let keeper = agent.edge.clone().map(Keeper::start).transpose()?;

    let runtime = start_tasks()?;
    let (thread, enforcer_ended) = start_enforcer(enforcer, waiting)?;
    let answers = answers.map(|manner| answers::start(manner, Arc::clone(&agent.answers))).transpose()?;
    let (desk, sender) = answers.unzip();
    let reader = Reader::start(ring, Arc::clone(&agent), desk)?;
    let served = serve(&runtime, &agent, listener, Some(&pins), enforcer_ended);
    // Order: nothing new is accepted (above), then the last policy is finished, then exchanges of the
    // gateway, then events are left to the next agent, then what they asked for is answered, then
    // blocking calls end. Programs, links and maps stay.
    let _ = agent.stop();
    thread.join().map_err(|_| anyhow!("the enforcer has panicked"))?;
    agent.north.stop();
    let read = reader.stop();
    let answered = sender.map_or(Ok(()), Sender::join);
    let kept = keeper.map_or(Ok(()), Keeper::stop);
    runtime.shutdown_timeout(GRACE);
    // Nobody is left to read it.
    let untimed = agent.set_profiling(false).context("cannot end the timing of verdicts");
    served.and(read).and(answered).and(kept).and(untimed)
}

/// Serves what comes from outside until it is told to end: the same files, and nothing of the kernel.
fn alone(config: Config, paths: Vec<PathBuf>, listener: TcpListener) -> Result<()> {
    if !config.edge.interfaces.is_empty() {
        tracing::warn!(
            "there is no edge with --gateway-only: `edge` of the configuration means nothing here"
        );
    }
    let settings = Settings { audit_all: config.audit, answers: false, host_addresses: hosts::addresses()? };
    let mut policy = Policy::new(paths, settings);
    // A fault ends the start before anything is listened on.
    let read = policy.read(0)?;
    let north = North::new(&config.gateway)?;
    let (triggers, waiting) = sync_channel(TRIGGERS);
    let agent = Arc::new(Agent::new(None, None, north, config, triggers));
    let watch = watch_files(&agent, &policy);
    let mut enforcer = Enforcer::new(Arc::clone(&agent), policy, watch);
    enforcer.start(Ok(read));
    let runtime = start_tasks()?;
    let (thread, enforcer_ended) = start_enforcer(enforcer, waiting)?;
    let served = serve(&runtime, &agent, listener, None, enforcer_ended);
    let _ = agent.stop();
    thread.join().map_err(|_| anyhow!("the enforcer has panicked"))?;
    agent.north.stop();
    runtime.shutdown_timeout(GRACE);
    served
}

fn watch_files(agent: &Arc<Agent>, policy: &Policy) -> Watch {
    let agent = Arc::clone(agent);
    Watch::start(policy.paths(), move || {
        agent.trigger(Trigger::Files);
    })
}

fn start_tasks() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the tasks")
}

/// The thread, and what is dropped when it ends, by a panic, too.
fn start_enforcer(
    enforcer: Enforcer,
    waiting: Receiver<Trigger>,
) -> Result<(thread::JoinHandle<()>, oneshot::Receiver<()>)> {
    let (alive, ended) = oneshot::channel::<()>();
    let thread = thread::Builder::new()
        .name("enforcer".to_owned())
        .spawn(move || {
            let _alive = alive;
            enforcer.run(&waiting);
        })
        .context("cannot start the enforcer")?;
    Ok((thread, ended))
}

fn configure(args: &RunArgs) -> Result<Config> {
    let mut config = match &args.config {
        Some(path) => Config::read(path).map_err(|faults| Refused::configuration(&faults))?,
        None => Config::default(),
    };
    if let Some(admin) = args.admin {
        config.admin = admin;
    }
    if let Some(refused_ingress) = args.refused_ingress {
        config.refused_ingress = refused_ingress;
    }
    config.audit |= args.audit;
    if let Some(workers) = args.gateway_workers {
        config.gateway.workers = workers;
    }
    if let Some(path) = &args.access_log {
        config.gateway.access_log = Some(path.clone());
    }
    Ok(config)
}

fn listen(config: &Config) -> Result<TcpListener> {
    let address = config.admin;
    let listener = TcpListener::bind(address).with_context(|| {
        format!(
            "cannot answer operators on {address}: choose another address with --admin; nothing is attached"
        )
    })?;
    listener.set_nonblocking(true).context("cannot listen without blocking")?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "the admin address is no loopback address, and it asks nobody who they are");
    }
    Ok(listener)
}

fn serve(
    runtime: &Runtime,
    agent: &Arc<Agent>,
    listener: TcpListener,
    pins: Option<&Pins>,
    enforcer_ended: oneshot::Receiver<()>,
) -> Result<()> {
    let (stop, stopped) = watch::channel(false);
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).context("cannot listen")?;
        let mut answers = tokio::spawn(admin::serve(listener, Arc::clone(agent), stopped.clone()));
        let mut house = tokio::spawn(housekeeping::keep(Arc::clone(agent), pins.cloned(), stopped.clone()));
        let checking = agent.edge.clone().filter(|guard| guard.is_checking());
        let mut checks = checking.map(|guard| tokio::spawn(edge::check(guard, stopped.clone())));
        let fetching = agent.edge.clone().filter(|guard| guard.is_fetching());
        let mut fetches = fetching.map(|guard| tokio::spawn(edge::fetch(guard, stopped)));
        // Before anybody is told that the agent is ready: unhandled, SIGHUP would end it.
        let mut signals = Signals::new()?;
        notify(&[sd_notify::NotifyState::Ready]);
        tracing::info!(admin = %agent.config.admin, "ready to answer");

        let ended = tokio::select! {
            () = signals.terminated(agent) => Ok(()),
            _ = enforcer_ended => Err(anyhow!("the enforcer has ended")),
            ended = &mut answers => flatten(ended),
            ended = &mut house => flatten(ended).map(|ended| match ended {
                Ended::Stopped => {}
                // To exit well keeps a service manager from starting the agent, and so enforcement, again.
                Ended::Detached => tracing::warn!("somebody has detached: nothing is enforced, the agent ends"),
            }),
        };
        notify(&[sd_notify::NotifyState::Stopping]);
        // No receiver is left when all tasks have ended by themselves.
        let _ = stop.send(true);
        finish(answers).await?;
        finish(house).await.map(|_| ())?;
        for task in [checks.take(), fetches.take()].into_iter().flatten() {
            finish(task).await?;
        }
        if ended.is_ok() && pins.is_some_and(Pins::exist) {
            tracing::info!("the agent ends; enforcement stays in place until `windrose detach`");
        }
        ended
    })
}

/// The signals that the agent handles.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let on = |kind, name| signal(kind).with_context(|| format!("cannot wait for {name}"));
        Ok(Self {
            hangup: on(SignalKind::hangup(), "SIGHUP")?,
            terminate: on(SignalKind::terminate(), "SIGTERM")?,
            interrupt: on(SignalKind::interrupt(), "SIGINT")?,
        })
    }

    /// Waits for SIGTERM or SIGINT; SIGHUP reads the policy again.
    async fn terminated(&mut self, agent: &Agent) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    agent.trigger(Trigger::Signal);
                    agent.north.requests.reopen();
                    if let Some(edge) = &agent.edge {
                        edge.read_lists();
                    }
                }
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
            }
        }
    }
}

/// The result of a task that was told to stop; one that was awaited before has given its result.
async fn finish<T: Default>(task: JoinHandle<Result<T>>) -> Result<T> {
    if task.is_finished() {
        return Ok(T::default());
    }
    match tokio::time::timeout(GRACE, task).await {
        Ok(result) => flatten(result),
        Err(_) => Ok(T::default()),
    }
}

fn flatten<T>(result: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result.context("a task of the agent has panicked")?
}
