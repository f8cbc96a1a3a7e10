//! Whether a client in clear text speaks HTTP/2 without having asked (RFC 9113, section 3.3).

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What a connection of HTTP/2 begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Room for the first request.
const ROOM: usize = 4 << 10;

/// Reads the first bytes of a connection, and whether they begin HTTP/2. None are there if the client
/// has closed.
pub(crate) async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    patience: Duration,
) -> io::Result<(BytesMut, bool)> {
    let look = async {
        let mut begun = BytesMut::with_capacity(ROOM);
        loop {
            let count = stream.read_buf(&mut begun).await?;
            // Of HTTP/1 the first or second byte already tells: no method begins with `PRI `.
            let seen = begun.len().min(PREFACE.len());
            if count == 0 || begun[..seen] != PREFACE[..seen] {
                return Ok((begun, false));
            }
            if seen == PREFACE.len() {
                return Ok((begun, true));
            }
        }
    };
    tokio::time::timeout(patience, look).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
