//! The kinds of address resolution traffic.

/// The messages that a packet socket receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Traffic {
    /// ARP requests and replies (RFC 826), probes and announcements included.
    Arp,
    /// ARP replies, announcements in reply form included: for a program that asks and never answers.
    ArpReplies,
    /// Neighbour solicitations and advertisements (RFC 4861 §4.3 and §4.4), multicast and unicast.
    Ndp,
}
