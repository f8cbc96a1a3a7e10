//! What `bench sidecar` measures against what, and under which loads.

use serde::{Deserialize, Serialize};

use crate::bench::report::{self, LoadKind};

/// Bytes of a message.
pub(super) const MESSAGES: [usize; 3] = [64, 4 << 10, 64 << 10];

/// Connections on which messages go at once.
pub(super) const CONNECTIONS: [usize; 3] = [1, 64, 512];

/// Bytes of a write of a stream.
pub(super) const WRITES: [usize; 4] = [64, 4 << 10, 64 << 10, 1 << 20];

/// What is between the ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Case {
    /// Nothing.
    Plain,
    /// Nothing once more, at another time of the round: what differs from [`Self::Plain`] is noise.
    PlainAgain,
    /// Windrose, which enforces a policy.
    Windrose,
    /// haproxy at each end, which enforces nothing.
    Sidecars,
}

impl Case {
    /// Both measurements of plain TCP.
    pub(super) const BASELINE: [Self; 2] = [Self::Plain, Self::PlainAgain];
}

impl report::Case for Case {
    fn title(self) -> String {
        let title = match self {
            Self::Plain => "plain TCP",
            Self::PlainAgain => "plain TCP, again",
            Self::Windrose => "Windrose",
            Self::Sidecars => "two sidecars",
        };
        title.to_owned()
    }

    fn order(self) -> (u8, usize) {
        (self as u8, 0)
    }

    fn baseline(self) -> &'static [Self] {
        match self {
            Self::Plain => &[],
            Self::PlainAgain => &[Self::Plain],
            _ => &Self::BASELINE,
        }
    }
}

/// Every load.
pub(super) fn loads() -> impl Iterator<Item = LoadKind> {
    let exchanges = MESSAGES
        .into_iter()
        .flat_map(|bytes| CONNECTIONS.map(|connections| LoadKind::Exchanges { bytes, connections }));
    exchanges.chain(WRITES.map(|bytes| LoadKind::Stream { bytes }))
}
