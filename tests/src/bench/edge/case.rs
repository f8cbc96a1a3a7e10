//! What connections through the edge are measured against.

use serde::{Deserialize, Serialize};

use crate::bench::numbers::grouped;
use crate::bench::report;

/// How many services Windrose and nftables have, one of which is called.
pub(super) const SERVICES: usize = 1_000;

/// How many hosts are on the deny list.
pub(super) const HOSTS: usize = 100_000;

/// What is at the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Case {
    /// It forwards, and the client calls an endpoint.
    Nothing,
    /// That once more, at another time of the round: what differs from [`Self::Nothing`] is noise.
    NothingAgain,
    /// Likewise, with Windrose and a deny list at the interface to the client.
    Filter,
    /// Windrose balances at the interface to the client.
    Balanced,
    /// nftables balances by DNAT.
    Nftables,
    /// haproxy takes connections and makes others to endpoints.
    Haproxy,
}

impl report::Case for Case {
    fn title(self) -> String {
        match self {
            Self::Nothing => "forwarding".to_owned(),
            Self::NothingAgain => "forwarding, again".to_owned(),
            Self::Filter => format!("forwarding, Windrose with {} hosts denied", grouped(HOSTS)),
            Self::Balanced => format!("Windrose, {} services", grouped(SERVICES)),
            Self::Nftables => format!("nftables DNAT, {} services", grouped(SERVICES)),
            Self::Haproxy => "haproxy, one service".to_owned(),
        }
    }

    fn order(self) -> (u8, usize) {
        (self as u8, 0)
    }

    fn baseline(self) -> &'static [Self] {
        match self {
            Self::Nothing => &[],
            Self::NothingAgain => &[Self::Nothing],
            _ => &[Self::Nothing, Self::NothingAgain],
        }
    }
}
