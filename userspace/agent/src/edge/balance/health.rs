//! What checks have found out about endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::edge::config::CheckChoices;

/// Every endpoint that is checked.
#[derive(Debug, Default)]
pub(super) struct Healths(BTreeMap<SocketAddr, Health>);

/// One of them. It is up until it has failed often enough.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// It takes nothing new.
    pub(super) is_down: bool,
    /// Whether it was checked at all.
    pub(super) is_known: bool,
    /// Why the last check failed; empty: it did not.
    pub(super) why: String,
    /// Checks in a row that speak against what it is held for.
    against: u32,
}

impl Healths {
    /// Keeps exactly these.
    pub(super) fn keep(&mut self, targets: &BTreeSet<SocketAddr>) {
        self.0.retain(|target, _| targets.contains(target));
        for target in targets {
            self.0.entry(*target).or_default();
        }
    }

    /// Which there are.
    pub(super) fn targets(&self) -> Vec<SocketAddr> {
        self.0.keys().copied().collect()
    }

    /// Of one.
    pub(super) fn of(&self, target: SocketAddr) -> Option<&Health> {
        self.0.get(&target)
    }

    /// Whether it takes nothing new.
    pub(super) fn is_down(&self, target: SocketAddr) -> bool {
        self.of(target).is_some_and(|health| health.is_down)
    }

    /// Takes the outcome of a check. True: it goes down or comes up.
    pub(super) fn heard(
        &mut self,
        target: SocketAddr,
        outcome: Result<(), String>,
        choices: &CheckChoices,
    ) -> bool {
        let Some(health) = self.0.get_mut(&target) else { return false };
        let has_failed = outcome.is_err();
        health.is_known = true;
        health.why = outcome.err().unwrap_or_default();
        if has_failed == health.is_down {
            health.against = 0;
            return false;
        }
        health.against += 1;
        let enough = if has_failed { choices.unhealthy_after } else { choices.healthy_after };
        if health.against < enough {
            return false;
        }
        health.against = 0;
        health.is_down = has_failed;
        if has_failed {
            tracing::warn!(%target, why = health.why, "an endpoint fails its checks");
        } else {
            tracing::info!(%target, "an endpoint passes its checks again");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_some_checks_in_a_row_to_go_down_and_to_come_up() {
        let target: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let choices = CheckChoices { unhealthy_after: 3, healthy_after: 2, ..CheckChoices::default() };
        let mut healths = Healths::default();
        healths.keep(&BTreeSet::from([target]));
        let bad = || Err("refused".to_owned());
        let mut run = |outcomes: &[bool]| -> Vec<bool> {
            outcomes
                .iter()
                .map(|good| {
                    let outcome = if *good { Ok(()) } else { bad() };
                    let changed = healths.heard(target, outcome, &choices);
                    assert!(!changed || healths.is_down(target) != *good);
                    changed
                })
                .collect()
        };
        assert_eq!(
            run(&[false, false, true, false, false, false]),
            [false, false, false, false, false, true]
        );
        assert_eq!(run(&[true, false, true, true]), [false, false, false, true]);
    }

    #[test]
    fn who_is_no_longer_asked_for_is_forgotten() {
        let target: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let choices = CheckChoices { unhealthy_after: 1, ..CheckChoices::default() };
        let mut healths = Healths::default();
        assert!(!healths.heard(target, Err(String::new()), &choices));
        healths.keep(&BTreeSet::from([target]));
        assert!(healths.heard(target, Err(String::new()), &choices));
        healths.keep(&BTreeSet::new());
        healths.keep(&BTreeSet::from([target]));
        assert!(!healths.is_down(target));
    }
}
