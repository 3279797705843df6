//! Candidates for one Lease: single steps, then a simulation with losses, delays and pauses.

use super::*;

mod sim;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn candidate(identity: &str) -> LeaseCandidate {
    LeaseCandidate::new(identity, Timing::default())
}

fn record(holder: &str, version: &str) -> LeaseRecord {
    LeaseRecord {
        spec: LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            acquire_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
            ..LeaseSpec::default()
        },
        version: version.to_owned(),
    }
}

/// Polls and expects an attempt.
fn attempts(candidate: &mut LeaseCandidate, now: Duration) -> Attempt {
    match candidate.poll(now, Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(9)) {
        CandidateStep::Attempt(wanted) => wanted,
        CandidateStep::Wait(until) => panic!("it waits until {until:?}"),
    }
}

fn waits(candidate: &mut LeaseCandidate, now: Duration) -> Option<Duration> {
    match candidate.poll(now, Timestamp::UNIX_EPOCH) {
        CandidateStep::Wait(until) => until,
        CandidateStep::Attempt(wanted) => panic!("it attempts {wanted:?}"),
    }
}

/// The API server accepts the attempt.
fn succeed(candidate: &mut LeaseCandidate, wanted: Attempt, version: &str, now: Duration) {
    let record = LeaseRecord {
        spec: wanted.spec,
        version: version.to_owned(),
    };
    candidate.handle_result(AttemptResult::Written(record), now);
}

/// A candidate that created the Lease at `now`; its version is 1.
fn holder(identity: &str, now: Duration) -> LeaseCandidate {
    let mut candidate = candidate(identity);
    candidate.handle_listed(None, now);
    let wanted = attempts(&mut candidate, now);
    succeed(&mut candidate, wanted, "1", now);
    candidate
}

#[test]
fn there_is_no_attempt_before_the_lease_was_listed() {
    assert_eq!(waits(&mut candidate("a"), at(100)), None);
}

#[test]
fn an_absent_lease_is_created_and_then_renewed_on_the_version_written() {
    let mut a = candidate("a");
    a.handle_listed(None, at(10));
    let create = attempts(&mut a, at(10));
    assert_eq!(
        (create.version.as_deref(), create.spec.lease_transitions),
        (None, Some(0))
    );
    assert_eq!(a.held_until(), None);
    succeed(&mut a, create, "1", at(11));
    // From when the request was sent, not from when the answer came.
    assert_eq!(a.held_until(), Some(at(20)));
    assert_eq!(waits(&mut a, at(11)), Some(at(12)));
    let renewal = attempts(&mut a, at(12));
    assert_eq!(renewal.version.as_deref(), Some("1"));
    assert_eq!(renewal.spec.lease_transitions, Some(0));
    assert_eq!(waits(&mut a, at(12)), Some(at(20)));
}

#[test]
fn the_lease_of_another_holder_is_taken_when_it_was_not_renewed_for_its_duration() {
    let mut b = candidate("b");
    b.handle_listed(Some(record("a", "1")), at(0));
    assert_eq!(b.other_holder(), Some("a"));
    assert_eq!(waits(&mut b, at(1)), Some(at(15)));
    b.handle_shown(Some(record("a", "2")), at(10));
    b.handle_shown(Some(record("a", "1")), at(12));
    b.handle_shown(Some(record("a", "2")), at(13));
    assert_eq!(waits(&mut b, at(15)), Some(at(25)));
    let wanted = attempts(&mut b, at(25));
    assert_eq!(wanted.version.as_deref(), Some("2"));
    assert_eq!(wanted.spec.holder_identity.as_deref(), Some("b"));
    assert_eq!(wanted.spec.lease_transitions, Some(4));
    assert_ne!(wanted.spec.acquire_time, Some(MicroTime(Timestamp::UNIX_EPOCH)));
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let mut b = candidate("b");
    b.handle_listed(Some(record("a", "1")), at(0));
    b.handle_shown(Some(record("", "2")), at(3));
    assert_eq!(attempts(&mut b, at(3)).version.as_deref(), Some("2"));
}

#[test]
fn a_restarted_holder_renews_at_once_and_does_not_rely_on_the_lease_before() {
    let mut a = candidate("a");
    a.handle_listed(Some(record("a", "7")), at(0));
    assert_eq!(a.held_until(), None);
    let renewal = attempts(&mut a, at(0));
    assert_eq!(renewal.spec.lease_transitions, Some(3));
    assert_eq!(renewal.spec.acquire_time, Some(MicroTime(Timestamp::UNIX_EPOCH)));
    succeed(&mut a, renewal, "8", at(0));
    assert_eq!(a.held_until(), Some(at(10)));
}

#[test]
fn renewals_that_fail_are_repeated_until_the_deadline_and_then_the_lease_is_lost() {
    let mut a = holder("a", at(0));
    for second in [2, 4, 6, 8] {
        attempts(&mut a, at(second));
        a.handle_result(AttemptResult::Failed, at(second));
        assert_eq!(a.held_until(), Some(at(10)));
    }
    assert_eq!(waits(&mut a, at(9)), Some(at(10)));
    attempts(&mut a, at(10));
    assert_eq!(a.held_until(), None);
}

#[test]
fn an_attempt_without_an_answer_does_not_keep_the_lease() {
    let mut a = holder("a", at(0));
    attempts(&mut a, at(2));
    assert_eq!(waits(&mut a, at(9)), Some(at(10)));
    assert_eq!(waits(&mut a, at(10)), None);
    assert_eq!(a.held_until(), None);
}

#[test]
fn a_holder_that_sees_another_holder_does_not_rely_on_the_lease() {
    let mut a = holder("a", at(0));
    a.handle_shown(Some(record("b", "2")), at(1));
    assert_eq!((a.held_until(), a.other_holder()), (None, Some("b")));
    let mut a = holder("a", at(0));
    a.handle_listed(Some(record("b", "2")), at(1));
    assert_eq!(a.held_until(), None);
}

#[test]
fn a_success_after_a_newer_version_of_another_holder_was_shown_is_ignored() {
    let mut a = holder("a", at(0));
    let renewal = attempts(&mut a, at(2));
    a.handle_shown(Some(record("b", "3")), at(3));
    succeed(&mut a, renewal, "2", at(4));
    assert_eq!((a.held_until(), a.other_holder()), (None, Some("b")));
}

#[test]
fn a_lease_that_a_user_edits_or_deletes_is_renewed_on_its_present_version() {
    let mut a = holder("a", at(0));
    attempts(&mut a, at(2));
    a.handle_result(AttemptResult::Outdated(Some(record("a", "3"))), at(2));
    a.handle_shown(Some(record("a", "5")), at(3));
    assert_eq!(attempts(&mut a, at(3)).version.as_deref(), Some("5"));
    a.handle_result(AttemptResult::Outdated(Some(record("a", "5"))), at(3));
    a.handle_shown(None, at(4));
    // Another candidate may create it meanwhile.
    assert_eq!(a.held_until(), None);
    let create = attempts(&mut a, at(4));
    assert_eq!(create.version, None);
    succeed(&mut a, create, "7", at(4));
    assert_eq!(a.held_until(), Some(at(14)));
}

#[test]
fn a_holder_renews_the_older_version_of_an_api_server_that_was_restored() {
    let mut a = candidate("a");
    a.handle_listed(Some(record("a", "1000")), at(0));
    let renewal = attempts(&mut a, at(0));
    succeed(&mut a, renewal, "1001", at(0));
    // The watch says nothing: the versions have not come so far again.
    attempts(&mut a, at(2));
    a.handle_result(AttemptResult::Outdated(Some(record("a", "7"))), at(2));
    assert_eq!(attempts(&mut a, at(2)).version.as_deref(), Some("7"));
    assert_eq!(a.held_until(), Some(at(10)));
    // Without the Lease in the backup it creates one.
    a.handle_result(AttemptResult::Outdated(None), at(2));
    assert_eq!(attempts(&mut a, at(2)).version, None);
}

#[test]
fn a_standby_takes_an_older_version_of_the_lease_when_its_attempt_shows_it() {
    let mut b = candidate("b");
    b.handle_listed(Some(record("a", "1000")), at(0));
    attempts(&mut b, at(15));
    // The holder renews on; its Lease has to be seen unchanged for its duration.
    b.handle_result(AttemptResult::Outdated(Some(record("a", "9"))), at(15));
    assert_eq!(waits(&mut b, at(16)), Some(at(30)));
    assert_eq!(attempts(&mut b, at(30)).version.as_deref(), Some("9"));
    // What the watch has shown meanwhile is newer.
    b.handle_shown(Some(record("", "11")), at(30));
    b.handle_result(AttemptResult::Outdated(Some(record("c", "10"))), at(31));
    assert_eq!(attempts(&mut b, at(33)).version.as_deref(), Some("11"));
}

#[test]
fn resigning_writes_only_if_the_lease_is_held() {
    assert_eq!(candidate("b").resign(at(0), Timestamp::UNIX_EPOCH), None);
    let mut late = holder("a", at(0));
    assert_eq!(late.resign(at(10), Timestamp::UNIX_EPOCH), None);
    let mut a = holder("a", at(0));
    let release = a.resign(at(1), Timestamp::UNIX_EPOCH).expect("it is held");
    assert_eq!(release.version.as_deref(), Some("1"));
    assert_eq!(release.spec.holder_identity.as_deref(), Some(""));
    assert_eq!(a.held_until(), None);
}
