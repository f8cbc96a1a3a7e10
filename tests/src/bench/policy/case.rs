//! What `bench policy` measures against what.

use serde::{Deserialize, Serialize};

use super::rulesets::Layout;
use crate::bench::numbers::grouped;
use crate::bench::report;

/// How many rules there are to be.
pub(crate) const SIZES: [usize; 4] = [10, 1_000, 10_000, 100_000];

/// The size that is also measured watched, and without connection tracking.
pub(crate) const TYPICAL: usize = 1_000;

/// Who enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Case {
    /// No agent.
    Nothing,
    /// No agent once more, at another time of the round: what differs from [`Self::Nothing`] is noise.
    NothingAgain,
    /// Windrose.
    Windrose { rules: usize },
    /// Windrose, its `/metrics` and `/connections` read four times a second.
    Watched { rules: usize },
    /// nftables; stateful: with connection tracking.
    Nftables { layout: Layout, stateful: bool, rules: usize },
}

impl Case {
    /// Both measurements without an agent.
    pub(crate) const BASELINE: [Self; 2] = [Self::Nothing, Self::NothingAgain];
}

impl report::Case for Case {
    fn title(self) -> String {
        match self {
            Self::Nothing => "no agent".to_owned(),
            Self::NothingAgain => "no agent, again".to_owned(),
            Self::Windrose { rules } => format!("Windrose, {} rules", grouped(rules)),
            Self::Watched { rules } => format!("Windrose, {} rules, watched", grouped(rules)),
            Self::Nftables { layout, stateful, rules } => {
                let layout = if layout == Layout::Chains { "chains" } else { "sets" };
                let state = if stateful { "" } else { ", stateless" };
                format!("nftables {layout}, {} rules{state}", grouped(rules))
            }
        }
    }

    fn order(self) -> (u8, usize) {
        match self {
            Self::Nothing => (0, 0),
            Self::NothingAgain => (1, 0),
            Self::Windrose { rules } => (2, rules),
            Self::Watched { rules } => (3, rules),
            Self::Nftables { layout: Layout::Sets, stateful: true, rules } => (4, rules),
            Self::Nftables { layout: Layout::Sets, stateful: false, rules } => (5, rules),
            Self::Nftables { layout: Layout::Chains, stateful: true, rules } => (6, rules),
            Self::Nftables { layout: Layout::Chains, stateful: false, rules } => (7, rules),
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
