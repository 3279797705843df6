//! The resources of BGP: what is in force, and the problems of the rest.

use std::collections::BTreeMap;

use herald_core::Time;
use herald_core::config::bgp::{
    BgpCatalog, BgpChange, BgpIneffective, BgpKind, BgpSource, FirstLists, UnlistedSource,
};
use herald_core::config::{AdvertisementScope, Problem};
use herald_runtime::Update;
use herald_runtime::event::Severity;
use k8s_openapi::api::core::v1::ObjectReference;

use super::invalid;
use crate::input::WrittenBgp;
use crate::reconciler::ServiceEvent;

/// The kinds that a controller lists. It reads no Secrets.
const SOURCES: [BgpSource; 4] = [
    BgpSource::Peers,
    BgpSource::Advertisements,
    BgpSource::Communities,
    BgpSource::BfdProfiles,
];

/// The resources of BGP as the watches show them. Changes take effect together, with [`apply`](Self::apply): and none before all kinds
/// are listed that can be, because they refer to each other.
pub(crate) struct BgpConfiguration {
    catalog: BgpCatalog,
    /// Changes since the last [`apply`](Self::apply).
    changes: Vec<BgpChange>,
    /// The problems at the last [`apply`](Self::apply).
    problems: Vec<Problem<BgpKind>>,
    /// The resources with less effect than they were written for, at the last [`apply`](Self::apply).
    ineffective: Vec<(BgpKind, String, BgpIneffective)>,
    /// Those of them that were not before.
    newly_ineffective: Vec<(BgpKind, String, BgpIneffective)>,
    /// The resources that exist, for events about them.
    references: BTreeMap<(BgpKind, String), ObjectReference>,
    lists: FirstLists,
    is_changed: bool,
    /// Whether no speaker speaks BGP.
    is_disabled: bool,
}

impl Default for BgpConfiguration {
    fn default() -> Self {
        Self {
            catalog: BgpCatalog::default(),
            changes: Vec::new(),
            problems: Vec::new(),
            ineffective: Vec::new(),
            newly_ineffective: Vec::new(),
            references: BTreeMap::new(),
            lists: FirstLists::of(SOURCES),
            is_changed: false,
            is_disabled: false,
        }
    }
}

impl BgpConfiguration {
    /// Takes whether the speakers speak BGP; they do unless it is said otherwise.
    pub(crate) fn set_enabled(&mut self, is_enabled: bool) {
        self.is_disabled = !is_enabled;
        self.is_changed = true;
    }

    /// Whether no speaker speaks BGP.
    pub(crate) const fn is_disabled(&self) -> bool {
        self.is_disabled
    }

    /// Returns what the advertisements select; nothing before it is known, which is not that there are none.
    pub(crate) fn scopes(&self) -> Option<Vec<AdvertisementScope>> {
        let advertisements = self.catalog.advertisements();
        let scopes = advertisements.map(|advertisement| advertisement.scope.clone());
        self.lists.are_usable().then(|| scopes.collect())
    }

    /// Takes a change of a resource, or that a kind was listed.
    pub(crate) fn handle(&mut self, kind: BgpKind, update: Update<Box<WrittenBgp>>) {
        self.is_changed = true;
        match update {
            Update::Applied(written) => {
                let written = *written;
                self.changes.push(written.change);
                self.references.insert((kind, written.name), written.reference);
            }
            Update::Deleted(key) => {
                self.changes.push(BgpChange::Delete(kind, key.name.clone()));
                self.references.remove(&(kind, key.name));
            }
            Update::Synced => {
                self.lists.handle_listed(kind.into());
            }
        }
    }

    /// Puts all changes in force. Returns the problems that are new, or `None` if nothing has changed.
    pub(crate) fn apply(&mut self) -> Option<Vec<Problem<BgpKind>>> {
        let are_usable = self.lists.are_usable();
        let is_known = are_usable || self.unlisted().next().is_some();
        if !is_known || !std::mem::take(&mut self.is_changed) {
            return None;
        }
        if !are_usable {
            return Some(Vec::new());
        }
        self.catalog.apply(self.changes.drain(..));
        let problems = self.catalog.problems().iter();
        let new = problems.filter(|problem| !self.problems.contains(problem));
        let new = new.cloned().collect();
        self.problems = self.catalog.problems().to_vec();
        let ineffective = self.catalog.ineffective(self.is_disabled);
        let newly = ineffective.iter().filter(|one| !self.ineffective.contains(one));
        self.newly_ineffective.extend(newly.cloned());
        self.ineffective = ineffective;
        Some(new)
    }

    /// Takes the time once the kinds that allocation needs are listed. Returns whether kinds of BGP could not be listed by now.
    pub(crate) fn handle_time(&mut self, now: Time) -> bool {
        let is_over = self.lists.handle_time(now);
        self.is_changed |= is_over;
        is_over
    }

    /// Returns the resources that have less effect than they were written for since the last call, each with its Event.
    pub(crate) fn take_newly_ineffective(&mut self) -> Vec<ServiceEvent> {
        let newly = std::mem::take(&mut self.newly_ineffective);
        newly.iter().filter_map(|one| self.effect_event(one)).collect()
    }

    /// Whether all kinds are listed.
    pub(crate) fn is_listed(&self) -> bool {
        self.lists.are_complete()
    }

    /// The kinds that could not be listed.
    pub(crate) fn unlisted(&self) -> impl Iterator<Item = UnlistedSource> {
        self.lists.unlisted()
    }

    /// What is in force.
    pub(crate) const fn catalog(&self) -> &BgpCatalog {
        &self.catalog
    }

    /// The problems of all resources.
    pub(crate) fn problems(&self) -> &[Problem<BgpKind>] {
        &self.problems
    }

    /// Returns an Event about each resource for each of its problems, and for what it has no effect in.
    pub(crate) fn events(&self) -> impl Iterator<Item = ServiceEvent> {
        let problems = self.problems.iter().filter_map(|problem| self.event(problem));
        let ineffective = self.ineffective.iter();
        problems.chain(ineffective.filter_map(|one| self.effect_event(one)))
    }

    fn effect_event(&self, (kind, name, why): &(BgpKind, String, BgpIneffective)) -> Option<ServiceEvent> {
        Some(ServiceEvent {
            about: self.references.get(&(*kind, name.clone()))?.clone(),
            severity: Severity::Warning,
            reason: why.reason(),
            note: format!("{kind} {name:?}: {why}"),
        })
    }

    /// Returns the Event about the resource that has a problem.
    pub(crate) fn event(&self, problem: &Problem<BgpKind>) -> Option<ServiceEvent> {
        let about = self.references.get(&(problem.kind, problem.name.clone()))?;
        Some(invalid(about, problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald_core::config::bgp::{PATIENCE, RawBfdProfile, RawBgpPeer};
    use herald_runtime::ObjectKey;

    fn written(name: &str, change: BgpChange) -> Update<Box<WrittenBgp>> {
        let reference = ObjectReference {
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        };
        let name = name.to_owned();
        Update::Applied(Box::new(WrittenBgp {
            name,
            change,
            reference,
        }))
    }

    fn peer(profile: &str) -> Update<Box<WrittenBgp>> {
        let raw = RawBgpPeer {
            name: "tor".to_owned(),
            my_asn: 1,
            peer_asn: Some(2),
            address: Some("192.0.2.1".to_owned()),
            bfd_profile: Some(profile.to_owned()),
            ..RawBgpPeer::default()
        };
        written("tor", BgpChange::ApplyPeer(raw))
    }

    fn profile(name: &str) -> Update<Box<WrittenBgp>> {
        let raw = RawBfdProfile {
            name: name.to_owned(),
            ..RawBfdProfile::default()
        };
        written(name, BgpChange::ApplyBfdProfile(raw))
    }

    #[test]
    fn nothing_is_in_force_and_nothing_is_a_problem_before_all_kinds_are_listed() {
        let mut configuration = BgpConfiguration::default();
        configuration.handle(BgpKind::Peer, peer("fast"));
        configuration.handle(BgpKind::Peer, Update::Synced);
        configuration.handle(BgpKind::Advertisement, Update::Synced);
        configuration.handle(BgpKind::Communities, Update::Synced);
        assert_eq!(configuration.apply(), None);
        configuration.handle(BgpKind::BfdProfile, profile("fast"));
        configuration.handle(BgpKind::BfdProfile, Update::Synced);
        assert_eq!(configuration.apply(), Some(Vec::new()));
        assert_eq!(configuration.catalog().peers().count(), 1);
        assert_eq!(configuration.apply(), None);
    }

    #[test]
    fn a_kind_that_cannot_be_listed_is_named_and_the_others_are_in_force() {
        let mut configuration = BgpConfiguration::default();
        let raw = RawBgpPeer {
            bfd_profile: None,
            name: "tor".to_owned(),
            my_asn: 1,
            peer_asn: Some(2),
            address: Some("192.0.2.1".to_owned()),
            ..RawBgpPeer::default()
        };
        configuration.handle(BgpKind::Peer, written("tor", BgpChange::ApplyPeer(raw)));
        configuration.handle(BgpKind::Peer, Update::Synced);
        assert!(!configuration.handle_time(Time::ZERO));
        assert_eq!(configuration.apply(), None);
        assert!(configuration.handle_time(Time::ZERO + PATIENCE));
        assert_eq!(configuration.apply(), Some(Vec::new()), "the state names them");
        assert_eq!(configuration.scopes(), None, "there may be advertisements");
        assert_eq!(
            (
                configuration.unlisted().count(),
                configuration.catalog().peers().count()
            ),
            (3, 0)
        );
        configuration.handle(BgpKind::Advertisement, Update::Synced);
        assert_eq!(configuration.apply(), Some(Vec::new()));
        assert_eq!(
            (
                configuration.unlisted().count(),
                configuration.catalog().peers().count()
            ),
            (2, 1)
        );
        assert_eq!(configuration.scopes(), Some(Vec::new()));
        assert!(!configuration.is_listed());
    }

    #[test]
    fn a_peer_is_said_to_have_no_bfd_once_and_to_have_no_session_while_bgp_is_switched_off() {
        let mut configuration = BgpConfiguration::default();
        for kind in [BgpKind::Advertisement, BgpKind::Communities, BgpKind::Peer] {
            configuration.handle(kind, Update::Synced);
        }
        configuration.handle(BgpKind::Peer, peer("fast"));
        configuration.handle(BgpKind::BfdProfile, profile("fast"));
        configuration.handle(BgpKind::BfdProfile, Update::Synced);
        let newly = |configuration: &mut BgpConfiguration| {
            assert_eq!(configuration.apply(), Some(Vec::new()));
            let events = configuration.take_newly_ineffective();
            let all: Vec<&str> = configuration.events().map(|event| event.reason).collect();
            (
                events.iter().map(|event| event.reason).collect::<Vec<_>>(),
                all.len(),
            )
        };
        assert_eq!(newly(&mut configuration), (vec!["BFDNotRunning"], 1));
        configuration.handle(BgpKind::BfdProfile, profile("other"));
        assert_eq!(newly(&mut configuration), (vec![], 1));
        configuration.set_enabled(false);
        assert_eq!(newly(&mut configuration), (vec!["BGPDisabled"], 1));
    }

    #[test]
    fn a_problem_is_reported_once_on_its_resource_and_goes_with_its_cause() {
        let mut configuration = BgpConfiguration::default();
        for kind in [
            BgpKind::Peer,
            BgpKind::Advertisement,
            BgpKind::Communities,
            BgpKind::BfdProfile,
        ] {
            configuration.handle(kind, Update::Synced);
        }
        configuration.handle(BgpKind::Peer, peer("fast"));
        let problems = configuration.apply().expect("a change");
        assert_eq!(problems.len(), 1);
        let event = configuration.event(&problems[0]).expect("the peer exists");
        assert_eq!(event.about.name.as_deref(), Some("tor"));
        assert!(event.note.contains("spec.bfdProfile"), "{}", event.note);
        configuration.handle(BgpKind::BfdProfile, profile("other"));
        assert_eq!(configuration.apply(), Some(Vec::new()));
        assert_eq!(configuration.events().count(), 1);
        configuration.handle(BgpKind::BfdProfile, profile("fast"));
        assert_eq!(configuration.apply(), Some(Vec::new()));
        assert_eq!(configuration.problems(), []);
        let key = ObjectKey {
            namespace: String::new(),
            name: "tor".to_owned(),
        };
        configuration.handle(BgpKind::Peer, Update::Deleted(key));
        assert_eq!(configuration.apply(), Some(Vec::new()));
        assert_eq!(configuration.catalog().peers().count(), 0);
    }
}
