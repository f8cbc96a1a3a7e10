//! Warnings about a valid model.

use crate::fault::Faults;
use crate::model::Model;

/// Records what the author of the policies should know.
pub(crate) fn advise(_model: &Model, _faults: &mut Faults) {}
