//! Network checks on request: `POST /checks`. The program decides what a check does; this is who may ask for one, and how often.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::info;

use super::review::{Reviewer, refusal_of};

/// The path of the checks, and the non-resource URL that a ClusterRole names.
pub(super) const CHECKS: &str = "/checks";
/// The longest request, in bytes: it has names of checks only.
const LONGEST: usize = 1024;
/// How long a request may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(5);
/// How long a run may take.
const RUN_TIME: Duration = Duration::from_secs(30);

/// Begins the checks that the JSON of a request names.
///
/// # Errors
/// What is wrong with the request.
pub type BeginChecks = Arc<dyn Fn(&[u8]) -> Result<ChecksRun, String> + Send + Sync>;

/// A run of checks.
pub struct ChecksRun {
    /// The names of the checks, for the log.
    pub checks: String,
    /// Makes the checks, and returns the JSON of their results; `None` if the program ends. Dropping it cancels the run.
    pub report: BoxFuture<'static, Option<Vec<u8>>>,
}

#[derive(Clone)]
struct CheckSource {
    begin: BeginChecks,
    /// One run at a time.
    turn: Arc<Mutex<()>>,
    reviewer: Option<Reviewer>,
}

pub(super) fn router(begin: BeginChecks, reviewer: Option<Reviewer>) -> Router {
    let turn = Arc::default();
    Router::new().route(CHECKS, post(checks)).with_state(CheckSource {
        begin,
        turn,
        reviewer,
    })
}

async fn checks(State(source): State<CheckSource>, headers: HeaderMap, body: Body) -> Response {
    if let Some(refusal) = refusal_of(source.reviewer.as_ref(), &headers, CHECKS).await {
        return refusal;
    }
    let Ok(body) = timeout(BODY_TIME, to_bytes(body, LONGEST)).await else {
        return (StatusCode::REQUEST_TIMEOUT, "the request is not complete\n").into_response();
    };
    let Ok(body) = body else {
        let text = format!("a request has {LONGEST} bytes at most\n");
        return (StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
    };
    let Ok(_turn) = source.turn.try_lock() else {
        let text = "checks are under way; try again when they have ended, 30 s later at most\n";
        return (StatusCode::CONFLICT, text).into_response();
    };
    let ChecksRun { checks, report } = match (source.begin)(&body) {
        Ok(run) => run,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let reviewer = source.reviewer.as_ref();
    let user = reviewer.and_then(|reviewer| reviewer.user_of(&headers, CHECKS));
    let user = user.as_deref().unwrap_or("unknown");
    info!(user, checks, "checking the network");
    match timeout(RUN_TIME, report).await {
        Ok(Some(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Ok(None) => (StatusCode::SERVICE_UNAVAILABLE, "the program ends\n").into_response(),
        Err(_) => {
            let text = "the checks have not ended within 30 s; /healthz says which thread hangs\n";
            (StatusCode::GATEWAY_TIMEOUT, text).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures::FutureExt as _;
    use tokio::sync::Notify;

    use super::*;

    fn source(begin: BeginChecks) -> CheckSource {
        CheckSource {
            begin,
            turn: Arc::default(),
            reviewer: None,
        }
    }

    async fn ask(source: &CheckSource, body: impl Into<Body>) -> (StatusCode, String) {
        let response = checks(State(source.clone()), HeaderMap::new(), body.into()).await;
        let status = response.status();
        let text = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        (status, String::from_utf8(text.to_vec()).expect("text"))
    }

    /// Takes the request "go" only.
    fn answering(
        report: impl Fn() -> BoxFuture<'static, Option<Vec<u8>>> + Send + Sync + 'static,
    ) -> BeginChecks {
        Arc::new(move |body| match body {
            b"go" => Ok(ChecksRun {
                checks: "Go".to_owned(),
                report: report(),
            }),
            _ => Err("write go".to_owned()),
        })
    }

    #[tokio::test]
    async fn a_request_is_answered_and_a_wrong_or_long_one_refused() {
        let source = source(answering(|| async { Some(b"{}".to_vec()) }.boxed()));
        assert_eq!(ask(&source, "go").await, (StatusCode::OK, "{}".to_owned()));
        let wrong = (StatusCode::BAD_REQUEST, "write go\n".to_owned());
        assert_eq!(ask(&source, "run").await, wrong);
        let (status, _) = ask(&source, "x".repeat(LONGEST + 1)).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn a_second_run_is_refused_until_the_first_has_ended_or_its_client_is_gone() {
        let ended = Arc::new(Notify::new());
        let signal = Arc::clone(&ended);
        let source = source(answering(move || {
            let signal = Arc::clone(&signal);
            async move {
                signal.notified().await;
                Some(Vec::new())
            }
            .boxed()
        }));
        let mut first = Box::pin(ask(&source, "go"));
        assert!(futures::poll!(first.as_mut()).is_pending());
        assert_eq!(ask(&source, "go").await.0, StatusCode::CONFLICT);
        ended.notify_one();
        assert_eq!(first.await.0, StatusCode::OK);
        let mut gone = Box::pin(ask(&source, "go"));
        assert!(futures::poll!(gone.as_mut()).is_pending());
        drop(gone);
        ended.notify_one();
        assert_eq!(ask(&source, "go").await.0, StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_hangs_or_a_request_that_never_ends_is_given_up() {
        let hanging = source(answering(|| pending().boxed()));
        assert_eq!(ask(&hanging, "go").await.0, StatusCode::GATEWAY_TIMEOUT);
        let endless = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        assert_eq!(ask(&hanging, endless).await.0, StatusCode::REQUEST_TIMEOUT);
    }
}
