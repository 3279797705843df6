//! The certificate of the webhook. The active controller makes it and writes it into a Secret, from which all controllers serve
//! it, and writes the certificate of its authority into the webhook configuration, and into the definition whose versions it converts. Each certificate has an authority of its own,
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
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
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

/// The definition whose versions the webhook converts.
const CONVERTED: &str = "bgppeers.metallb.io";

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
    pub(super) definitions: Api<CustomResourceDefinition>,
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
        let Some(mut seen) = self.look(&is_active).await? else {
            return Ok(());
        };
        let unread = seen.unread.take();
        self.follow_up(seen, is_active).await?;
        unread.map_or(Ok(()), |failure| Err(refusal(failure)))
    }

    /// Reads what trusts the authority, and then the Secret; `None` if this controller was no longer the active one in between.
    async fn look(&self, is_active: &impl Fn() -> bool) -> anyhow::Result<Option<Seen>> {
        let configuration = within(TIMEOUT, self.configurations.get(&self.configuration)).await;
        let configuration = configuration.map_err(refusal)?;
        let (definition, unread) = match within(TIMEOUT, self.definitions.get_opt(CONVERTED)).await {
            Ok(definition) => (definition, None),
            Err(failure) => (None, Some(failure)),
        };
        let definition = definition.filter(|definition| is_converted_by(definition, &self.server));
        if !is_active() {
            return Ok(None);
        }
        let secret = self.secret.read().await.map_err(refusal)?;
        let trusting = Trusting {
            configuration,
            definition,
        };
        Ok(Some(Seen {
            trusting,
            unread,
            secret,
        }))
    }

    async fn follow_up(&mut self, seen: Seen, is_active: impl Fn() -> bool) -> anyhow::Result<()> {
        let Seen {
            mut trusting,
            secret: found,
            ..
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
            return self.trust(&mut trusting, &[&present.authority], others).await;
        }
        let next = IssuedCertificate::new(&self.server, self.validity, now)?;
        if let Some(present) = present.as_ref().filter(|_| is_accepted(now)) {
            // If the Secret cannot be written, the present certificate goes on to be served.
            let both = [next.authority.as_str(), &present.authority];
            self.trust(&mut trusting, &both, Others::Dropped).await?;
            tokio::time::sleep(PROPAGATION).await;
            if !is_active() {
                return Ok(());
            }
        }
        self.write(found.as_ref(), &next).await?;
        info!("made a certificate of the webhook in Secret {}", self.secret.name);
        self.trust(&mut trusting, &[&next.authority], Others::Kept).await
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

    /// Has the API server trust `authorities`, and no others unless they are kept, if what trusts them is still of its version.
    async fn trust(
        &self,
        trusting: &mut Trusting,
        authorities: &[&str],
        others: Others,
    ) -> anyhow::Result<()> {
        let params = PatchParams::default();
        if let Some(patch) = trust_of_webhooks(&trusting.configuration, authorities, others) {
            let patch = Patch::Strategic(&patch);
            let patched = self.configurations.patch(&self.configuration, &params, &patch);
            trusting.configuration = within(TIMEOUT, patched).await.map_err(refusal)?;
        }
        let definition = trusting.definition.as_ref();
        if let Some(patch) = definition.and_then(|found| trust_of_conversion(found, authorities, others)) {
            let patch = Patch::Merge(&patch);
            let patched = self.definitions.patch(CONVERTED, &params, &patch);
            trusting.definition = Some(within(TIMEOUT, patched).await.map_err(refusal)?);
        }
        Ok(())
    }
}

/// What a controller saw while it was the active one.
struct Seen {
    trusting: Trusting,
    /// Why the definition could not be read. Admission works without it.
    unread: Option<Failure>,
    secret: Option<Secret>,
}

/// What trusts the authority of the webhook.
struct Trusting {
    configuration: ValidatingWebhookConfiguration,
    /// The definition, if this webhook converts its versions.
    definition: Option<CustomResourceDefinition>,
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

/// Whether the webhook with this DNS name converts the versions of a definition.
fn is_converted_by(definition: &CustomResourceDefinition, server: &str) -> bool {
    let conversion = definition.spec.conversion.as_ref();
    let webhook = conversion.and_then(|conversion| conversion.webhook.as_ref());
    let config = webhook.and_then(|webhook| webhook.client_config.as_ref());
    let service = config.and_then(|config| config.service.as_ref());
    service.is_some_and(|service| format!("{}.{}.svc", service.name, service.namespace) == server)
}

/// Returns the patch after which the API server trusts `authorities` for the conversion; `None` if it does.
fn trust_of_conversion(
    definition: &CustomResourceDefinition,
    authorities: &[&str],
    others: Others,
) -> Option<Value> {
    let conversion = definition.spec.conversion.as_ref()?;
    let config = conversion.webhook.as_ref()?.client_config.as_ref()?;
    let bundle = changed_bundle(config.ca_bundle.as_ref(), authorities, others)?;
    let version = &definition.metadata.resource_version;
    let webhook = json!({"clientConfig": {"caBundle": bundle}});
    Some(json!({"metadata": {"resourceVersion": version}, "spec": {"conversion": {"webhook": webhook}}}))
}

/// Returns the bundle with `authorities` in place of the present one; `None` if nothing would change.
fn changed_bundle(present: Option<&ByteString>, authorities: &[&str], others: Others) -> Option<ByteString> {
    let before = present.map(|bundle| String::from_utf8_lossy(&bundle.0).into_owned());
    let before = before.unwrap_or_default();
    let bundle = bundle(authorities, others, &before);
    (bundle != before).then(|| ByteString(bundle.into_bytes()))
}

/// Returns the patch after which all webhooks of `configuration` trust `authorities`; `None` if they do.
fn trust_of_webhooks(
    configuration: &ValidatingWebhookConfiguration,
    authorities: &[&str],
    others: Others,
) -> Option<Value> {
    let webhooks = configuration.webhooks.iter().flatten();
    let changed = webhooks.filter_map(|webhook| {
        let bundle = changed_bundle(webhook.client_config.ca_bundle.as_ref(), authorities, others)?;
        Some(json!({"name": webhook.name, "clientConfig": {"caBundle": bundle}}))
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
