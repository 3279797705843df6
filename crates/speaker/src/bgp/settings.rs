//! What the BGP thread needs to know of a peer.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use herald_bgp::session::SessionConfig;
use herald_bgp::wire::{BgpIdentifier, HoldTime};
use herald_core::Family;
use herald_core::config::bgp::{BgpPeer, PeerLocation};
use herald_netio::DialOptions;

/// The hold time where none is configured (RFC 4271 section 10).
const HOLD_TIME: u16 = 90;

/// How to have a session with a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSettings {
    /// The connection. Of the address of an unnumbered peer, only the port counts.
    pub dial: DialOptions,
    /// The interface of an unnumbered peer, which has its address from there.
    pub interface: Option<String>,
    /// The session.
    pub session: SessionConfig,
}

impl PeerSettings {
    /// Returns the settings for a peer. `node` is the identifier of peers without one of their own. `follows_metallb` is whether the
    /// sessions of this node may follow those of MetalLB's speaker.
    pub fn of(peer: &BgpPeer, node: BgpIdentifier, follows_metallb: bool) -> Self {
        let (address, interface) = match &peer.location {
            PeerLocation::Address(address) => (*address, None),
            PeerLocation::Interface(name) => (Ipv6Addr::UNSPECIFIED.into(), Some(name.clone())),
        };
        let hold_time = peer.timers.map_or(HOLD_TIME, |timers| {
            u16::try_from(timers.hold.as_secs()).unwrap_or(u16::MAX)
        });
        let families = [Family::V4, Family::V6];
        let families = families
            .into_iter()
            .filter(|family| peer.carries(*family))
            .collect::<Vec<_>>();
        Self {
            dial: DialOptions {
                peer: SocketAddr::new(address, peer.port),
                source: peer.source_address,
                device: peer.vrf.clone(),
                key: peer.password.as_ref().map(|password| password.0.clone()),
                least_ttl: 0,
            },
            interface,
            session: SessionConfig {
                local_asn: peer.local_asn,
                peer_asn: peer.peer_asn,
                identifier: peer.router_id.and_then(BgpIdentifier::new).unwrap_or(node),
                hold_time: HoldTime::new(hold_time).unwrap_or(HoldTime::NONE),
                keepalive: peer.timers.map(|timers| timers.keepalive),
                connect_retry: peer.connect_time,
                // The interface of an IPv6 connection may have no IPv4 address to be the next hop.
                extended_next_hop: families.len() > 1 && matches!(address, IpAddr::V6(_)),
                families,
                // A peer would keep the routes of a speaker that has stopped for good, as long as no stop withdraws them first. But
                // those that it has kept of MetalLB's speaker it keeps until it has the same of this one.
                restart_time: (follows_metallb && peer.graceful_restart).then_some(0),
                forwarding: true,
            },
        }
    }

    /// Returns the peer's name in metrics: address or interface, and port.
    pub(super) fn label(&self) -> String {
        let port = self.dial.peer.port();
        match &self.interface {
            Some(name) => format!("{name}:{port}"),
            None => format!("{}:{port}", self.dial.peer.ip()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use herald_core::bgp::{Asn, ExpectedAs};
    use herald_core::config::bgp::{Password, ProposedTimers};

    use super::*;

    fn peer(address: &str) -> BgpPeer {
        BgpPeer {
            name: "router".into(),
            created: 0,
            local_asn: Asn(65_001),
            peer_asn: ExpectedAs::Exactly(Asn(65_000)),
            location: PeerLocation::Address(address.parse().expect("an address")),
            source_address: None,
            port: 179,
            vrf: None,
            timers: None,
            connect_time: None,
            router_id: None,
            node_selectors: Vec::new(),
            password: None,
            bfd: None,
            graceful_restart: false,
            multi_hop: false,
            dual_stack: false,
        }
    }

    fn node() -> BgpIdentifier {
        BgpIdentifier::new([192, 0, 2, 10].into()).expect("not zero")
    }

    #[test]
    fn a_plain_peer_has_the_family_of_its_address_and_usual_timers() {
        for (address, family) in [("192.0.2.1", Family::V4), ("2001:db8::1", Family::V6)] {
            let settings = PeerSettings::of(&peer(address), node(), false);
            let session = &settings.session;
            assert_eq!(session.families, [family]);
            assert_eq!(session.hold_time, HoldTime::new(90).expect("long enough"));
            assert_eq!((session.keepalive, session.restart_time), (None, None));
            assert_eq!(session.identifier, node());
            assert!(!session.extended_next_hop);
            assert_eq!(
                settings.dial.peer,
                SocketAddr::new(address.parse().expect("one"), 179)
            );
            assert_eq!((settings.dial.source, settings.dial.key), (None, None));
        }
    }

    #[test]
    fn what_is_written_counts() {
        let mut written = peer("2001:db8::1");
        written.source_address = Some("2001:db8::7".parse().expect("an address"));
        written.port = 1179;
        written.vrf = Some("red".into());
        written.timers = Some(ProposedTimers {
            hold: Duration::from_secs(9),
            keepalive: Duration::from_secs(2),
        });
        written.connect_time = Some(Duration::from_secs(4));
        written.router_id = Some([9, 9, 9, 9].into());
        written.password = Some(Password(b"secret".to_vec()));
        written.graceful_restart = true;
        written.dual_stack = true;
        let settings = PeerSettings::of(&written, node(), false);
        let (dial, session) = (&settings.dial, &settings.session);
        assert_eq!((dial.source, dial.peer.port()), (written.source_address, 1179));
        assert_eq!(dial.device.as_deref(), Some("red"));
        assert_eq!(dial.key.as_deref(), Some(&b"secret"[..]));
        assert_eq!(session.hold_time, HoldTime::new(9).expect("long enough"));
        assert_eq!(session.keepalive, Some(Duration::from_secs(2)));
        assert_eq!(session.connect_retry, written.connect_time);
        assert_eq!(
            session.identifier,
            BgpIdentifier::new([9; 4].into()).expect("not zero")
        );
        assert_eq!(session.families, [Family::V4, Family::V6]);
        assert_eq!((session.extended_next_hop, session.restart_time), (true, None));
        assert!(!format!("{settings:?}").contains("secret"));
        assert_eq!(settings.label(), "2001:db8::1:1179");
    }

    #[test]
    fn an_unnumbered_peer_has_both_families_and_its_interface_for_an_address() {
        let unnumbered = BgpPeer {
            location: PeerLocation::Interface("eth1".into()),
            port: 1179,
            ..peer("192.0.2.1")
        };
        let settings = PeerSettings::of(&unnumbered, node(), false);
        assert_eq!(settings.interface.as_deref(), Some("eth1"));
        assert_eq!(settings.session.families, [Family::V4, Family::V6]);
        assert!(settings.session.extended_next_hop);
        assert_eq!(settings.label(), "eth1:1179");
    }

    #[test]
    fn a_session_that_follows_that_of_metallb_takes_over_its_routes() {
        let mut peer = peer("192.0.2.1");
        for (enabled, expected) in [(true, Some(0)), (false, None)] {
            peer.graceful_restart = enabled;
            let session = PeerSettings::of(&peer, node(), true).session;
            assert_eq!((session.restart_time, session.forwarding), (expected, true));
        }
    }
}
