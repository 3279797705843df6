//! Asks the API server who a client is, and whether it may read a page.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use herald_core::Time;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::runtime::Handle;
use tokio::sync::Mutex as Turn;
use tokio::time::timeout;
use tracing::warn;

use super::access::{Access, AccessDecision, Question, ReviewFailed, Verdict};
use super::checks::CHECKS;
use crate::client::is_away;
use crate::clock;
use crate::log::shorten;

/// The time that the API server has for each of the two requests of a review. A scrape takes 10 s at most by default.
const TIMEOUT: Duration = Duration::from_secs(3);
/// From one line about a failed review to the next.
const REMINDER: Duration = Duration::from_secs(60);

/// The bytes of the name of a user that are logged.
const LONGEST_NAME: usize = 256;

/// The audience of tokens for the programs of Herald, which the API server itself does not accept: who gets to see such a token cannot
/// use it elsewhere.
const AUDIENCE: &str = "herald-speaker";

/// Decides which clients may read a page or ask for checks, by TokenReview and SubjectAccessReview. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reviewer(Arc<Shared>);

struct Shared {
    client: Client,
    /// Runs the requests. They go on when a client does not wait for them, so that each of them counts.
    runtime: Handle,
    access: Mutex<Access>,
    /// Whose turn it is to ask the API server, and the time of the last line about a failure.
    turn: Arc<Turn<Option<Instant>>>,
}

/// Returns the response for a client that may not read the page. Without a reviewer every client may.
pub(super) async fn refusal_of(
    reviewer: Option<&Reviewer>,
    headers: &HeaderMap,
    path: &'static str,
) -> Option<Response> {
    reviewer?.refuse(headers, path).await
}

impl Reviewer {
    /// Returns a reviewer whose requests are made by the calling runtime.
    pub(super) fn new(client: Client) -> Self {
        Self(Arc::new(Shared {
            client,
            runtime: Handle::current(),
            access: Mutex::default(),
            turn: Arc::default(),
        }))
    }

    /// Returns the response for a client that may not read the page.
    pub(super) async fn refuse(&self, headers: &HeaderMap, path: &'static str) -> Option<Response> {
        let decision = match bearer_token(headers) {
            Some(token) => self.decide(token, path).await,
            None => AccessDecision::Answer(Verdict::Unauthenticated),
        };
        refusal(decision, path)
    }

    async fn decide(&self, token: &str, path: &'static str) -> AccessDecision {
        let question = Question::new(token, path);
        let known = self.with(|access, now| access.decide(question, now));
        if known != AccessDecision::Review {
            return known;
        }
        // The reviews of other clients may take long.
        let Ok(mut turn) = timeout(TIMEOUT, Arc::clone(&self.0.turn).lock_owned()).await else {
            return self.with(|access, now| access.without_api_server(question, now));
        };
        // The client before may have had the same question.
        let decision = self.with(|access, now| access.decide(question, now));
        if decision != AccessDecision::Review {
            return decision;
        }
        let (this, token) = (self.clone(), token.to_owned());
        let review = self.0.runtime.spawn(async move {
            let result = review(&this.0.client, token, path).await;
            if let Err(error) = &result
                && !is_away()
                && turn.is_none_or(|last| last.elapsed() >= REMINDER)
            {
                *turn = Some(Instant::now());
                warn!("clients of {} cannot be authorized: {error:#}", path);
            }
            let (result, user) = match result {
                Ok((verdict, user)) => (Ok(verdict), user),
                Err(_) => (Err(ReviewFailed), None),
            };
            this.with(|access, now| {
                let decision = access.handle_review(question, result, now);
                access.set_user(question, user);
                decision
            })
        });
        // The task ends early only with the program.
        review.await.unwrap_or(AccessDecision::Unavailable)
    }

    /// Returns the name of the user whose token may have the page, as the API server said.
    pub(super) fn user_of(&self, headers: &HeaderMap, path: &'static str) -> Option<String> {
        let question = Question::new(bearer_token(headers)?, path);
        self.with(|access, _| access.user(question).map(str::to_owned))
    }

    fn with<T>(&self, action: impl FnOnce(&mut Access, Time) -> T) -> T {
        let mut access = self.0.access.lock().unwrap_or_else(PoisonError::into_inner);
        action(&mut access, Time::since_zero(clock::uptime()))
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn refusal(decision: AccessDecision, path: &'static str) -> Option<Response> {
    let (status, text) = match decision {
        AccessDecision::Answer(Verdict::Allowed) => return None,
        AccessDecision::Answer(Verdict::Unauthenticated) => (
            StatusCode::UNAUTHORIZED,
            "send a token that the API server accepts: Authorization: Bearer TOKEN\n".to_owned(),
        ),
        AccessDecision::Answer(Verdict::Forbidden) => (
            StatusCode::FORBIDDEN,
            format!(
                "no ClusterRole allows the user of this token the verb {} on the nonResourceURL {path}\n",
                verb_of(path)
            ),
        ),
        AccessDecision::TooMany => (
            StatusCode::TOO_MANY_REQUESTS,
            "too many unknown tokens; try again in a second\n".to_owned(),
        ),
        AccessDecision::Review | AccessDecision::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the API server does not review tokens at the moment; try again later\n".to_owned(),
        ),
    };
    let mut response = (status, text).into_response();
    let header = match status {
        StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
        StatusCode::TOO_MANY_REQUESTS => Some((header::RETRY_AFTER, "1")),
        _ => None,
    };
    if let Some((name, value)) = header {
        response
            .headers_mut()
            .insert(name, axum::http::HeaderValue::from_static(value));
    }
    Some(response)
}

/// The verb on a non-resource URL that a ClusterRole names. Each path has one.
fn verb_of(path: &str) -> &'static str {
    if path == CHECKS { "post" } else { "get" }
}

/// Asks the API server for the user of a token, then for the right of that user. Returns the name of the user, too.
async fn review(
    client: &Client,
    token: String,
    path: &'static str,
) -> anyhow::Result<(Verdict, Option<String>)> {
    let audiences = is_for_programs(&token).then(|| vec![AUDIENCE.to_owned()]);
    let question = TokenReview {
        spec: TokenReviewSpec {
            token,
            audiences: audiences.clone(),
        },
        ..TokenReview::default()
    };
    let answer = create(client, &question).await.context("TokenReview")?;
    let status = answer.status.unwrap_or_default();
    // An API server that knows no audiences confirms none.
    let is_confirmed = audiences.is_none() || status.audiences == audiences;
    let is_known = status.authenticated == Some(true) && is_confirmed;
    let Some(user) = status.user.filter(|_| is_known) else {
        return Ok((Verdict::Unauthenticated, None));
    };
    let name = user.username.as_deref().map(|name| shorten(name, LONGEST_NAME));
    let answer = create(client, &right_of(user, path)).await;
    let status = answer.context("SubjectAccessReview")?.status.unwrap_or_default();
    let verdict = if status.allowed {
        Verdict::Allowed
    } else {
        Verdict::Forbidden
    };
    Ok((verdict, name))
}

/// Whether a token (RFC 7519) says that it is for the programs of Herald. The API server checks whether that is true.
fn is_for_programs(token: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct TokenClaims {
        #[serde(default)]
        aud: Audiences,
    }
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Audiences {
        One(String),
        Many(Vec<String>),
    }
    impl Default for Audiences {
        fn default() -> Self {
            Self::Many(Vec::new())
        }
    }
    let claims = token
        .split('.')
        .nth(1)
        .and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = claims.and_then(|json| serde_json::from_slice::<TokenClaims>(&json).ok());
    claims.is_some_and(|claims| match claims.aud {
        Audiences::One(audience) => audience == AUDIENCE,
        Audiences::Many(audiences) => audiences.iter().any(|audience| audience == AUDIENCE),
    })
}

fn right_of(user: UserInfo, path: &'static str) -> SubjectAccessReview {
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username,
            groups: user.groups,
            uid: user.uid,
            extra: user.extra,
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some(path.to_owned()),
                verb: Some(verb_of(path).to_owned()),
            }),
            resource_attributes: None,
        },
        ..SubjectAccessReview::default()
    }
}

async fn create<K>(client: &Client, question: &K) -> anyhow::Result<K>
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let reviews = Api::<K>::all(client.clone());
    let params = PostParams::default();
    let answer = timeout(TIMEOUT, reviews.create(&params, question)).await;
    Ok(answer.context("the API server does not answer")??)
}

#[cfg(test)]
mod tests;
