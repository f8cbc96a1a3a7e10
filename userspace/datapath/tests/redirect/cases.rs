//! What programs do with a connection, and what plain TCP answers.

use std::io::Write as _;
use std::net::Shutdown;

use crate::pair::Pair;
use crate::socket::{self, Reader};

/// A sentence, what TCP says, and what is done.
type Case = (&'static str, &'static str, fn(Pair<'_>) -> String);

pub(crate) const CASES: &[Case] = &[
    ("a message arrives by the path that is tested", "hello", |mut pair| {
        pair.prove_path();
        pair.client.write_all(b"hello").unwrap();
        socket::recv(&pair.server, 100, 0)
    }),
    ("data before a close is read, then EOF", "first.second, EOF", |pair| {
        let Pair { mut client, server, .. } = pair;
        client.write_all(b"first.").unwrap();
        client.write_all(b"second").unwrap();
        drop(client);
        let read = socket::recv(&server, 3, 0) + &socket::recv(&server, 100, libc::MSG_WAITALL);
        let rest = socket::recv(&server, 100, 0);
        if rest == "EOF" {
            format!("{read}, EOF")
        } else {
            format!("{read}{rest}, {}", socket::recv(&server, 1, 0))
        }
    }),
    ("a peek sees what a read then takes", "hello hello", |mut pair| {
        pair.client.write_all(b"hello").unwrap();
        socket::recv(&pair.server, 100, libc::MSG_PEEK) + " " + &socket::recv(&pair.server, 100, 0)
    }),
    ("splice(2) moves what poll(2) says is there", "hello", |mut pair| {
        pair.client.write_all(b"hello").unwrap();
        socket::settle(&pair.server);
        socket::splice(&pair.server)
    }),
    ("after a redirect, splice(2) reads what TCP brings in order", "first.second", |mut pair| {
        pair.client.write_all(b"first.").unwrap();
        pair.redirect_no_more();
        pair.client.write_all(b"second").unwrap();
        socket::arrived(&pair.client);
        socket::splice(&pair.server)
    }),
    ("what TCP has brought and nobody has read is read first", "first.second", |mut pair| {
        pair.redirect_no_more();
        pair.client.write_all(b"first.").unwrap();
        pair.redirect_as_the_path_says();
        pair.client.write_all(b"second").unwrap();
        socket::arrived(&pair.client);
        socket::recv(&pair.server, 100, 0)
    }),
    ("MSG_WAITALL waits for all", "first.second", |mut pair| {
        let reader = Reader::start(&pair.server, 12, libc::MSG_WAITALL);
        pair.client.write_all(b"first.").unwrap();
        if reader.still_waits() {
            pair.client.write_all(b"second").unwrap();
        }
        reader.answer()
    }),
    ("less than SO_RCVLOWAT is not readable", "waits", |mut pair| {
        socket::set(&pair.server, libc::SO_RCVLOWAT, 100);
        pair.client.write_all(b"hello").unwrap();
        let events = socket::poll(&pair.server, libc::POLLIN);
        if events == 0 { "waits".to_owned() } else { "readable".to_owned() }
    }),
    ("MSG_TRUNC discards without a buffer", "5 bytes", |mut pair| {
        pair.client.write_all(b"hello").unwrap();
        socket::settle(&pair.server);
        socket::discard(&pair.server, 5)
    }),
    ("FIONREAD counts what can be read", "5", |mut pair| {
        pair.client.write_all(b"hello").unwrap();
        socket::settle(&pair.server);
        socket::unread(&pair.server).to_string()
    }),
    ("a signal with SA_RESTART does not end a blocked recv(2)", "hello", |mut pair| {
        pair.server.set_read_timeout(None).unwrap();
        let reader = Reader::start(&pair.server, 100, 0);
        reader.interrupt();
        if reader.still_waits() {
            pair.client.write_all(b"hello").unwrap();
        }
        reader.answer()
    }),
    ("a client that has shut down its sending waits for the answer", "answer", |mut pair| {
        pair.client.set_read_timeout(None).unwrap();
        let reader = Reader::start(&pair.client, 100, 0);
        pair.client.shutdown(Shutdown::Write).unwrap();
        if reader.still_waits() {
            pair.server.write_all(b"answer").unwrap();
        }
        reader.answer()
    }),
    ("a reader that waited before the connection entered is woken", "hello", |pair| {
        let mut pair = pair.another_outside();
        let reader = Reader::start(&pair.server, 100, 0);
        pair.enter();
        pair.client.write_all(b"hello").unwrap();
        reader.answer()
    }),
    ("what is unread when a connection leaves is not lost", "hello", |mut pair| {
        pair.client.write_all(b"hello").unwrap();
        socket::settle(&pair.server);
        pair.leave();
        socket::recv(&pair.server, 100, 0)
    }),
    ("a reader that closes with data unread resets its peer", "ECONNRESET", |pair| {
        let Pair { mut client, server, .. } = pair;
        client.write_all(b"hello").unwrap();
        socket::settle(&server);
        drop(server);
        socket::recv(&client, 1, 0)
    }),
    ("urgent data are announced as such", "POLLPRI", |pair| {
        assert_eq!(socket::send(&pair.client, b"!", libc::MSG_OOB), Ok(1));
        let events = socket::poll(&pair.server, libc::POLLIN | libc::POLLPRI);
        if events & libc::POLLPRI == 0 { "ordinary data".to_owned() } else { "POLLPRI".to_owned() }
    }),
    ("MSG_ZEROCOPY tells when its buffer is free", "told", |pair| {
        socket::set(&pair.client, libc::SO_ZEROCOPY, 1);
        assert_eq!(socket::send(&pair.client, &[b'z'; 4096], libc::MSG_ZEROCOPY), Ok(4096));
        assert_eq!(socket::recv(&pair.server, 4096, libc::MSG_WAITALL).len(), 4096);
        let events = socket::poll(&pair.client, 0);
        if events & libc::POLLERR == 0 { "never told".to_owned() } else { "told".to_owned() }
    }),
    ("a reader that stops stops its writer", "stopped", |pair| {
        // Far more than the buffers of both ends, far less than the machine has.
        const TOO_MUCH: usize = 32 << 20;
        let block = vec![b'z'; 65_536];
        let mut accepted = 0;
        while accepted < TOO_MUCH {
            let Ok(count) = socket::send(&pair.client, &block, libc::MSG_DONTWAIT) else {
                return "stopped".to_owned();
            };
            accepted += count;
        }
        "never stopped".to_owned()
    }),
];
