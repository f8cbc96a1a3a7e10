//! Ctrl-C and SIGTERM: they end the story, not the process, so that the stage is cleared.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

/// Catches the signals from now on.
pub(super) fn watch() -> Result<()> {
    let runtime =
        Builder::new_current_thread().enable_all().build().context("cannot make a runtime for signals")?;
    let (mut interrupt, mut terminate, mut hang_up) = {
        let _guard = runtime.enter();
        let catch = |kind| signal(kind).context("cannot catch signals");
        (catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?, catch(SignalKind::hangup())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hang_up.recv() => {}
                }
                INTERRUPTED.store(true, Ordering::Relaxed);
            }
        });
    });
    Ok(())
}

/// Fails once a signal has come.
pub(super) fn check() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Waits, or fails when a signal comes.
pub(super) fn pause(duration: Duration) -> Result<()> {
    let _ = wait_for(duration, || Ok(None::<()>))?;
    Ok(())
}

/// Asks `look` until it has an answer; `None` when the deadline has passed. Fails when a signal comes.
pub(super) fn wait_for<T>(most: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let deadline = Instant::now() + most;
    loop {
        check()?;
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}
