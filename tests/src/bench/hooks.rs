//! What each program costs by the kernel's own run statistics, in a round of their own because they
//! slow every program down.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::agent::Agent;
use super::ground::Ground;
use super::pair::{Call, Homes, Others, Pair};
use super::report::{HookCost, LoadKind};

/// Runs and nanoseconds by program.
type Costs = BTreeMap<String, (u64, u64)>;

/// Every load in one place under an agent that has statistics on.
pub(crate) fn measure(
    agent: &Agent<'_>,
    ground: &Ground,
    homes: &Homes,
    call: Call,
    size: usize,
    slice: Duration,
) -> Result<Vec<HookCost>> {
    let mut pair = Pair::start(ground, homes, call, &Others::default())?;
    let place = ground.place;
    let mut costs = Vec::new();
    for load in LoadKind::USUAL {
        pair.once(load, slice / 8)?;
        let before = read(&agent.status()?)?;
        let count = pair.once(load, slice)?.load.count;
        let after = read(&agent.status()?)?;
        for (program, (runs, time_ns)) in after {
            let (runs_before, time_before) = before.get(&program).copied().unwrap_or_default();
            let (runs, time_ns) = (runs.saturating_sub(runs_before), time_ns.saturating_sub(time_before));
            if runs > 0 {
                costs.push(HookCost { place, size, program, load, runs, time_ns, count });
            }
        }
    }
    Ok(costs)
}

fn read(status: &Value) -> Result<Costs> {
    let programs = status["programs"].as_array().context("/status has no list of programs")?;
    programs
        .iter()
        .map(|program| {
            let name = program["name"].as_str().context("a program without a name")?;
            let number = |key: &str| {
                program[key].as_u64().with_context(|| format!("program {name} has no integer {key}"))
            };
            Ok((name.to_owned(), (number("run_count")?, number("run_time_ns")?)))
        })
        .collect()
}
