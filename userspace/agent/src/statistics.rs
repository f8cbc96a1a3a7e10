//! The kernel's run-time statistics, switched on for as long as somebody looks at them.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use windrose_datapath::{Datapath, DatapathError};

/// Longest time for which one request switches them on.
pub(crate) const LONGEST: Duration = Duration::from_mins(1);

/// They are on while the descriptor is open.
#[derive(Debug, Default)]
pub(crate) struct Statistics(Mutex<Option<Lease>>);

#[derive(Debug)]
struct Lease {
    _descriptor: OwnedFd,
    /// `None`: for as long as the agent runs.
    until: Option<Instant>,
}

impl Statistics {
    /// Switches them on for as long as the agent runs.
    pub(crate) fn keep(&self) -> Result<(), DatapathError> {
        *self.lease() = Some(Lease { _descriptor: Datapath::enable_statistics()?, until: None });
        Ok(())
    }

    /// Switches them on for so long at least, up to [`LONGEST`].
    pub(crate) fn lend(&self, time: Duration) -> Result<(), DatapathError> {
        let until = Instant::now() + time.min(LONGEST);
        let mut lease = self.lease();
        match &mut *lease {
            Some(Lease { until: None, .. }) => {}
            Some(Lease { until: Some(known), .. }) => *known = until.max(*known),
            None => {
                let descriptor = Datapath::enable_statistics()?;
                *lease = Some(Lease { _descriptor: descriptor, until: Some(until) });
            }
        }
        Ok(())
    }

    /// Switches them off where their time is over.
    pub(crate) fn expire(&self) {
        let now = Instant::now();
        self.lease().take_if(|lease| lease.until.is_some_and(|until| until <= now));
    }

    /// Whether this agent has them on.
    pub(crate) fn are_on(&self) -> bool {
        self.lease().is_some()
    }

    fn lease(&self) -> MutexGuard<'_, Option<Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
