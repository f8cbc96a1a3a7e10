//! Whether a client in clear text speaks HTTP/2 without having asked (RFC 9113, section 3.3).

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

/// What a connection of HTTP/2 begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A preface that came in pieces is looked at again after so long: nobody wakes who has not read.
const AGAIN: Duration = Duration::from_millis(5);

/// Looks at the first bytes and leaves them there.
pub(crate) async fn is_http2(stream: &TcpStream, patience: Duration) -> io::Result<bool> {
    let look = async {
        let mut bytes = [0; PREFACE.len()];
        let mut seen = 0;
        loop {
            let length = stream.peek(&mut bytes).await?;
            // Of HTTP/1 the first or second byte already tells: no method begins with `PRI `.
            if length == 0 || bytes[..length] != PREFACE[..length] {
                return Ok(false);
            }
            if length == PREFACE.len() {
                return Ok(true);
            }
            if length == seen {
                tokio::time::sleep(AGAIN).await;
            }
            seen = length;
        }
    };
    tokio::time::timeout(patience, look).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
