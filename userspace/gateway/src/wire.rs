//! HTTP/1.1 on the wire, read strictly; nothing here knows of sockets.
//!
//! A message that two readers could read differently (RFC 9112, sections 2.2, 5 and 6) is how requests
//! are smuggled. Parsers in use are lenient where the standard allows it (a bare LF ends a line,
//! `Content-Length` beside `Transfer-Encoding` is dropped, equal lengths are merged). Here a request
//! is read in one way, or refused.

mod body;
mod chunked;
mod fault;
mod head;
mod requests;
mod response;

pub use body::{Body, Part};
pub use fault::{Unread, WireFault};
pub use head::Head;
pub use requests::Requests;
pub use response::ResponseHead;
