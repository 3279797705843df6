//! Reasons of Kubernetes Events and conditions: what users match on, so they never change.
//!
//! Reasons that belong to one decision are with that decision: `Refusal` and `Note` of the allocator, `Exclusion` of
//! eligibility, `Ineffective` of the configuration, and the reports of the take-over.

/// Reason of a Kubernetes Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventReason {
    /// A Service gets no address; the message has the refusal.
    AllocationFailed,
    /// A Service has an annotation with the prefix `metallb.universe.tf/`.
    DeprecatedAnnotation,
    /// The labels of a Service are too many or too long to be read.
    LabelsTooLong,
    /// A resource is set aside because of a problem.
    InvalidConfiguration,
    /// Nodes, or Services that the allocator does not serve, use addresses of a pool.
    PoolOverlap,
    /// A node announces a Service.
    NodeAssigned,
    /// A node that should announce a Service cannot.
    AnnounceFailed,
    /// A peer reports that a node is unresponsive.
    NotHeardOnWire,
    /// Gossip does not reach speakers that are alive.
    GossipBlocked,
    /// Gossip reaches most speakers again.
    GossipRestored,
}

impl EventReason {
    /// All reasons.
    pub const ALL: [Self; 10] = [
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
        }
    }
}

/// Reason of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionReason {
    /// `herald.io/Allocated`: the Service has the addresses that it asks for.
    Allocated,
    /// `herald.io/Announced`: a speaker announces all addresses of the Service.
    Announced,
    /// `herald.io/Announced`: no speaker has announced the Service yet, or said why not.
    Pending,
    /// `herald.io/Announced`: no speaker reports the Service.
    NotAnnounced,
    /// `herald.io/Announced`: none of the speakers that have reported is ready.
    NoSpeaker,
    /// `poolReconcilerValid`, `configReconcilerValid`: every resource is in force.
    Reconciled,
    /// `poolReconcilerValid`, `configReconcilerValid`: a resource is set aside.
    ConfigurationError,
    /// `herald.io/GossipReachable`: gossip reaches the speakers that exist.
    Reached,
    /// `herald.io/GossipReachable`: gossip does not reach speakers that are alive.
    GossipBlocked,
    /// `herald.io/Effective`: a pool or an advertisement has the effect that it is written for.
    Effective,
}

impl ConditionReason {
    /// All reasons.
    pub const ALL: [Self; 10] = [
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
