//! Which resources of BGP have less effect than they were written for, although they are in force.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::{BgpCatalog, BgpKind};

/// The reason why a resource of BGP, although it is in force, has no effect, or not all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BgpIneffective {
    /// A `BGPPeer` has `spec.bfdProfile`, and this version runs no BFD: the session is as without it.
    NoBfd,
    /// A `BGPPeer` or `BGPAdvertisement` that no speaker reads: `speaker.bgp.enabled` of the chart is false.
    Disabled,
}

impl BgpIneffective {
    /// Returns the CamelCase word that is the reason in the event.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoBfd => "BFDNotRunning",
            Self::Disabled => "BGPDisabled",
        }
    }
}

impl fmt::Display for BgpIneffective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoBfd => {
                "spec.bfdProfile has no effect: this version runs no BFD, and a router that fails is noticed when the hold time has \
                 passed; set spec.holdTime to what you need, 3s at least"
            }
            Self::Disabled => {
                "without effect: the speakers have no sessions, because BGP is switched off (speaker.bgp.enabled: false in the chart's \
                 values)"
            }
        })
    }
}

impl BgpCatalog {
    /// Returns the resources in force that have less effect than they were written for, by kind and name. With `is_disabled` no
    /// speaker speaks BGP.
    pub fn ineffective(&self, is_disabled: bool) -> Vec<(BgpKind, String, BgpIneffective)> {
        let peers = self.peers().filter_map(|peer| {
            let without_bfd = peer.bfd.as_ref().map(|_| BgpIneffective::NoBfd);
            let reason = is_disabled.then_some(BgpIneffective::Disabled).or(without_bfd)?;
            Some((BgpKind::Peer, peer.name.clone(), reason))
        });
        let advertisements = self.advertisements().filter(|_| is_disabled);
        let advertisements = advertisements.map(|advertisement| {
            let name = advertisement.name.clone();
            (BgpKind::Advertisement, name, BgpIneffective::Disabled)
        });
        peers.chain(advertisements).collect()
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::config::bgp::{BgpChange, RawBfdProfile, RawBgpAdvertisement, RawBgpPeer};

    #[test]
    fn a_peer_with_bfd_and_all_that_is_for_a_speaker_without_bgp_has_less_effect() {
        let mut catalog = BgpCatalog::default();
        let peer = |name: &str, profile: Option<&str>| RawBgpPeer {
            name: name.to_string(),
            my_asn: 1,
            peer_asn: Some(2),
            address: Some("192.0.2.1".to_string()),
            bfd_profile: profile.map(ToString::to_string),
            ..RawBgpPeer::default()
        };
        let profile = RawBfdProfile {
            name: "fast".to_string(),
            ..RawBfdProfile::default()
        };
        let advertisement = RawBgpAdvertisement {
            name: "all".to_string(),
            ..RawBgpAdvertisement::default()
        };
        catalog.apply([
            BgpChange::ApplyBfdProfile(profile),
            BgpChange::ApplyPeer(peer("plain", None)),
            BgpChange::ApplyPeer(peer("watched", Some("fast"))),
            BgpChange::ApplyPeer(peer("broken", Some("none"))),
            BgpChange::ApplyAdvertisement(advertisement),
        ]);
        let no_bfd = (BgpKind::Peer, "watched".to_string(), BgpIneffective::NoBfd);
        assert_eq!(catalog.ineffective(false), [no_bfd]);
        let disabled = |kind, name: &str| (kind, name.to_string(), BgpIneffective::Disabled);
        let expected = [
            disabled(BgpKind::Peer, "plain"),
            disabled(BgpKind::Peer, "watched"),
            disabled(BgpKind::Advertisement, "all"),
        ];
        assert_eq!(catalog.ineffective(true), expected);
    }
}
