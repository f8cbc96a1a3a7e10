//! How long is waited for something. Nothing of the hot path touches a timer: one is set when something
//! is waited for, and when it goes off it is looked whether anything has come since.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A bound on the time without progress.
#[derive(Debug)]
pub(crate) struct Patience {
    most: Duration,
    since: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(crate) fn new(most: Duration) -> Self {
        Self { most, since: Instant::now(), sleep: None }
    }

    /// Something has come: it is waited anew.
    pub(crate) fn renew(&mut self) {
        self.since = Instant::now();
    }

    /// From now on, for so long.
    pub(crate) fn renew_for(&mut self, most: Duration) {
        self.most = most;
        self.renew();
        // What is there may go off too late.
        self.sleep = None;
    }

    /// Ready when it is over.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(self.since + self.most)));
        loop {
            ready!(sleep.as_mut().poll(context));
            let due = self.since + self.most;
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_nothing_has_come_for_so_long() {
        let began = Instant::now();
        let mut patience = Patience::new(Duration::from_secs(10));
        let early = tokio::time::timeout(
            Duration::from_secs(9),
            std::future::poll_fn(|context| patience.poll(context)),
        );
        assert!(early.await.is_err());
        patience.renew();
        std::future::poll_fn(|context| patience.poll(context)).await;
        assert_eq!(began.elapsed().as_secs(), 19);
        patience.renew_for(Duration::from_secs(1));
        std::future::poll_fn(|context| patience.poll(context)).await;
        assert_eq!(began.elapsed().as_secs(), 20);
    }
}
