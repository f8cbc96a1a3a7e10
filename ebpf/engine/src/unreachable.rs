//! ICMP errors in answer to a packet that goes no further (RFC 792, RFC 4443).
//!
//! Headers are 16-bit words as they stand in memory, as in [`crate::cookie`].

use crate::cookie::{checksum, halves, word};

/// Words quoted of an IPv4 packet: its header without options, and 8 bytes.
pub const V4_QUOTE: usize = 14;
/// Words quoted of an IPv6 packet: its header, and 8 bytes.
pub const V6_QUOTE: usize = 24;
/// Words of the answer from its IP header on, IPv4.
pub const V4_WORDS: usize = 10 + ICMP + V4_QUOTE;
/// Words of the answer from its IP header on, IPv6.
pub const V6_WORDS: usize = 20 + ICMP + V6_QUOTE;

const ICMP: usize = 4;

#[expect(clippy::cast_possible_truncation, reason = "it is 56")]
const V4_BYTES: u8 = 2 * V4_WORDS as u8;
#[expect(clippy::cast_possible_truncation, reason = "it is 56")]
const V6_MESSAGE_BYTES: u8 = 2 * (ICMP + V6_QUOTE) as u8;
const HOPS: u8 = 64;
const ICMP_V4: u8 = 1;
const ICMP_V6: u8 = 58;

/// Why it goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// Nobody serves the port. A client that connects is told `ECONNREFUSED`.
    NoPort,
    /// It is larger than this.
    TooBig(u32),
}

/// Answers the IPv4 packet that begins with `quote`, in its destination's name.
#[inline(always)]
pub fn write_v4(answer: &mut [u16; V6_WORDS], quote: &[u16; V6_QUOTE], because: Because) {
    answer[0] = word(0x45, 0);
    answer[1] = word(0, V4_BYTES);
    answer[2] = 0;
    answer[3] = word(0x40, 0); // Not to be fragmented.
    answer[4] = word(HOPS, ICMP_V4);
    answer[5] = 0;
    answer[6] = quote[8];
    answer[7] = quote[9];
    answer[8] = quote[6];
    answer[9] = quote[7];
    let sum = answer.iter().take(10).map(|word| u32::from(*word)).sum();
    answer[5] = checksum(sum);
    let (kind, mtu) = match because {
        Because::NoPort => (word(3, 3), 0),
        Because::TooBig(mtu) => (word(3, 4), mtu & 0xffff),
    };
    let sum = message::<V4_QUOTE>(answer, 10, quote, kind, mtu);
    answer[11] = checksum(sum);
}

/// Answers the IPv6 packet that begins with `quote`, in its destination's name.
#[inline(always)]
pub fn write_v6(answer: &mut [u16; V6_WORDS], quote: &[u16; V6_QUOTE], because: Because) {
    answer[0] = word(0x60, 0);
    answer[1] = 0;
    answer[2] = word(0, V6_MESSAGE_BYTES);
    answer[3] = word(ICMP_V6, HOPS);
    let mut addresses = 0;
    for n in 0..8 {
        answer[4 + n] = quote[12 + n];
        answer[12 + n] = quote[4 + n];
        addresses += u32::from(quote[4 + n]) + u32::from(quote[12 + n]);
    }
    let (kind, mtu) = match because {
        Because::NoPort => (word(1, 4), 0),
        Because::TooBig(mtu) => (word(2, 0), mtu),
    };
    let sum = message::<V6_QUOTE>(answer, 20, quote, kind, mtu);
    answer[21] =
        checksum(sum + addresses + u32::from(word(0, V6_MESSAGE_BYTES)) + u32::from(word(0, ICMP_V6)));
}

/// Writes the ICMP message from a word on, its checksum zero; answers its sum.
#[inline(always)]
fn message<const QUOTE: usize>(
    answer: &mut [u16; V6_WORDS],
    at: usize,
    quote: &[u16; V6_QUOTE],
    kind: u16,
    mtu: u32,
) -> u32 {
    let [high, low] = halves(mtu);
    answer[at] = kind;
    answer[at + 1] = 0;
    answer[at + 2] = high;
    answer[at + 3] = low;
    let mut sum = u32::from(kind) + u32::from(high) + u32::from(low);
    for n in 0..QUOTE {
        answer[at + ICMP + n] = quote[n];
        sum += u32::from(quote[n]);
    }
    sum
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    /// Of what carries its own checksum it is zero. As RFC 1071 has it, with big-endian words.
    fn verify(parts: &[&[u8]]) -> u16 {
        let words = parts.iter().flat_map(|part| part.chunks(2));
        let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    fn words(bytes: &[u8]) -> [u16; V6_QUOTE] {
        let mut words = [0; V6_QUOTE];
        for (word, pair) in words.iter_mut().zip(bytes.chunks(2)) {
            *word = u16::from_ne_bytes([pair[0], pair[1]]);
        }
        words
    }

    fn bytes(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn an_ipv4_answer_quotes_and_sums_up() {
        let mut packet = [0x11; 48];
        packet[0] = 0x45;
        packet[12..20].copy_from_slice(&[198, 51, 100, 7, 192, 0, 2, 1]);
        for (because, head) in [(Because::NoPort, [3, 3, 0, 0]), (Because::TooBig(1400), [3, 4, 0x05, 0x78])]
        {
            let mut answer = [0xaaaa; V6_WORDS];
            write_v4(&mut answer, &words(&packet), because);
            let answer = bytes(&answer[..V4_WORDS]);
            assert_eq!(answer.len(), 56);
            assert_eq!(answer[..4], [0x45, 0, 0, 56]);
            assert_eq!(answer[12..20], [192, 0, 2, 1, 198, 51, 100, 7]);
            assert_eq!((verify(&[&answer[..20]]), verify(&[&answer[20..]])), (0, 0));
            assert_eq!([answer[20], answer[21], answer[26], answer[27]], head);
            assert_eq!(answer[28..], packet[..28]);
        }
    }

    #[test]
    fn an_ipv6_answer_quotes_and_sums_up() {
        let mut packet = [0xfe; 48];
        packet[24..40].copy_from_slice(&[0x20; 16]);
        for (because, kind, mtu) in
            [(Because::NoPort, [1, 4], 0_u32), (Because::TooBig(100_000), [2, 0], 100_000)]
        {
            let mut answer = [0xaaaa; V6_WORDS];
            write_v6(&mut answer, &words(&packet), because);
            let answer = bytes(&answer);
            assert_eq!(answer[..8], [0x60, 0, 0, 0, 0, 56, 58, 64]);
            assert_eq!((answer[8], answer[24]), (0x20, 0xfe));
            assert_eq!(verify(&[&answer[40..], &answer[8..40], &[0, 56, 0, 58]]), 0);
            assert_eq!(answer[40..42], kind);
            assert_eq!(answer[44..48], mtu.to_be_bytes());
            assert_eq!(answer[48..], packet);
        }
    }
}
