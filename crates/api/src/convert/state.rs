//! The status of a `ConfigurationState`: whether a program could use its configuration.

use std::fmt::Display;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::crd::{ConfigurationResult, ConfigurationStateStatus};
use crate::reason::ConditionReason;

/// Longest message of a condition, in bytes (`metav1.Condition`).
const LONGEST_MESSAGE: usize = 32_768;

/// Type of the condition that says whether gossip reaches the speakers that exist. Not in MetalLB.
pub const GOSSIP_REACHABLE: &str = "herald.io/GossipReachable";

/// Returns the status for `problems`. It has one condition of the type that MetalLB's component has: `poolReconcilerValid` in
/// the controller, `configReconcilerValid` in a speaker. The caller sets its time.
pub fn configuration_state(condition: &str, problems: &[impl Display]) -> ConfigurationStateStatus {
    let is_valid = problems.is_empty();
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let message = match is_valid {
        true => String::new(),
        false => cut(format!("configuration error: {}", texts.join("; "))),
    };
    let reason = match is_valid {
        true => ConditionReason::Reconciled,
        false => ConditionReason::ConfigurationError,
    };
    ConfigurationStateStatus {
        result: Some(match is_valid {
            true => ConfigurationResult::Valid,
            false => ConfigurationResult::Invalid,
        }),
        error_summary: Some(message.clone()),
        conditions: vec![Condition {
            type_: condition.to_owned(),
            status: if is_valid { "True" } else { "False" }.to_owned(),
            reason: reason.reason().to_owned(),
            message,
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }],
        interfaces: None,
    }
}

/// Returns the condition `herald.io/GossipReachable` of a speaker; `obstacle` is the reason why gossip is not reachable. The
/// caller sets its time.
pub fn gossip_reachable(obstacle: Option<&str>) -> Condition {
    let (status, reason) = match obstacle {
        None => ("True", ConditionReason::Reached),
        Some(_) => ("False", ConditionReason::GossipBlocked),
    };
    Condition {
        type_: GOSSIP_REACHABLE.to_owned(),
        status: status.to_owned(),
        reason: reason.reason().to_owned(),
        message: obstacle.unwrap_or_default().to_owned(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    }
}

fn cut(mut text: String) -> String {
    const MORE: &str = " ...";
    if text.len() > LONGEST_MESSAGE {
        text.truncate(text.floor_char_boundary(LONGEST_MESSAGE - MORE.len()));
        text.push_str(MORE);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald_core::{ConfigError, Problem, ResourceKind};

    fn problem(name: &str) -> Problem {
        Problem {
            kind: ResourceKind::Pool,
            name: name.to_owned(),
            field: "spec.addresses".to_owned(),
            error: ConfigError::MissingName,
            older_in_force: false,
        }
    }

    #[test]
    fn every_problem_is_in_condition_and_summary() {
        let status = configuration_state("poolReconcilerValid", &[problem("one"), problem("two")]);
        assert_eq!(status.result, Some(ConfigurationResult::Invalid));
        let condition = &status.conditions[0];
        assert_eq!(
            (condition.status.as_str(), condition.reason.as_str()),
            ("False", "ConfigurationError")
        );
        assert!(
            condition
                .message
                .starts_with("configuration error: IPAddressPool \"one\"")
        );
        assert!(condition.message.contains("; IPAddressPool \"two\""));
        assert_eq!(status.error_summary.as_deref(), Some(condition.message.as_str()));
    }

    #[test]
    fn a_good_configuration_has_no_message() {
        let status = configuration_state("configReconcilerValid", &[] as &[Problem]);
        assert_eq!(status.result, Some(ConfigurationResult::Valid));
        assert_eq!(status.error_summary.as_deref(), Some(""));
        assert_eq!(
            (
                status.conditions[0].status.as_str(),
                status.conditions[0].reason.as_str()
            ),
            ("True", "Reconciled")
        );
    }

    #[test]
    fn the_message_of_ten_thousand_problems_is_cut() {
        let problems: Vec<Problem> = (0..10_000).map(|i| problem(&format!("pool-ä{i}"))).collect();
        let message = &configuration_state("x", &problems).conditions[0].message;
        assert!(message.len() <= LONGEST_MESSAGE && message.ends_with(" ..."));
    }
}
