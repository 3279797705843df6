//! What is listed for BGP, and what BGP does without a kind that cannot be listed.
//!
//! Before everything is listed, nothing takes effect: resources refer to each other, and sessions that come before their routes make
//! routers forget the routes that they had. A kind that cannot be listed for [`PATIENCE`] is not waited for any more. Without
//! `BGPPeer`s there is nobody to announce to, and without `BGPAdvertisement`s nothing to announce: then BGP stays off. Without one of the
//! others, only the resources that refer to it are set aside.

use alloc::collections::BTreeSet;
use core::fmt;
use core::time::Duration;

use super::BgpKind;
use crate::Time;

/// How long BGP waits for the first list of each kind.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What is listed for BGP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BgpSource {
    /// `BGPPeer`s.
    Peers,
    /// `BGPAdvertisement`s.
    Advertisements,
    /// `Community` resources.
    Communities,
    /// `BFDProfile`s.
    BfdProfiles,
    /// Secrets with passwords.
    Secrets,
}

impl BgpSource {
    /// All sources.
    pub const ALL: [Self; 5] = [
        Self::Peers,
        Self::Advertisements,
        Self::Communities,
        Self::BfdProfiles,
        Self::Secrets,
    ];

    /// Whether BGP is off without it.
    const fn is_needed(self) -> bool {
        matches!(self, Self::Peers | Self::Advertisements)
    }
}

impl From<BgpKind> for BgpSource {
    fn from(kind: BgpKind) -> Self {
        match kind {
            BgpKind::Peer => Self::Peers,
            BgpKind::Advertisement => Self::Advertisements,
            BgpKind::Communities => Self::Communities,
            BgpKind::BfdProfile => Self::BfdProfiles,
        }
    }
}

/// That a source could not be listed for [`PATIENCE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnlistedSource(pub BgpSource);

impl fmt::Display for UnlistedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, consequence, remedy) = match self.0 {
            BgpSource::Peers => ("BGPPeers", "BGP is off", CHECK_KIND),
            BgpSource::Advertisements => ("BGPAdvertisements", "BGP is off", CHECK_KIND),
            BgpSource::Communities => (
                "Communities",
                "BGPAdvertisements that name one of their communities are set aside",
                CHECK_KIND,
            ),
            BgpSource::BfdProfiles => (
                "BFDProfiles",
                "BGPPeers with spec.bfdProfile are set aside",
                CHECK_KIND,
            ),
            BgpSource::Secrets => (
                "Secrets of the type kubernetes.io/basic-auth",
                "BGPPeers with spec.passwordSecret are set aside",
                "check the RBAC rules of the speaker",
            ),
        };
        write!(
            f,
            "{kind} are not listed yet, so {consequence}; if that lasts, {remedy}"
        )
    }
}

const CHECK_KIND: &str = "install the custom resource definitions, and check the RBAC rules of the program";

/// The first lists of the sources.
#[derive(Debug)]
pub struct FirstLists {
    awaited: BTreeSet<BgpSource>,
    /// When those that are missing are not waited for any more.
    until: Option<Time>,
    is_over: bool,
}

impl FirstLists {
    /// Waits for the first lists of these sources.
    pub fn of(sources: impl IntoIterator<Item = BgpSource>) -> Self {
        Self {
            awaited: sources.into_iter().collect(),
            until: None,
            is_over: false,
        }
    }

    /// Takes that a source is listed. Returns whether it is the first time.
    pub fn handle_listed(&mut self, source: BgpSource) -> bool {
        self.awaited.remove(&source)
    }

    /// Starts the time for which lists are awaited, or ends it. Returns whether it ends now, and something is missing.
    pub fn handle_time(&mut self, now: Time) -> bool {
        let until = *self.until.get_or_insert(now + PATIENCE);
        now >= until && !core::mem::replace(&mut self.is_over, true) && !self.awaited.is_empty()
    }

    /// Whether everything is listed.
    pub fn are_complete(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Whether what is listed may take effect.
    pub fn are_usable(&self) -> bool {
        let mut awaited = self.awaited.iter();
        awaited.all(|source| self.is_over && !source.is_needed())
    }

    /// Returns the sources that could not be listed.
    pub fn unlisted(&self) -> impl Iterator<Item = UnlistedSource> {
        let awaited = self.awaited.iter().filter(|_| self.is_over);
        awaited.copied().map(UnlistedSource)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a_source_that_cannot_be_listed_is_named_and_only_what_is_needed_is_waited_for() {
        for missing in BgpSource::ALL {
            let mut lists = FirstLists::of(BgpSource::ALL);
            for source in BgpSource::ALL.into_iter().filter(|source| *source != missing) {
                assert!(lists.handle_listed(source) && !lists.handle_listed(source));
            }
            assert!(!lists.are_usable() && !lists.are_complete());
            let start = Time::since_zero(Duration::from_secs(100));
            assert!(!lists.handle_time(start), "the time starts with the first call");
            assert_eq!(lists.unlisted().count(), 0);
            assert!(lists.handle_time(start + PATIENCE));
            assert!(!lists.handle_time(start + PATIENCE), "said once");
            let is_needed = matches!(missing, BgpSource::Peers | BgpSource::Advertisements);
            assert_eq!(lists.are_usable(), !is_needed, "{missing:?}");
            assert_eq!(lists.unlisted().collect::<Vec<_>>(), [UnlistedSource(missing)]);
            lists.handle_listed(missing);
            assert!(lists.are_usable() && lists.are_complete());
            assert_eq!(lists.unlisted().count(), 0);
        }
    }

    #[test]
    fn the_message_says_what_does_not_work_and_what_to_do() {
        assert_eq!(
            UnlistedSource(BgpSource::BfdProfiles).to_string(),
            "BFDProfiles are not listed yet, so BGPPeers with spec.bfdProfile are set aside; if that lasts, install the custom resource \
             definitions, and check the RBAC rules of the program"
        );
    }

    #[test]
    fn what_is_listed_in_time_is_used_at_once() {
        let mut lists = FirstLists::of([BgpSource::Peers]);
        assert!(!lists.handle_time(Time::ZERO));
        lists.handle_listed(BgpSource::Peers);
        assert!(lists.are_usable());
        assert!(!lists.handle_time(Time::ZERO + PATIENCE), "nothing is missing");
    }
}
