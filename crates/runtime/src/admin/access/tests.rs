use proptest::prelude::*;

use super::*;

fn second(n: u64) -> Time {
    Time::since_zero(Duration::from_secs(n))
}

fn millisecond(n: u64) -> Time {
    Time::since_zero(Duration::from_millis(n))
}

fn metrics(token: &str) -> Question {
    Question::new(token, "/metrics")
}

#[test]
fn an_answer_counts_for_a_minute_and_for_its_page_only() {
    for verdict in [Verdict::Allowed, Verdict::Unauthenticated, Verdict::Forbidden] {
        let mut access = Access::default();
        assert_eq!(access.decide(metrics("a"), second(10)), AccessDecision::Review);
        let decision = access.handle_review(metrics("a"), Ok(verdict), second(11));
        assert_eq!(decision, AccessDecision::Answer(verdict));
        assert_eq!(
            access.decide(metrics("a"), second(70)),
            AccessDecision::Answer(verdict)
        );
        assert_eq!(access.decide(metrics("a"), second(71)), AccessDecision::Review);
        assert_eq!(access.decide(metrics("b"), second(20)), AccessDecision::Review);
        let state = Question::new("a", "/state");
        assert_eq!(access.decide(state, second(20)), AccessDecision::Review);
    }
}

#[test]
fn while_the_api_server_is_away_a_yes_counts_for_ten_minutes_more() {
    let mut access = Access::default();
    access.handle_review(metrics("yes"), Ok(Verdict::Allowed), second(0));
    access.handle_review(metrics("no"), Ok(Verdict::Forbidden), second(0));
    for (at, of_yes) in [
        (60, AccessDecision::Answer(Verdict::Allowed)),
        (659, AccessDecision::Answer(Verdict::Allowed)),
        (660, AccessDecision::Unavailable),
    ] {
        for (token, expected) in [
            ("yes", of_yes),
            ("no", AccessDecision::Unavailable),
            ("new", AccessDecision::Unavailable),
        ] {
            let mut access = Access {
                answers: access.answers.clone(),
                ..Access::default()
            };
            assert_eq!(access.decide(metrics(token), second(at)), AccessDecision::Review);
            let failed = access.handle_review(metrics(token), Err(ReviewFailed), second(at));
            assert_eq!(failed, expected, "{token} at {at}");
        }
    }
}

#[test]
fn an_api_server_that_failed_is_asked_again_after_a_second() {
    let mut access = Access::default();
    access.handle_review(metrics("yes"), Ok(Verdict::Allowed), second(0));
    access.handle_review(metrics("new"), Err(ReviewFailed), second(100));
    let later = second(100) + Duration::from_millis(999);
    assert_eq!(access.decide(metrics("new"), later), AccessDecision::Unavailable);
    assert_eq!(
        access.decide(metrics("yes"), later),
        AccessDecision::Answer(Verdict::Allowed)
    );
    assert_eq!(access.decide(metrics("new"), second(101)), AccessDecision::Review);
    assert_eq!(access.decide(metrics("yes"), second(101)), AccessDecision::Review);
}

#[test]
fn a_no_replaces_a_yes() {
    let mut access = Access::default();
    access.handle_review(metrics("a"), Ok(Verdict::Allowed), second(0));
    access.handle_review(metrics("a"), Ok(Verdict::Unauthenticated), second(60));
    let away = access.handle_review(metrics("a"), Err(ReviewFailed), second(120));
    assert_eq!(away, AccessDecision::Unavailable);
}

#[test]
fn a_flood_of_forged_tokens_refuses_no_token_that_was_allowed() {
    let mut access = Access::default();
    for token in ["yes", "another"] {
        access.handle_review(metrics(token), Ok(Verdict::Allowed), second(0));
    }
    let mut asked = 0;
    for n in 0..1000 {
        let forged = metrics(&n.to_string());
        match access.decide(forged, millisecond(60_000 + n)) {
            AccessDecision::Review => {
                asked += 1;
                access.handle_review(forged, Ok(Verdict::Unauthenticated), millisecond(60_000 + n));
            }
            AccessDecision::TooMany => {}
            decision @ (AccessDecision::Answer(_) | AccessDecision::Unavailable) => panic!("{decision:?}"),
        }
    }
    assert_eq!(asked, 3);
    assert_eq!(
        access.decide(metrics("yes"), millisecond(60_999)),
        AccessDecision::Review
    );
    let allowed = AccessDecision::Answer(Verdict::Allowed);
    assert_eq!(
        access.handle_review(metrics("yes"), Ok(Verdict::Allowed), millisecond(60_999)),
        allowed
    );
    assert_eq!(access.decide(metrics("another"), millisecond(60_999)), allowed);
}

#[test]
fn a_full_cache_loses_the_oldest_no() {
    let mut access = Access::default();
    for n in 0..ANSWERS as u64 {
        let verdict = if n < 2 {
            Verdict::Allowed
        } else {
            Verdict::Forbidden
        };
        access.handle_review(metrics(&n.to_string()), Ok(verdict), millisecond(n));
    }
    let now = millisecond(2000);
    access.handle_review(metrics("new"), Ok(Verdict::Forbidden), now);
    assert_eq!(access.answers.len(), ANSWERS);
    let is_kept = |n: u64| access.answers.contains_key(&metrics(&n.to_string()));
    assert_eq!([0, 1, 2, 3].map(is_kept), [true, true, false, true]);
    // An hour later none of them counts.
    access.handle_review(metrics("newer"), Ok(Verdict::Forbidden), second(3600));
    assert_eq!(access.answers.len(), 1);
}

/// What a client asks for: how long after the one before (ms), the token, whether the page is the state, and what the API server
/// would answer after some time (ms).
fn clients() -> impl Strategy<Value = Vec<(u64, u16, bool, Option<u8>, u64)>> {
    let pause = prop_oneof![9 => 0..400_u64, 1 => 0..700_000_u64];
    let client = (
        pause,
        0..40_u16,
        any::<bool>(),
        prop::option::weighted(0.8, 0..3_u8),
        0..400_u64,
    );
    prop::collection::vec(client, 1..400)
}

proptest! {
    #[test]
    fn five_requests_a_second_at_most_and_no_yes_without_a_recent_yes(clients in clients()) {
        let mut access = Access::default();
        let mut now = Time::ZERO;
        let mut requests: Vec<Time> = Vec::new();
        let mut reviews: Vec<(Question, Verdict, Time)> = Vec::new();
        for (pause, token, is_state, answer, takes) in clients {
            now = now + Duration::from_millis(pause);
            let path = if is_state { "/state" } else { "/metrics" };
            let question = Question::new(&token.to_string(), path);
            let mut decision = access.decide(question, now);
            if decision == AccessDecision::Review {
                requests.push(now);
                let result = match answer {
                    None => Err(ReviewFailed),
                    Some(0) => Ok(Verdict::Allowed),
                    Some(1) => Ok(Verdict::Forbidden),
                    Some(_) => Ok(Verdict::Unauthenticated),
                };
                now = now + Duration::from_millis(takes);
                if result != Ok(Verdict::Unauthenticated) {
                    requests.push(now);
                }
                if let Ok(verdict) = result {
                    reviews.push((question, verdict, now));
                }
                decision = access.handle_review(question, result, now);
            }
            if decision == AccessDecision::Answer(Verdict::Allowed) {
                let last = reviews.iter().rfind(|(asked, ..)| *asked == question);
                let (_, verdict, at) = last.expect("a yes was given before");
                prop_assert_eq!(*verdict, Verdict::Allowed);
                prop_assert!(now - *at < FRESH + GRACE);
            }
            prop_assert_ne!(decision, AccessDecision::Review);
            prop_assert!(access.answers.len() <= ANSWERS);
        }
        for window in requests.windows(REQUESTS + 1) {
            prop_assert!(window[REQUESTS] - window[0] >= SECOND);
        }
    }
}
