//! Whether the API server is away, for the log: one line when it goes, one a minute, one when it returns.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

/// From one line about the same outage, or about the next one, to the next.
const REMINDER: Duration = Duration::from_secs(60);

/// The API server as the watches of this process find it.
static API_SERVER: Mutex<Outage> = Mutex::new(Outage {
    since: None,
    told: None,
});

/// Whether the API server was away when a watch asked last. Then no request succeeds, and a line about each is noise.
pub fn is_away() -> bool {
    with(|outage| outage.since.is_some())
}

/// Takes that a request found no API server, or one that is busy.
pub(crate) fn handle_failure(error: &str) {
    match with(|outage| outage.handle_failure(Instant::now())) {
        Some(Line::Gone) => warn!(error, "the API server is away; trying again"),
        Some(Line::StillGone(after)) => warn!(error, "the API server is still away, after {after:.0?}"),
        None => {}
    }
}

/// Takes that the API server answered.
pub(crate) fn handle_answer() {
    if let Some(after) = with(|outage| outage.handle_answer(Instant::now())) {
        info!("the API server answers again, after {after:.1?}");
    }
}

fn with<T>(action: impl FnOnce(&mut Outage) -> T) -> T {
    action(&mut API_SERVER.lock().unwrap_or_else(PoisonError::into_inner))
}

#[derive(Debug)]
struct Outage {
    /// When the API server went, while it is away.
    since: Option<Instant>,
    /// The time of the last line.
    told: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
enum Line {
    Gone,
    StillGone(Duration),
}

impl Outage {
    fn handle_failure(&mut self, now: Instant) -> Option<Line> {
        let since = *self.since.get_or_insert(now);
        if self.told.is_some_and(|told| now.duration_since(told) < REMINDER) {
            return None;
        }
        let is_first = self.told.is_none_or(|told| told < since);
        self.told = Some(now);
        Some(if is_first {
            Line::Gone
        } else {
            Line::StillGone(now.duration_since(since))
        })
    }

    /// Returns how long the outage took, if there was a line about it.
    fn handle_answer(&mut self, now: Instant) -> Option<Duration> {
        let since = self.since.take()?;
        let was_told = self.told.is_some_and(|told| told >= since);
        was_told.then(|| now.duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_line_when_it_goes_one_a_minute_and_one_when_it_returns() {
        let mut outage = Outage {
            since: None,
            told: None,
        };
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        // Seven watches and a Lease, each of which tries again every few seconds.
        let lines: Vec<(u64, Line)> = (0..150)
            .flat_map(|n| [n; 3])
            .filter_map(|n| Some((n, outage.handle_failure(second(n))?)))
            .collect();
        let still = |n| (n, Line::StillGone(Duration::from_secs(n)));
        assert_eq!(lines, [(0, Line::Gone), still(60), still(120)]);
        assert_eq!(outage.handle_answer(second(151)), Some(Duration::from_secs(151)));
        assert_eq!(outage.handle_answer(second(152)), None);
    }

    #[test]
    fn an_api_server_that_comes_and_goes_causes_two_lines_a_minute_at_most() {
        let mut outage = Outage {
            since: None,
            told: None,
        };
        let start = Instant::now();
        let mut lines = 0;
        for n in 0..120 {
            let now = start + Duration::from_secs(n);
            lines += u32::from(outage.handle_failure(now).is_some());
            lines += u32::from(outage.handle_answer(now).is_some());
        }
        assert_eq!(lines, 4);
    }
}
