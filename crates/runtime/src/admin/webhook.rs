//! The server of an admission webhook. Its clients are API servers, but every Pod may reach the port.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing;
use axum::{Extension, Router};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use prometheus::Registry;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::server::{Host, Limits};
use super::tls::{Certificate, server_config};
use super::{MetricsArgs, everywhere, expiry, serve};

/// The longest request in bytes, with the object before and after a change. A pool with 1024 ranges takes a tenth of it; parsed, JSON
/// takes many times its size. The requests of one host may take as much together.
const LONGEST: usize = 1 << 20;
/// The bytes that the requests of all clients may take together. Bytes count when they have arrived.
const BUDGET: usize = 8 * LONGEST;
/// How long the body of a request may take to arrive: an API server sends it at once.
const BODY_TIME: Duration = Duration::from_millis(500);
/// How long a request may take to arrive, and its answer to be found. An API server waits 2 s.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// API servers keep a connection for as long as they can; closing it while a request is on its way fails that request.
const LIMITS: Limits = Limits {
    connections: 32,
    header_time: Duration::from_secs(60),
    header_size: 16 * 1024,
    lifetime: Duration::from_secs(600),
    response_time: Duration::from_secs(10),
};

/// Answers the JSON of a review, such as an AdmissionReview.
pub type Review = Arc<dyn Fn(Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, ReviewError>> + Send + Sync>;

/// The reason why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReviewError {
    /// The request is no review, for this reason.
    Malformed(String),
    /// Not all objects are listed, or the program ends.
    Unavailable,
}

/// What the paths have in common.
#[derive(Clone)]
struct Webhook {
    budget: Arc<Semaphore>,
    /// What is left of the bytes of each host that has a request.
    hosts: Arc<Mutex<HashMap<Host, Weak<Semaphore>>>>,
}

/// Serves a review at each path over HTTPS, on a thread of its own. `args` says which versions and ciphers of TLS. The registry gets the
/// expiry of the certificate.
///
/// # Errors
/// When the port cannot be bound, an option of TLS cannot be used, or the registry has the metric.
pub async fn serve_webhook(
    port: u16,
    reviews: Vec<(&'static str, Review)>,
    args: &MetricsArgs,
    certificate: Arc<Certificate>,
    registry: &Registry,
) -> anyhow::Result<SocketAddr> {
    expiry::register(registry, "webhook", &certificate)?;
    let (suites, curves) = (&args.tls_cipher_suites, &args.tls_curve_preferences);
    let tls = server_config(args.tls_min_version, suites, curves, certificate)?;
    let (router, tls) = (router(reviews), Arc::new(tls).into());
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

fn router(reviews: Vec<(&'static str, Review)>) -> Router {
    let webhook = Webhook {
        budget: Arc::new(Semaphore::new(BUDGET)),
        hosts: Arc::default(),
    };
    let router = reviews.into_iter().fold(Router::new(), |router, (path, review)| {
        router.route(path, routing::post(answer).layer(Extension(review)))
    });
    router.with_state(webhook)
}

impl Webhook {
    /// Returns what is left of the bytes of `host`.
    fn share_of(&self, host: Host) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, share| share.strong_count() > 0);
        let known = hosts.get(&host).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let share = Arc::new(Semaphore::new(LONGEST));
            hosts.insert(host, Arc::downgrade(&share));
            share
        })
    }

    /// Reads a request of `length` bytes, and answers it.
    async fn answer(
        &self,
        review: &Review,
        host: Host,
        length: u32,
        body: Body,
    ) -> Result<Vec<u8>, ReviewError> {
        let share = self.share_of(host);
        let unavailable = |_| ReviewError::Unavailable;
        let _share = share.acquire_many(length).await.map_err(unavailable)?;
        let read = timeout(BODY_TIME, self.read(length as usize, body)).await;
        let (request, _taken) = read.ok().flatten().ok_or(ReviewError::Unavailable)?;
        review(request).await
    }

    /// Reads a body, and takes its bytes from the budget as they arrive.
    async fn read(&self, length: usize, body: Body) -> Option<(Vec<u8>, SemaphorePermit<'_>)> {
        let mut taken = self.budget.acquire_many(0).await.ok()?;
        let (mut request, mut data) = (Vec::new(), body.into_data_stream());
        while let Some(bytes) = data.next().await {
            let bytes = bytes.ok()?;
            if request.len() + bytes.len() > length {
                return None;
            }
            taken.merge(
                self.budget
                    .acquire_many(u32::try_from(bytes.len()).ok()?)
                    .await
                    .ok()?,
            );
            request.extend_from_slice(&bytes);
        }
        Some((request, taken))
    }
}

async fn answer(
    State(webhook): State<Webhook>,
    Extension(host): Extension<Host>,
    Extension(review): Extension<Review>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u32>().ok());
    let Some(length) = length else {
        return StatusCode::LENGTH_REQUIRED.into_response();
    };
    if length as usize > LONGEST {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    let reviewed = timeout(TIMEOUT, webhook.answer(&review, host, length, body)).await;
    match reviewed.unwrap_or(Err(ReviewError::Unavailable)) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(ReviewError::Malformed(reason)) => {
            let text = format!("not a review: {reason}");
            (StatusCode::BAD_REQUEST, text).into_response()
        }
        Err(ReviewError::Unavailable) => {
            let text = "reviews are not answered at the moment; try again later";
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use futures::FutureExt as _;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    type Service = TowerToHyperService<Router>;

    fn service() -> Service {
        let echo: Review = Arc::new(|request| {
            Box::pin(async move {
                match request.as_slice() {
                    b"malformed" => Err(ReviewError::Malformed("x".to_owned())),
                    b"early" => Err(ReviewError::Unavailable),
                    _ => Ok(request),
                }
            })
        });
        TowerToHyperService::new(router(vec![("/validate", echo)]))
    }

    async fn post(service: Service, host: u8, path: &str, length: Option<&str>, body: Body) -> StatusCode {
        let host = Host::of(IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)));
        let mut request = Request::post(path).extension(host);
        if let Some(length) = length {
            request = request.header(header::CONTENT_LENGTH, length);
        }
        let request = request.body(body).expect("a request");
        service.call(request).await.expect("infallible").status()
    }

    /// A request of the longest length of which all but the last byte arrives.
    async fn slow(service: Service, host: u8) -> StatusCode {
        let arrived = futures::stream::iter([Ok::<_, axum::Error>(vec![b'x'; LONGEST - 1])]);
        let body = Body::from_stream(arrived.chain(futures::stream::pending()));
        post(service, host, "/validate", Some(&LONGEST.to_string()), body).await
    }

    async fn quick(service: Service, host: u8) -> StatusCode {
        post(service, host, "/validate", Some("1"), Body::from("x")).await
    }

    #[tokio::test]
    async fn only_requests_of_a_known_and_bounded_length_are_read() {
        let cases = [
            ("/validate", Some("1"), "x", StatusCode::OK),
            ("/validate", None, "x", StatusCode::LENGTH_REQUIRED),
            ("/validate", Some("-1"), "x", StatusCode::LENGTH_REQUIRED),
            ("/validate", Some("1048577"), "x", StatusCode::PAYLOAD_TOO_LARGE),
            ("/validate", Some("99999999999"), "x", StatusCode::LENGTH_REQUIRED),
            ("/validate", Some("1"), "xx", StatusCode::SERVICE_UNAVAILABLE),
            ("/validate", Some("5"), "early", StatusCode::SERVICE_UNAVAILABLE),
            ("/validate", Some("9"), "malformed", StatusCode::BAD_REQUEST),
            ("/other", Some("1"), "x", StatusCode::NOT_FOUND),
        ];
        for (path, length, body, expected) in cases {
            let status = post(service(), 1, path, length, Body::from(body)).await;
            assert_eq!(status, expected, "{path} {length:?} {body}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_requests_stop_no_request_of_another_host() {
        let service = service();
        let all = (1..=7).map(|host| tokio::spawn(slow(service.clone(), host)));
        let all: Vec<_> = all.collect();
        tokio::task::yield_now().await;
        for host in [8, 9] {
            let status = quick(service.clone(), host).now_or_never();
            assert_eq!(status, Some(StatusCode::OK), "it waits for nothing");
        }
        for status in futures::future::join_all(all).await {
            assert_eq!(status.expect("no panic"), StatusCode::SERVICE_UNAVAILABLE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_arrive_gives_its_share_back() {
        let service = service();
        // More than the budget holds, and two of one host.
        let hosts = [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        let all = hosts.map(|host| tokio::spawn(slow(service.clone(), host)));
        tokio::task::yield_now().await;
        let late = tokio::spawn(quick(service.clone(), 1));
        for status in futures::future::join_all(all).await {
            assert_eq!(status.expect("no panic"), StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!(late.await.expect("no panic"), StatusCode::OK);
        assert_eq!(quick(service, 11).await, StatusCode::OK);
    }
}
