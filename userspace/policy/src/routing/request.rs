//! What routes look at of a request.

use std::borrow::Cow;

/// A request as routes see it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// As sent: methods are case-sensitive.
    pub method: &'a str,
    /// In lower case, without port and without a dot at the end.
    pub host: &'a str,
    /// As [`normalise`](super::path::normalise) writes it.
    pub path: &'a str,
    /// What follows `?`, as sent; empty if nothing does.
    pub query: &'a str,
    /// Its headers.
    pub headers: &'a dyn Headers,
}

/// Headers, however they are kept.
pub trait Headers: Sync {
    /// The value of the header of this name (lower case). Of several they are joined with `, `
    /// (RFC 9110, section 5.3). `None`: there is none.
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>>;
}

/// (name in lower case, value), for tests and questions.
impl Headers for [(String, String)] {
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let mut values = self.iter().filter(|(this, _)| this == name).map(|(_, value)| value.as_bytes());
        let first = values.next()?;
        let mut all = Cow::Borrowed(first);
        for value in values {
            let all = all.to_mut();
            all.extend_from_slice(b", ");
            all.extend_from_slice(value);
        }
        Some(all)
    }
}

/// As of a slice.
impl Headers for Vec<(String, String)> {
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.as_slice().value(name)
    }
}
