//! The steps of a rotation, in the objects of an API server that can refuse to write the Secret.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use kube::Client;

use super::*;

const SERVER: &str = "herald-webhook.metallb-system.svc";
const VALIDITY: Duration = Duration::from_secs(90 * 24 * 3600);

/// An API server with one Secret and one webhook configuration.
#[derive(Clone)]
struct ApiServer(Arc<Objects>);

struct Objects {
    refuses_secrets: AtomicBool,
    secret: Mutex<Option<Value>>,
    configuration: Mutex<Value>,
    /// The definition that the webhook converts, if this API server shows it.
    definition: Mutex<Option<Value>>,
}

impl ApiServer {
    fn new() -> Self {
        let configuration = json!({
            "metadata": {"name": "w", "resourceVersion": "1"},
            "webhooks": [{"name": "a", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": {}}],
        });
        Self(Arc::new(Objects {
            refuses_secrets: AtomicBool::new(false),
            secret: Mutex::default(),
            configuration: Mutex::new(configuration),
            definition: Mutex::new(Some(definition())),
        }))
    }

    fn issuer(&self) -> CertificateIssuer {
        let configuration = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/w";
        let secrets = "/api/v1/namespaces/metallb-system/secrets";
        let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/bgppeers.metallb.io";
        let router = Router::new()
            .route(secrets, axum::routing::post(write_secret))
            .route(&format!("{secrets}/w"), get(read_secret).patch(write_secret))
            .route(configuration, get(read_configuration).patch(patch_configuration))
            .route(definition, get(read_definition).patch(patch_definition));
        let client = Client::new(router.with_state(self.clone()), "metallb-system");
        CertificateIssuer {
            secret: WebhookSecret {
                secrets: Api::namespaced(client.clone(), "metallb-system"),
                name: "w".to_owned(),
            },
            configurations: Api::all(client.clone()),
            definitions: Api::all(client),
            configuration: "w".to_owned(),
            server: SERVER.to_owned(),
            validity: VALIDITY,
            present: None,
        }
    }

    fn refuse_secrets(&self, refuses: bool) {
        self.0.refuses_secrets.store(refuses, Ordering::SeqCst);
    }

    fn issued(&self) -> IssuedCertificate {
        let secret = self.0.secret.lock().expect("no panic").clone();
        let secret = serde_json::from_value(secret.expect("a Secret")).expect("a Secret");
        issued(&secret).expect("a certificate")
    }

    fn put(&self, issued: &IssuedCertificate) {
        let bytes = |text: &String| ByteString(text.clone().into_bytes());
        *self.0.secret.lock().expect("no panic") = Some(json!({
            "metadata": {"name": "w", "resourceVersion": "1"},
            "data": {"ca.crt": bytes(&issued.authority), "tls.crt": bytes(&issued.certificate), "tls.key": bytes(&issued.key)},
        }));
    }

    /// Returns the authorities that the API server trusts.
    fn trusted(&self) -> Vec<String> {
        let configuration = self.0.configuration.lock().expect("no panic");
        certificates_in(&configuration["webhooks"][0]["clientConfig"]["caBundle"])
    }

    /// Returns the authorities that the API server trusts for the conversion.
    fn trusted_to_convert(&self) -> Vec<String> {
        let definition = self.0.definition.lock().expect("no panic");
        let definition = definition.as_ref().expect("a definition");
        certificates_in(&definition["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"])
    }
}

fn certificates_in(bundle: &Value) -> Vec<String> {
    let bundle: ByteString = serde_json::from_value(bundle.clone()).unwrap_or_default();
    let bundle = String::from_utf8(bundle.0).expect("PEM");
    let certificates = bundle.split_inclusive("-----END CERTIFICATE-----\n");
    certificates.map(str::to_owned).collect()
}

fn definition() -> Value {
    let service = json!({"name": "herald-webhook", "namespace": "metallb-system", "path": "/convert"});
    let webhook = json!({"conversionReviewVersions": ["v1"], "clientConfig": {"service": service}});
    json!({
        "metadata": {"name": CONVERTED, "resourceVersion": "1"},
        "spec": {"group": "metallb.io", "names": {"kind": "BGPPeer", "plural": "bgppeers"}, "scope": "Namespaced",
            "versions": [], "conversion": {"strategy": "Webhook", "webhook": webhook}},
    })
}

async fn read_definition(State(server): State<ApiServer>) -> Response {
    match server.0.definition.lock().expect("no panic").clone() {
        Some(definition) => Json(definition).into_response(),
        None => {
            let status = json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "no right"});
            (StatusCode::FORBIDDEN, Json(status)).into_response()
        }
    }
}

async fn patch_definition(State(server): State<ApiServer>, body: axum::body::Bytes) -> Response {
    let patch: Value = serde_json::from_slice(&body).expect("JSON");
    let mut definition = server.0.definition.lock().expect("no panic");
    let definition = definition.as_mut().expect("a definition");
    let bundle = &patch["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"];
    definition["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] = bundle.clone();
    Json(definition.clone()).into_response()
}

async fn read_secret(State(server): State<ApiServer>) -> Response {
    match server.0.secret.lock().expect("no panic").clone() {
        Some(secret) => Json(secret).into_response(),
        None => {
            let status = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": "none"});
            (StatusCode::NOT_FOUND, Json(status)).into_response()
        }
    }
}

async fn write_secret(State(server): State<ApiServer>, body: axum::body::Bytes) -> Response {
    if server.0.refuses_secrets.load(Ordering::SeqCst) {
        let status = json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "no"});
        return (StatusCode::FORBIDDEN, Json(status)).into_response();
    }
    let mut secret: Value = serde_json::from_slice(&body).expect("JSON");
    secret["metadata"]["resourceVersion"] = json!("2");
    *server.0.secret.lock().expect("no panic") = Some(secret.clone());
    Json(secret).into_response()
}

async fn read_configuration(State(server): State<ApiServer>) -> Json<Value> {
    Json(server.0.configuration.lock().expect("no panic").clone())
}

async fn patch_configuration(State(server): State<ApiServer>, body: axum::body::Bytes) -> Response {
    let patch: Value = serde_json::from_slice(&body).expect("JSON");
    let mut configuration = server.0.configuration.lock().expect("no panic");
    let version = configuration["metadata"]["resourceVersion"].clone();
    if patch["metadata"]["resourceVersion"] != version {
        let status = json!({"kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409, "message": "changed"});
        return (StatusCode::CONFLICT, Json(status)).into_response();
    }
    let version: u64 = version.as_str().expect("a version").parse().expect("a number");
    configuration["metadata"]["resourceVersion"] = json!((version + 1).to_string());
    configuration["webhooks"][0]["clientConfig"] = patch["webhooks"][0]["clientConfig"].clone();
    Json(configuration.clone()).into_response()
}

/// Returns a certificate of which less than a third of its time is left.
fn due() -> IssuedCertificate {
    let made = SystemTime::from(Timestamp::now()) - VALIDITY * 3 / 4;
    IssuedCertificate::new(SERVER, VALIDITY, made).expect("randomness")
}

#[tokio::test(start_paused = true)]
async fn the_certificate_that_is_served_stays_trusted_while_the_secret_cannot_be_written() {
    let server = ApiServer::new();
    let present = due();
    server.put(&present);
    server.refuse_secrets(true);
    let mut issuer = server.issuer();
    for attempt in 0..3 {
        let failed = issuer.step(|| true).await;
        assert!(failed.is_err(), "the Secret was written");
        let trusted = server.trusted();
        assert!(
            trusted.contains(&present.authority) && trusted.len() == 2,
            "attempt {attempt}: {trusted:?}"
        );
    }
    server.refuse_secrets(false);
    issuer.step(|| true).await.expect("the Secret can be written");
    let next = server.issued().authority;
    assert_ne!(next, present.authority);
    assert_eq!(server.trusted(), [next, present.authority]);
}

#[tokio::test(start_paused = true)]
async fn the_authority_before_is_trusted_until_all_controllers_serve_the_next_certificate() {
    let server = ApiServer::new();
    let before = due();
    server.put(&before);
    let mut issuer = server.issuer();
    issuer.step(|| true).await.expect("a rotation");
    issuer.step(|| true).await.expect("a look");
    let next = server.issued().authority;
    assert_eq!(server.trusted(), [next.clone(), before.authority]);
    // The controller that is active next has seen nothing of the rotation.
    let mut issuer = server.issuer();
    issuer.step(|| true).await.expect("a look");
    assert_eq!(server.trusted().len(), 2);
    tokio::time::advance(SUPERSEDED).await;
    issuer.step(|| true).await.expect("a look");
    assert_eq!(server.trusted(), [next]);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_made_when_there_is_none_or_none_that_can_be_served() {
    let server = ApiServer::new();
    let mut issuer = server.issuer();
    issuer.step(|| true).await.expect("there was none");
    let made = server.issued();
    assert_eq!(server.trusted(), std::slice::from_ref(&made.authority));
    let key_of_another = IssuedCertificate {
        key: due().key,
        ..made.clone()
    };
    server.put(&key_of_another);
    issuer.step(|| true).await.expect("the key does not fit");
    let next = server.issued();
    assert!(next.is_accepted(SERVER, SystemTime::from(Timestamp::now())));
    assert_eq!(server.trusted(), [next.authority, made.authority]);
}

#[tokio::test(start_paused = true)]
async fn the_conversion_trusts_the_same_authorities_and_admission_does_not_need_it() {
    let server = ApiServer::new();
    let before = due();
    server.put(&before);
    let mut issuer = server.issuer();
    issuer.step(|| true).await.expect("a rotation");
    assert_eq!(server.trusted_to_convert(), server.trusted());
    assert_eq!(server.trusted().len(), 2);
    let shown = server.0.definition.lock().expect("no panic").take();
    server.put(&due());
    let failed = issuer
        .step(|| true)
        .await
        .expect_err("the definition cannot be read");
    assert!(failed.to_string().contains("no right"), "{failed}");
    assert_eq!(server.trusted()[0], server.issued().authority);
    *server.0.definition.lock().expect("no panic") = shown;
    issuer.step(|| true).await.expect("a look");
    assert_eq!(server.trusted_to_convert()[0], server.issued().authority);
}

#[tokio::test(start_paused = true)]
async fn a_former_leader_that_hung_drops_no_authority_of_the_active_controller() {
    let server = ApiServer::new();
    let before = due();
    server.put(&before);
    let older = ByteString(due().authority.into_bytes());
    server.0.configuration.lock().expect("no panic")["webhooks"][0]["clientConfig"] =
        json!({"caBundle": older});
    let mut former = server.issuer();
    // It is sure that all controllers serve what is in the Secret, and takes its certificate for valid long enough.
    former.validity = VALIDITY / 2;
    former.step(|| true).await.expect("a look");
    assert_eq!(server.trusted().len(), 2);
    tokio::time::advance(SUPERSEDED).await;
    let first = former.look(&|| true).await.expect("answers").expect("active");
    let second = former.look(&|| true).await.expect("answers").expect("active");
    let mut active = server.issuer();
    let rotation = tokio::spawn(async move { active.step(|| true).await });
    // The next authority is trusted, and the Secret is not written yet.
    tokio::time::sleep(PROPAGATION / 2).await;
    let both = server.trusted();
    assert_eq!(both.len(), 2);
    assert!(
        former.follow_up(first, || true).await.is_err(),
        "an older version"
    );
    assert_eq!(server.trusted(), both);
    rotation.await.expect("no panic").expect("a rotation");
    assert!(
        former.follow_up(second, || true).await.is_err(),
        "an older version"
    );
    assert_eq!(server.trusted(), [server.issued().authority, before.authority]);
    // What it reads when another controller is active, it does not act on.
    let later = former.look(&|| false).await.expect("answers");
    assert!(later.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_former_leader_that_hung_during_a_rotation_writes_no_secret() {
    let server = ApiServer::new();
    let before = due();
    server.put(&before);
    let mut former = server.issuer();
    let seen = former.look(&|| true).await.expect("answers").expect("active");
    former.follow_up(seen, || false).await.expect("it stops");
    assert_eq!(server.issued().authority, before.authority);
    assert!(server.trusted().contains(&before.authority));
}
