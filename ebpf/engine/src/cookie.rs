//! The answer to a SYN in its listener's place: a SYN-ACK whose sequence number is a cookie.
//!
//! Headers are 16-bit words as they stand in memory. The checksum of RFC 1071 does not mind their
//! order of bytes, so that it is the same sum on every machine.

/// Words of the answer from its IP header on, IPv4.
pub const V4_WORDS: usize = 10 + TCP_WORDS;
/// Words of the answer from its IP header on, IPv6.
pub const V6_WORDS: usize = 20 + TCP_WORDS;

/// The fixed part, and the one option: the maximum segment size (RFC 9293). A cookie has no room
/// for what a SYN says of windows and selective acknowledgements.
const TCP_WORDS: usize = 12;

/// As much as can be said without scaling and is a multiple of an Ethernet segment; the listener
/// says its own with its first segment.
const WINDOW: u16 = 44 * 1460;

const HOPS: u8 = 64;
const TCP: u8 = 6;

const fn word(first: u8, second: u8) -> u16 {
    u16::from_ne_bytes([first, second])
}

/// The halves of a number in the order of the network.
#[inline(always)]
const fn halves(number: u32) -> [u16; 2] {
    let [a, b, c, d] = number.to_be_bytes();
    [word(a, b), word(c, d)]
}

/// Writes the answer to a SYN over IPv4 without options, whose IP header and fixed TCP header these
/// are. `answer` has room for IPv6.
#[inline(always)]
pub fn answer_v4(answer: &mut [u16; V6_WORDS], ip: &[u16; 20], tcp: &[u16; 10], cookie: u32, mss: u16) {
    answer[0] = word(0x45, 0);
    answer[1] = word(0, 44);
    answer[2] = 0;
    answer[3] = word(0x40, 0); // Not to be fragmented.
    answer[4] = word(HOPS, TCP);
    answer[5] = 0;
    let mut addresses = 0;
    for n in 0..2 {
        answer[6 + n] = ip[8 + n];
        answer[8 + n] = ip[6 + n];
        addresses += u32::from(ip[6 + n]) + u32::from(ip[8 + n]);
    }
    let fixed = [answer[0], answer[1], answer[3], answer[4]];
    answer[5] = checksum(fixed.iter().fold(addresses, |sum, word| sum + u32::from(*word)));
    let sum = segment(answer, 10, tcp, cookie, mss);
    answer[18] = checksum(sum + addresses);
}

/// Writes the answer to a SYN over IPv6 without extension headers.
#[inline(always)]
pub fn answer_v6(answer: &mut [u16; V6_WORDS], ip: &[u16; 20], tcp: &[u16; 10], cookie: u32, mss: u16) {
    answer[0] = word(0x60, 0);
    answer[1] = 0;
    answer[2] = word(0, 24);
    answer[3] = word(TCP, HOPS);
    let mut addresses = 0;
    for n in 0..8 {
        answer[4 + n] = ip[12 + n];
        answer[12 + n] = ip[4 + n];
        addresses += u32::from(ip[4 + n]) + u32::from(ip[12 + n]);
    }
    let sum = segment(answer, 20, tcp, cookie, mss);
    answer[28] = checksum(sum + addresses);
}

/// Writes the TCP header from a word on, its checksum zero. Answers its sum with those of length
/// and protocol, which the checksum covers as well (RFC 9293, section 3.1).
#[inline(always)]
fn segment(answer: &mut [u16; V6_WORDS], at: usize, tcp: &[u16; 10], cookie: u32, mss: u16) -> u32 {
    let next = u32::from(u16::from_be(tcp[2])) << 16 | u32::from(u16::from_be(tcp[3]));
    let [cookie_high, cookie_low] = halves(cookie);
    let [next_high, next_low] = halves(next.wrapping_add(1));
    let words = [
        tcp[1],
        tcp[0],
        cookie_high,
        cookie_low,
        next_high,
        next_low,
        word(0x60, 0x12), // Six words; SYN and ACK.
        WINDOW.to_be(),
        0,
        0,
        word(2, 4),
        mss.to_be(),
    ];
    let mut sum = u32::from(word(0, 24)) + u32::from(word(0, TCP));
    for (n, word) in words.into_iter().enumerate() {
        answer[at + n] = word;
        sum += u32::from(word);
    }
    sum
}

/// Sums of less than 64 words have a carry of six bits at most, and then of one.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the carry is added, twice")]
const fn checksum(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let twice = (once & 0xffff) + (once >> 16);
    !(twice as u16)
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

    fn words<const N: usize>(bytes: &[u8]) -> [u16; N] {
        let mut words = [0; N];
        for (word, pair) in words.iter_mut().zip(bytes.chunks(2)) {
            *word = u16::from_ne_bytes([pair[0], pair[1]]);
        }
        words
    }

    fn bytes(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn syn() -> [u16; 10] {
        words(&[0x9c, 0x40, 0x01, 0xbb, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0])
    }

    #[test]
    fn an_ipv4_answer_is_turned_round_and_sums_up() {
        let mut ip = [0; 20];
        ip[0] = 0x45;
        ip[12..20].copy_from_slice(&[198, 51, 100, 7, 192, 0, 2, 1]);
        let mut answer = [0xaaaa; V6_WORDS];
        answer_v4(&mut answer, &words(&ip), &syn(), 0xdead_beef, 1460);
        let answer = bytes(&answer[..V4_WORDS]);
        assert_eq!(verify(&[&answer[..20]]), 0);
        assert_eq!(verify(&[&answer[20..], &answer[12..20], &[0, 24, 0, 6]]), 0);
        assert_eq!(answer[..10], [0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 6]);
        assert_eq!(answer[12..20], [192, 0, 2, 1, 198, 51, 100, 7]);
        assert_eq!(answer[20..24], [0x01, 0xbb, 0x9c, 0x40]);
        assert_eq!(answer[24..32], [0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0], "the next of 2^32 - 1 is 0");
        assert_eq!(answer[32..34], [0x60, 0x12]);
        assert_eq!(answer[40..44], [2, 4, 0x05, 0xb4]);
    }

    #[test]
    fn an_ipv6_answer_is_turned_round_and_sums_up() {
        let mut ip = [0xfe; 40];
        ip[24..40].copy_from_slice(&[0x20; 16]);
        let mut answer = [0xaaaa; V6_WORDS];
        answer_v6(&mut answer, &words(&ip), &syn(), 1, 1440);
        let answer = bytes(&answer);
        assert_eq!(answer[..8], [0x60, 0, 0, 0, 0, 24, 6, 64]);
        assert_eq!(verify(&[&answer[40..], &answer[8..40], &[0, 24, 0, 6]]), 0);
        assert_eq!((answer[8], answer[24]), (0x20, 0xfe));
    }
}
