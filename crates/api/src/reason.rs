//! Reasons of Kubernetes Events and conditions: what users match on, so they never change.
//!
//! Reasons that belong to one decision are with that decision: `Refusal` and `Note` of the allocator, `Exclusion` of
//! eligibility, `Ineffective` of the configuration, and the reports of the take-over.

/// Reason of a Kubernetes Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventReason {
    /// A Service gets no address; the message says why, as its condition `herald.io/Allocated` does.
    AllocationFailed,
    /// A Service has an annotation with the prefix `metallb.universe.tf/`.
    DeprecatedAnnotation,
    /// A Service has more than 64 labels or 16 kB of labels; for selectors it counts as one without labels.
    LabelsTooLong,
    /// A pool, an advertisement or another resource is set aside because of a problem; its last good version stays in force.
    InvalidConfiguration,
    /// An `IPAddressPool` has addresses that nodes have, or that Services use by `spec.externalIPs` or through another load balancer.
    /// Until one of them is changed, Herald gives these addresses out only on request, or when nothing else is free.
    PoolOverlap,
    /// A Service is announced by the node that the message names.
    NodeAssigned,
    /// A Service cannot be announced: no eligible node has one of the interfaces that the advertisements name, or a link-local IPv6
    /// address, which an IPv6 address needs.
    AnnounceFailed,
    /// A Node is unresponsive on the wire, as a peer reports; for five minutes the other nodes rank before it.
    NotHeardOnWire,
    /// A Node: gossip of its speaker does not reach speakers that are alive.
    GossipBlocked,
    /// A Node: gossip of its speaker reaches most speakers again.
    GossipRestored,
    /// A Node: a session of its speaker with a BGP peer is established.
    BgpSessionUp,
    /// A Node: a session of its speaker with a BGP peer ended, or cannot be established. The message says why. Further attempts that
    /// fail for the same reason have no event.
    BgpSessionDown,
    /// A Node: its speaker cannot send a BGP peer some of the routes that the peer should get. The message says how many, and why.
    BgpRoutesNotSent,
    /// A Service shares a prefix of BGP with others whose `BGPAdvertisement` has another `localPref`. The route has the highest. The message
    /// names both advertisements.
    ConflictingAdvertisements,
    /// A ConfigMap of MetalLB that Herald does not read. The message says what to use instead.
    UnreadConfigMap,
}

impl EventReason {
    /// All reasons.
    pub const ALL: [Self; 15] = [
        Self::AllocationFailed,
        Self::DeprecatedAnnotation,
        Self::LabelsTooLong,
        Self::InvalidConfiguration,
        Self::PoolOverlap,
        Self::NodeAssigned,
        Self::AnnounceFailed,
        Self::NotHeardOnWire,
        Self::GossipBlocked,
        Self::GossipRestored,
        Self::BgpSessionUp,
        Self::BgpSessionDown,
        Self::BgpRoutesNotSent,
        Self::ConflictingAdvertisements,
        Self::UnreadConfigMap,
    ];

    /// Returns the `reason` of the Event. MetalLB's reasons start in lower case.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::AllocationFailed => "AllocationFailed",
            Self::DeprecatedAnnotation => "deprecatedAnnotation",
            Self::LabelsTooLong => "LabelsTooLong",
            Self::InvalidConfiguration => "InvalidConfiguration",
            Self::PoolOverlap => "PoolOverlap",
            Self::NodeAssigned => "nodeAssigned",
            Self::AnnounceFailed => "announceFailed",
            Self::NotHeardOnWire => "NotHeardOnWire",
            Self::GossipBlocked => "GossipBlocked",
            Self::GossipRestored => "GossipRestored",
            Self::BgpSessionUp => "BGPSessionUp",
            Self::BgpSessionDown => "BGPSessionDown",
            Self::BgpRoutesNotSent => "BGPRoutesNotSent",
            Self::ConflictingAdvertisements => "ConflictingAdvertisements",
            Self::UnreadConfigMap => "UnreadConfigMap",
        }
    }
}

/// Reason of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionReason {
    /// `herald.io/Allocated`: True. The Service has the addresses that it asks for.
    Allocated,
    /// `herald.io/Announced`: True. By layer 2, the owner of each address has sent its first announcement. By BGP, a node announces each
    /// address to a peer; `BGPSessionState` says whether their session is established.
    Announced,
    /// `herald.io/Announced`: Unknown. No speaker has announced all addresses yet, or reported why it cannot. It becomes `NotAnnounced`
    /// after five minutes, or after ten seconds without a report on any Service.
    Pending,
    /// `herald.io/Announced`: False. No speaker reports the Service: none runs, or their logs say why.
    NotAnnounced,
    /// `herald.io/Announced`: Unknown. No Pod of the speakers that have reported is ready.
    NoSpeaker,
    /// `poolReconcilerValid`, `configReconcilerValid`: True. Every resource is in force.
    Reconciled,
    /// `poolReconcilerValid`, `configReconcilerValid`, `Ready`: False. A resource is set aside.
    ConfigurationError,
    /// `herald.io/GossipReachable`: True. Gossip reaches the speakers that exist.
    Reached,
    /// `herald.io/GossipReachable`: False. Gossip does not reach speakers that are alive.
    GossipBlocked,
    /// `herald.io/Effective`: True. The pool is in force and announced; the advertisement announces something somewhere.
    Effective,
    /// `Ready`: True. The resource is in force as it is written.
    InForce,
}

impl ConditionReason {
    /// All reasons.
    pub const ALL: [Self; 11] = [
        Self::Allocated,
        Self::Announced,
        Self::Pending,
        Self::NotAnnounced,
        Self::NoSpeaker,
        Self::Reconciled,
        Self::ConfigurationError,
        Self::Reached,
        Self::GossipBlocked,
        Self::Effective,
        Self::InForce,
    ];

    /// Returns the `reason` of the condition.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Allocated => "Allocated",
            Self::Announced => "Announced",
            Self::Pending => "Pending",
            Self::NotAnnounced => "NotAnnounced",
            Self::NoSpeaker => "NoSpeaker",
            Self::Reconciled => "Reconciled",
            Self::ConfigurationError => "ConfigurationError",
            Self::Reached => "Reached",
            Self::GossipBlocked => "GossipBlocked",
            Self::Effective => "Effective",
            Self::InForce => "InForce",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_reason_is_one_word_and_unique() {
        let events = EventReason::ALL.map(EventReason::reason);
        let conditions = ConditionReason::ALL.map(ConditionReason::reason);
        for reasons in [&events[..], &conditions[..]] {
            let different: BTreeSet<&str> = reasons.iter().copied().collect();
            assert_eq!(different.len(), reasons.len());
            assert!(
                reasons
                    .iter()
                    .all(|reason| reason.chars().all(|c| c.is_ascii_alphabetic()))
            );
        }
    }
}
