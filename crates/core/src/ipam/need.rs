//! Which families a Service needs addresses of.

use core::net::IpAddr;

use super::Refusal;
use crate::{Addresses, Family, FamilyPolicy, Service};

/// What a Service needs, read from its cluster addresses and its policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// One address of this family.
    One(Family),
    /// One address of each family.
    Both,
    /// One address of each family, or one of this family, or else one of the other.
    BothOr(Family),
}

impl Need {
    pub(super) fn of(service: &Service) -> Result<Self, Refusal> {
        let cluster_ips = &service.cluster_ips;
        if cluster_ips.is_empty() {
            return Err(Refusal::NoClusterIps);
        }
        if service.family_policy == FamilyPolicy::RequireDualStack && cluster_ips.len() < 2 {
            return Err(Refusal::NotEnoughClusterIps(cluster_ips.clone()));
        }
        match cluster_ips.as_slice() {
            [one] => Ok(Self::One(Family::of(*one))),
            [one, other] if Family::of(*one) != Family::of(*other) => Ok(match service.family_policy {
                FamilyPolicy::PreferDualStack => Self::BothOr(service.primary_family.unwrap_or(Family::V4)),
                FamilyPolicy::SingleStack | FamilyPolicy::RequireDualStack => Self::Both,
            }),
            _ => Err(Refusal::InvalidClusterIps(cluster_ips.clone())),
        }
    }

    /// All families that it can use, IPv4 first: automatically given addresses stand in this order.
    pub(super) const fn families(&self) -> &'static [Family] {
        match self {
            Self::One(Family::V4) => &[Family::V4],
            Self::One(Family::V6) => &[Family::V6],
            Self::Both | Self::BothOr(_) => &[Family::V4, Family::V6],
        }
    }

    /// What will do, best first.
    pub(super) const fn stages(&self) -> &'static [&'static [Family]] {
        match self {
            Self::One(Family::V4) => &[&[Family::V4]],
            Self::One(Family::V6) => &[&[Family::V6]],
            Self::Both => &[&[Family::V4, Family::V6]],
            Self::BothOr(Family::V4) => &[&[Family::V4, Family::V6], &[Family::V4], &[Family::V6]],
            Self::BothOr(Family::V6) => &[&[Family::V4, Family::V6], &[Family::V6], &[Family::V4]],
        }
    }

    /// The family that a Service with `addresses` still lacks.
    pub(super) fn lacks(&self, addresses: &[IpAddr]) -> Option<Family> {
        let has = |family| addresses.iter().any(|address| Family::of(*address) == family);
        self.families().iter().copied().find(|family| !has(*family))
    }

    /// Whether `addresses` are exactly one of each family.
    pub(super) fn is_met_by(&self, addresses: &[IpAddr]) -> bool {
        addresses.len() == self.families().len() && self.lacks(addresses).is_none()
    }
}

/// Whether `addresses` are one, or one of each family.
pub(super) fn is_readable(addresses: &[IpAddr]) -> bool {
    match addresses {
        [_] => true,
        [one, other] => Family::of(*one) != Family::of(*other),
        _ => false,
    }
}

/// Those of `addresses` that `need` has use for, and the rest.
pub(super) fn needed(addresses: &[IpAddr], need: &Need) -> (Addresses, Addresses) {
    let is_needed = |address: &IpAddr| need.families().contains(&Family::of(*address));
    addresses.iter().copied().partition(is_needed)
}

/// Whether two lists have the same addresses, in whatever order.
pub(super) fn is_same_set(one: &[IpAddr], other: &[IpAddr]) -> bool {
    one.len() == other.len() && one.iter().all(|address| other.contains(address))
}
