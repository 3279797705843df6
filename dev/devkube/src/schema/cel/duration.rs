//! Durations, without the clock and calendar that the library's own need: a duration is its nanoseconds.

use std::sync::Arc;

use cel::extractors::This;
use cel::{Context, ExecutionError};

/// The names of these functions.
pub(super) const NAMES: &[&str] = &["duration", "getSeconds", "getMilliseconds"];

/// Units, in nanoseconds.
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Makes `duration` and its member functions known.
pub(super) fn add_functions(context: &mut Context<'_, '_>) {
    let added = [
        context.add_function("duration", |text: Arc<String>| {
            parse(&text)
                .ok_or_else(|| ExecutionError::function_error("duration", format!("{text:?} is no duration")))
        }),
        context.add_function("getSeconds", |This(nanos): This<i64>| nanos / 1_000_000_000),
        context.add_function("getMilliseconds", |This(nanos): This<i64>| nanos / 1_000_000),
    ];
    for result in added {
        result.expect("no name clashes with the standard library");
    }
}

/// Parses a duration as Go's `time.ParseDuration` does.
fn parse(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut nanos = (!rest.is_empty()).then_some(0_i128)?;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| c != '.' && !c.is_ascii_digit())?;
        let (number, behind) = rest.split_at(number_end);
        let unit_end = behind.find(|c: char| c == '.' || c.is_ascii_digit());
        let (name, behind) = behind.split_at(unit_end.unwrap_or(behind.len()));
        let (_, unit) = UNITS.into_iter().find(|(unit, _)| *unit == name)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        nanos += digits.parse::<i64>().map(i128::from).ok()? * unit / scale;
        rest = behind;
    }
    i64::try_from(sign * nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn durations_are_those_of_go() {
        for (text, nanos) in [
            ("0", Some(0)),
            ("90s", Some(90_000_000_000)),
            ("+1m30s", Some(90_000_000_000)),
            ("-1.5ms", Some(-1_500_000)),
            ("2.9s", Some(2_900_000_000)),
            (".5s", Some(500_000_000)),
            ("1h2m3.5s", Some(3_723_500_000_000)),
            ("3µs", Some(3_000)),
            ("", None),
            ("90", None),
            ("s", None),
            ("1.2.3s", None),
            ("1d", None),
            ("9999999999h", None),
        ] {
            assert_eq!(parse(text), nanos, "{text}");
        }
    }
}
