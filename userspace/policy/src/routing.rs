//! Which request goes where: gateways, listeners and routes put together.
//!
//! [`attach()`] is pure: from the model to what listens, with which routes, and the conditions of each
//! object. [`Matcher`] is that compiled for looking up; [`mod@reference`] says the same slowly, and a
//! property test compares them.

mod attach;
mod backend;
mod conflicts;
mod grants;
mod listeners;
mod matcher;
pub mod path;
pub mod query;
pub mod reference;
mod request;
mod status;
mod transport;

pub use attach::{Attached, Bind, BoundListener, Routing, attach};
pub use backend::{Backend, BadBackend, BoundRule, MirrorTo};
pub use matcher::{Chosen, Matcher};
pub use request::{Headers, Request};
pub use status::{
    ClassStatus, Condition, ConditionType, GatewayStatus, ListenerStatus, ParentStatus, Reason, RouteStatus,
    Statuses,
};

pub(crate) use transport::{Attachment, Resolved, Transports, transports};

#[cfg(test)]
mod tests;
