//! The families that a Service needs addresses of.

use core::net::IpAddr;

use super::refusal::Refusal;
use crate::{Addresses, Family, FamilyPolicy, Service};

/// The families that a Service needs, by its cluster IPs and its `ipFamilyPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FamilyRequirement {
    /// One address of this family.
    One(Family),
    /// One address of each family.
    Both,
    /// One address of each family; if that is impossible one of this family, otherwise one of the other.
    BothOr(Family),
}

impl FamilyRequirement {
    /// Reads the requirement of a Service.
    ///
    /// # Errors
    /// The cluster IPs do not say which families the Service needs.
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

    /// Returns all families that are useful, IPv4 first: auto-assigned addresses have this order.
    pub(super) const fn families(&self) -> &'static [Family] {
        match self {
            Self::One(Family::V4) => &[Family::V4],
            Self::One(Family::V6) => &[Family::V6],
            Self::Both | Self::BothOr(_) => &[Family::V4, Family::V6],
        }
    }

    /// Returns the sets of families that are sufficient, best first.
    pub(super) const fn stages(&self) -> &'static [&'static [Family]] {
        match self {
            Self::One(Family::V4) => &[&[Family::V4]],
            Self::One(Family::V6) => &[&[Family::V6]],
            Self::Both => &[&[Family::V4, Family::V6]],
            Self::BothOr(Family::V4) => &[&[Family::V4, Family::V6], &[Family::V4], &[Family::V6]],
            Self::BothOr(Family::V6) => &[&[Family::V4, Family::V6], &[Family::V6], &[Family::V4]],
        }
    }

    /// Returns the family that is missing in `addresses`.
    pub(super) fn missing_in(&self, addresses: &[IpAddr]) -> Option<Family> {
        let has = |family| addresses.iter().any(|address| Family::of(*address) == family);
        self.families().iter().copied().find(|family| !has(*family))
    }

    /// Returns whether `addresses` are exactly one of each family.
    pub(super) fn is_met_by(&self, addresses: &[IpAddr]) -> bool {
        addresses.len() == self.families().len() && self.missing_in(addresses).is_none()
    }

    /// Returns whether `addresses` are one of each family, or one of several if that is sufficient.
    pub(super) fn accepts(&self, addresses: &[IpAddr]) -> bool {
        self.is_met_by(addresses) || matches!(self, Self::BothOr(_)) && addresses.len() == 1
    }
}

/// Returns whether a Service can have `addresses`: one, or one of each family.
pub(super) fn is_valid_assignment(addresses: &[IpAddr]) -> bool {
    match addresses {
        [_] => true,
        [one, other] => Family::of(*one) != Family::of(*other),
        _ => false,
    }
}

/// Splits `addresses` into those that are useful for `requirement` and the others.
pub(super) fn split_by_use(addresses: &[IpAddr], requirement: &FamilyRequirement) -> (Addresses, Addresses) {
    let is_needed = |address: &IpAddr| requirement.families().contains(&Family::of(*address));
    addresses.iter().copied().partition(is_needed)
}
