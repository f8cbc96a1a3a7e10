//! What the kernel's run-time statistics cost themselves, measured with a program that does nothing.

use std::os::fd::AsFd as _;

use crate::datapath::Datapath;
use crate::error::DatapathError;
use crate::sys;

/// Runs of the empty program in one round: some milliseconds.
const RUNS: u32 = 20_000;

/// Rounds with statistics on and off by turns. The least of them counts: whatever else the machine does
/// can only make a round longer.
const ROUNDS: usize = 5;

/// What statistics cost a run of a program.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StatisticsCost {
    /// Nanoseconds that are in the run time of every run: what the statistics say of a program that
    /// does nothing.
    pub in_run_time_ns: f64,
    /// Nanoseconds that a run takes longer while statistics are on. `None` where they were on before
    /// and could not be switched off.
    pub per_run_ns: Option<f64>,
}

impl Datapath {
    /// Measures it, in some tens of milliseconds; statistics are on meanwhile.
    pub fn statistics_cost() -> Result<StatisticsCost, DatapathError> {
        let failed = || DatapathError::call("measuring what statistics cost");
        let program = sys::load_empty_program().map_err(failed())?;
        let program = program.as_fd();
        let counted = || sys::program_info(program).map_err(failed());
        let run = || sys::test_run_cost(program, &[0; 64], RUNS).map_err(failed());
        let (mut off, mut on, mut in_run_time) = (u32::MAX, u32::MAX, f64::INFINITY);
        let mut were_on = false;
        for _ in 0..ROUNDS {
            let before = counted()?;
            off = off.min(run()?);
            let between = counted()?;
            were_on |= between.run_count() != before.run_count();
            let _statistics = Self::enable_statistics()?;
            on = on.min(run()?);
            let after = counted()?;
            let runs = after.run_count().saturating_sub(between.run_count());
            let took = after.run_time_ns().saturating_sub(between.run_time_ns());
            if runs > 0 {
                in_run_time = in_run_time.min(mean(took, runs));
            }
        }
        let per_run_ns = (!were_on).then(|| f64::from(on) - f64::from(off)).map(|cost| cost.max(0.0));
        let in_run_time_ns = if in_run_time.is_finite() { in_run_time } else { 0.0 };
        Ok(StatisticsCost { in_run_time_ns, per_run_ns })
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds in nanoseconds, and thousands of runs")]
fn mean(sum: u64, count: u64) -> f64 {
    sum as f64 / count as f64
}
