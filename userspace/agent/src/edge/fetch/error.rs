//! Why a list could not be fetched.

use std::fmt;

/// What went wrong, as metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// No address, or nobody answers there.
    Connect,
    /// No trust, or no common way to encrypt.
    Tls,
    /// It took too long.
    Timeout,
    /// What was said is no HTTP, or it broke off.
    Protocol,
    /// Another status than was asked for.
    Status,
    /// Too many redirections, or one that must not be followed.
    Redirect,
    /// More bytes than allowed.
    TooLarge,
    /// It cannot be unpacked.
    Encoding,
}

impl Kind {
    /// As metrics and JSON name it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Status => "status",
            Self::Redirect => "redirect",
            Self::TooLarge => "too_large",
            Self::Encoding => "encoding",
        }
    }
}

/// Why a list could not be fetched; names no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FetchError {
    pub(super) kind: Kind,
    message: String,
}

impl FetchError {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Of a cause, with its own causes, which libraries tell one by one.
    pub(super) fn caused(kind: Kind, what: impl fmt::Display, cause: &dyn std::error::Error) -> Self {
        let mut message = format!("{what}: {cause}");
        let mut next = cause.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !message.ends_with(&text) {
                message = format!("{message}: {text}");
            }
            next = cause.source();
        }
        Self { kind, message }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FetchError {}
