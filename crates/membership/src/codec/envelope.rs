//! The content of a datagram: whether the sender suspects the receiver, reports, then one SWIM message.
//!
//! ```text
//! suspected: u8 (0 or 1) | if 1: incarnation: u16 | count: u8 | count x ( length: u16 | report ) | SWIM message
//! ```

use alloc::vec;
use alloc::vec::Vec;

use super::Rejection;
use super::report::SelfReport;

/// Largest number of bytes beside a single report and the SWIM message.
pub const OVERHEAD: usize = 1 + 2 + 1 + LENGTH;

const LENGTH: usize = 2;

/// The content of a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The incarnation at which the sender suspects the receiver, if it does.
    pub suspicion: Option<u16>,
    /// What members report of themselves, the sender first.
    pub reports: Vec<SelfReport>,
    /// A message of the SWIM library.
    pub swim: &'a [u8],
}

/// Emits the suspicion, as many of `reports` as fit into `room` bytes in all, in their order, and `swim`. Returns the bytes
/// and the number of reports in them.
pub fn emit<'a>(
    suspicion: Option<u16>,
    reports: impl Iterator<Item = &'a [u8]>,
    swim: &[u8],
    room: usize,
) -> (Vec<u8>, usize) {
    let mut bytes = vec![u8::from(suspicion.is_some())];
    bytes.extend(suspicion.into_iter().flat_map(u16::to_be_bytes));
    let count_at = bytes.len();
    bytes.push(0);
    for report in reports {
        let Ok(length) = u16::try_from(report.len()) else {
            break;
        };
        let full = bytes.len() + LENGTH + report.len() + swim.len() > room;
        if full || bytes[count_at] == u8::MAX {
            break;
        }
        bytes.extend(length.to_be_bytes());
        bytes.extend(report);
        bytes[count_at] += 1;
    }
    let count = usize::from(bytes[count_at]);
    bytes.extend(swim);
    (bytes, count)
}

/// Parses what [`emit`] returned.
///
/// # Errors
/// If the bytes are too short or a value is unknown.
pub fn parse(bytes: &[u8]) -> Result<Envelope<'_>, Rejection> {
    let (suspected, rest) = bytes.split_first().ok_or(Rejection::Truncated)?;
    let (suspicion, rest) = match suspected {
        0 => (None, rest),
        1 => number(rest).map(|(incarnation, rest)| (Some(incarnation), rest))?,
        _ => return Err(Rejection::Malformed),
    };
    let (count, mut rest) = rest.split_first().ok_or(Rejection::Truncated)?;
    let mut reports = Vec::new();
    for _ in 0..*count {
        let (length, after) = number(rest)?;
        let (report, after) = after
            .split_at_checked(usize::from(length))
            .ok_or(Rejection::Truncated)?;
        reports.push(SelfReport::parse(report).ok_or(Rejection::Malformed)?);
        rest = after;
    }
    Ok(Envelope {
        suspicion,
        reports,
        swim: rest,
    })
}

fn number(bytes: &[u8]) -> Result<(u16, &[u8]), Rejection> {
    let (number, rest) = bytes.split_first_chunk::<2>().ok_or(Rejection::Truncated)?;
    Ok((u16::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::report::tests::any_report;
    use super::*;

    proptest! {
        #[test]
        fn an_emitted_envelope_parses_to_the_same(
            suspicion: Option<u16>,
            reports in proptest::collection::vec(any_report(), 0..8),
            swim: Vec<u8>,
            room in 0_usize..2000,
        ) {
            let encoded: Vec<Vec<u8>> = reports.iter().map(SelfReport::emit).collect();
            let (bytes, count) = emit(suspicion, encoded.iter().map(Vec::as_slice), &swim, room);
            prop_assert!(count == 0 || bytes.len() <= room);
            let reports: Option<Vec<SelfReport>> = encoded[..count].iter().map(|report| SelfReport::parse(report)).collect();
            let reports = reports.expect("well-formed");
            let swim = swim.as_slice();
            prop_assert_eq!(parse(&bytes), Ok(Envelope { suspicion, reports, swim }));
        }

        #[test]
        fn parsing_any_bytes_does_not_panic(bytes: Vec<u8>) {
            let _parsed = parse(&bytes);
        }
    }

    #[test]
    fn truncated_and_malformed_envelopes_are_distinguished() {
        for cut in [&[][..], &[0], &[1, 0], &[1, 0, 0], &[0, 1, 0], &[0, 1, 0, 9, 0]] {
            assert_eq!(parse(cut), Err(Rejection::Truncated), "{cut:?}");
        }
        assert_eq!(parse(&[2, 0]), Err(Rejection::Malformed));
        assert_eq!(parse(&[0, 1, 0, 0]), Err(Rejection::Malformed));
    }
}
