//! The resources of BGP in force, and the problems of what the user wrote.

mod check;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::advertisement::BgpAdvertisement;
use super::bfd_profile::BfdProfile;
use super::community::{self, CommunityNames};
use super::peer::BgpPeer;
use super::raw::{RawBfdProfile, RawBgpAdvertisement, RawBgpPeer, RawCommunities, RawSecret};
use crate::Labels;
use crate::config::Problem;
use crate::config::problem::ConfigErrors;

/// The kind of a resource of BGP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BgpKind {
    /// `BGPPeer`.
    Peer,
    /// `BGPAdvertisement`.
    Advertisement,
    /// `Community`.
    Communities,
    /// `BFDProfile`.
    BfdProfile,
}

impl fmt::Display for BgpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Peer => "BGPPeer",
            Self::Advertisement => "BGPAdvertisement",
            Self::Communities => "Community",
            Self::BfdProfile => "BFDProfile",
        })
    }
}

/// A change of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BgpChange {
    /// A peer is created or updated.
    ApplyPeer(RawBgpPeer),
    /// An advertisement is created or updated.
    ApplyAdvertisement(RawBgpAdvertisement),
    /// Names of communities are created or updated.
    ApplyCommunities(RawCommunities),
    /// A profile is created or updated.
    ApplyBfdProfile(RawBfdProfile),
    /// A Secret is created or updated.
    ApplySecret(RawSecret),
    /// A resource is deleted.
    Delete(BgpKind, String),
    /// A Secret is deleted.
    DeleteSecret(String),
}

/// The resources of BGP in force. A resource that cannot be used is set aside: its last good version stays in force, with what it
/// referred to then.
#[derive(Debug, Clone, Default)]
pub struct BgpCatalog {
    peers: Records<RawBgpPeer, BgpPeer>,
    advertisements: Records<RawBgpAdvertisement, BgpAdvertisement>,
    communities: Records<RawCommunities, CommunityNames>,
    bfd_profiles: Records<RawBfdProfile, BfdProfile>,
    secrets: BTreeMap<String, RawSecret>,
    problems: Vec<Problem<BgpKind>>,
}

/// The peers of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodePeers<'a> {
    /// Those that the node has sessions with, by age.
    pub running: Vec<&'a BgpPeer>,
    /// Those that are set aside on the node, each with the older one that has its connection.
    pub duplicates: Vec<(&'a BgpPeer, &'a BgpPeer)>,
}

impl<'a> NodePeers<'a> {
    /// Returns those of `peers` that a node with these labels has. Of two with the same connection the older one runs; of two that
    /// were created in the same second the first one by name.
    pub fn of(peers: impl IntoIterator<Item = &'a BgpPeer>, labels: &Labels) -> Self {
        let selected = peers.into_iter().filter(|peer| peer.selects_node(labels));
        let mut selected: Vec<&BgpPeer> = selected.collect();
        selected.sort_by_key(|peer| (peer.created, &peer.name));
        let mut peers = Self::default();
        for peer in selected {
            let mut running = peers.running.iter();
            match running.find(|older| older.connection() == peer.connection()) {
                Some(older) => peers.duplicates.push((peer, *older)),
                None => peers.running.push(peer),
            }
        }
        peers
    }
}

impl BgpCatalog {
    /// Applies changes of resources. What follows from all of them is computed once.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = BgpChange>) {
        for change in changes {
            match change {
                BgpChange::ApplyPeer(raw) => self.peers.write(raw.name.clone(), raw),
                BgpChange::ApplyAdvertisement(raw) => self.advertisements.write(raw.name.clone(), raw),
                BgpChange::ApplyCommunities(raw) => self.communities.write(raw.name.clone(), raw),
                BgpChange::ApplyBfdProfile(raw) => self.bfd_profiles.write(raw.name.clone(), raw),
                BgpChange::ApplySecret(raw) => {
                    self.secrets.insert(raw.name.clone(), raw);
                }
                BgpChange::Delete(kind, name) => self.delete(kind, &name),
                BgpChange::DeleteSecret(name) => {
                    self.secrets.remove(&name);
                }
            }
        }
        self.settle();
    }

    /// Returns the peers in force, by name.
    pub fn peers(&self) -> impl Iterator<Item = &BgpPeer> {
        self.peers.in_force()
    }

    /// Returns the advertisements in force, by name.
    pub fn advertisements(&self) -> impl Iterator<Item = &BgpAdvertisement> {
        self.advertisements.in_force()
    }

    /// Returns all problems, by kind, name and field.
    pub fn problems(&self) -> &[Problem<BgpKind>] {
        &self.problems
    }

    /// Returns the peers of a node with these labels ([`NodePeers::of`]).
    pub fn node_peers(&self, labels: &Labels) -> NodePeers<'_> {
        NodePeers::of(self.peers(), labels)
    }

    fn delete(&mut self, kind: BgpKind, name: &str) {
        match kind {
            BgpKind::Peer => self.peers.0.remove(name).is_some(),
            BgpKind::Advertisement => self.advertisements.0.remove(name).is_some(),
            BgpKind::Communities => self.communities.0.remove(name).is_some(),
            BgpKind::BfdProfile => self.bfd_profiles.0.remove(name).is_some(),
        };
    }

    /// Parses everything again: what a resource means depends on those that it refers to, and there are few.
    fn settle(&mut self) {
        self.bfd_profiles.parse(BfdProfile::parse);
        let names = self.settle_communities();
        self.advertisements
            .parse(|raw| BgpAdvertisement::parse(raw, &names));
        let profiles = self.bfd_profiles.0.iter();
        let profiles = profiles.filter_map(|(name, record)| Some((name.clone(), record.in_force.clone()?)));
        let profiles = profiles.collect();
        self.peers
            .parse(|raw| BgpPeer::parse(raw, &profiles, &self.secrets));
        self.problems = [
            self.peers.problems(BgpKind::Peer),
            self.advertisements.problems(BgpKind::Advertisement),
            self.communities.problems(BgpKind::Communities),
            self.bfd_profiles.problems(BgpKind::BfdProfile),
        ]
        .concat();
    }

    /// Returns the names of communities in force. Of two resources that define a name the older one does.
    fn settle_communities(&mut self) -> CommunityNames {
        let mut by_age: Vec<_> = self.communities.0.values_mut().collect();
        by_age.sort_by_key(|record| record.raw.created);
        let mut names = CommunityNames::new();
        for record in by_age {
            record.parse(|raw| community::parse_names(raw, &names));
            for (name, value) in record.in_force.iter().flatten() {
                names.entry(name.clone()).or_insert(*value);
            }
        }
        names
    }
}

/// The resources of one kind by name.
#[derive(Debug, Clone)]
struct Records<R, T>(BTreeMap<String, BgpRecord<R, T>>);

/// One resource: the latest version and the one in force.
#[derive(Debug, Clone)]
struct BgpRecord<R, T> {
    raw: R,
    errors: ConfigErrors,
    in_force: Option<T>,
}

impl<R, T> Default for Records<R, T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<R, T> Records<R, T> {
    fn write(&mut self, name: String, raw: R) {
        let in_force = self.0.remove(&name).and_then(|before| before.in_force);
        let errors = ConfigErrors::new();
        self.0.insert(
            name,
            BgpRecord {
                raw,
                errors,
                in_force,
            },
        );
    }

    fn parse(&mut self, parse: impl Fn(&R) -> Result<T, ConfigErrors>) {
        for record in self.0.values_mut() {
            record.parse(&parse);
        }
    }

    fn in_force(&self) -> impl Iterator<Item = &T> {
        self.0.values().filter_map(|record| record.in_force.as_ref())
    }

    fn problems(&self, kind: BgpKind) -> Vec<Problem<BgpKind>> {
        let of = |(name, record): (&String, &BgpRecord<R, T>)| {
            Problem::all(kind, name, &record.errors, record.in_force.is_some())
        };
        self.0.iter().flat_map(of).collect()
    }
}

impl<R, T> BgpRecord<R, T> {
    fn parse(&mut self, parse: impl Fn(&R) -> Result<T, ConfigErrors>) {
        match parse(&self.raw) {
            Ok(parsed) => {
                self.in_force = Some(parsed);
                self.errors.clear();
            }
            Err(errors) => self.errors = errors,
        }
    }
}
