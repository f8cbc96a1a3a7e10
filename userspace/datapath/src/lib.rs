//! Load, attach, pin, apply tables, read events and statistics: the only crate that talks aya.

mod btf;
mod datapath;
mod error;
mod machine;
mod maps;
mod pins;
mod programs;
mod sys;

pub use datapath::Datapath;
pub use error::{DatapathError, Overflow};
pub use machine::Machine;
pub use maps::Capacities;
pub use pins::Pins;
pub use programs::ProgramStatus;
