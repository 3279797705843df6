//! A `BGPAdvertisement` that was parsed.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};

use super::community::{self, Communities, CommunityNames};
use super::error::BgpError;
use super::raw::RawBgpAdvertisement;
use crate::config::AdvertisementScope;
use crate::config::problem::ConfigErrors;
use crate::{Family, RawSelector};

const HOST_V4: u8 = 32;
const HOST_V6: u8 = 128;

/// Which pools are announced to which peers: for which Services, from which nodes and with which attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BgpAdvertisement {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.creationTimestamp` in seconds since 1970.
    pub created: i64,
    /// The pools, Services and nodes.
    pub scope: AdvertisementScope,
    /// Peers by name; empty is all. A peer need not exist.
    pub peers: BTreeSet<String>,
    /// The length of IPv4 prefixes.
    pub length_v4: u8,
    /// The length of IPv6 prefixes.
    pub length_v6: u8,
    /// LOCAL_PREF towards peers of the own AS.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC; without one it is that of the speaker.
    pub med: Option<u32>,
    /// The communities.
    pub communities: Communities,
}

impl BgpAdvertisement {
    pub(super) fn parse(raw: &RawBgpAdvertisement, names: &CommunityNames) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::new();
        let scope = AdvertisementScope::parse(
            &raw.pools,
            &raw.pool_selectors,
            &raw.node_selectors,
            &raw.service_selectors,
            &mut errors,
        );
        let (v4, v6) = (raw.aggregation_length, raw.aggregation_length_v6);
        let selectors = &raw.service_selectors;
        let advertisement = Self {
            name: raw.name.clone(),
            created: raw.created,
            scope,
            peers: unique(&raw.peers, "peers", &mut errors),
            length_v4: parse_length(v4, "aggregationLength", Family::V4, selectors, &mut errors),
            length_v6: parse_length(v6, "aggregationLengthV6", Family::V6, selectors, &mut errors),
            local_pref: parse_metric(raw.local_pref, "localPref", &mut errors).filter(|value| *value != 0),
            med: parse_metric(raw.med, "med", &mut errors),
            communities: {
                unique(&raw.communities, "communities", &mut errors);
                community::parse_list(&raw.communities, names, &mut errors)
            },
        };
        if errors.is_empty() {
            Ok(advertisement)
        } else {
            Err(errors)
        }
    }

    /// Returns the length of prefixes of a family.
    pub const fn length(&self, family: Family) -> u8 {
        match family {
            Family::V4 => self.length_v4,
            Family::V6 => self.length_v6,
        }
    }

    /// Returns whether a peer of this name gets the routes.
    pub fn selects_peer(&self, name: &str) -> bool {
        self.peers.is_empty() || self.peers.contains(name)
    }
}

impl AsRef<AdvertisementScope> for BgpAdvertisement {
    fn as_ref(&self) -> &AdvertisementScope {
        &self.scope
    }
}

fn unique(raw: &[String], list: &'static str, errors: &mut ConfigErrors) -> BTreeSet<String> {
    let mut entries = BTreeSet::new();
    for (place, value) in raw.iter().enumerate() {
        if !entries.insert(value.clone()) {
            let value = value.to_string();
            let error = BgpError::DuplicateEntry { list, value };
            errors.push((format!("spec.{list}[{place}]"), error.into()));
        }
    }
    entries
}

fn parse_length(
    raw: Option<i64>,
    field: &'static str,
    family: Family,
    service_selectors: &[RawSelector],
    errors: &mut ConfigErrors,
) -> u8 {
    let most = match family {
        Family::V4 => HOST_V4,
        Family::V6 => HOST_V6,
    };
    let length = raw.unwrap_or_else(|| most.into());
    let error = match u8::try_from(length) {
        Ok(parsed) if parsed == most || (service_selectors.is_empty() && (1..most).contains(&parsed)) => {
            return parsed;
        }
        Ok(parsed) if (1..most).contains(&parsed) => BgpError::SelectedAggregate(field),
        _ => BgpError::AggregationLength { length, family, most },
    };
    errors.push((format!("spec.{field}"), error.into()));
    most
}

fn parse_metric(raw: Option<i64>, field: &'static str, errors: &mut ConfigErrors) -> Option<u32> {
    let value = raw?;
    let parsed = u32::try_from(value).ok();
    if parsed.is_none() {
        errors.push((format!("spec.{field}"), BgpError::Metric { field, value }.into()));
    }
    parsed
}
