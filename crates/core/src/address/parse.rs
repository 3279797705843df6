//! Parses the entries of `spec.addresses`: `address/prefix` or `first-last`.

use alloc::string::{String, ToString};
use core::net::IpAddr;
use core::str::FromStr;

use super::{AddressRange, bits, highest, width};
use crate::Family;

/// The number of bits before the IPv4 address in an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2).
const MAPPED_BITS: u32 = 96;

/// The reason why an entry of `spec.addresses` cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The entry is neither a CIDR nor a range.
    #[error(
        "invalid CIDR {0:?}: write it as address/prefix, such as 192.168.10.0/24 or fc00::/64, or as a \
         range, such as 192.168.10.10-192.168.10.20"
    )]
    Cidr(String),
    /// The entry is an address without prefix length.
    #[error("invalid CIDR {text:?}: a single address needs its prefix length; use {text}/{prefix}")]
    BareAddress {
        /// The entry.
        text: String,
        /// The prefix length of a single address: 32 or 128.
        prefix: u32,
    },
    /// The entry has spaces.
    #[error("invalid CIDR {0:?}: remove the spaces")]
    Whitespace(String),
    /// The prefix length is not a number, or is too long for the family.
    #[error("invalid CIDR {text:?}: prefix length {prefix:?} must be a number from {least} to {most}")]
    Prefix {
        /// The entry.
        text: String,
        /// The text after the slash.
        prefix: String,
        /// The shortest valid prefix length.
        least: u32,
        /// The longest prefix length of the family.
        most: u32,
    },
    /// The text before the dash is not an address.
    #[error(
        "invalid IP range {range:?}: invalid start IP {half:?}; it must be an address without prefix length"
    )]
    Start {
        /// The entry.
        range: String,
        /// The text before the dash.
        half: String,
    },
    /// The text after the dash is not an address.
    #[error(
        "invalid IP range {range:?}: invalid end IP {half:?}; it must be an address without prefix length"
    )]
    End {
        /// The entry.
        range: String,
        /// The text after the dash.
        half: String,
    },
    /// The ends are in the wrong order.
    #[error(
        "invalid IP range {range:?}: start IP \"{start}\" is after the end IP \"{end}\"; use {end}-{start}"
    )]
    Reversed {
        /// The entry.
        range: String,
        /// The address before the dash.
        start: IpAddr,
        /// The address after the dash.
        end: IpAddr,
    },
    /// One end is IPv4, the other IPv6.
    #[error(
        "invalid IP range {range:?}: start IP \"{start}\" and end IP \"{end}\" are of different families; \
         use one range for each family"
    )]
    MixedFamilies {
        /// The entry.
        range: String,
        /// The address before the dash.
        start: IpAddr,
        /// The address after the dash.
        end: IpAddr,
    },
}

impl FromStr for AddressRange {
    type Err = AddressError;

    /// Parses a range, which has a dash, or a CIDR. Ignores the host bits of a CIDR; IPv4-mapped IPv6 counts as IPv4.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.split_once('-') {
            Some((start, end)) => parse_range(text, start.trim(), end.trim()),
            None => parse_cidr(text),
        }
    }
}

fn parse_range(range: &str, start: &str, end: &str) -> Result<AddressRange, AddressError> {
    let (Ok(first), Ok(last)) = (start.parse::<IpAddr>(), end.parse::<IpAddr>()) else {
        let range = range.to_string();
        return Err(match start.parse::<IpAddr>() {
            Err(_) => AddressError::Start {
                range,
                half: start.to_string(),
            },
            Ok(_) => AddressError::End {
                range,
                half: end.to_string(),
            },
        });
    };
    let (start, end) = (first.to_canonical(), last.to_canonical());
    let range = range.to_string();
    if Family::of(start) != Family::of(end) {
        return Err(AddressError::MixedFamilies { range, start, end });
    }
    AddressRange::new(start, end).ok_or(AddressError::Reversed { range, start, end })
}

fn parse_cidr(text: &str) -> Result<AddressRange, AddressError> {
    if text.contains(char::is_whitespace) {
        return Err(AddressError::Whitespace(text.to_string()));
    }
    let Some((host, prefix)) = text.split_once('/') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => AddressError::BareAddress {
                text: text.to_string(),
                prefix: width(Family::of(address)),
            },
            Err(_) => AddressError::Cidr(text.to_string()),
        });
    };
    let Ok(written) = host.parse::<IpAddr>() else {
        return Err(AddressError::Cidr(text.to_string()));
    };
    let canonical = written.to_canonical();
    let most = width(Family::of(written));
    // The prefix length of an IPv4-mapped address includes the 96 bits before the IPv4 address.
    let least = if canonical == written { 0 } else { MAPPED_BITS };
    let Some(length) = parse_prefix(prefix).filter(|length| (least..=most).contains(length)) else {
        let (text, prefix) = (text.to_string(), prefix.to_string());
        return Err(AddressError::Prefix {
            text,
            prefix,
            least,
            most,
        });
    };
    Ok(masked(canonical, length - least))
}

/// Parses decimal digits; `u32::from_str` alone would also accept a sign and leading zeros.
fn parse_prefix(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

fn masked(address: IpAddr, prefix: u32) -> AddressRange {
    let family = Family::of(address);
    let host_bits = highest(family).checked_shr(prefix).unwrap_or(0);
    AddressRange {
        family,
        first: bits(address) & !host_bits,
        last: bits(address) | host_bits,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> AddressError {
        text.parse::<AddressRange>().expect_err(text)
    }

    #[test]
    fn entries_are_parsed_as_in_metallb() {
        for (text, first, last) in [
            ("192.168.10.0/24", "192.168.10.0", "192.168.10.255"),
            ("192.168.10.100/24", "192.168.10.0", "192.168.10.255"),
            ("1.2.3.4/32", "1.2.3.4", "1.2.3.4"),
            ("0.0.0.0/0", "0.0.0.0", "255.255.255.255"),
            ("1.2.3.4-1.2.3.4", "1.2.3.4", "1.2.3.4"),
            (" 40.0.0.150 -\t40.0.0.200 ", "40.0.0.150", "40.0.0.200"),
            ("::ffff:1.2.3.4-1.2.3.9", "1.2.3.4", "1.2.3.9"),
            ("::ffff:1.2.3.4/120", "1.2.3.0", "1.2.3.255"),
            ("fc00::1/126", "fc00::", "fc00::3"),
            ("fc00::1-fc00::ffff", "fc00::1", "fc00::ffff"),
        ] {
            let range: AddressRange = text.parse().expect(text);
            assert_eq!(range.first().to_string(), first, "{text}");
            assert_eq!(range.last().to_string(), last, "{text}");
        }
    }

    #[test]
    fn each_error_says_what_would_be_right() {
        for (text, message) in [
            ("1.2.3.4", "use 1.2.3.4/32"),
            ("fc00::1", "use fc00::1/128"),
            (" 1.2.3.0/24", "remove the spaces"),
            ("1.2.3.0/24 ", "remove the spaces"),
            ("1.2.3.0/33", "prefix length \"33\" must be a number from 0 to 32"),
            ("1.2.3.0/024", "prefix length \"024\" must be a number"),
            ("1.2.3.0/+24", "prefix length \"+24\" must be a number"),
            ("1.2.3.0/", "prefix length \"\" must be a number"),
            ("fc00::/129", "from 0 to 128"),
            ("::ffff:1.2.3.0/24", "from 96 to 128"),
            ("1.2.03.0/24", "invalid CIDR \"1.2.03.0/24\""),
            ("fe80::1%eth0/64", "invalid CIDR"),
            ("", "invalid CIDR \"\""),
            ("1.2.3.x-1.2.3.9", "invalid start IP \"1.2.3.x\""),
            ("1.2.3.0/24-1.2.3.9", "invalid start IP \"1.2.3.0/24\""),
            ("1.2.3.4-", "invalid end IP \"\""),
            ("1.2.3.4-1.2.3.5-1.2.3.6", "invalid end IP \"1.2.3.5-1.2.3.6\""),
            (
                "1.2.3.9-1.2.3.4",
                "start IP \"1.2.3.9\" is after the end IP \"1.2.3.4\"; use 1.2.3.4-1.2.3.9",
            ),
            ("1.2.3.4-fc00::1", "different families"),
            ("fc00::1-1.2.3.4", "different families"),
        ] {
            let error = error(text).to_string();
            assert!(error.contains(message), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(text in ".{0,64}") {
            let _ = text.parse::<AddressRange>();
        }

        #[test]
        fn a_displayed_range_parses_back(family in prop::bool::ANY, a in any::<u128>(), b in any::<u128>()) {
            let family = if family { Family::V4 } else { Family::V6 };
            let (a, b) = (a & highest(family), b & highest(family));
            let range = AddressRange { family, first: a.min(b), last: a.max(b) };
            // IPv4-mapped ends would rightly come back as IPv4.
            prop_assume!(range.first().to_canonical() == range.first());
            prop_assume!(range.last().to_canonical() == range.last());
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }
    }
}
