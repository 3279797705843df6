//! The certificate of the webhook. The active controller makes it and writes it into a Secret, from which all controllers serve
//! it, and writes the certificate of its authority into the webhook configuration. Each certificate has an authority of its own,
//! whose key is nowhere once it has signed.
//!
//! ```text
//!  a third of its time is left ─► trust the next authority beside this one ─► wait ─► write the Secret ─► controllers serve it
//! ```
//!
//! At each moment the API server trusts the authority of the certificate in the Secret. From before the Secret is written until all
//! controllers serve what it has, the API server also trusts the authority of the other certificate that may be served.
//!
//! A controller that hangs may wake up when another is active. It asks whether it is the active one before it acts on what it has
//! read, and again before it writes the Secret. What it then writes was decided on older versions of the webhook configuration and of the
//! Secret, and the API server refuses it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use herald_runtime::admin::{Certificate, IssuedCertificate};
use herald_runtime::client::is_away;
use herald_runtime::lease::Leadership;
use herald_runtime::reconcile::{Failure, TIMEOUT, within};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{info, warn};

/// Time between two looks at the Secret and the configuration.
const PERIOD: Duration = Duration::from_secs(10);
/// Time until an attempt that failed is repeated, or a Secret that is awaited is looked for again.
const RETRY: Duration = Duration::from_secs(2);
/// Time in which all API servers see a changed webhook configuration.
const PROPAGATION: Duration = Duration::from_secs(5);
/// Time after which all controllers serve the certificate of the Secret: several times [`PERIOD`].
const SUPERSEDED: Duration = Duration::from_secs(60);
/// The most authorities that are trusted at a time, however often the Secret is deleted.
const MOST_TRUSTED: usize = 4;

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITY: &str = "ca.crt";

/// The Secret with the certificate.
#[derive(Clone)]
pub(super) struct WebhookSecret {
    pub(super) secrets: Api<Secret>,
    pub(super) name: String,
}

impl WebhookSecret {
    async fn read(&self) -> Result<Option<Secret>, Failure> {
        within(TIMEOUT, self.secrets.get_opt(&self.name)).await
    }
}

/// Serves the certificate of the Secret, as soon as there is one.
pub(super) async fn follow(secret: WebhookSecret, certificate: Arc<Certificate>) -> Infallible {
    loop {
        let found = secret.read().await.ok().flatten().as_ref().and_then(issued);
        let pause = match &found {
            Some(_) => PERIOD,
            None => RETRY,
        };
        if let Some(found) = found {
            match certificate.replace(found.certificate.as_bytes(), found.key.as_bytes()) {
                Ok(true) => info!("the webhook serves the certificate of Secret {}", secret.name),
                Ok(false) => {}
                Err(error) => warn!("Secret {} has no usable certificate: {error:#}", secret.name),
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Returns the certificate in a Secret, valid or not.
fn issued(secret: &Secret) -> Option<IssuedCertificate> {
    let text = |field| {
        let bytes = secret.data.as_ref()?.get(field)?;
        String::from_utf8(bytes.0.clone()).ok()
    };
    Some(IssuedCertificate {
        authority: text(AUTHORITY)?,
        certificate: text(CERTIFICATE)?,
        key: text(KEY)?,
    })
}

/// Makes and replaces the certificate while this controller is the active one.
pub(super) struct CertificateIssuer {
    pub(super) secret: WebhookSecret,
    pub(super) configurations: Api<ValidatingWebhookConfiguration>,
    /// The name of the webhook configuration.
    pub(super) configuration: String,
    /// The DNS name by which the API server calls the webhook.
    pub(super) server: String,
    /// How long a certificate is valid.
    pub(super) validity: Duration,
    /// The authority of the certificate in the Secret, and since when this controller has seen it there.
    pub(super) present: Option<(String, Instant)>,
}

impl CertificateIssuer {
    pub(super) async fn issue(mut self, mut leadership: Leadership) -> Infallible {
        let mut complaint = None;
        loop {
            if leadership.remaining().is_none() {
                leadership.after(None).await;
            }
            let is_active = || leadership.remaining().is_some();
            let pause = match self.step(is_active).await {
                Ok(()) => {
                    complaint = None;
                    PERIOD
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    if !is_away() && complaint.as_ref() != Some(&error) {
                        warn!("the webhook has no certificate that the API server trusts: {error}");
                        complaint = Some(error);
                    }
                    RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn step(&mut self, is_active: impl Fn() -> bool) -> anyhow::Result<()> {
        match self.look(&is_active).await? {
            Some(seen) => self.follow_up(seen, is_active).await,
            None => Ok(()),
        }
    }

    /// Reads the webhook configuration and then the Secret; `None` if this controller was no longer the active one in between.
    async fn look(&self, is_active: &impl Fn() -> bool) -> anyhow::Result<Option<Seen>> {
        let configuration = within(TIMEOUT, self.configurations.get(&self.configuration)).await;
        let configuration = configuration.map_err(refusal)?;
        if !is_active() {
            return Ok(None);
        }
        let secret = self.secret.read().await.map_err(refusal)?;
        Ok(Some(Seen {
            configuration,
            secret,
        }))
    }

    async fn follow_up(&mut self, seen: Seen, is_active: impl Fn() -> bool) -> anyhow::Result<()> {
        let Seen {
            mut configuration,
            secret: found,
        } = seen;
        let now = SystemTime::from(Timestamp::now());
        let present = found.as_ref().and_then(issued);
        let is_accepted = |time| {
            present
                .as_ref()
                .is_some_and(|present| present.is_accepted(&self.server, time))
        };
        if let Some(present) = present.as_ref().filter(|_| is_accepted(now + self.validity / 3)) {
            let others = match self.is_served_by_all(&present.authority) {
                true => Others::Dropped,
                false => Others::Kept,
            };
            return self
                .trust(&mut configuration, &[&present.authority], others)
                .await;
        }
        let next = IssuedCertificate::new(&self.server, self.validity, now)?;
        if let Some(present) = present.as_ref().filter(|_| is_accepted(now)) {
            // If the Secret cannot be written, the present certificate goes on to be served.
            let both = [next.authority.as_str(), &present.authority];
            self.trust(&mut configuration, &both, Others::Dropped).await?;
            tokio::time::sleep(PROPAGATION).await;
            if !is_active() {
                return Ok(());
            }
        }
        self.write(found.as_ref(), &next).await?;
        info!("made a certificate of the webhook in Secret {}", self.secret.name);
        self.trust(&mut configuration, &[&next.authority], Others::Kept)
            .await
    }

    /// Whether the Secret has had the certificate of `authority` for so long that all controllers serve it.
    fn is_served_by_all(&mut self, authority: &str) -> bool {
        match &self.present {
            Some((present, since)) if present == authority => since.elapsed() >= SUPERSEDED,
            Some(_) | None => {
                self.present = Some((authority.to_owned(), Instant::now()));
                false
            }
        }
    }

    /// Writes the certificate, unless the Secret has changed since it was `found`.
    async fn write(&self, found: Option<&Secret>, next: &IssuedCertificate) -> anyhow::Result<()> {
        let bytes = |text: &String| ByteString(text.clone().into_bytes());
        let data = BTreeMap::from([
            (AUTHORITY.to_owned(), bytes(&next.authority)),
            (CERTIFICATE.to_owned(), bytes(&next.certificate)),
            (KEY.to_owned(), bytes(&next.key)),
        ]);
        let WebhookSecret { secrets, name } = &self.secret;
        let written = if let Some(found) = found {
            let patch = json!({
                "metadata": {"resourceVersion": found.metadata.resource_version},
                "data": data,
            });
            within(
                TIMEOUT,
                secrets.patch(name, &PatchParams::default(), &Patch::Merge(&patch)),
            )
            .await
        } else {
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    ..ObjectMeta::default()
                },
                type_: Some("kubernetes.io/tls".to_owned()),
                data: Some(data),
                ..Secret::default()
            };
            within(TIMEOUT, secrets.create(&PostParams::default(), &secret)).await
        };
        written.map(drop).map_err(refusal)
    }

    /// Has the API server trust `authorities`, and no others unless they are kept, if `configuration` is still its version.
    async fn trust(
        &self,
        configuration: &mut ValidatingWebhookConfiguration,
        authorities: &[&str],
        others: Others,
    ) -> anyhow::Result<()> {
        let Some(patch) = trusting(configuration, authorities, others) else {
            return Ok(());
        };
        let (params, patch) = (PatchParams::default(), Patch::Strategic(&patch));
        let patched = self.configurations.patch(&self.configuration, &params, &patch);
        *configuration = within(TIMEOUT, patched).await.map_err(refusal)?;
        Ok(())
    }
}

/// What a controller saw while it was the active one.
struct Seen {
    configuration: ValidatingWebhookConfiguration,
    secret: Option<Secret>,
}

/// What becomes of the other authorities that the API server trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    Kept,
    Dropped,
}

fn refusal(failure: Failure) -> anyhow::Error {
    anyhow::anyhow!("{}", failure.message())
}

/// Returns the patch after which all webhooks of `configuration` trust `authorities`; `None` if they do.
fn trusting(
    configuration: &ValidatingWebhookConfiguration,
    authorities: &[&str],
    others: Others,
) -> Option<Value> {
    let webhooks = configuration.webhooks.iter().flatten();
    let changed = webhooks.filter_map(|webhook| {
        let before = webhook.client_config.ca_bundle.as_ref();
        let before = before.map(|bundle| String::from_utf8_lossy(&bundle.0).into_owned());
        let before = before.unwrap_or_default();
        let bundle = bundle(authorities, others, &before);
        (bundle != before).then(|| {
            let bundle = ByteString(bundle.into_bytes());
            json!({"name": webhook.name, "clientConfig": {"caBundle": bundle}})
        })
    });
    let changed: Vec<Value> = changed.collect();
    let version = &configuration.metadata.resource_version;
    (!changed.is_empty()).then(|| json!({"metadata": {"resourceVersion": version}, "webhooks": changed}))
}

/// Returns a bundle with `authorities`, and then the other certificates of the bundle `before` if they are kept.
fn bundle(authorities: &[&str], others: Others, before: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    let authorities = authorities.iter().map(|authority| authority.trim());
    let mut certificates: Vec<&str> = authorities.collect();
    if others == Others::Kept {
        let present = before.split_inclusive(END).map(str::trim);
        for certificate in present.filter(|text| text.ends_with(END)) {
            if !certificates.contains(&certificate) {
                certificates.push(certificate);
            }
        }
    }
    let trusted = certificates.into_iter().take(MOST_TRUSTED);
    trusted.map(|certificate| format!("{certificate}\n")).collect()
}

#[cfg(test)]
mod tests;
