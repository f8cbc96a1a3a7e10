//! Load, attach, pin, apply tables, read events and statistics: the only crate that talks aya.

mod answer;
mod answerer;
mod apply;
mod balanced;
mod btf;
mod control;
mod cost;
mod datapath;
mod edge;
mod error;
mod events;
mod machine;
mod maps;
mod memory;
mod netns;
mod pinned;
mod pins;
mod profile;
mod programs;
mod stats;
mod sys;
mod walk;

pub use answer::{Answer, AnswerKind, Manner};
pub use answerer::{Answerer, Sent};
pub use apply::Applied;
pub use cost::StatisticsCost;
pub use datapath::Datapath;
pub use edge::{
    Added, AddedNow, Attached, Balanced, Edge, EdgeConfig, ForwardTotals, Found, Frontend, FrontendEndpoint,
    Listed, Mode, NotAttached, Synced,
};
pub use error::{DatapathError, Overflow};
pub use events::Events;
pub use machine::Machine;
pub use maps::Capacities;
pub use memory::{MapMemory, ProgramMemory};
pub use pinned::difference;
pub use pins::Pins;
pub use profile::{LookUps, Measured, Spent, TimedPrograms, Timer};
pub use programs::ProgramStatus;
pub use stats::{Counting, Counts, MapFill};
pub use windrose_abi as abi;
