//! The vocabulary between the agent, which decides, and the station, which sends and answers frames.

use alloc::collections::BTreeSet;
use alloc::string::String;
use core::net::IpAddr;
use core::time::Duration;

use crate::MacAddr;

/// An address and the interfaces that answer for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The address.
    pub address: IpAddr,
    /// Names of the interfaces that answer; `None` selects by subnet among all.
    pub interfaces: Option<BTreeSet<String>>,
}

/// What the agent asks of the station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Answer for an address and announce it. A changed set of interfaces replaces the set before; the same
    /// announcement again changes nothing.
    Announce(Announcement),
    /// Stop answering for an address, and cancel its probes and checks.
    Withdraw(IpAddr),
    /// Stop answering for all addresses.
    WithdrawAll,
    /// Repeat the announcements of an address as if it had just been claimed, for example after a healed partition.
    Reannounce(IpAddr),
    /// Announce an address once more, because another machine announces it or should (RFC 5227 section 2.4). The rate
    /// for each address is limited.
    Defend(IpAddr),
    /// The same against a claim with the MAC address of a living peer, which says that it does not announce the address. With
    /// policy `Cluster`, clients that follow the claim are served there, so claims in quick succession are contradicted when they
    /// pause.
    DefendAgainstForged(IpAddr),
    /// The same where MetalLB may have claimed the address: it sends a few claims from each node, contradicts nothing, and serves no
    /// open connection. So each claim is contradicted at once, up to a hundred until claims pause.
    DefendAtOnce(IpAddr),
    /// Probe for an address (RFC 5227 section 2.1.1) and report a [`ProbeResult`].
    Probe(Announcement),
    /// Ask once whether an address is answered for and report a [`ProbeResult`].
    Check {
        /// The address to check, and on which interfaces.
        announcement: Announcement,
        /// The machine that is asked, by unicast; `None` asks all.
        target: Option<MacAddr>,
    },
    /// Cancel the probe or the checks of an address.
    CancelProbe(IpAddr),
}

/// What the station reports to the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireEvent {
    /// A probe or a check of an address has ended.
    Probed(IpAddr, ProbeResult),
    /// The machine with this MAC address announces an address that this node answers for.
    Claimed(IpAddr, MacAddr),
    /// The first announcement of an address was sent since [`Command::Announce`].
    Announced(IpAddr),
}

/// Result of a probe or a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeResult {
    /// No machine has the address, and no other machine probes for it.
    Silence,
    /// The machine with this MAC address has the address. Reported as soon as its answer or announcement arrives.
    Answered(MacAddr),
    /// The machine with this MAC address probes for the address, too. Reported at the end of the probe, because an owner
    /// answers both probes, and its answer counts more.
    Contended(MacAddr),
    /// No usable link is left on which to ask.
    NoLink,
    /// The single question of a check was not answered in time.
    Unanswered {
        /// How long ago a frame of any other machine arrived on the links that were asked; `None` is never. Without such
        /// a frame this node may be deaf.
        last_frame: Option<Duration>,
    },
}
