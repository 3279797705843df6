//! A `BFDProfile` that was parsed.

use alloc::format;
use core::time::Duration;

use super::error::BgpError;
use super::raw::RawBfdProfile;
use crate::config::problem::ConfigErrors;

/// How BFD (RFC 5880) watches a peer. What is not written is as in FRR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BfdProfile {
    /// The least pause between received packets.
    pub receive_interval: Duration,
    /// The least pause between sent packets.
    pub transmit_interval: Duration,
    /// After how many missing packets the peer is down.
    pub detect_multiplier: u8,
    /// The pause between echo packets.
    pub echo_interval: Duration,
    /// Whether echo packets are sent.
    pub echo_mode: bool,
    /// Whether the peer has to send the first packet.
    pub passive_mode: bool,
    /// The least TTL of a packet of a peer more than one hop away.
    pub minimum_ttl: u8,
}

impl BfdProfile {
    pub(super) fn parse(raw: &RawBfdProfile) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::new();
        let mut number = |field: &str, value: Option<i64>, absent: u16, least: u16, most: u16| {
            let value = value.unwrap_or_else(|| absent.into());
            match u16::try_from(value) {
                Ok(number) if (least..=most).contains(&number) => number,
                _ => {
                    let (least, most) = (least.into(), most.into());
                    let error = BgpError::OutOfRange { value, least, most };
                    errors.push((format!("spec.{field}"), error.into()));
                    absent
                }
            }
        };
        let millis = |number: u16| Duration::from_millis(number.into());
        let octet = |number: u16| u8::try_from(number).unwrap_or(u8::MAX);
        let profile = Self {
            receive_interval: millis(number("receiveInterval", raw.receive_interval, 300, 10, 60_000)),
            transmit_interval: millis(number("transmitInterval", raw.transmit_interval, 300, 10, 60_000)),
            detect_multiplier: octet(number("detectMultiplier", raw.detect_multiplier, 3, 2, 255)),
            echo_interval: millis(number("echoInterval", raw.echo_interval, 50, 10, 60_000)),
            echo_mode: raw.echo_mode.unwrap_or(false),
            passive_mode: raw.passive_mode.unwrap_or(false),
            minimum_ttl: octet(number("minimumTtl", raw.minimum_ttl, 254, 1, 254)),
        };
        if errors.is_empty() {
            Ok(profile)
        } else {
            Err(errors)
        }
    }
}
