//! What the configuration says of balancing at the edge.

use std::net::IpAddr;
use std::time::Duration;

use windrose_policy::place::Place;

use super::{boolean, prefix};
use crate::clock::parse_duration;

/// `edge.balance`: whether what policy exposes to the outside is balanced here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BalanceChoices {
    /// `enabled`; `None` where the mapping does not say it.
    enabled: Option<bool>,
    /// `node_addresses`: where node ports are; `None`: the addresses of the edge's interfaces.
    pub(crate) node_addresses: Option<Vec<IpAddr>>,
    /// `health_check`.
    pub(crate) check: CheckChoices,
    /// Of the first key of the mapping.
    place: Option<Place>,
    timeout_place: Option<Place>,
}

/// `edge.balance.health_check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckChoices {
    /// `enabled`; true.
    pub(crate) is_enabled: bool,
    /// `interval`: an endpoint is looked at so often; 2s.
    pub(crate) interval: Duration,
    /// `timeout`: so long may a connection take; 1s.
    pub(crate) timeout: Duration,
    /// `unhealthy_after`: so many failures in a row take it out; 3.
    pub(crate) unhealthy_after: u32,
    /// `healthy_after`: so many successes in a row bring it back; 2.
    pub(crate) healthy_after: u32,
}

impl Default for CheckChoices {
    fn default() -> Self {
        Self {
            is_enabled: true,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            unhealthy_after: 3,
            healthy_after: 2,
        }
    }
}

impl BalanceChoices {
    /// The defaults: off.
    pub(super) fn new() -> Self {
        Self {
            enabled: None,
            node_addresses: None,
            check: CheckChoices::default(),
            place: None,
            timeout_place: None,
        }
    }

    /// Whether there is something to be balanced.
    pub(crate) fn is_wanted(&self) -> bool {
        self.enabled == Some(true)
    }

    /// The place of the mapping, if it is there.
    pub(super) const fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Takes one setting; `field` is its key below `edge.balance`, without an index.
    pub(super) fn set(&mut self, field: &str, text: &str, place: &Place) -> Result<(), String> {
        self.place.get_or_insert_with(|| place.clone());
        let key = format!("edge.balance.{field}");
        let check = &mut self.check;
        match field {
            "enabled" => self.enabled = Some(boolean(&key, text)?),
            "node_addresses" => {
                self.node_addresses.get_or_insert_default().push(node_address(text)?);
            }
            "health_check.enabled" => check.is_enabled = boolean(&key, text)?,
            "health_check.interval" => check.interval = duration(&key, text)?,
            "health_check.timeout" => {
                check.timeout = duration(&key, text)?;
                self.timeout_place = Some(place.clone());
            }
            "health_check.unhealthy_after" => check.unhealthy_after = times(&key, text)?,
            _ => check.healthy_after = times(&key, text)?,
        }
        Ok(())
    }

    /// What is missing or does not go together.
    pub(super) fn faults(&self) -> Vec<(Place, String)> {
        let mut faults = Vec::new();
        if let (Some(place), None) = (&self.place, self.enabled) {
            faults.push((place.clone(), "`edge.balance` has no `enabled`, which is required".to_owned()));
        }
        let check = &self.check;
        if let Some(place) = self.timeout_place.as_ref().filter(|_| check.timeout > check.interval) {
            let message = format!(
                "edge.balance.health_check.timeout is {}s, longer than the interval of {}s",
                check.timeout.as_secs(),
                check.interval.as_secs()
            );
            faults.push((place.clone(), message));
        }
        faults
    }
}

fn node_address(text: &str) -> Result<IpAddr, String> {
    let address = text.parse::<IpAddr>().map(|address| address.to_canonical());
    match address {
        Ok(address) if !address.is_unspecified() && !address.is_multicast() && !address.is_loopback() => {
            Ok(address)
        }
        _ => Err(format!(
            "`{}` is no address of this node that the outside could ask for, such as 192.0.2.7",
            prefix::short(text)
        )),
    }
}

fn duration(key: &str, text: &str) -> Result<Duration, String> {
    let found = parse_duration(text).filter(|found| *found <= Duration::from_hours(1));
    found.ok_or_else(|| format!("{key} is `{}`; it must be from 1s to 1h", prefix::short(text)))
}

fn times(key: &str, text: &str) -> Result<u32, String> {
    let found = text.parse().ok().filter(|found| (1..=100).contains(found));
    found
        .ok_or_else(|| format!("{key} is `{}`; it must be a whole number from 1 to 100", prefix::short(text)))
}
