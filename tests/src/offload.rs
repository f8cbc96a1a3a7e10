//! What an interface leaves to its hardware, switched as ethtool(8) does (ethtool netlink).

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

use crate::netns::Namespace;

const AF_NETLINK: i32 = 16;
const NETLINK_GENERIC: i32 = 16;
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
const ETHTOOL_A_HEADER_DEV_NAME: u16 = 2;
const ETHTOOL_A_HEADER_FLAGS: u16 = 3;
const ETHTOOL_FLAG_OMIT_REPLY: u32 = 2;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BIT_VALUE: u16 = 3;
const NESTED: u16 = 0x8000;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
/// `struct nlmsghdr` and `struct genlmsghdr`.
const HEADERS: usize = 20;

/// Switches a feature by the name that `ethtool -k` shows, such as `tx-checksum-ip-generic`.
pub fn set(namespace: &Namespace, interface: &str, feature: &str, is_on: bool) -> Result<()> {
    namespace
        .within(|| {
            let socket =
                Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(Protocol::from(NETLINK_GENERIC)))?;
            let family = family(&socket)?;
            let name = |kind, text: &str| attribute(kind, &[text.as_bytes(), &[0]].concat());
            let header = [
                name(ETHTOOL_A_HEADER_DEV_NAME, interface),
                attribute(ETHTOOL_A_HEADER_FLAGS, &ETHTOOL_FLAG_OMIT_REPLY.to_ne_bytes()),
            ];
            let mut bit = name(ETHTOOL_A_BITSET_BIT_NAME, feature);
            if is_on {
                bit.extend(attribute(ETHTOOL_A_BITSET_BIT_VALUE, &[]));
            }
            let bits = attribute(
                ETHTOOL_A_BITSET_BITS | NESTED,
                &attribute(ETHTOOL_A_BITSET_BITS_BIT | NESTED, &bit),
            );
            let body = [
                attribute(ETHTOOL_A_FEATURES_HEADER | NESTED, &header.concat()),
                attribute(ETHTOOL_A_FEATURES_WANTED | NESTED, &bits),
            ];
            ask(&socket, family, ETHTOOL_MSG_FEATURES_SET, &body.concat()).map(drop)
        })
        .with_context(|| format!("cannot switch {feature} of {interface} to {is_on}"))
}

/// The number of the ethtool family.
fn family(socket: &Socket) -> Result<u16> {
    let answer =
        ask(socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &attribute(CTRL_ATTR_FAMILY_NAME, b"ethtool\0"))?;
    let mut rest = answer.get(HEADERS..).unwrap_or_default();
    while let (Some(length), Some(kind)) = (word(rest, 0), word(rest, 2)) {
        if kind == CTRL_ATTR_FAMILY_ID {
            return word(rest, 4).context("the family of ethtool has no number");
        }
        rest = rest.get(usize::from(length.max(4)).next_multiple_of(4)..).unwrap_or_default();
    }
    bail!("this kernel has no ethtool netlink (CONFIG_ETHTOOL_NETLINK)")
}

/// Sends a request; the message that answers it, if one came before its end.
fn ask(mut socket: &Socket, family: u16, command: u8, body: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(HEADERS + body.len())?;
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(family.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    // Sequence and sender: one request at a time.
    request.extend([0; 8]);
    request.extend([command, 1, 0, 0]);
    request.extend(body);
    socket.write_all(&request)?;
    let mut answer = Vec::new();
    let mut block = vec![0; 65_536];
    loop {
        let size = socket.read(&mut block)?;
        let mut rest = &block[..size];
        while let Some(header) = rest.first_chunk::<16>() {
            let [a, b, c, d, ..] = *header;
            let length = usize::try_from(u32::from_ne_bytes([a, b, c, d]))?.clamp(16, rest.len());
            let message = &rest[..length];
            if word(message, 4) == Some(NLMSG_ERROR) {
                let code = message.get(16..20).and_then(|code| code.try_into().ok()).map(i32::from_ne_bytes);
                return match code {
                    Some(0) => Ok(answer),
                    Some(code) => Err(std::io::Error::from_raw_os_error(-code).into()),
                    None => bail!("netlink answered less than an error"),
                };
            }
            answer = message.to_vec();
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut attribute = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    attribute.extend_from_slice(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
