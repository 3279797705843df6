//! Communities, as literals and by name.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use core::str::FromStr;

use super::error::BgpError;
use super::raw::RawCommunities;
use crate::bgp::{Community, LargeCommunity};
use crate::config::problem::ConfigErrors;

/// Communities of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Communities {
    /// Those of RFC 1997.
    pub standard: BTreeSet<Community>,
    /// Those of RFC 8092.
    pub large: BTreeSet<LargeCommunity>,
}

impl Communities {
    /// Adds the communities of `other`.
    pub fn extend(&mut self, other: &Self) {
        self.standard.extend(&other.standard);
        self.large.extend(&other.large);
    }

    /// Adds one community.
    pub(super) fn insert(&mut self, value: CommunityValue) {
        match value {
            CommunityValue::Standard(community) => self.standard.insert(community),
            CommunityValue::Large(community) => self.large.insert(community),
        };
    }
}

/// A community of either kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommunityValue {
    Standard(Community),
    Large(LargeCommunity),
}

/// The reason why a text is no community.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommunityError {
    /// A part is no number, or too large.
    #[error(
        "invalid community value: invalid section {section:?} of community {community:?}; it must be from 0 to {most}"
    )]
    Section {
        /// The part.
        section: String,
        /// The whole text.
        community: String,
        /// The greatest allowed number.
        most: u32,
    },
    /// Of four parts the first is not `large`.
    #[error(
        "invalid community value: invalid marker for large community, expected community to be of format \
         large:<uint32>:<uint32>:<uint32> but got {0:?} instead"
    )]
    Marker(String),
    /// Not the form of a community, so it may be a name.
    #[error(
        "invalid community format: {0}; write 65000:1, large:65000:1:1, or a name that a Community resource defines"
    )]
    Format(String),
}

impl FromStr for CommunityValue {
    type Err = CommunityError;

    fn from_str(text: &str) -> Result<Self, CommunityError> {
        let mut parts = text.split(':');
        let parts = [(); 5].map(|()| parts.next());
        let number = |section: &str, most: u32| {
            let digits = !section.is_empty() && section.bytes().all(|byte| byte.is_ascii_digit());
            let number = section.parse().ok().filter(|number| digits && *number <= most);
            number.ok_or_else(|| CommunityError::Section {
                section: section.to_string(),
                community: text.to_string(),
                most,
            })
        };
        let short = |section| {
            number(section, u16::MAX.into()).map(|number| u16::try_from(number).unwrap_or(u16::MAX))
        };
        let long = |section| number(section, u32::MAX);
        match parts {
            [Some(a), Some(b), None, ..] => Ok(Self::Standard(Community(short(a)?, short(b)?))),
            [Some("large"), Some(a), Some(b), Some(c), None] => {
                Ok(Self::Large(LargeCommunity(long(a)?, long(b)?, long(c)?)))
            }
            [Some(_), Some(_), Some(_), Some(_), None] => Err(CommunityError::Marker(text.to_string())),
            _ => Err(CommunityError::Format(text.to_string())),
        }
    }
}

/// The names of communities, with their values.
pub(super) type CommunityNames = BTreeMap<String, CommunityValue>;

/// Parses a `Community`, whose names may not be those that older resources define.
pub(super) fn parse_names(
    raw: &RawCommunities,
    older: &CommunityNames,
) -> Result<CommunityNames, ConfigErrors> {
    let mut errors = ConfigErrors::new();
    let mut names = CommunityNames::new();
    for (place, (name, value)) in raw.communities.iter().enumerate() {
        let field = |end| format!("spec.communities[{place}].{end}");
        match value.parse() {
            Ok(value) => {
                if older.contains_key(name) || names.insert(name.clone(), value).is_some() {
                    errors.push((field("name"), BgpError::DuplicateCommunity(name.clone()).into()));
                }
            }
            Err(error) => {
                let name = name.clone();
                errors.push((field("value"), BgpError::NamedCommunity { name, error }.into()));
            }
        }
    }
    if errors.is_empty() { Ok(names) } else { Err(errors) }
}

/// Parses the communities of an advertisement: names first, because a name may look like a literal.
pub(super) fn parse_list(raw: &[String], names: &CommunityNames, errors: &mut ConfigErrors) -> Communities {
    let mut communities = Communities::default();
    for (place, text) in raw.iter().enumerate() {
        let value = names.get(text).copied().map_or_else(|| text.parse(), Ok);
        match value {
            Ok(value) => communities.insert(value),
            Err(error) => errors.push((
                format!("spec.communities[{place}]"),
                BgpError::Community(error).into(),
            )),
        }
    }
    communities
}
