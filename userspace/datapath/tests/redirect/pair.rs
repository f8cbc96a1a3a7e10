//! Both ends of a connection on loopback, on one of three paths.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;

use crate::socket;
use crate::sockmap::SockMap;

/// What carries a connection's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// TCP; the sockets are in no map.
    Tcp,
    /// TCP; both sockets are in the map and their messages pass.
    Member,
    /// The redirect.
    Redirected,
}

/// A connection, its reader bounded by [`socket::PATIENCE`].
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    map: &'a SockMap,
    path: Path,
    pub(crate) client: TcpStream,
    pub(crate) server: TcpStream,
}

impl<'a> Pair<'a> {
    pub(crate) fn new(map: &'a SockMap, path: Path) -> Self {
        let pair = Self::outside(map, path);
        pair.enter();
        pair
    }

    /// One whose sockets are not yet in the map.
    fn outside(map: &'a SockMap, path: Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        for end in [&client, &server] {
            end.set_nodelay(true).unwrap();
            end.set_read_timeout(Some(socket::PATIENCE)).unwrap();
        }
        Self { map, path, client, server }
    }

    /// The same path for another connection, whose sockets are not yet in the map.
    pub(crate) fn another_outside(&self) -> Self {
        Self::outside(self.map, self.path)
    }

    /// Puts both sockets where the path wants them, and makes sure that it is taken.
    pub(crate) fn enter(&self) {
        if self.path != Path::Tcp {
            for end in [&self.client, &self.server] {
                self.map.insert(end.local_addr().unwrap().port(), end.as_raw_fd()).unwrap();
            }
        }
        self.redirect_as_the_path_says();
    }

    /// A byte must have gone the way that the path says: TCP has counted it or not.
    pub(crate) fn prove_path(&mut self) {
        let before = socket::received(&self.server);
        self.client.write_all(b"?").unwrap();
        self.server.read_exact(&mut [0]).unwrap();
        let by_tcp = socket::received(&self.server) - before;
        assert_eq!(by_tcp, u64::from(self.path != Path::Redirected), "{:?} was not taken", self.path);
    }

    /// What follows goes by TCP, on whatever path.
    pub(crate) fn redirect_no_more(&self) {
        self.map.redirect(false).unwrap();
    }

    /// What follows goes by the pair's path.
    pub(crate) fn redirect_as_the_path_says(&self) {
        self.map.redirect(self.path == Path::Redirected).unwrap();
    }

    /// Takes the server's socket out of the map.
    pub(crate) fn leave(&self) {
        if self.path != Path::Tcp {
            self.map.remove(self.server.local_addr().unwrap().port()).unwrap();
        }
    }
}
