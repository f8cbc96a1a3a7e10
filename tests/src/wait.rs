//! Waiting for a condition with a deadline: the only way in which tests wait.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(5);

/// Asks until the answer is `Some`; fails, saying `what` did not come to be, after `patience`.
pub fn until<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if start.elapsed() > patience {
            bail!("waited {patience:?} in vain: {what}");
        }
        thread::sleep(STEP);
    }
}

/// Like [`until`] for a plain condition.
pub fn until_true(what: &str, patience: Duration, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, patience, || Ok(ask()?.then_some(())))
}

/// Asks as long as the answer is `true`, for all of `time`; fails where it is not.
pub fn throughout(what: &str, time: Duration, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < time {
        if !ask()? {
            bail!("did not last: {what} (after {:?})", start.elapsed());
        }
        thread::sleep(STEP);
    }
    Ok(())
}
