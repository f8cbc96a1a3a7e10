//! One profile: measuring is switched on, and off again whatever happens.

use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::available_parallelism;
use std::time::{Instant, SystemTime};

use tokio::runtime::Handle;
use windrose_datapath::{Counting, Datapath, DatapathError, Measured, ProgramStatus, StatisticsCost};

use super::reckon::{Taken, reckon};
use super::report::Report;
use crate::agent::Agent;
use crate::clock::rfc3339;

/// A profile under way.
#[derive(Debug)]
pub(crate) struct Running {
    agent: Arc<Agent>,
    /// `None` after the end.
    turn: Option<Turn>,
    began: SystemTime,
    since: Instant,
    statistics_cost: StatisticsCost,
    _statistics: OwnedFd,
    programs: Vec<ProgramStatus>,
    measured: Measured,
}

/// Every program, that of the edge among them.
fn programs(agent: &Agent, datapath: &Datapath) -> Result<Vec<ProgramStatus>, DatapathError> {
    let mut programs = datapath.programs()?;
    if let Some(edge) = &agent.edge {
        programs.extend(edge.programs()?);
    }
    Ok(programs)
}

/// That a profile is under way.
#[derive(Debug)]
struct Turn(Arc<Agent>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.is_profiling.store(false, Ordering::Release);
    }
}

impl Running {
    /// Begins one; blocks for some tens of milliseconds. `None`: another is under way.
    pub(crate) fn begin(agent: Arc<Agent>) -> Result<Option<Self>, DatapathError> {
        if agent.is_profiling.swap(true, Ordering::Acquire) {
            return Ok(None);
        }
        let turn = Turn(Arc::clone(&agent));
        // Before anything is measured, and without the data path: it takes a second, once.
        let timer = agent.datapath()?.timer();
        if let Some(timer) = timer {
            let programs = timer.load()?;
            agent.datapath()?.keep_timed(programs);
        }
        let statistics_cost = Datapath::statistics_cost()?;
        let statistics = Datapath::enable_statistics()?;
        let mut datapath = agent.datapath()?;
        if !agent.config.profile {
            datapath.clear_rule_times()?;
        }
        // In this order, and at the end the other way round: all that is measured of verdicts happens
        // while runs are counted.
        let programs = programs(&agent, &datapath)?;
        let measured = datapath.measured()?;
        let (began, since) = (SystemTime::now(), Instant::now());
        datapath.set_profiling(true)?;
        drop(datapath);
        Ok(Some(Self {
            agent,
            turn: Some(turn),
            began,
            since,
            statistics_cost,
            _statistics: statistics,
            programs,
            measured,
        }))
    }

    /// Ends it; blocks for some milliseconds.
    pub(crate) fn end(self) -> Result<Report, DatapathError> {
        let taken = {
            let mut datapath = self.agent.datapath()?;
            let seconds = self.since.elapsed().as_secs_f64();
            datapath.set_profiling(self.agent.config.profile)?;
            datapath.settle()?;
            let measured = datapath.measured()?.since(&self.measured);
            let mut program_memory = datapath.program_memory()?;
            let (mut maps, mut fill) = (datapath.map_memory()?, datapath.map_fill(Counting::Known)?);
            if let Some(edge) = &self.agent.edge {
                program_memory.extend(edge.program_memory()?);
                let sample = edge.sample()?;
                maps.extend(sample.memory);
                fill.extend(sample.maps);
            }
            Taken {
                began: rfc3339(self.began),
                seconds,
                statistics_cost: self.statistics_cost,
                programs_before: self.programs.clone(),
                programs: programs(&self.agent, &datapath)?,
                counted_seconds: self.since.elapsed().as_secs_f64(),
                program_memory,
                measured,
                maps,
                fill,
                generation: datapath.generation(),
                processors: available_parallelism().map_or(1, NonZero::get),
            }
        };
        Ok(reckon(&taken, &self.agent.snapshot().book))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        // The turn ends after this, so that it is not another profile that is switched off.
        // What fails is in the log.
        let off = move || drop(turn.0.set_profiling(turn.0.config.profile));
        // Whoever drops it may be a task, and a reload may have the data path for seconds.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(off)),
            Err(_) => off(),
        }
    }
}
