//! The timers of a peer.

use alloc::string::String;
use alloc::string::ToString;
use core::time::Duration;

use super::error::BgpError;
use super::raw::RawBgpPeer;
use crate::config::problem::ConfigErrors;

/// The timers to propose to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProposedTimers {
    /// The hold time in whole seconds; zero: no timers.
    pub hold: Duration,
    /// The pause between KEEPALIVE messages; at most a third of the hold time, so that three fit into it (RFC 4271 section 10).
    pub keepalive: Duration,
}

impl ProposedTimers {
    /// Parses the timers; nothing without any, which leaves the choice to the session.
    pub(super) fn parse(raw: &RawBgpPeer, errors: &mut ConfigErrors) -> Option<Self> {
        let hold = parse_field(raw.hold_time.as_ref(), "spec.holdTime", errors);
        let keepalive = parse_field(raw.keepalive_time.as_ref(), "spec.keepaliveTime", errors);
        let hold_time = match (hold, keepalive) {
            (None, None) => return None,
            (Some(hold), _) => hold,
            (None, Some(keepalive)) => keepalive.saturating_mul(3),
        };
        let written = |text: &Option<String>| text.clone().unwrap_or_else(|| "3 x keepaliveTime".to_string());
        let whole = Duration::from_secs(hold_time.as_secs());
        if !matches!(whole.as_secs(), 0 | 3..=65_535) {
            let error = BgpError::HoldTime(written(&raw.hold_time));
            errors.push(("spec.holdTime".to_string(), error.into()));
            return None;
        }
        if keepalive.is_some_and(|keepalive| keepalive > hold_time) {
            let (keepalive, hold) = (written(&raw.keepalive_time), written(&raw.hold_time));
            let error = BgpError::Keepalive { keepalive, hold };
            errors.push(("spec.keepaliveTime".to_string(), error.into()));
            return None;
        }
        let third = whole / 3;
        Some(Self {
            hold: whole,
            keepalive: keepalive.map_or(third, |keepalive| keepalive.min(third)),
        })
    }
}

/// Parses `connectTime`.
pub(super) fn parse_connect_time(raw: Option<&String>, errors: &mut ConfigErrors) -> Option<Duration> {
    let time = parse_field(raw, "spec.connectTime", errors)?;
    if time.subsec_nanos() == 0 && (1..=65_535).contains(&time.as_secs()) {
        return Some(time);
    }
    let error = BgpError::ConnectTime(raw.cloned().unwrap_or_default());
    errors.push(("spec.connectTime".to_string(), error.into()));
    None
}

fn parse_field(raw: Option<&String>, field: &str, errors: &mut ConfigErrors) -> Option<Duration> {
    let text = raw?;
    let time = parse_duration(text);
    if time.is_none() {
        errors.push((field.to_string(), BgpError::Duration(text.clone()).into()));
    }
    time
}

/// Parses a duration as Go's `time.ParseDuration` does, which `metav1.Duration` is, but for negative ones.
fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0_u128;
    while !rest.is_empty() {
        let (whole, behind) = take_digits(rest);
        let (fraction, behind) = behind.strip_prefix('.').map_or(("", behind), take_digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = behind.find(|c: char| c == '.' || c.is_ascii_digit());
        let (name, behind) = behind.split_at(end.unwrap_or(behind.len()));
        let (_, unit) = UNITS.into_iter().find(|(unit, _)| *unit == name)?;
        let parse = |digits: &str| {
            if digits.is_empty() {
                Some(0)
            } else {
                digits.parse::<u64>().ok()
            }
        };
        // Digits behind the tenth are less than a nanosecond of any unit, or nearly.
        let fraction = &fraction[..fraction.len().min(15)];
        let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        nanos += u128::from(parse(whole)?) * unit + u128::from(parse(fraction)?) * unit / scale;
        rest = behind;
    }
    u64::try_from(nanos)
        .ok()
        .filter(|nanos| i64::try_from(*nanos).is_ok())
        .map(Duration::from_nanos)
}

fn take_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, millis) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("90s", Some(90_000)),
            ("+1m30s", Some(90_000)),
            ("1h2m3.5s", Some(3_723_500)),
            ("1.5h", Some(5_400_000)),
            (".5s", Some(500)),
            ("2.s", Some(2_000)),
            ("3000000us", Some(3_000)),
            ("3000µs", Some(3)),
            ("0.0000000000000000001s", Some(0)),
            ("", None),
            ("90", None),
            ("-1s", None),
            ("s", None),
            (".s", None),
            ("1 s", None),
            ("1d", None),
            ("9999999999h", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text}");
        }
    }
}
