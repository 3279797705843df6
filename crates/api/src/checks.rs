//! What `POST /checks` of a speaker takes and returns.
//!
//! The JSON of the report has a version. Within a version, fields are only added.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The version of the JSON.
pub const VERSION: u32 = 1;

/// A check of the network that a speaker makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NetworkCheck {
    /// No machine answers for free addresses of pools.
    PoolAddresses,
    /// The owner of an address of a Service answers for it, and no other machine.
    AnnouncedAddresses,
    /// No two machines answer for the address of a node.
    NodeAddresses,
    /// Each peer answers by gossip.
    GossipPort,
}

impl NetworkCheck {
    /// All checks.
    pub const ALL: [Self; 4] = [
        Self::PoolAddresses,
        Self::AnnouncedAddresses,
        Self::NodeAddresses,
        Self::GossipPort,
    ];

    /// The check as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PoolAddresses => "PoolAddresses",
            Self::AnnouncedAddresses => "AnnouncedAddresses",
            Self::NodeAddresses => "NodeAddresses",
            Self::GossipPort => "GossipPort",
        }
    }
}

/// The checks that a speaker is to make. They have no arguments: the speaker knows what to ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChecksRequest {
    /// The checks.
    pub checks: BTreeSet<NetworkCheck>,
}

/// What the checks of a speaker have found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChecksReport {
    /// [`VERSION`].
    pub version: u32,
    /// The node.
    pub node: String,
    /// One result for each check.
    pub results: Vec<CheckResult>,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    /// The check.
    pub check: NetworkCheck,
    /// How many addresses or peers were asked.
    pub asked: usize,
    /// Whether there are more, which were not asked.
    pub are_more: bool,
    /// What is not as it should be.
    pub findings: Vec<CheckFinding>,
}

/// What is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckFinding {
    /// The fault as one word.
    pub reason: Cow<'static, str>,
    /// The address that machines answer for, or do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The pool that the address is free in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The node that owns or has the address, or the peer that does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The machines that answer and should not.
    pub machines: Vec<MachineSeen>,
}

/// A machine that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineSeen {
    /// Its MAC address.
    pub mac: String,
    /// The node that reports this MAC address; absent for a foreign host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_checks_and_nothing_else() {
        let parse =
            |text: &str| serde_json::from_str::<ChecksRequest>(text).map_err(|error| error.to_string());
        let all = serde_json::json!({"checks": NetworkCheck::ALL.map(NetworkCheck::as_str)});
        let all = parse(&all.to_string()).expect("a request");
        assert_eq!(all.checks, BTreeSet::from(NetworkCheck::ALL));
        let unknown = parse(r#"{"checks":["PortScan"]}"#).expect_err("no check");
        assert!(
            unknown.contains("PortScan") && unknown.contains("PoolAddresses"),
            "{unknown}"
        );
        let argument = parse(r#"{"checks":[],"addresses":["192.0.2.1"]}"#).expect_err("no arguments");
        assert!(argument.contains("addresses"), "{argument}");
    }
}
