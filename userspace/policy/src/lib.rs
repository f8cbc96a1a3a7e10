//! Policy files to model, and the reference evaluator that says what the model means.
#![forbid(unsafe_code)]

pub mod decision;
pub mod fault;
pub mod model;
pub mod place;
pub mod rank;
pub mod reference;
pub mod routing;
pub mod source;
pub mod tables;

mod advice;
mod bind;
mod document;

pub use document::settings;
