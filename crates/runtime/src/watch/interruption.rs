//! Why a watch is interrupted, what the log says of it, and when the watch tries again.

use std::time::{Duration, Instant};

use herald_core::Backoff;
use kube::core::Status;
use tracing::{debug, info, warn};

use crate::client::outage;
use crate::log::one_line;

/// From one line about the same error to the next.
const REMINDER: Duration = Duration::from_secs(60);

/// Why a list or a watch ended before its time.
#[derive(Debug)]
pub(super) enum Interruption {
    /// A request failed, or the connection broke.
    Failed(kube::Error),
    /// The API server ended the watch with this status.
    Status(Box<Status>),
    /// The API server shows an older version than before.
    Restored,
    /// The API server ended the watch before its time: it stops, for example.
    Early,
    /// The API server does not end the watch after its time.
    Dead,
}

impl From<kube::Error> for Interruption {
    fn from(error: kube::Error) -> Self {
        Self::Failed(error)
    }
}

impl Interruption {
    /// Whether changes may be missing, so that a new list is due. A restarted API server does not have the version any more from
    /// which the watch continued (410 Gone). An event that cannot be read comes again until a list goes past it.
    pub(super) fn is_gap(&self) -> bool {
        match self {
            Self::Failed(kube::Error::SerdeError(_)) => true,
            Self::Failed(_) | Self::Status(_) => self.code() == Some(410),
            Self::Restored => true,
            Self::Early | Self::Dead => false,
        }
    }

    /// The HTTP status of the answer, if there is one.
    fn code(&self) -> Option<u16> {
        match self {
            Self::Failed(kube::Error::Api(status)) | Self::Status(status) => Some(status.code),
            Self::Failed(_) | Self::Restored | Self::Early | Self::Dead => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Failed(error) => one_line(error),
            Self::Status(status) => status.message.clone(),
            Self::Restored => "the API server shows an older version than before".to_owned(),
            Self::Early => "the API server has ended the watch early".to_owned(),
            Self::Dead => "the API server has not ended the watch in time".to_owned(),
        }
    }
}

/// Logs the interruptions of one watch, each with the remedy where there is one, and the same one once a minute.
#[derive(Debug, Default)]
pub(super) struct Reports {
    last: Option<(Option<u16>, Instant)>,
}

impl Reports {
    pub(super) fn report(&mut self, plural: &str, interruption: &Interruption, now: Instant) {
        let (code, error) = (interruption.code(), interruption.text());
        match (interruption, code) {
            (Interruption::Restored, _) => {
                warn!(
                    kind = plural,
                    "{error}: it was restored from a backup; listing again"
                );
            }
            (Interruption::Early, _) => debug!(kind = plural, "{error}"),
            (Interruption::Failed(kube::Error::SerdeError(_)), code) => {
                if self.is_due(code, now) {
                    warn!(kind = plural, error, "the answer cannot be read; listing again");
                }
            }
            (Interruption::Dead, _) | (Interruption::Failed(_), None | Some(429 | 502..=504)) => {
                debug!(kind = plural, error, "watch interrupted; trying again");
                outage::handle_failure(&error);
            }
            (_, Some(410)) => info!(
                kind = plural,
                "the version of the watch has expired; listing again"
            ),
            (Interruption::Failed(_) | Interruption::Status(_), code) => {
                if self.is_due(code, now) {
                    warn!(kind = plural, error, "{}", remedy(code));
                }
            }
        }
    }

    fn is_due(&mut self, code: Option<u16>, now: Instant) -> bool {
        let is_repetition =
            |(last, at): (Option<u16>, Instant)| last == code && now.duration_since(at) < REMINDER;
        if self.last.is_some_and(is_repetition) {
            return false;
        }
        self.last = Some((code, now));
        true
    }
}

const fn remedy(code: Option<u16>) -> &'static str {
    match code {
        Some(404) => {
            "the API server does not know this kind: install the custom resource definitions (crds/); trying again"
        }
        Some(400) => "the API server refuses this watch; for Services it has to be 1.31 or newer",
        Some(403) => "not allowed to watch: check the RBAC rules of this program; trying again",
        Some(_) | None => "watch interrupted; trying again",
    }
}

/// Back-off of a watch: from 0.2 s doubling to 5 s, with a jitter of a quarter, so that an API server that returns is used
/// within seconds and not by all watches at once. The back-off starts over after a quiet time and not with the next event,
/// because every attempt at a list begins with one. It also starts over with a gap, unless the list after the last gap led
/// to another gap.
#[derive(Debug, Clone)]
pub(super) struct Retry {
    backoff: Backoff,
    last: Option<(Instant, bool)>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            backoff: Backoff::new(Self::FIRST, Self::LAST),
            last: None,
        }
    }
}

impl Retry {
    const FIRST: Duration = Duration::from_millis(200);
    const LAST: Duration = Duration::from_secs(5);
    /// Twice the longest pause, so that a pause itself is no quiet time.
    const QUIET: Duration = Duration::from_secs(10);

    /// Returns the pause after an error at `now`.
    pub(super) fn after(&mut self, now: Instant, gap: bool) -> Duration {
        if let Some((last, was_gap)) = self.last
            && (now.duration_since(last) > Self::QUIET || (gap && !was_gap))
        {
            self.backoff.reset();
        }
        self.last = Some((now, gap));
        self.backoff.pause()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16) -> Interruption {
        Interruption::Failed(kube::Error::Api(
            Status::failure("text", "x").with_code(code).boxed(),
        ))
    }

    #[test]
    fn a_list_is_due_when_the_version_has_expired_or_goes_back() {
        assert!(refused(410).is_gap() && Interruption::Restored.is_gap());
        let expired = Status::failure("text", "Expired").with_code(410).boxed();
        assert!(Interruption::Status(expired).is_gap());
        assert!(!refused(403).is_gap() && !refused(503).is_gap() && !Interruption::Dead.is_gap());
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_no_outage() {
        let error = serde_json::from_str::<u8>("x").expect_err("no number");
        let unreadable = Interruption::from(kube::Error::SerdeError(error));
        assert!(unreadable.is_gap());
        let mut reports = Reports::default();
        reports.report("services", &unreadable, Instant::now());
        // An outage has lines of its own, and leaves none here.
        assert!(reports.last.is_some());
    }

    #[test]
    fn the_same_error_is_reported_once_a_minute() {
        let (mut reports, now) = (Reports::default(), Instant::now());
        let due: Vec<u64> = (0..100)
            .filter(|n| reports.is_due(Some(403), now + Duration::from_secs(*n)))
            .collect();
        assert_eq!(due, [0, 60]);
        assert!(reports.is_due(Some(404), now + Duration::from_secs(100)));
    }

    #[test]
    fn retries_slow_down_to_five_seconds_and_start_over_after_a_quiet_time() {
        let mut retry = Retry::default();
        let mut now = Instant::now();
        let delays: Vec<Duration> = (0..10)
            .map(|_| {
                let delay = retry.after(now, false);
                now += delay;
                delay
            })
            .collect();
        assert_eq!(delays[0], Retry::FIRST);
        assert!(delays.is_sorted());
        assert_eq!(delays[9], Retry::LAST);
        assert_eq!(retry.after(now + Duration::from_secs(11), false), Retry::FIRST);
    }

    #[test]
    fn a_list_after_a_gap_is_not_delayed_by_earlier_failures_but_by_earlier_gaps() {
        let mut retry = Retry::default();
        let now = Instant::now();
        let delays = [false, false, false, true, true, true, false].map(|gap| retry.after(now, gap));
        assert_eq!(
            delays.map(|delay| delay.as_millis()),
            [200, 400, 800, 200, 400, 800, 1600]
        );
    }
}
