//! Configuration of BGP: peers, advertisements, names of communities and profiles of BFD, as written and as parsed.

mod advertisement;
mod bfd_profile;
mod catalog;
mod community;
mod effect;
mod error;
mod peer;
mod raw;
mod sources;
#[cfg(test)]
mod tests;
mod timers;

pub use advertisement::BgpAdvertisement;
pub use bfd_profile::BfdProfile;
pub use catalog::{BgpCatalog, BgpChange, BgpKind, NodePeers};
pub use community::{Communities, CommunityError};
pub use effect::BgpIneffective;
pub use error::BgpError;
pub use peer::{BgpPeer, Password, PeerLocation};
pub use raw::{RawBfdProfile, RawBgpAdvertisement, RawBgpPeer, RawCommunities, RawSecret};
pub use sources::{BgpSource, FirstLists, PATIENCE, UnlistedSource};
pub use timers::ProposedTimers;
