//! The webhook, for admission and for conversion: its flags, its server, and the certificate that all controllers serve.

mod authority;

use std::sync::Arc;
use std::time::Duration;

use herald_runtime::admin::{self, Certificate, MetricsArgs, Review};
use herald_runtime::lease::Leadership;
use herald_runtime::task;
use kube::{Api, Client};
use prometheus::Registry;
use tokio::sync::mpsc;

use crate::admission::{self, AdmissionScope, ReviewRequest};
use crate::conversion;
use authority::{CertificateIssuer, WebhookSecret};

/// Whether there is a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum WebhookMode {
    /// Resources and Services are checked before they are written.
    Enabled,
    /// The controller serves no webhook.
    #[default]
    Disabled,
    /// The controller serves the webhook, and neither decides nor writes anything but its certificate.
    #[value(name = "onlywebhook")]
    OnlyWebhook,
}

/// The flags of the webhook, named as MetalLB's where it has them. Its default value disables the webhook.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct WebhookArgs {
    /// Whether resources and Services are checked before they are written.
    #[arg(long, value_enum, default_value_t)]
    pub webhook_mode: WebhookMode,
    /// Port of the webhook, on all addresses.
    #[arg(long, default_value_t = 9443)]
    pub webhook_port: u16,
    /// Name of the Secret with the certificate of the webhook; the active controller makes and replaces it.
    #[arg(long, default_value = "metallb-webhook-cert")]
    pub webhook_secret: String,
    /// Name of the Service of the webhook, for which the certificate is made.
    #[arg(long, default_value = "metallb-webhook-service")]
    pub cert_service_name: String,
    /// Name of the ValidatingWebhookConfiguration that gets the certificate of the authority.
    #[arg(long, default_value = "metallb-webhook-configuration")]
    pub webhook_configuration: String,
    /// Seconds for which a certificate is valid; it is replaced when a third is left. For tests.
    #[arg(long, default_value_t = 90 * 24 * 3600, value_parser = clap::value_parser!(u64).range(1..), hide = true)]
    pub webhook_certificate_validity: u64,
}

/// Starts the webhook, unless it is disabled. The driver answers `reviews`.
///
/// # Errors
/// When the port cannot be bound.
pub(crate) async fn start(
    args: &WebhookArgs,
    tls: &MetricsArgs,
    client: &Client,
    scope: AdmissionScope,
    leadership: Leadership,
    reviews: mpsc::Sender<ReviewRequest>,
    registry: &Registry,
) -> anyhow::Result<()> {
    if args.webhook_mode == WebhookMode::Disabled {
        return Ok(());
    }
    let secret = WebhookSecret {
        secrets: Api::namespaced(client.clone(), &scope.namespace),
        name: args.webhook_secret.clone(),
    };
    let issuer = CertificateIssuer {
        secret: secret.clone(),
        configurations: Api::all(client.clone()),
        configuration: args.webhook_configuration.clone(),
        definitions: Api::all(client.clone()),
        server: format!("{}.{}.svc", args.cert_service_name, scope.namespace),
        validity: Duration::from_secs(args.webhook_certificate_validity),
        present: None,
    };
    let certificate = Arc::new(Certificate::awaited());
    let scope = Arc::new(scope);
    let admission: Review = Arc::new(move |request| {
        let (scope, reviews) = (Arc::clone(&scope), reviews.clone());
        Box::pin(async move { admission::answer(&request, &scope, &reviews).await })
    });
    let conversion: Review = Arc::new(|request| Box::pin(async move { conversion::answer(&request) }));
    let reviews = admission::PATHS.map(|path| (path, Arc::clone(&admission)));
    let reviews = reviews.into_iter().chain([(conversion::PATH, conversion)]);
    admin::serve_webhook(
        args.webhook_port,
        reviews.collect(),
        tls,
        Arc::clone(&certificate),
        registry,
    )
    .await?;
    task::spawn(authority::follow(secret, certificate));
    task::spawn(issuer.issue(leadership));
    Ok(())
}
