//! Listening sockets: one a worker for each address, and nobody else's port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};
use windrose_policy::routing::Reason;

use crate::snapshot::Place;

/// Connections that wait to be accepted, for each socket; the kernel takes `somaxconn` if that is less.
const BACKLOG: i32 = 4096;

/// Why an address is not listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The address.
    pub at: SocketAddr,
    /// As upstream names it.
    pub reason: Reason,
    /// In words, and what to do.
    pub message: String,
}

impl Failure {
    fn new(at: SocketAddr, error: &io::Error) -> Self {
        let (reason, message) = match error.kind() {
            io::ErrorKind::AddrInUse => {
                (Reason::PortUnavailable, format!("{at} is in use by another process: end it"))
            }
            io::ErrorKind::PermissionDenied => (
                Reason::PortUnavailable,
                format!(
                    "{at} may not be listened on: ports below net.ipv4.ip_unprivileged_port_start need \
                     CAP_NET_BIND_SERVICE"
                ),
            ),
            io::ErrorKind::AddrNotAvailable => {
                (Reason::AddressNotUsable, format!("no interface of this host has the address of {at}"))
            }
            _ => (Reason::AddressNotUsable, format!("cannot listen on {at}: {error}")),
        };
        Self { at, reason, message }
    }
}

/// The addresses to listen on. Every one is two: a socket of each family, so that a client of IPv4 has
/// an address of IPv4 everywhere.
pub(crate) fn addresses((addresses, port): &Place) -> Vec<SocketAddr> {
    if addresses.is_empty() {
        let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        return any.map(|address| SocketAddr::new(address, *port)).to_vec();
    }
    addresses.iter().map(|address| SocketAddr::new(*address, *port)).collect()
}

/// Whether sockets on both could take the same connections.
pub(crate) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let is_same = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && is_same
}

/// Opens so many sockets on one address. `None`: the host has no such family, and did not say which
/// addresses it wants.
///
/// Sockets that share a port must all have `SO_REUSEPORT`, and with it any process of the same user
/// would get a share silently: a second agent, for one. So the first is bound without it, which the
/// kernel refuses while anybody has the port, and is opened for the others once it has it. Where one
/// of our own has it already (`is_ours`: another bind with the same port, or one that is closing),
/// that cannot be asked.
pub(crate) fn open(at: SocketAddr, count: usize, is_ours: bool) -> Result<Option<Vec<TcpListener>>, Failure> {
    let mut listeners = Vec::with_capacity(count);
    for index in 0..count {
        match listen(at, is_ours || index > 0) {
            Ok(listener) => listeners.push(listener),
            Err(error) if at.ip().is_unspecified() && is_without_family(&error) => return Ok(None),
            Err(error) => return Err(Failure::new(at, &error)),
        }
    }
    Ok(Some(listeners))
}

/// `EAFNOSUPPORT`, or `EADDRNOTAVAIL` of `[::]` where IPv6 is switched off.
fn is_without_family(error: &io::Error) -> bool {
    error.raw_os_error() == Some(97) || error.kind() == io::ErrorKind::AddrNotAvailable
}

fn listen(at: SocketAddr, shares: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of a former process that are closing (TIME_WAIT) are no reason to wait.
    socket.set_reuse_address(true)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if shares {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&at.into())?;
    socket.set_reuse_port(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_port_that_somebody_has_is_refused_even_if_he_would_share() {
        let other = listen(at("127.0.0.1:0"), true).unwrap();
        let taken = other.local_addr().unwrap();
        let failure = open(taken, 2, false).unwrap_err();
        assert_eq!(failure.reason, Reason::PortUnavailable);
        assert!(failure.message.contains(&taken.to_string()), "{}", failure.message);
        drop(other);
        assert_eq!(open(taken, 2, false).unwrap().unwrap().len(), 2);
    }

    #[test]
    fn an_address_of_nobody_is_named() {
        let failure = open(at("192.0.2.1:8080"), 1, false).unwrap_err();
        assert_eq!(failure.reason, Reason::AddressNotUsable);
    }

    #[test]
    fn addresses_overlap_within_a_family_and_port() {
        assert!(overlap(at("0.0.0.0:80"), at("10.0.0.1:80")));
        assert!(!overlap(at("0.0.0.0:80"), at("[::]:80")));
        assert!(!overlap(at("10.0.0.2:80"), at("10.0.0.1:80")));
        assert!(!overlap(at("0.0.0.0:80"), at("0.0.0.0:81")));
    }
}
