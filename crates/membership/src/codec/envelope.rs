//! The content of a datagram: whether the sender suspects the receiver, some reports, then one SWIM message.
//!
//! ```text
//! suspected: u8 (0 or 1) | if 1: incarnation: u16 | count: u8 | count x ( length: u16 | report ) | SWIM message
//! ```

use super::Rejection;
use super::report::Report;

/// Bytes beside a single report and the SWIM message, at most.
pub const OVERHEAD: usize = 1 + 2 + 1 + LENGTH;

const LENGTH: usize = 2;

/// What a datagram holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The sender suspects the receiver, at this incarnation of it.
    pub suspicion: Option<u16>,
    /// What members say of themselves, the sender first.
    pub reports: Vec<Report>,
    /// A message of the SWIM library.
    pub swim: &'a [u8],
}

/// Puts the suspicion and `reports` in front of `swim`, as many as fit into `room` bytes in all, the first ones
/// first. Gives the bytes and the number of reports that they hold.
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

/// Reads what [`emit`] wrote.
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
        reports.push(Report::parse(report).ok_or(Rejection::Malformed)?);
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
        fn what_is_emitted_reads_back(
            suspicion: Option<u16>,
            reports in proptest::collection::vec(any_report(), 0..8),
            swim: Vec<u8>,
            room in 0_usize..2000,
        ) {
            let encoded: Vec<Vec<u8>> = reports.iter().map(Report::emit).collect();
            let (bytes, count) = emit(suspicion, encoded.iter().map(Vec::as_slice), &swim, room);
            prop_assert!(count == 0 || bytes.len() <= room);
            let reports: Option<Vec<Report>> = encoded[..count].iter().map(|report| Report::parse(report)).collect();
            let reports = reports.expect("they read back");
            let swim = swim.as_slice();
            prop_assert_eq!(parse(&bytes), Ok(Envelope { suspicion, reports, swim }));
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _read = parse(&bytes);
        }
    }

    #[test]
    fn what_is_cut_short_or_senseless_is_named_so() {
        for cut in [&[][..], &[0], &[1, 0], &[1, 0, 0], &[0, 1, 0], &[0, 1, 0, 9, 0]] {
            assert_eq!(parse(cut), Err(Rejection::Truncated), "{cut:?}");
        }
        assert_eq!(parse(&[2, 0]), Err(Rejection::Malformed));
        assert_eq!(parse(&[0, 1, 0, 0]), Err(Rejection::Malformed));
    }
}
