//! Why a message is refused.

use std::fmt;

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)*) => {
        /// Why a message is refused with 400, and its connection closed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum WireFault {
            $($(#[doc = $doc])+ $name,)*
        }

        impl WireFault {
            /// Every one, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// A word for counters and logs.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

faults! {
    /// A CR that no LF follows (RFC 9112, section 2.2).
    BareCr = "bare_cr",
    /// A LF that no CR precedes.
    BareLf = "bare_lf",
    /// A request line that is not method, space, target, space, version.
    RequestLine = "request_line",
    /// A version that is not HTTP/1.0 or HTTP/1.1.
    Version = "version",
    /// A line that continues the one before (section 5.2).
    Folding = "folding",
    /// White space before the colon, or no name, or no colon (section 5.1).
    FieldName = "field_name",
    /// A control character in a value (RFC 9110, section 5.5).
    FieldValue = "field_value",
    /// `Content-Length` that is not digits alone, or is there twice, were it with the same value.
    Length = "length",
    /// `Transfer-Encoding` that is not `chunked` alone, or in HTTP/1.0.
    Coding = "coding",
    /// `Content-Length` beside `Transfer-Encoding` (RFC 9112, section 6.1).
    LengthAndCoding = "length_and_coding",
    /// No `Host` in HTTP/1.1, or more than one (section 3.2).
    Host = "host",
    /// A chunk's size that is not 1 to 15 hexadecimal digits, or extensions with more than text.
    ChunkSize = "chunk_size",
    /// Bytes behind a chunk that are not CR and LF.
    ChunkEnd = "chunk_end",
    /// Trailers that are too long, or that would frame or route the message.
    Trailer = "trailer",
    /// A response that begins with no status line of HTTP/1.0 or HTTP/1.1.
    StatusLine = "status_line",
    /// A response's head that is too long or has too many fields.
    HeadLength = "head_length",
}

impl fmt::Display for WireFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for WireFault {}

/// Why a head is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It has two readings: 400.
    Fault(WireFault),
    /// It is longer than it may be: 431.
    TooLong,
    /// It has more fields than it may have: 431.
    TooManyFields,
}

impl From<WireFault> for Unread {
    fn from(fault: WireFault) -> Self {
        Self::Fault(fault)
    }
}
