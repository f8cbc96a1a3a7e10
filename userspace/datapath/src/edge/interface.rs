//! What the kernel says of one interface: its kind, and which XDP program is on it (rtnetlink).

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use crate::netns::socket;

const RTM_GETLINK: u16 = 18;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
/// `struct nlmsghdr` and `struct ifinfomsg`.
const HEADER: usize = 16;
const INFO: usize = 16;

const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_PARENT_DEV_NAME: u16 = 56;

const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;

/// An interface of this thread's network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    /// Its index.
    pub(super) index: u32,
    /// `ARPHRD_*`.
    pub(super) hardware: u16,
    /// The kind of a virtual interface, such as `veth`.
    pub(super) kind: Option<String>,
    /// Whether it belongs to a device on a bus.
    pub(super) has_device: bool,
    /// The XDP program on it, and how it is attached.
    pub(super) program: Option<Program>,
}

/// An XDP program on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) id: u32,
    pub(super) is_native: bool,
}

impl Interface {
    /// Asks for an interface by its name; `None` if there is none.
    pub(super) fn named(name: &str) -> io::Result<Option<Self>> {
        // IFNAMSIZ, with its NUL.
        if name.is_empty() || name.len() > 15 {
            return Ok(None);
        }
        let netlink = socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
        let answer = exchange(&netlink, &request(name))?;
        parse(&answer)
    }

    /// Whether its frames begin with an Ethernet header.
    pub(super) const fn is_ethernet(&self) -> bool {
        matches!(self.hardware, ARPHRD_ETHER | ARPHRD_LOOPBACK)
    }

    /// Why the driver's hook is not to be used; `None` if it is to be tried.
    pub(super) fn not_native(&self) -> Option<String> {
        match self.kind.as_deref() {
            _ if self.hardware == ARPHRD_LOOPBACK => Some("loopback has no native hook".to_owned()),
            Some("veth") => Some(
                "native on a veth turns off segmentation offload of its peer, and TCP suffers".to_owned(),
            ),
            Some(kind) => Some(format!("it is virtual ({kind})")),
            None if !self.has_device => Some("it belongs to no device".to_owned()),
            None => None,
        }
    }
}

/// `struct nlmsghdr`, an empty `struct ifinfomsg` and the name.
fn request(name: &str) -> Vec<u8> {
    let mut message = vec![0_u8; HEADER + INFO];
    let length = u16::try_from(4 + name.len() + 1).unwrap_or(u16::MAX);
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&IFLA_IFNAME.to_ne_bytes());
    message.extend_from_slice(name.as_bytes());
    message.push(0);
    message.resize(message.len().next_multiple_of(4), 0);
    let total = u32::try_from(message.len()).unwrap_or(u32::MAX);
    message[0..4].copy_from_slice(&total.to_ne_bytes());
    message[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
    message[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message
}

fn exchange(netlink: &OwnedFd, request: &[u8]) -> io::Result<Vec<u8>> {
    // SAFETY: the buffer outlives the call and has the length said.
    let sent = unsafe { libc::send(netlink.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut answer = vec![0_u8; 64 << 10];
    // SAFETY: as above.
    let length = unsafe { libc::recv(netlink.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) };
    answer.truncate(usize::try_from(length).map_err(|_| io::Error::last_os_error())?);
    Ok(answer)
}

fn parse(answer: &[u8]) -> io::Result<Option<Interface>> {
    let short = || io::Error::other("rtnetlink answered less than a header");
    if word16(answer, 4).ok_or_else(short)? == NLMSG_ERROR {
        let code = word32(answer, HEADER).ok_or_else(short)?.cast_signed();
        return match -code {
            libc::ENODEV => Ok(None),
            error => Err(io::Error::from_raw_os_error(error)),
        };
    }
    let attributes = answer.get(HEADER + INFO..).ok_or_else(short)?;
    let mut interface = Interface {
        hardware: word16(answer, HEADER + 2).ok_or_else(short)?,
        index: word32(answer, HEADER + 4).ok_or_else(short)?,
        kind: None,
        has_device: false,
        program: None,
    };
    for (kind, value) in Attributes(attributes) {
        match kind {
            IFLA_LINKINFO => interface.kind = attribute(value, IFLA_INFO_KIND).map(text),
            IFLA_PARENT_DEV_NAME => interface.has_device = true,
            IFLA_XDP => {
                // XDP_ATTACHED_DRV 1, _SKB 2, _HW 3; 0 is none.
                let how = attribute(value, IFLA_XDP_ATTACHED).and_then(|how| how.first().copied());
                let id = attribute(value, IFLA_XDP_PROG_ID).and_then(|id| word32(id, 0));
                if let (Some(how @ 1..), Some(id)) = (how, id) {
                    interface.program = Some(Program { id, is_native: how != 2 });
                }
            }
            _ => {}
        }
    }
    Ok(Some(interface))
}

/// Netlink attributes, one after another; ends at the first that is cut off.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        const NESTED: u16 = 0x8000;
        let length = usize::from(word16(self.0, 0)?);
        let kind = word16(self.0, 2)? & !NESTED;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

fn attribute(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    Attributes(attributes).find_map(|(kind, value)| (kind == wanted).then_some(value))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn word16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_and_has_no_native_hook() {
        let loopback = Interface::named("lo").unwrap().unwrap();
        assert!(loopback.is_ethernet());
        assert_eq!(loopback.index, 1);
        assert!(loopback.not_native().unwrap().contains("loopback"));
    }

    #[test]
    fn an_interface_that_is_not_there_is_none() {
        assert_eq!(Interface::named("windrose-none").unwrap(), None);
        assert_eq!(Interface::named("a-name-that-is-too-long").unwrap(), None);
    }

    #[test]
    fn nested_attributes_are_read_and_a_cut_one_ends_the_list() {
        let mut answer = vec![0_u8; HEADER + INFO];
        answer[4] = 16;
        answer[HEADER + 2] = 1;
        answer[HEADER + 4] = 7;
        let mut put = |kind: u16, value: &[u8]| {
            answer.extend_from_slice(&u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
            answer.extend_from_slice(&kind.to_ne_bytes());
            answer.extend_from_slice(value);
            answer.resize(answer.len().next_multiple_of(4), 0);
        };
        put(IFLA_LINKINFO, &[9, 0, 1, 0, b'v', b'e', b't', b'h', 0, 0, 0, 0]);
        put(0x8000 | IFLA_XDP, &[5, 0, 2, 0, 2, 0, 0, 0, 8, 0, 4, 0, 42, 0, 0, 0]);
        answer.extend_from_slice(&[255, 255, 3, 0]);
        let found = parse(&answer).unwrap().unwrap();
        assert_eq!((found.index, found.kind.as_deref(), found.has_device), (7, Some("veth"), false));
        assert_eq!(found.program, Some(Program { id: 42, is_native: false }));
    }
}
