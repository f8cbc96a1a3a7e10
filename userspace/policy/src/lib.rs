//! Policy files to model to verified tables, and the reference evaluator that says what the model means.
#![forbid(unsafe_code)]

pub mod decision;
pub mod fault;
pub mod model;
pub mod place;
pub mod rank;
pub mod reference;
pub mod source;
pub mod tables;
pub mod verify;

mod advice;
mod bind;
mod document;
mod witness;

pub use document::settings;
