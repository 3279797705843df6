//! The certificate of the webhook. The active controller makes it and writes it into a Secret, from which all controllers serve
//! it, and writes the certificate of its authority into the webhook configuration. Each certificate has an authority of its own,
//! whose key is nowhere once it has signed.
//!
//! ```text
//!  a third of its time is left ─► trust the next authority beside this one ─► wait ─► write the Secret ─► controllers serve it
//! ```
//!
//! At each moment the API server trusts the authorities of the present certificate and of the one before or after it.

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
use tracing::{info, warn};

/// Time between two looks at the Secret and the configuration.
const PERIOD: Duration = Duration::from_secs(10);
/// Time until an attempt that failed is repeated, or a Secret that is awaited is looked for again.
const RETRY: Duration = Duration::from_secs(2);
/// Time in which all API servers see a changed webhook configuration.
const PROPAGATION: Duration = Duration::from_secs(5);

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
pub(super) struct CertificateKeeper {
    pub(super) secret: WebhookSecret,
    pub(super) configurations: Api<ValidatingWebhookConfiguration>,
    /// The name of the webhook configuration.
    pub(super) configuration: String,
    /// The DNS name by which the API server calls the webhook.
    pub(super) server: String,
    /// How long a certificate is valid.
    pub(super) validity: Duration,
}

impl CertificateKeeper {
    pub(super) async fn keep(self, mut leadership: Leadership) -> Infallible {
        let mut complaint = None;
        loop {
            if leadership.remaining().is_none() {
                leadership.after(None).await;
            }
            let pause = match self.step().await {
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

    async fn step(&self) -> anyhow::Result<()> {
        let found = self.secret.read().await.map_err(refusal)?;
        let now = SystemTime::from(Timestamp::now());
        let present = found.as_ref().and_then(issued);
        let is_accepted = |time| {
            present
                .as_ref()
                .is_some_and(|present| present.is_accepted(&self.server, time))
        };
        if let Some(present) = present.as_ref().filter(|_| is_accepted(now + self.validity / 3)) {
            return self.trust(&present.authority).await;
        }
        let next = IssuedCertificate::new(&self.server, self.validity, now)?;
        if is_accepted(now) {
            self.trust(&next.authority).await?;
            tokio::time::sleep(PROPAGATION).await;
        }
        self.write(found.as_ref(), &next).await?;
        info!("made a certificate of the webhook in Secret {}", self.secret.name);
        self.trust(&next.authority).await
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

    /// Has the API server trust `authority`, and for a while the one that it trusted before.
    async fn trust(&self, authority: &str) -> anyhow::Result<()> {
        let name = &self.configuration;
        let found = within(TIMEOUT, self.configurations.get(name))
            .await
            .map_err(refusal)?;
        let Some(patch) = trusting(&found, authority) else {
            return Ok(());
        };
        let (params, patch) = (PatchParams::default(), Patch::Strategic(&patch));
        let patched = within(TIMEOUT, self.configurations.patch(name, &params, &patch));
        patched.await.map(drop).map_err(refusal)
    }
}

fn refusal(failure: Failure) -> anyhow::Error {
    anyhow::anyhow!("{}", failure.message())
}

/// Returns the patch after which all webhooks of `configuration` trust `authority`; `None` if they do.
fn trusting(configuration: &ValidatingWebhookConfiguration, authority: &str) -> Option<Value> {
    let webhooks = configuration.webhooks.iter().flatten();
    let changed = webhooks.filter_map(|webhook| {
        let before = webhook.client_config.ca_bundle.as_ref();
        let before = before.map(|bundle| String::from_utf8_lossy(&bundle.0).into_owned());
        let before = before.unwrap_or_default();
        let bundle = bundle(authority, &before);
        (bundle != before).then(|| {
            let bundle = ByteString(bundle.into_bytes());
            json!({"name": webhook.name, "clientConfig": {"caBundle": bundle}})
        })
    });
    let changed: Vec<Value> = changed.collect();
    let version = &configuration.metadata.resource_version;
    (!changed.is_empty()).then(|| json!({"metadata": {"resourceVersion": version}, "webhooks": changed}))
}

/// Returns a bundle with `authority`, and the first other certificate of the bundle `before`.
fn bundle(authority: &str, before: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    let mut certificates = before
        .split_inclusive(END)
        .map(str::trim)
        .filter(|text| text.ends_with(END));
    let other = certificates.find(|text| *text != authority.trim());
    let both = [Some(authority.trim()), other];
    both.into_iter()
        .flatten()
        .map(|certificate| format!("{certificate}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, WebhookClientConfig};

    fn certificate(name: &str) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n")
    }

    fn certificates(names: &[&str]) -> String {
        names.iter().map(|name| certificate(name)).collect()
    }

    #[test]
    fn a_bundle_has_the_authority_and_one_other() {
        for (before, expected) in [
            (&[][..], &["new"][..]),
            (&["old"], &["new", "old"]),
            (&["old", "older"], &["new", "old"]),
            (&["new"], &["new"]),
            (&["new", "old"], &["new", "old"]),
            (&["stray", "new"], &["new", "stray"]),
        ] {
            let bundle = bundle(&certificate("new"), &certificates(before));
            assert_eq!(bundle, certificates(expected), "{before:?}");
        }
        assert_eq!(bundle(&certificate("new"), "rubbish"), certificate("new"));
    }

    #[test]
    fn only_webhooks_that_do_not_trust_the_authority_are_changed() {
        let webhook = |name: &str, bundle: Option<String>| ValidatingWebhook {
            name: name.to_owned(),
            client_config: WebhookClientConfig {
                ca_bundle: bundle.map(|bundle| ByteString(bundle.into_bytes())),
                ..WebhookClientConfig::default()
            },
            ..ValidatingWebhook::default()
        };
        let mut configuration = ValidatingWebhookConfiguration {
            webhooks: Some(vec![webhook("a", None), webhook("b", Some(certificate("new")))]),
            ..ValidatingWebhookConfiguration::default()
        };
        configuration.metadata.resource_version = Some("7".to_owned());
        let patch = trusting(&configuration, &certificate("new")).expect("a change");
        let bundle = json!(ByteString(certificate("new").into_bytes()));
        assert_eq!(
            patch,
            json!({"metadata": {"resourceVersion": "7"}, "webhooks": [{"name": "a", "clientConfig": {"caBundle": bundle}}]})
        );
        configuration.webhooks = Some(vec![webhook("b", Some(certificate("new")))]);
        assert_eq!(trusting(&configuration, &certificate("new")), None);
    }
}
