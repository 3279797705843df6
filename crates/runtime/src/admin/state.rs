//! The state of a program over HTTP: what is on no object of the API server.
//!
//! The task that owns the state makes a copy of it and goes on; the thread of this server turns the copy into JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::page::Pages;
use super::review::{Reviewer, refusal_of};

/// The path of the state, and the non-resource URL that a ClusterRole names.
const STATE: &str = "/state";
/// The size of the JSON, in bytes.
const LIMIT: usize = 8_000_000;
/// The time that the owner of the state has for a copy. It comes round every second.
const TIMEOUT: Duration = Duration::from_secs(5);

/// From one copy to the next, so that clients take little of the owner's time.
const PAUSE: Duration = Duration::from_secs(1);

/// A request for the state.
pub type StateRequest = oneshot::Sender<RenderState>;

/// A copy of the state, which becomes JSON of so many bytes at most.
pub type RenderState = Box<dyn FnOnce(usize) -> serde_json::Result<Vec<u8>> + Send>;

#[derive(Clone)]
struct StateSource {
    /// One client at a time.
    owner: Arc<Mutex<Owner>>,
    reviewer: Option<Reviewer>,
    pages: Pages,
}

/// Whom to ask for the state.
struct Owner {
    requests: mpsc::Sender<StateRequest>,
    /// When the last copy was made.
    copied: Option<Instant>,
}

pub(super) fn router(
    requests: mpsc::Sender<StateRequest>,
    reviewer: Option<Reviewer>,
    pages: Pages,
) -> Router {
    let copied = None;
    let owner = Arc::new(Mutex::new(Owner { requests, copied }));
    Router::new().route(STATE, get(state)).with_state(StateSource {
        owner,
        reviewer,
        pages,
    })
}

async fn state(State(source): State<StateSource>, headers: HeaderMap) -> Response {
    if let Some(refusal) = refusal_of(source.reviewer.as_ref(), &headers, STATE).await {
        return refusal;
    }
    let json = {
        let mut owner = source.owner.lock().await;
        if let Some(copied) = owner.copied {
            sleep_until(copied + PAUSE).await;
        }
        let copy = timeout(TIMEOUT, copy(&owner.requests)).await.ok().flatten();
        owner.copied = Some(Instant::now());
        drop(owner);
        copy.map(|render| render(LIMIT))
    };
    match json {
        Some(Ok(json)) => {
            let headers = [
                (header::CONTENT_TYPE, "application/json".to_owned()),
                (header::CONTENT_LENGTH, json.len().to_string()),
            ];
            (headers, Body::from_stream(source.pages.add(json))).into_response()
        }
        Some(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        None => {
            let text = "the program does not answer; /healthz says which thread hangs\n";
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

async fn copy(requests: &mpsc::Sender<StateRequest>) -> Option<RenderState> {
    let (answer, copy) = oneshot::channel();
    requests.send(answer).await.ok()?;
    copy.await.ok()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn ask(requests: mpsc::Sender<StateRequest>) -> (StatusCode, Vec<u8>) {
        let source = StateSource {
            owner: Arc::new(Mutex::new(Owner {
                requests,
                copied: None,
            })),
            reviewer: None,
            pages: Pages::default(),
        };
        let response = state(State(source), HeaderMap::new()).await;
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        (status, body.to_vec())
    }

    #[tokio::test]
    async fn the_owner_of_the_state_is_asked_and_told_the_limit() {
        let (requests, mut received) = mpsc::channel::<StateRequest>(1);
        tokio::spawn(async move {
            let request = received.recv().await.expect("a request");
            let render: RenderState = Box::new(|limit| serde_json::to_vec(&limit));
            request.send(render).map_err(drop).expect("it is awaited");
        });
        let limit = LIMIT.to_string().into_bytes();
        assert_eq!(ask(requests).await, (StatusCode::OK, limit));
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_that_hangs_is_no_hanging_response() {
        let (requests, _received) = mpsc::channel(1);
        let (status, text) = ask(requests).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(String::from_utf8_lossy(&text).contains("/healthz"));
    }
}
