//! Packets with all their checksums, built from scratch: nothing is shared with what is tested.

use std::net::IpAddr;

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;

/// Destination and source of frames before they are sent on.
const ENDS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

#[derive(Clone, Copy, PartialEq)]
enum Sum {
    Right,
    None,
    /// Not looked at: what an ICMP error quotes.
    Any,
}

#[derive(Clone)]
pub(crate) struct Packet {
    protocol: u8,
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    hops: u8,
    class: u8,
    flags: u8,
    options: usize,
    payload: Vec<u8>,
    sum: Sum,
}

/// RFC 1071 over some parts, the last of which may be odd.
fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// An IP packet around a payload. The fragment: identification, offset in bytes, whether more follow.
struct Ip<'a> {
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    hops: u8,
    class: u8,
    options: usize,
    fragment: Option<(u16, usize, bool)>,
    payload: &'a [u8],
}

impl Ip<'_> {
    fn bytes(&self) -> Vec<u8> {
        if self.from.is_ipv4() { self.v4() } else { self.v6() }
    }

    fn v4(&self) -> Vec<u8> {
        let mut head = vec![0_u8; 20];
        head[0] = 0x45 + u8::try_from(self.options / 4).unwrap();
        head[1] = self.class;
        let total = u16::try_from(20 + self.options + self.payload.len()).unwrap();
        head[2..4].copy_from_slice(&total.to_be_bytes());
        let (id, offset, has_more) = self.fragment.unwrap_or((77, 0, false));
        head[4..6].copy_from_slice(&id.to_be_bytes());
        let word = u16::try_from(offset / 8).unwrap() | u16::from(has_more) << 13;
        head[6..8].copy_from_slice(&word.to_be_bytes());
        (head[8], head[9]) = (self.hops, self.protocol);
        head[12..16].copy_from_slice(&octets(self.from));
        head[16..20].copy_from_slice(&octets(self.to));
        head.resize(20 + self.options, 1);
        let checksum = sum(&[&head]);
        head[10..12].copy_from_slice(&checksum.to_be_bytes());
        [&head, self.payload].concat()
    }

    fn v6(&self) -> Vec<u8> {
        const FRAGMENT: u8 = 44;
        const OPTIONS: u8 = 60;
        let mut body = Vec::new();
        let mut next = self.protocol;
        if let Some((id, offset, has_more)) = self.fragment {
            body.extend_from_slice(&[self.protocol, 0]);
            let word = u16::try_from(offset).unwrap() | u16::from(has_more);
            body.extend_from_slice(&word.to_be_bytes());
            body.extend_from_slice(&u32::from(id).to_be_bytes());
            next = FRAGMENT;
        }
        if self.options > 0 {
            body = vec![0; self.options];
            body[0] = self.protocol;
            body[1] = u8::try_from(self.options / 8 - 1).unwrap();
            // One option that pads the rest.
            (body[2], body[3]) = (1, u8::try_from(self.options - 4).unwrap());
            next = OPTIONS;
        }
        body.extend_from_slice(self.payload);
        let mut head = vec![0x60 | self.class >> 4, self.class << 4, 0, 0];
        head.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        head.extend_from_slice(&[next, self.hops]);
        head.extend(octets(self.from));
        head.extend(octets(self.to));
        [head, body].concat()
    }
}

impl Packet {
    pub(crate) const fn new(protocol: u8, from: (IpAddr, u16), to: (IpAddr, u16)) -> Self {
        Self {
            protocol,
            from,
            to,
            hops: 64,
            class: 0,
            flags: 0,
            options: 0,
            payload: Vec::new(),
            sum: Sum::Right,
        }
    }

    pub(crate) fn ping(from: IpAddr, to: IpAddr) -> Self {
        let protocol = if from.is_ipv4() { ICMP } else { ICMPV6 };
        Self::new(protocol, (from, 0), (to, 0))
    }

    pub(crate) const fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    pub(crate) const fn hops(mut self, hops: u8) -> Self {
        self.hops = hops;
        self
    }

    pub(crate) const fn class(mut self, class: u8) -> Self {
        self.class = class;
        self
    }

    pub(crate) const fn options(mut self, bytes: usize) -> Self {
        self.options = bytes;
        self
    }

    pub(crate) fn payload(mut self, bytes: usize) -> Self {
        self.payload = (0..=u8::MAX).cycle().take(bytes).collect();
        self
    }

    pub(crate) fn bytes(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub(crate) fn from(mut self, from: (&str, u16)) -> Self {
        self.from = (from.0.parse().unwrap(), from.1);
        self
    }

    pub(crate) fn to(mut self, to: (&str, u16)) -> Self {
        self.to = (to.0.parse().unwrap(), to.1);
        self
    }

    pub(crate) const fn without_checksum(mut self) -> Self {
        self.sum = Sum::None;
        self
    }

    /// With some checksum of the transport that stays what it is.
    pub(crate) const fn unsummed(mut self) -> Self {
        self.sum = Sum::Any;
        self
    }

    /// The checksum of the transport.
    pub(crate) fn checksum(&self) -> u16 {
        let at = if self.protocol == TCP { 16 } else { 6 };
        let transport = self.transport();
        u16::from_be_bytes([transport[at], transport[at + 1]])
    }

    fn transport(&self) -> Vec<u8> {
        let (mut bytes, at) = match self.protocol {
            TCP => {
                let mut head = vec![0_u8; 20];
                head[0..2].copy_from_slice(&self.from.1.to_be_bytes());
                head[2..4].copy_from_slice(&self.to.1.to_be_bytes());
                head[4..8].copy_from_slice(&[1, 2, 3, 4]);
                (head[12], head[13]) = (0x50, self.flags);
                head[14..16].copy_from_slice(&[0xfa, 0xf0]);
                (head, 16)
            }
            UDP => {
                let mut head = vec![0_u8; 8];
                head[0..2].copy_from_slice(&self.from.1.to_be_bytes());
                head[2..4].copy_from_slice(&self.to.1.to_be_bytes());
                let length = u16::try_from(8 + self.payload.len()).unwrap();
                head[4..6].copy_from_slice(&length.to_be_bytes());
                (head, 6)
            }
            _ => (vec![if self.protocol == ICMP { 8 } else { 128 }, 0, 0, 0, 0, 7, 0, 1], 2),
        };
        bytes.extend_from_slice(&self.payload);
        let checksum = match self.sum {
            Sum::None => 0,
            Sum::Any => 0x1234,
            Sum::Right => {
                let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
                let (from, to) = (octets(self.from.0), octets(self.to.0));
                let pseudo: [&[u8]; 5] = [&from, &to, &length, &[0, self.protocol], &bytes];
                let parts = if self.protocol == ICMP { &pseudo[4..] } else { &pseudo[..] };
                match sum(parts) {
                    0 if self.protocol == UDP => 0xffff,
                    checksum => checksum,
                }
            }
        };
        bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn ip<'a>(&self, payload: &'a [u8], fragment: Option<(u16, usize, bool)>) -> Ip<'a> {
        Ip {
            from: self.from.0,
            to: self.to.0,
            protocol: self.protocol,
            hops: self.hops,
            class: self.class,
            options: self.options,
            fragment,
            payload,
        }
    }

    pub(crate) fn packet(&self) -> Vec<u8> {
        self.ip(&self.transport(), None).bytes()
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        framed(&self.packet())
    }

    pub(crate) fn frame_with(&self, ends: [u8; 12]) -> Vec<u8> {
        ethernet(&self.packet(), ends)
    }

    /// The packet inside another one.
    pub(crate) fn inside(&self, from: IpAddr, to: IpAddr) -> Vec<u8> {
        let packet = self.packet();
        let is_v4 = from.is_ipv4();
        let outer = Ip {
            from,
            to,
            protocol: if is_v4 { 4 } else { 41 },
            hops: 64,
            class: self.class,
            options: 0,
            fragment: None,
            payload: &packet,
        };
        let mut bytes = outer.bytes();
        if is_v4 {
            // No identification, since it is not to be fragmented.
            bytes[4..8].copy_from_slice(&[0, 0, 0x40, 0]);
            resum(&mut bytes);
        }
        bytes
    }

    /// The frame that refuses this one: no port, or too big for so many bytes.
    pub(crate) fn refusal(&self, mtu: Option<u16>) -> Vec<u8> {
        let packet = self.packet();
        let is_v4 = self.from.0.is_ipv4();
        let head = match (is_v4, mtu) {
            (true, None) => [3, 3],
            (true, Some(_)) => [3, 4],
            (false, None) => [1, 4],
            (false, Some(_)) => [2, 0],
        };
        let quote = &packet[..if is_v4 { 28 } else { 48 }];
        let message = message(head, mtu.unwrap_or(0), quote, self.to.0, self.from.0);
        let mut bytes = icmp(self.to.0, self.from.0, 64, &message);
        if is_v4 {
            bytes[4..8].copy_from_slice(&[0, 0, 0x40, 0]);
            resum(&mut bytes);
        }
        let mut ends = [0; 12];
        ends[..6].copy_from_slice(&ENDS[6..]);
        ends[6..].copy_from_slice(&ENDS[..6]);
        ethernet(&bytes, ends)
    }
}

/// Puts the checksum of an IPv4 header without options right.
fn resum(bytes: &mut [u8]) {
    bytes[10..12].copy_from_slice(&[0, 0]);
    let checksum = sum(&[&bytes[..20]]);
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
}

fn message(head: [u8; 2], mtu: u16, quote: &[u8], from: IpAddr, to: IpAddr) -> Vec<u8> {
    let [high, low] = mtu.to_be_bytes();
    let mut message = vec![head[0], head[1], 0, 0, 0, 0, high, low];
    message.extend_from_slice(quote);
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let (from_bytes, to_bytes) = (octets(from), octets(to));
    let pseudo: [&[u8]; 5] = [&from_bytes, &to_bytes, &length, &[0, ICMPV6], &message];
    let checksum = sum(if from.is_ipv4() { &pseudo[4..] } else { &pseudo[..] });
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

fn icmp(from: IpAddr, to: IpAddr, hops: u8, message: &[u8]) -> Vec<u8> {
    let protocol = if from.is_ipv4() { ICMP } else { ICMPV6 };
    Ip { from, to, protocol, hops, class: 0, options: 0, fragment: None, payload: message }.bytes()
}

/// "Too big for 1400 bytes" about a packet: IPv4 quotes 8 bytes of the transport, IPv6 all.
pub(crate) fn error(from: IpAddr, to: IpAddr, hops: u8, about: &Packet) -> Vec<u8> {
    let packet = about.packet();
    let (head, quote) = if from.is_ipv4() { ([3, 4], &packet[..28]) } else { ([2, 0], &packet[..]) };
    icmp(from, to, hops, &message(head, 1400, quote, from, to))
}

/// Two fragments of a packet without options.
pub(crate) fn fragments(packet: &Packet, id: u16) -> [Vec<u8>; 2] {
    const SPLIT: usize = 600;
    let transport = packet.transport();
    [
        packet.ip(&transport[..SPLIT], Some((id, 0, true))).bytes(),
        packet.ip(&transport[SPLIT..], Some((id, SPLIT, false))).bytes(),
    ]
}

pub(crate) fn framed(packet: &[u8]) -> Vec<u8> {
    ethernet(packet, ENDS)
}

pub(crate) fn ethernet(packet: &[u8], ends: [u8; 12]) -> Vec<u8> {
    let ether_type: [u8; 2] = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&ends[..], &ether_type, packet].concat()
}

/// A frame with so many VLAN tags.
pub(crate) fn tagged(frame: &[u8], tags: usize) -> Vec<u8> {
    let outer: &[u8] = &[0x88, 0xa8, 0, 7, 0x81, 0x00, 0x20, 0x2a];
    [&frame[..12], &outer[8 - 4 * tags..], &frame[12..]].concat()
}
