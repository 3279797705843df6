//! The content of a datagram: some reports, then one SWIM message.
//!
//! ```text
//! count: u8 | count x ( length: u16 | report ) | SWIM message to the end
//! ```

use super::Rejection;
use super::report::Report;

/// Bytes beside a single report and the SWIM message.
pub const OVERHEAD: usize = 1 + LENGTH;

const LENGTH: usize = 2;

/// Puts `reports` in front of `swim`, as many as fit into `room` bytes in all, the first ones first.
/// Gives the bytes and the number of reports that they hold.
pub fn emit<'a>(reports: impl Iterator<Item = &'a [u8]>, swim: &[u8], room: usize) -> (Vec<u8>, usize) {
    let mut bytes = vec![0];
    let mut count = 0_u8;
    for report in reports {
        let Ok(length) = u16::try_from(report.len()) else {
            continue;
        };
        if bytes.len() + LENGTH + report.len() + swim.len() > room || count == u8::MAX {
            break;
        }
        bytes.extend(length.to_be_bytes());
        bytes.extend(report);
        count += 1;
    }
    bytes[0] = count;
    bytes.extend(swim);
    (bytes, usize::from(count))
}

/// Reads what [`emit`] wrote: the reports and the SWIM message.
pub fn parse(bytes: &[u8]) -> Result<(Vec<Report>, &[u8]), Rejection> {
    let (count, mut rest) = bytes.split_first().ok_or(Rejection::Truncated)?;
    let mut reports = Vec::new();
    for _ in 0..*count {
        let (length, after) = rest.split_first_chunk::<LENGTH>().ok_or(Rejection::Truncated)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (report, after) = after.split_at_checked(length).ok_or(Rejection::Truncated)?;
        reports.push(Report::parse(report).ok_or(Rejection::Malformed)?);
        rest = after;
    }
    Ok((reports, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::report::tests::any_report;
    use super::*;

    proptest! {
        #[test]
        fn what_is_emitted_reads_back(
            reports in proptest::collection::vec(any_report(), 0..8),
            swim: Vec<u8>,
            room in 0_usize..2000,
        ) {
            let encoded: Vec<Vec<u8>> = reports.iter().map(Report::emit).collect();
            let (bytes, count) = emit(encoded.iter().map(Vec::as_slice), &swim, room);
            prop_assert!(count == 0 || bytes.len() <= room);
            let (read, message) = parse(&bytes).expect("reads");
            prop_assert_eq!(read.as_slice(), &reports[..count]);
            prop_assert_eq!(message, swim);
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _read = parse(&bytes);
        }
    }

    #[test]
    fn nothing_at_all_is_cut_short() {
        assert_eq!(parse(&[]), Err(Rejection::Truncated));
        assert_eq!(parse(&[1, 0]), Err(Rejection::Truncated));
        assert_eq!(parse(&[1, 0, 9, 0]), Err(Rejection::Truncated));
    }
}
