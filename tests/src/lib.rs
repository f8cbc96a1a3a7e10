//! What the tests on real sockets stand on.
#![forbid(unsafe_code)]
