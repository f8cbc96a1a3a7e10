//! What comes in on the wire, read strictly before anybody else reads it.
//!
//! An HTTP/1.1 message that two readers could read differently (RFC 9112, sections 2.2, 5 and 6) is
//! how requests are smuggled. hyper is lenient where the standard allows it (a bare LF ends a line,
//! `Content-Length` beside `Transfer-Encoding` is dropped, equal lengths are merged). So each
//! connection is read by [`Scanner`] first, and hyper sees a message only if there is one way to read
//! it.

mod chunked;
mod fault;
mod head;
mod scanner;
mod strict;

pub use fault::WireFault;
pub use scanner::Scanner;
pub(crate) use strict::Strict;
