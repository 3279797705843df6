//! Programs in classic BPF that decide which frames a socket receives (the kernel's `networking/filter` document).
//!
//! ```text
//!   to another host ──► drop
//!   another message ──► drop        (ARP operation; ICMPv6 type)
//!   no set given    ──► accept
//!   each place where the message names an address: in the set ──► accept
//!   drop
//! ```
//!
//! The kernel strips VLAN tags first, so offsets are those of an untagged frame. A load beyond the end of a frame drops it.

use libc::sock_filter;

use crate::frames::FRAME_LENGTH;
use crate::ranges::FilterRanges;
use crate::traffic::Traffic;

/// Ranges for which two look-ups fit into the 4096 instructions of a classic program (`BPF_MAXINSNS`), with room to
/// spare: each look-up has two comparisons for each range, and some four instructions for each [`BLOCK`] of them.
pub(crate) const MOST_RANGES: usize = 900;

/// Comparisons that share their two ends. A conditional jump skips 255 instructions at most.
const BLOCK: usize = 200;

const ETHERNET: u32 = 14;

const ARP_OPERATION: u32 = ETHERNET + 6;
const ARP_SENDER: u32 = ETHERNET + 14;
const ARP_TARGET: u32 = ETHERNET + 24;
const ARP_REQUEST: u32 = 1;
const ARP_REPLY: u32 = 2;

const IPV6_NEXT_HEADER: u32 = ETHERNET + 6;
const ICMPV6_TYPE: u32 = ETHERNET + 40;
/// The last quarter of the solicited or advertised address.
const NDP_TARGET: u32 = ICMPV6_TYPE + 8 + 12;
const NEIGHBOR_SOLICITATION: u32 = 135;
const NEIGHBOR_ADVERTISEMENT: u32 = 136;

/// Builds a program that accepts messages of `traffic`: all of them, or those that name an address of `passing`, either as
/// the requested or advertised one or as the sender's own.
pub(crate) fn program(traffic: Traffic, passing: Option<&FilterRanges>) -> Vec<sock_filter> {
    let mut program = FilterProgram(Vec::new());
    // A promiscuous or VLAN-filtering interface shows frames between other hosts.
    program.load(libc::BPF_W, (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32);
    program.drop_if(libc::PACKET_OTHERHOST.into());
    let places: &[u32] = match traffic {
        Traffic::Arp => {
            program.load(libc::BPF_H, ARP_OPERATION);
            program.drop_unless(&[ARP_REQUEST, ARP_REPLY]);
            &[ARP_TARGET, ARP_SENDER]
        }
        Traffic::ArpReplies => {
            program.load(libc::BPF_H, ARP_OPERATION);
            program.drop_unless(&[ARP_REPLY]);
            &[ARP_TARGET, ARP_SENDER]
        }
        Traffic::Ndp => {
            program.load(libc::BPF_B, IPV6_NEXT_HEADER);
            program.drop_unless(&[libc::IPPROTO_ICMPV6 as u32]);
            program.load(libc::BPF_B, ICMPV6_TYPE);
            program.drop_unless(&[NEIGHBOR_SOLICITATION, NEIGHBOR_ADVERTISEMENT]);
            &[NDP_TARGET]
        }
    };
    let Some(passing) = passing else {
        program.end(ACCEPT);
        return program.0;
    };
    let bounds = passing.bounds();
    for place in places {
        program.load(libc::BPF_W, *place);
        program.accept_if_within(&bounds);
    }
    program.end(DROP);
    program.0
}

/// The number of bytes of a frame that are kept.
const ACCEPT: u32 = FRAME_LENGTH as u32;
const DROP: u32 = 0;

struct FilterProgram(Vec<sock_filter>);

impl FilterProgram {
    fn push(&mut self, code: u32, jump_true: usize, jump_false: usize, k: u32) {
        let jump =
            |skipped: usize| u8::try_from(skipped).unwrap_or_else(|_| unreachable!("blocks are short"));
        self.0.push(sock_filter {
            code: code as u16,
            jt: jump(jump_true),
            jf: jump(jump_false),
            k,
        });
    }

    fn load(&mut self, size: u32, offset: u32) {
        self.push(libc::BPF_LD | libc::BPF_ABS | size, 0, 0, offset);
    }

    fn end(&mut self, verdict: u32) {
        self.push(libc::BPF_RET | libc::BPF_K, 0, 0, verdict);
    }

    fn drop_if(&mut self, value: u32) {
        self.push(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, value);
        self.end(DROP);
    }

    fn drop_unless(&mut self, values: &[u32]) {
        for (place, value) in values.iter().enumerate() {
            let behind = values.len() - place;
            self.push(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, behind, 0, *value);
        }
        self.end(DROP);
    }

    /// Accepts the frame if the loaded value is in the set with these bounds; otherwise the next instruction runs.
    fn accept_if_within(&mut self, bounds: &[u32]) {
        if bounds.is_empty() {
            return;
        }
        let mut misses = Vec::new();
        self.split(bounds, false, &mut misses);
        misses.into_iter().for_each(|miss| self.land(miss));
    }

    /// Bisects `bounds` to count those that are not above the loaded value. `inside` says whether a value below all of them is
    /// in the set.
    fn split(&mut self, bounds: &[u32], inside: bool, misses: &mut Vec<usize>) {
        if bounds.len() <= BLOCK {
            let accept = self.0.len() + bounds.len();
            self.bisect(bounds, inside, accept);
            self.end(ACCEPT);
            misses.push(self.jump());
            return;
        }
        let middle = bounds.len() / 2;
        self.push(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, bounds[middle]);
        let above = self.jump();
        self.split(&bounds[..middle], inside, misses);
        self.land(above);
        self.split(&bounds[middle + 1..], inside ^ is_odd(middle + 1), misses);
    }

    /// Adds a jump of any length and returns its place, for [`FilterProgram::land`].
    fn jump(&mut self) -> usize {
        self.push(libc::BPF_JMP | libc::BPF_JA, 0, 0, 0);
        self.0.len() - 1
    }

    /// Directs `jump` to the next instruction.
    fn land(&mut self, jump: usize) {
        self.0[jump].k = (self.0.len() - jump - 1) as u32;
    }

    /// Adds a comparison for each bound, the middle one first. They end at `accept` or at the instruction after it.
    fn bisect(&mut self, bounds: &[u32], inside: bool, accept: usize) {
        if bounds.is_empty() {
            return;
        }
        let middle = bounds.len() / 2;
        let (below, above) = (&bounds[..middle], &bounds[middle + 1..]);
        let next = self.0.len() + 1;
        let end = |inside: bool| accept + usize::from(!inside) - next;
        let jump_false = if below.is_empty() { end(inside) } else { 0 };
        let inside_above = inside ^ is_odd(middle + 1);
        let jump_true = if above.is_empty() {
            end(inside_above)
        } else {
            below.len()
        };
        let code = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
        self.push(code, jump_true, jump_false, bounds[middle]);
        self.bisect(below, inside, accept);
        self.bisect(above, inside_above, accept);
    }
}

const fn is_odd(number: usize) -> bool {
    number % 2 == 1
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    /// The length of the longest classic program of the kernel.
    const MOST_INSTRUCTIONS: usize = 4096;

    /// Runs a program as the kernel does. Returns whether it keeps the frame.
    fn accepts(program: &[sock_filter], packet_type: u32, frame: &[u8]) -> bool {
        let (mut place, mut loaded) = (0, 0_u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[place];
            let code = u32::from(code);
            place += 1;
            let mut skip_if = |condition: bool| place += usize::from(if condition { jt } else { jf });
            match code & 0x07 {
                libc::BPF_LD if k == (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32 => loaded = packet_type,
                libc::BPF_LD => {
                    let length = [4, 2, 1][(code as usize & 0x18) >> 3];
                    let Some(bytes) = frame.get(k as usize..k as usize + length) else {
                        return false;
                    };
                    loaded = bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
                }
                libc::BPF_JMP => match code & 0xf0 {
                    libc::BPF_JA => place += k as usize,
                    libc::BPF_JEQ => skip_if(loaded == k),
                    libc::BPF_JGE => skip_if(loaded >= k),
                    other => panic!("unknown jump {other:#x}"),
                },
                libc::BPF_RET => return k > 0,
                other => panic!("unknown class {other:#x}"),
            }
        }
    }

    fn arp(operation: u8, sender: u32, target: u32) -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[21] = operation;
        frame[28..32].copy_from_slice(&sender.to_be_bytes());
        frame[38..42].copy_from_slice(&target.to_be_bytes());
        frame
    }

    fn ndp(kind: u8, target: Ipv6Addr) -> Vec<u8> {
        let mut frame = vec![0; 86];
        frame[20] = 58;
        frame[54] = kind;
        frame[62..78].copy_from_slice(&target.octets());
        frame
    }

    fn v4(keys: impl IntoIterator<Item = u32>, most: usize) -> FilterRanges {
        let addresses = keys.into_iter().map(|key| IpAddr::V4(Ipv4Addr::from_bits(key)));
        FilterRanges::covering(addresses, most)
    }

    #[test]
    fn only_messages_of_the_traffic_pass() {
        let any = Ipv6Addr::LOCALHOST;
        for (traffic, frame, passes) in [
            (Traffic::Arp, arp(1, 0, 0), true),
            (Traffic::Arp, arp(2, 0, 0), true),
            (Traffic::Arp, arp(3, 0, 0), false),
            (Traffic::Arp, vec![0; 20], false),
            (Traffic::ArpReplies, arp(1, 0, 0), false),
            (Traffic::ArpReplies, arp(2, 0, 0), true),
            (Traffic::Ndp, ndp(135, any), true),
            (Traffic::Ndp, ndp(136, any), true),
            (Traffic::Ndp, ndp(134, any), false),
            (Traffic::Ndp, arp(1, 0, 0), false),
        ] {
            let program = program(traffic, None);
            assert_eq!(
                accepts(&program, libc::PACKET_BROADCAST.into(), &frame),
                passes,
                "{traffic:?}"
            );
            assert!(!accepts(&program, libc::PACKET_OTHERHOST.into(), &frame));
        }
    }

    #[test]
    fn with_an_empty_set_nothing_passes() {
        let nothing = FilterRanges::default();
        for (traffic, frame) in [
            (Traffic::Arp, arp(1, 0, 0)),
            (Traffic::ArpReplies, arp(2, 0, 0)),
            (Traffic::Ndp, ndp(135, Ipv6Addr::UNSPECIFIED)),
        ] {
            assert!(
                !accepts(&program(traffic, Some(&nothing)), 0, &frame),
                "{traffic:?}"
            );
        }
    }

    #[test]
    fn the_largest_program_is_within_the_kernels_limit() {
        let passing = v4((0..5000).map(|number| number * 7919), MOST_RANGES);
        assert_eq!(passing.bounds().len(), 2 * MOST_RANGES);
        let length = program(Traffic::Arp, Some(&passing)).len();
        assert!(
            (MOST_INSTRUCTIONS / 2..=MOST_INSTRUCTIONS).contains(&length),
            "{length}"
        );
    }

    proptest! {
        #[test]
        fn an_arp_message_passes_iff_it_names_an_address_of_the_set(
            keys in btree_set(prop_oneof![0..2000_u32, any::<u32>()], 0..1500),
            most in 1..MOST_RANGES,
            asked in prop_oneof![0..2000_u32, any::<u32>()],
            other in any::<u32>(),
        ) {
            let passing = v4(keys.iter().copied(), most);
            let program = program(Traffic::Arp, Some(&passing));
            let within = |key: u32| passing.contains(Ipv4Addr::from_bits(key).into());
            for key in keys.iter().copied().chain([asked]) {
                for (sender, target) in [(key, other), (other, key)] {
                    let passes = accepts(&program, 0, &arp(1, sender, target));
                    prop_assert_eq!(passes, within(key) || within(other), "{:#x}", key);
                    prop_assert!(passes || !keys.contains(&key));
                }
            }
        }

        #[test]
        fn an_ndp_message_passes_if_it_names_an_address_of_the_set(
            keys in btree_set(prop_oneof![0..2000_u128, any::<u128>()], 0..1500),
            asked in prop_oneof![0..2000_u128, any::<u128>()],
        ) {
            let addresses = keys.iter().map(|key| IpAddr::V6(Ipv6Addr::from_bits(*key)));
            let passing = FilterRanges::covering(addresses, MOST_RANGES);
            let program = program(Traffic::Ndp, Some(&passing));
            for key in &keys {
                prop_assert!(accepts(&program, 0, &ndp(135, Ipv6Addr::from_bits(*key))));
            }
            let asked = Ipv6Addr::from_bits(asked);
            prop_assert_eq!(accepts(&program, 0, &ndp(136, asked)), passing.contains(asked.into()));
        }
    }
}
