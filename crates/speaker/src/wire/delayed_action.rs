//! An action that is done later, once for all requests until then.

use std::time::Duration;

use herald_core::Time;

/// When the action is due. The first request starts the delay; further requests do not change it.
#[derive(Debug)]
pub(super) struct DelayedAction {
    delay: Duration,
    due: Option<Time>,
}

impl DelayedAction {
    pub(super) const fn new(delay: Duration) -> Self {
        let due = None;
        Self { delay, due }
    }

    /// Requests the action.
    pub(super) fn request(&mut self, now: Time) {
        self.due.get_or_insert_with(|| now + self.delay);
    }

    /// Requests the action without the delay.
    pub(super) const fn request_at_once(&mut self, now: Time) {
        self.due = Some(now);
    }

    /// Cancels the request, because the action has just been done.
    pub(super) const fn cancel(&mut self) {
        self.due = None;
    }

    /// Returns whether the action is due. It is then no longer requested.
    pub(super) fn poll(&mut self, now: Time) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }

    /// When the action is due.
    pub(super) const fn poll_timeout(&self) -> Option<Time> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use herald_fixtures::at;

    use super::*;

    const DELAY: Duration = Duration::from_millis(200);

    #[test]
    fn requests_until_the_action_is_due_are_one_and_do_not_put_it_off() {
        let mut action = DelayedAction::new(DELAY);
        assert!(!action.poll(at(1000)));
        action.request(at(1000));
        action.request(at(1100));
        assert_eq!(action.poll_timeout(), Some(at(1200)));
        assert!(!action.poll(at(1199)));
        assert!(action.poll(at(1200)));
        assert!(!action.poll(at(1200)));
        assert_eq!(action.poll_timeout(), None);
    }

    #[test]
    fn a_request_at_once_does_not_wait_for_the_delay_of_an_earlier_one() {
        let mut action = DelayedAction::new(DELAY);
        action.request(at(1000));
        action.request_at_once(at(1100));
        action.request(at(1100));
        assert!(action.poll(at(1100)));
        assert_eq!(action.poll_timeout(), None);
    }

    #[test]
    fn a_request_after_a_cancelled_one_waits_the_whole_delay() {
        let mut action = DelayedAction::new(DELAY);
        action.request(at(0));
        action.cancel();
        assert!(!action.poll(at(1000)));
        action.request(at(1000));
        assert_eq!(action.poll_timeout(), Some(at(1200)));
    }
}
