//! What `bench service` measures against what.

use serde::{Deserialize, Serialize};

use crate::bench::numbers::grouped;
use crate::bench::report;

/// How many services there are to be.
pub(crate) const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// Who balances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Case {
    /// Nobody: the client calls an endpoint, and there is no agent.
    Nothing,
    /// That once more, at another time of the round: what differs from [`Self::Nothing`] is noise.
    NothingAgain,
    /// Nobody: the client calls an endpoint, under an agent that knows both workloads and no service.
    Unserved,
    /// Windrose.
    Windrose { services: usize },
    /// nftables, by DNAT.
    Nftables { services: usize },
}

impl Case {
    /// Both measurements without an agent.
    pub(crate) const BASELINE: [Self; 2] = [Self::Nothing, Self::NothingAgain];
}

impl report::Case for Case {
    fn title(self) -> String {
        match self {
            Self::Nothing => "no balancing".to_owned(),
            Self::NothingAgain => "no balancing, again".to_owned(),
            Self::Unserved => "Windrose, no services".to_owned(),
            Self::Windrose { services } => format!("Windrose, {} services", grouped(services)),
            Self::Nftables { services } => format!("nftables DNAT, {} services", grouped(services)),
        }
    }

    fn order(self) -> (u8, usize) {
        match self {
            Self::Nothing => (0, 0),
            Self::NothingAgain => (1, 0),
            Self::Unserved => (2, 0),
            Self::Windrose { services } => (3, services),
            Self::Nftables { services } => (4, services),
        }
    }

    fn baseline(self) -> &'static [Self] {
        match self {
            Self::Nothing => &[],
            Self::NothingAgain => &[Self::Nothing],
            _ => &Self::BASELINE,
        }
    }
}
