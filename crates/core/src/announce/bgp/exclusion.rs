//! Why a route is not sent.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use crate::Family;
use crate::announce::eligibility::Exclusion;

/// The reason why a node announces a Service to no peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteExclusion {
    /// The Service is not known, or is of another load balancer.
    NoService,
    /// The Node is not known yet.
    NoNode,
    /// No advertisement of the pool selects the node.
    NoAdvertisementForNode,
    /// Advertisements select the node, but none selects the Service.
    NoAdvertisementForService,
    /// Two advertisements say different LOCAL_PREFs for the same routes of the Service.
    Contradiction(String, String),
    /// The node has no session with a peer that would get a route: none selects the node, the advertisements name others, or none
    /// carries the family.
    NoPeer,
    /// The node has sessions with peers that are to get a route, but none of the sessions can have it.
    Unsendable(PeerExclusion),
    /// A reason that holds for any protocol.
    Any(Exclusion),
}

impl RouteExclusion {
    /// Returns the CamelCase word for the reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoService => "NoService",
            Self::NoNode => "NoNode",
            Self::NoAdvertisementForNode => "NodeNotSelected",
            Self::NoAdvertisementForService => "NoAdvertisement",
            Self::Contradiction(..) => "ConflictingAdvertisements",
            Self::NoPeer => "NoPeer",
            Self::Unsendable(exclusion) => exclusion.reason(),
            Self::Any(exclusion) => exclusion.reason(),
        }
    }

    /// Returns the reason with the names of the advertisements that have to be changed. It is the same for all nodes on which the same
    /// advertisements are the cause.
    pub(super) fn named_reason(&self) -> String {
        match self {
            Self::Contradiction(one, other) => format!("{} ({one:?}, {other:?})", self.reason()),
            Self::NoService
            | Self::NoNode
            | Self::NoAdvertisementForNode
            | Self::NoAdvertisementForService
            | Self::NoPeer
            | Self::Unsendable(_)
            | Self::Any(_) => self.reason().to_string(),
        }
    }
}

impl fmt::Display for RouteExclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoService => f.write_str("the Service is not known"),
            Self::NoNode => f.write_str("the Node is not known"),
            Self::NoAdvertisementForNode => f.write_str("no BGPAdvertisement of the pool selects the node"),
            Self::NoAdvertisementForService => {
                f.write_str("no BGPAdvertisement of the node selects the Service")
            }
            Self::Contradiction(one, other) => write!(
                f,
                "the BGPAdvertisements {one:?} and {other:?} have different localPref for the same routes of the Service"
            ),
            Self::NoPeer => f.write_str("no BGPPeer of the node gets a route for the address"),
            Self::Unsendable(exclusion) => exclusion.fmt(f),
            Self::Any(exclusion) => exclusion.fmt(f),
        }
    }
}

impl From<Exclusion> for RouteExclusion {
    fn from(exclusion: Exclusion) -> Self {
        Self::Any(exclusion)
    }
}

/// The reason why one peer gets no route for an address that the node announces to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerExclusion {
    /// No advertisement of the Service names the peer.
    #[error("no BGPAdvertisement of the Service names the peer")]
    NotSelected,
    /// The session carries only the other family.
    #[error("the session carries no {0} routes; set dualStackAddressFamily")]
    FamilyNotCarried(Family),
    /// The session is to carry the family, but the peer did not negotiate it (RFC 4760 section 8).
    #[error("the peer did not negotiate {0} routes; activate the family for this neighbour on the router")]
    FamilyNotNegotiated(Family),
    /// The node has no address of the family on the interface of the connection.
    #[error(
        "the node has no next hop for {0} routes: the interface of the connection to the peer has no {0} address; give it one, or use a \
         peer of that family"
    )]
    NoNextHop(Family),
    /// The attributes of the route leave no room for it in a message.
    #[error("the communities of the route do not fit into a BGP message; use fewer of them")]
    RouteTooLong,
}

impl PeerExclusion {
    /// Returns the CamelCase word for the reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotSelected => "PeerNotSelected",
            Self::FamilyNotCarried(_) => "FamilyNotCarried",
            Self::FamilyNotNegotiated(_) => "FamilyNotNegotiated",
            Self::NoNextHop(_) => "NoNextHop",
            Self::RouteTooLong => "RouteTooLong",
        }
    }
}
