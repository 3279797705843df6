//! The condition `herald.io/Announced` of a Service.

use std::borrow::Cow;

use herald_api::reason::ConditionReason;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The `status` of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConditionStatus {
    True,
    False,
    Unknown,
}

impl ConditionStatus {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }
}

/// The condition `herald.io/Announced` of a Service. It does not name the node, so that an address that moves costs no
/// write; the `ServiceL2Status` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) status: ConditionStatus,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) message: Cow<'static, str>,
}

impl Announced {
    const fn new(status: ConditionStatus, reason: ConditionReason, message: &'static str) -> Self {
        Self {
            status,
            reason: Cow::Borrowed(reason.reason()),
            message: Cow::Borrowed(message),
        }
    }

    /// All addresses are announced.
    pub(crate) const fn yes() -> Self {
        Self::new(ConditionStatus::True, ConditionReason::Announced, "")
    }

    /// The speakers have had no time to announce the addresses, or to report why they do not.
    pub(crate) const fn pending() -> Self {
        Self::new(
            ConditionStatus::Unknown,
            ConditionReason::Pending,
            "no speaker has announced all addresses yet, or reported why it cannot; if this lasts, check that speakers run",
        )
    }

    /// Speakers report other Services, and nothing of this one.
    pub(crate) const fn unreported() -> Self {
        Self::new(
            ConditionStatus::False,
            ConditionReason::NotAnnounced,
            "no speaker reports that it announces all addresses; the logs of the speakers say why",
        )
    }

    /// No speaker reports any Service.
    pub(crate) const fn without_speaker() -> Self {
        Self::new(
            ConditionStatus::False,
            ConditionReason::NotAnnounced,
            "no speaker reports any Service; check that the Pods of the speakers run",
        )
    }

    /// All speakers that have reported are unready, and may answer for the addresses nevertheless.
    pub(crate) const fn without_ready_speaker() -> Self {
        Self::new(
            ConditionStatus::Unknown,
            ConditionReason::NoSpeaker,
            "no Pod of a speaker is ready",
        )
    }

    /// Reads a condition.
    pub(crate) fn of_condition(condition: &Condition) -> Self {
        let yes = Self::yes();
        if condition.reason == yes.reason && condition.message == yes.message && condition.status == "True" {
            // All the same text, for all Services that are announced.
            return yes;
        }
        Self {
            status: ConditionStatus::parse(&condition.status),
            reason: Cow::Owned(condition.reason.clone()),
            message: Cow::Owned(condition.message.clone()),
        }
    }
}
