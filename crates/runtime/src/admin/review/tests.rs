use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::extract::{Json, State};
use axum::http::HeaderValue;
use axum::routing::post;
use axum::{Router, body};
use serde_json::{Value, json};

use super::*;

/// The reviews of an API server that knows the tokens `scraper`, `doctor` and `other`. The first may get /metrics, the second may post
/// to /checks.
#[derive(Clone, Default)]
struct Reviews {
    is_away: Arc<AtomicBool>,
    tokens: Arc<AtomicUsize>,
}

impl Reviews {
    fn client(&self) -> Client {
        let router = Router::new()
            .route("/apis/authentication.k8s.io/v1/tokenreviews", post(token_review))
            .route(
                "/apis/authorization.k8s.io/v1/subjectaccessreviews",
                post(access_review),
            );
        Client::new(router.with_state(self.clone()), "default")
    }
}

async fn token_review(State(reviews): State<Reviews>, Json(review): Json<Value>) -> Response {
    reviews.tokens.fetch_add(1, Ordering::SeqCst);
    if reviews.is_away.load(Ordering::SeqCst) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let status = match review["spec"]["token"].as_str() {
        // This API server knows the audience.
        Some(token) if token.starts_with("e30.") => {
            let audiences = &review["spec"]["audiences"];
            json!({
                "authenticated": *audiences == json!(["herald-speaker"]) && !token.ends_with("forged"),
                "audiences": if token.ends_with("unaware") { &Value::Null } else { audiences },
                "user": {"username": "scraper", "uid": "7", "groups": ["g"], "extra": {"e": ["x"]}},
            })
        }
        Some(token @ ("scraper" | "doctor" | "other")) => json!({
            "authenticated": true,
            "user": {"username": token, "uid": "7", "groups": ["g"], "extra": {"e": ["x"]}},
        }),
        Some(_) | None => json!({"authenticated": false, "error": "unknown"}),
    };
    let answer = json!({"metadata": {}, "spec": review["spec"], "status": status});
    (StatusCode::CREATED, Json(answer)).into_response()
}

async fn access_review(Json(review): Json<Value>) -> Response {
    let right = |user: &str, verb: &str, path: &str| {
        json!({
            "user": user, "uid": "7", "groups": ["g"], "extra": {"e": ["x"]},
            "nonResourceAttributes": {"path": path, "verb": verb},
        })
    };
    let rights = [
        right("scraper", "get", "/metrics"),
        right("doctor", "post", "/checks"),
    ];
    let allowed = rights.contains(&review["spec"]);
    let answer = json!({"metadata": {}, "spec": review["spec"], "status": {"allowed": allowed}});
    (StatusCode::CREATED, Json(answer)).into_response()
}

async fn ask(reviewer: &Reviewer, authorization: Option<&str>, path: &'static str) -> (StatusCode, String) {
    let mut headers = HeaderMap::new();
    if let Some(value) = authorization {
        headers.insert(
            header::AUTHORIZATION,
            HeaderValue::from_str(value).expect("a header"),
        );
    }
    let Some(refusal) = reviewer.refuse(&headers, path).await else {
        return (StatusCode::OK, String::new());
    };
    let status = refusal.status();
    let text = body::to_bytes(refusal.into_body(), 1024)
        .await
        .expect("a short text");
    (status, String::from_utf8(text.to_vec()).expect("text"))
}

#[tokio::test]
async fn a_token_for_the_programs_is_reviewed_for_their_audience() {
    // {} . {"aud":["herald-speaker"]} . a signature, then the same with "aud" as a text, and with another audience.
    let many = "e30.eyJhdWQiOlsiaGVyYWxkLXNwZWFrZXIiXX0";
    let one = "e30.eyJhdWQiOiJoZXJhbGQtc3BlYWtlciJ9";
    let other = "e30.eyJhdWQiOlsib3RoZXIiXX0";
    let reviewer = Reviewer::new(Reviews::default().client());
    for (claims, signature, status) in [
        (many, "x", StatusCode::OK),
        (one, "x", StatusCode::OK),
        (other, "x", StatusCode::UNAUTHORIZED),
        (many, "forged", StatusCode::UNAUTHORIZED),
        (many, "unaware", StatusCode::UNAUTHORIZED),
        ("e30.!", "x", StatusCode::UNAUTHORIZED),
    ] {
        let authorization = format!("Bearer {claims}.{signature}");
        // The limit of reviews in a second concerns unknown tokens.
        let answer = loop {
            let (answer, _) = ask(&reviewer, Some(&authorization), "/metrics").await;
            if answer != StatusCode::TOO_MANY_REQUESTS {
                break answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert_eq!(answer, status, "{claims} {signature}");
    }
}

#[tokio::test]
async fn only_a_token_with_the_right_reads_the_page() {
    for (authorization, path, status, word) in [
        (Some("Bearer scraper"), "/metrics", StatusCode::OK, ""),
        (Some("bearer  scraper"), "/metrics", StatusCode::OK, ""),
        (Some("Bearer scraper"), "/state", StatusCode::FORBIDDEN, "/state"),
        (
            Some("Bearer other"),
            "/metrics",
            StatusCode::FORBIDDEN,
            "nonResourceURL /metrics",
        ),
        (
            Some("Bearer forged"),
            "/metrics",
            StatusCode::UNAUTHORIZED,
            "token",
        ),
        (Some("Bearer "), "/metrics", StatusCode::UNAUTHORIZED, "token"),
        (
            Some("Basic scraper"),
            "/metrics",
            StatusCode::UNAUTHORIZED,
            "token",
        ),
        (None, "/metrics", StatusCode::UNAUTHORIZED, "token"),
        (Some("Bearer doctor"), "/checks", StatusCode::OK, ""),
        (
            Some("Bearer scraper"),
            "/checks",
            StatusCode::FORBIDDEN,
            "verb post on the nonResourceURL /checks",
        ),
    ] {
        let reviewer = Reviewer::new(Reviews::default().client());
        let (found, text) = ask(&reviewer, authorization, path).await;
        assert_eq!(found, status, "{authorization:?} {path}");
        assert!(text.contains(word), "{text}");
        assert!(!text.contains("scraper"), "the token is not repeated: {text}");
    }
}

#[tokio::test]
async fn the_name_of_the_user_is_known_after_the_review() {
    let reviewer = Reviewer::new(Reviews::default().client());
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer doctor"));
    assert_eq!(reviewer.user_of(&headers, "/checks"), None);
    assert!(reviewer.refuse(&headers, "/checks").await.is_none());
    assert_eq!(reviewer.user_of(&headers, "/checks").as_deref(), Some("doctor"));
    headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer other"));
    assert_eq!(reviewer.user_of(&headers, "/checks"), None);
}

#[tokio::test]
async fn a_known_token_is_not_reviewed_again_and_an_unknown_one_not_without_limit() {
    let reviews = Reviews::default();
    let reviewer = Reviewer::new(reviews.client());
    let all = (0..50).map(|_| ask(&reviewer, Some("Bearer scraper"), "/metrics"));
    for (status, _) in futures::future::join_all(all).await {
        assert_eq!(status, StatusCode::OK);
    }
    assert_eq!(reviews.tokens.load(Ordering::SeqCst), 1);
    let mut too_many = 0;
    for n in 0..50 {
        let (status, text) = ask(&reviewer, Some(&format!("Bearer {n}")), "/metrics").await;
        if status == StatusCode::TOO_MANY_REQUESTS {
            assert!(text.contains("try again"), "{text}");
            too_many += 1;
        } else {
            assert_eq!(status, StatusCode::UNAUTHORIZED);
        }
    }
    assert_eq!(reviews.tokens.load(Ordering::SeqCst) + too_many, 51);
    assert!(too_many > 0);
}

#[tokio::test]
async fn an_api_server_that_fails_is_named() {
    let reviews = Reviews::default();
    reviews.is_away.store(true, Ordering::SeqCst);
    let (status, text) = ask(
        &Reviewer::new(reviews.client()),
        Some("Bearer scraper"),
        "/metrics",
    )
    .await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("API server"), "{text}");
}

#[tokio::test]
async fn a_review_counts_although_its_client_is_gone() {
    let reviews = Reviews::default();
    let reviewer = Reviewer::new(reviews.client());
    let question = Question::new("scraper", "/metrics");
    let mut client = Box::pin(reviewer.decide("scraper", "/metrics"));
    // The client goes before the review has begun to run.
    assert!(futures::poll!(client.as_mut()).is_pending());
    drop(client);
    let known = timeout(Duration::from_secs(40), async {
        loop {
            let known = reviewer.with(|access, now| access.decide(question, now));
            if known != AccessDecision::Review {
                return known;
            }
            tokio::task::yield_now().await;
        }
    });
    let known = known.await.expect("the review ends");
    assert_eq!(known, AccessDecision::Answer(Verdict::Allowed));
}
