//! Who may read a page: a machine that decides when the API server is asked, and which of its answers still count.
//!
//! ```text
//!                 no token ─► Unauthenticated
//!   decide ──┬─── fresh answer ─► that answer
//!            ├─── API server failed a moment ago ─► an old yes, or Unavailable
//!            ├─── no review left in this second ─► TooMany
//!            └─── Review ─► handle_review ─► the answer; after a failure an old yes, or Unavailable
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use herald_core::Time;
use sha2::{Digest, Sha256};

/// Answers that are kept. Each token has one for each page that it was used for.
const ANSWERS: usize = 1024;
/// How long an answer counts: as long as kube-rbac-proxy and controller-runtime keep it.
const FRESH: Duration = Duration::from_secs(60);
/// How much longer a yes counts while the API server is away, so that the metrics of an outage are not lost.
const GRACE: Duration = Duration::from_secs(600);
/// Requests to the API server in any second. A review takes one for the token and one for the right.
const REQUESTS: usize = 5;
const REQUESTS_OF_A_REVIEW: usize = 2;
/// Requests that are set aside for tokens that were allowed before: a flood of forged tokens refuses none of them.
const SET_ASIDE: usize = 1;
const SECOND: Duration = Duration::from_secs(1);

/// A question for the API server: may the user of a token read a page? The token itself is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Question {
    token: [u8; 32],
    /// The non-resource URL of the page, as a ClusterRole names it.
    path: &'static str,
}

impl Question {
    pub(super) fn new(token: &str, path: &'static str) -> Self {
        Self {
            token: Sha256::digest(token).into(),
            path,
        }
    }
}

/// What the API server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    /// It does not know the token.
    Unauthenticated,
    /// It knows the token's user, and no role allows the page.
    Forbidden,
}

/// What a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccessDecision {
    Answer(Verdict),
    /// Ask the API server, then call [`Access::handle_review`].
    Review,
    /// The limit of reviews is reached.
    TooMany,
    /// The API server did not answer.
    Unavailable,
}

/// The API server could not be asked, or answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReviewFailed;

/// The answers so far.
#[derive(Debug, Default)]
pub(super) struct Access {
    answers: BTreeMap<Question, Answered>,
    /// The names of the users of the tokens, for logs.
    users: BTreeMap<Question, String>,
    /// When the last requests ended.
    requests: VecDeque<Time>,
    failed: Option<Time>,
}

#[derive(Debug, Clone, Copy)]
struct Answered {
    verdict: Verdict,
    at: Time,
}

impl Answered {
    fn is_fresh(&self, now: Time) -> bool {
        now - self.at < FRESH
    }

    /// Whether it counts while the API server is away.
    fn is_old_yes(&self, now: Time) -> bool {
        self.verdict == Verdict::Allowed && now - self.at < FRESH + GRACE
    }

    /// Whether it may still count later.
    fn is_useful(&self, now: Time) -> bool {
        self.is_fresh(now) || self.is_old_yes(now)
    }
}

impl Access {
    /// Decides on a question. One review at a time: after [`AccessDecision::Review`] the next call comes when
    /// [`Self::handle_review`] was called, or is about an answer that is known.
    pub(super) fn decide(&self, question: Question, now: Time) -> AccessDecision {
        let answered = self.answers.get(&question);
        if let Some(answered) = answered
            && answered.is_fresh(now)
        {
            return AccessDecision::Answer(answered.verdict);
        }
        // An API server that is away is not asked for each client: a request that it does not answer takes long.
        if self.failed.is_some_and(|failed| now - failed < SECOND) {
            return self.without_api_server(question, now);
        }
        let is_known = answered.is_some_and(|answered| answered.verdict == Verdict::Allowed);
        let set_aside = if is_known { 0 } else { SET_ASIDE };
        let made = self.requests.iter().filter(|end| now - **end < SECOND).count();
        if made + REQUESTS_OF_A_REVIEW + set_aside <= REQUESTS {
            AccessDecision::Review
        } else if is_known {
            self.without_api_server(question, now)
        } else {
            AccessDecision::TooMany
        }
    }

    /// Takes the result of a review that has ended.
    pub(super) fn handle_review(
        &mut self,
        question: Question,
        result: Result<Verdict, ReviewFailed>,
        now: Time,
    ) -> AccessDecision {
        // The right of an unknown user is not asked for.
        let is_one = result == Ok(Verdict::Unauthenticated);
        let made = if is_one { 1 } else { REQUESTS_OF_A_REVIEW };
        self.requests.extend(std::iter::repeat_n(now, made));
        let excess = self.requests.len().saturating_sub(REQUESTS);
        self.requests.drain(..excess);
        match result {
            Ok(verdict) => {
                self.failed = None;
                self.insert(question, Answered { verdict, at: now });
                AccessDecision::Answer(verdict)
            }
            Err(ReviewFailed) => {
                self.failed = Some(now);
                self.without_api_server(question, now)
            }
        }
    }

    /// Takes the name of the user of a token, as the review of the question gave it.
    pub(super) fn set_user(&mut self, question: Question, user: Option<String>) {
        if let Some(user) = user {
            self.users.insert(question, user);
        }
        let answers = &self.answers;
        self.users.retain(|question, _| answers.contains_key(question));
    }

    /// Returns the name of the user of a token that a question was answered for.
    pub(super) fn user(&self, question: Question) -> Option<&str> {
        self.users.get(&question).map(String::as_str)
    }

    /// Decides without asking: by an old yes.
    pub(super) fn without_api_server(&self, question: Question, now: Time) -> AccessDecision {
        let answered = self.answers.get(&question);
        match answered.filter(|answered| answered.is_old_yes(now)) {
            Some(answered) => AccessDecision::Answer(answered.verdict),
            None => AccessDecision::Unavailable,
        }
    }

    fn insert(&mut self, question: Question, answered: Answered) {
        if self.answers.len() >= ANSWERS {
            self.answers.retain(|_, other| other.is_useful(answered.at));
        }
        if self.answers.len() >= ANSWERS && !self.answers.contains_key(&question) {
            // A yes takes longer to lose its use than a no.
            let oldest = self
                .answers
                .iter()
                .min_by_key(|(_, other)| (other.verdict == Verdict::Allowed, other.at));
            if let Some(oldest) = oldest.map(|(question, _)| *question) {
                self.answers.remove(&oldest);
            }
        }
        self.answers.insert(question, answered);
    }
}

#[cfg(test)]
mod tests;
