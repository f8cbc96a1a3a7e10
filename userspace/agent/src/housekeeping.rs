//! What is done every few seconds: addresses of the host, walks, whether enforcement is there, whether
//! anybody still looks at statistics, addresses that the gateway could not listen on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use windrose_datapath::{DatapathError, Pins};

use crate::agent::Agent;
use crate::enforce::Trigger;
use crate::hosts;

/// How often all of it is done.
const EVERY: Duration = Duration::from_secs(2);

/// Walks of connections keep 32-bit counters of the kernel from wrapping unseen: every so many.
const WALK_EVERY: u32 = 5;

/// Why the task ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to.
    #[default]
    Stopped,
    /// The pins are gone: somebody has detached.
    Detached,
}

/// Works until it is told to stop, or there is nothing to keep house for.
/// `pins`: of the kernel half, if there is one.
pub(crate) async fn keep(
    agent: Arc<Agent>,
    pins: Option<Pins>,
    mut stop: watch::Receiver<bool>,
) -> Result<Ended> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut round = 0_u32;
    loop {
        tokio::select! {
            _ = stop.changed() => return Ok(Ended::Stopped),
            _ = ticks.tick() => {}
        }
        let (agent, pins) = (Arc::clone(&agent), pins.clone());
        let is_there = spawn_blocking(move || once(&agent, pins.as_ref(), round.is_multiple_of(WALK_EVERY)))
            .await
            .context("housekeeping failed")?;
        if !is_there {
            return Ok(Ended::Detached);
        }
        round = round.wrapping_add(1);
    }
}

/// False: the pins are gone.
fn once(agent: &Agent, pins: Option<&Pins>, is_walk: bool) -> bool {
    agent.statistics.expire();
    agent.north.retry();
    match hosts::addresses() {
        Ok(addresses) => {
            if *agent.snapshot().host_addresses != *addresses && agent.snapshot().not_ready.is_none() {
                agent.trigger(Trigger::Hosts(addresses));
            }
        }
        Err(error) => tracing::warn!("{error:#}"),
    }
    if is_walk {
        // A walk over every connection; one that was denied between two reloads is ended here.
        agent.end_connections();
        match agent.datapath().and_then(|mut datapath| datapath.reconcile_loads()) {
            Ok(0) | Err(DatapathError::Unused) => {}
            Ok(corrected) => tracing::debug!(corrected, "corrected loads of endpoints"),
            Err(error) => tracing::warn!(error = error.with_causes(), "cannot compare loads of endpoints"),
        }
    }
    pins.is_none_or(Pins::exist)
}
