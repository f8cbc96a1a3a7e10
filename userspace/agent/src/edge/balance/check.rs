//! The task that tries a connection to each endpoint, over and over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};

use crate::edge::Guard;

/// Checks under way at most.
const AT_ONCE: usize = 128;

/// Checks endpoints until it is told to stop.
pub(crate) async fn check(guard: Arc<Guard>, mut ended: watch::Receiver<bool>) -> Result<()> {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let interval = guard.choices.balance.check.interval;
    loop {
        let began = Instant::now();
        let targets = guard.check_targets();
        let step = interval.checked_div(u32::try_from(targets.len()).unwrap_or(u32::MAX)).unwrap_or(interval);
        for (turn, target) in (0..).zip(targets) {
            // Spread over the interval, so that nobody is asked by all at once.
            if is_told_to_stop(&mut ended, began + step * turn).await {
                return Ok(());
            }
            // Not asked for any more.
            if !guard.is_checked(target) {
                continue;
            }
            // Never closed.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return Ok(()) };
            let guard = Arc::clone(&guard);
            tokio::spawn(async move {
                let outcome = try_once(target, guard.choices.balance.check.timeout).await;
                drop(permit);
                if guard.heard(target, outcome) {
                    // Blocking calls of the kernel. It ends with the agent.
                    let _ = spawn_blocking(move || guard.rebalance()).await;
                }
            });
        }
        if is_told_to_stop(&mut ended, began + interval).await {
            return Ok(());
        }
    }
}

async fn is_told_to_stop(ended: &mut watch::Receiver<bool>, at: Instant) -> bool {
    tokio::select! {
        _ = ended.changed() => true,
        () = sleep_until(at) => false,
    }
}

/// Opens a connection and resets it: an orderly end would leave a socket waiting for a minute.
async fn try_once(target: SocketAddr, patience: Duration) -> Result<(), String> {
    match timeout(patience, TcpStream::connect(target)).await {
        Ok(Ok(stream)) => {
            // Otherwise it ends in order.
            let _ = stream.set_zero_linger();
            Ok(())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer in {} s", patience.as_secs())),
    }
}
