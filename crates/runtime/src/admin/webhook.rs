//! The server of an admission webhook. Its clients are API servers, but every Pod may reach the port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::server::Limits;
use super::tls::{Certificate, server_config};
use super::{MetricsArgs, everywhere, serve};

/// The longest request in bytes, with the object before and after a change. A pool with 1024 ranges takes a tenth of it; parsed, JSON
/// takes many times its size.
const LONGEST: usize = 1 << 20;
/// The bytes that the requests of all clients may take together.
const BUDGET: usize = 2 * LONGEST;
/// How long a request may take to arrive, and its answer to be found. An API server waits 2 s.
const TIMEOUT: Duration = Duration::from_secs(2);
/// API servers keep a connection for as long as they can; one that is closed while a request is on its way fails that request.
const LIMITS: Limits = Limits {
    connections: 32,
    header_time: Duration::from_secs(60),
    header_size: 16 * 1024,
    lifetime: Duration::from_secs(600),
    response_time: Duration::from_secs(10),
};

/// Answers the JSON of an AdmissionReview; `None` if it cannot yet.
pub type Review = Arc<dyn Fn(Vec<u8>) -> BoxFuture<'static, Option<Vec<u8>>> + Send + Sync>;

#[derive(Clone)]
struct Webhook {
    review: Review,
    budget: Arc<Semaphore>,
}

/// Serves reviews at `paths` over HTTPS, on a thread of its own. `args` says which versions and ciphers of TLS.
///
/// # Errors
/// When the port cannot be bound, or an option of TLS cannot be used.
pub async fn serve_webhook(
    port: u16,
    paths: &[&'static str],
    args: &MetricsArgs,
    certificate: Arc<Certificate>,
    review: Review,
) -> anyhow::Result<SocketAddr> {
    let (suites, curves) = (&args.tls_cipher_suites, &args.tls_curve_preferences);
    let tls = server_config(args.tls_min_version, suites, curves, certificate)?;
    let (router, tls) = (router(paths, review), Arc::new(tls).into());
    serve(
        "webhook-https",
        everywhere(port),
        router,
        "--webhook-port",
        LIMITS,
        Some(tls),
    )
    .await
}

fn router(paths: &[&'static str], review: Review) -> Router {
    let webhook = Webhook {
        review,
        budget: Arc::new(Semaphore::new(BUDGET)),
    };
    let router = paths
        .iter()
        .fold(Router::new(), |router, path| router.route(path, post(answer)));
    router.with_state(webhook)
}

async fn answer(State(webhook): State<Webhook>, headers: HeaderMap, body: Body) -> Response {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u32>().ok());
    let Some(length) = length else {
        return StatusCode::LENGTH_REQUIRED.into_response();
    };
    if length as usize > LONGEST {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    let reviewed = timeout(TIMEOUT, async {
        let _share = webhook.budget.acquire_many(length).await.ok()?;
        let request = to_bytes(body, LONGEST).await.ok()?;
        (webhook.review)(request.into()).await
    });
    match reviewed.await.ok().flatten() {
        Some(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    fn echo() -> Review {
        Arc::new(|request| Box::pin(async move { (!request.is_empty()).then_some(request) }))
    }

    async fn post_to(path: &str, length: Option<&str>, body: Body) -> StatusCode {
        let mut request = Request::post(path);
        if let Some(length) = length {
            request = request.header(header::CONTENT_LENGTH, length);
        }
        let service = TowerToHyperService::new(router(&["/validate"], echo()));
        let request = request.body(body).expect("a request");
        service.call(request).await.expect("infallible").status()
    }

    #[tokio::test]
    async fn only_requests_of_a_known_and_bounded_length_are_read() {
        let cases = [
            ("/validate", Some("1"), StatusCode::OK),
            ("/validate", None, StatusCode::LENGTH_REQUIRED),
            ("/validate", Some("-1"), StatusCode::LENGTH_REQUIRED),
            ("/validate", Some("1048577"), StatusCode::PAYLOAD_TOO_LARGE),
            ("/validate", Some("99999999999"), StatusCode::LENGTH_REQUIRED),
            ("/other", Some("1"), StatusCode::NOT_FOUND),
        ];
        for (path, length, expected) in cases {
            let status = post_to(path, length, Body::from("x")).await;
            assert_eq!(status, expected, "{path} {length:?}");
        }
        let status = post_to("/validate", Some("0"), Body::empty()).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "it cannot be answered");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_arrive_gives_its_share_back() {
        let never = || Body::from_stream(futures::stream::pending::<Result<Vec<u8>, axum::Error>>());
        let service = TowerToHyperService::new(router(&["/validate"], echo()));
        let request = |length: usize, body| {
            let request = Request::post("/validate").header(header::CONTENT_LENGTH, length);
            service.call(request.body(body).expect("a request"))
        };
        let slow = [request(LONGEST, never()), request(LONGEST, never())];
        let slow = futures::future::join_all(slow.map(tokio::spawn));
        tokio::task::yield_now().await;
        let late = request(1, Body::from("x")).await.expect("infallible");
        let slow = slow.await.into_iter().map(|response| {
            let response = response.expect("no panic").expect("infallible");
            response.status()
        });
        assert!(
            slow.into_iter()
                .all(|status| status == StatusCode::SERVICE_UNAVAILABLE)
        );
        // It waited for a share for as long as they did.
        assert!([StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&late.status()));
        let next = request(1, Body::from("x")).await.expect("infallible");
        assert_eq!(next.status(), StatusCode::OK);
    }
}
