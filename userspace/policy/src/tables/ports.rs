//! Ports of rules as shapes of rows.

use windrose_abi::rules::{SHAPE_ANY, SHAPE_NAME};

use crate::model::{PortMatch, Protocol};

/// The last fields of a rule's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) port: u16,
    pub(super) protocol: u8,
    /// See [`windrose_abi::RuleKey::shape`].
    pub(super) code: u8,
}

impl Shape {
    /// Every port of every protocol that the tier matches.
    pub(super) const ANY: Self = Self { port: 0, protocol: 0, code: SHAPE_ANY };

    pub(super) const fn is_name(self) -> bool {
        self.code == SHAPE_NAME
    }
}

/// The shapes of a rule's ports. `number` gives the number of a port name.
pub(super) fn shapes(ports: Option<&[PortMatch]>, mut number: impl FnMut(&str) -> u16) -> Vec<Shape> {
    let Some(ports) = ports else { return vec![Shape::ANY] };
    let mut shapes = Vec::new();
    for port in ports {
        match port {
            PortMatch::Any { protocol } => {
                shapes.push(Shape { port: 0, protocol: protocol.number(), code: 0 });
            }
            PortMatch::Range { protocol, first, last } => {
                shapes.extend(blocks(*first, *last).map(|(port, code)| Shape {
                    port,
                    protocol: protocol.number(),
                    code,
                }));
            }
            PortMatch::Named { protocol, name } => {
                let every = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
                let protocols = match protocol {
                    Some(protocol) => std::slice::from_ref(protocol),
                    None => &every,
                };
                let port = number(name);
                shapes.extend(protocols.iter().map(|one| Shape {
                    port,
                    protocol: one.number(),
                    code: SHAPE_NAME,
                }));
            }
        }
    }
    shapes
}

/// The fewest port prefixes that are together the range: (port, length).
fn blocks(first: u16, last: u16) -> impl Iterator<Item = (u16, u8)> {
    let mut next = Some(u32::from(first));
    let end = u32::from(last) + 1;
    std::iter::from_fn(move || {
        let start = next.filter(|start| *start < end)?;
        // The largest aligned block that begins here and does not pass the end.
        let aligned = if start == 0 { 16 } else { start.trailing_zeros().min(16) };
        let fitting = (end - start).ilog2();
        let bits = aligned.min(fitting);
        next = Some(start + (1 << bits));
        Some((u16::try_from(start).ok()?, u8::try_from(16 - bits).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(first: u16, last: u16) -> Vec<(u16, u8)> {
        blocks(first, last).collect()
    }

    #[test]
    fn a_range_is_the_fewest_prefixes() {
        assert_eq!(covered(80, 80), [(80, 16)]);
        assert_eq!(covered(0, 65535), [(0, 0)]);
        assert_eq!(covered(8000, 8007), [(8000, 13)]);
        assert_eq!(covered(1, 4), [(1, 16), (2, 15), (4, 16)]);
        assert_eq!(covered(65534, 65535), [(65534, 15)]);
        assert_eq!(covered(1, 65535).len(), 16);
        assert_eq!(covered(1, 65534).len(), 30);
    }

    #[test]
    fn every_port_of_a_range_is_in_one_prefix_and_no_other_is() {
        for (first, last) in [(1, 1), (1, 65535), (53, 8080), (1023, 1025), (32767, 32769), (65535, 65535)] {
            let blocks = covered(first, last);
            for port in 0..=u16::MAX {
                let inside = blocks.iter().filter(|(start, length)| {
                    let mask = u16::MAX.checked_shl(16 - u32::from(*length)).unwrap_or(0);
                    port & mask == *start
                });
                assert_eq!(
                    inside.count(),
                    usize::from((first..=last).contains(&port)),
                    "{first} {last} {port}"
                );
            }
        }
    }
}
