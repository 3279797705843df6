//! When the certificates that are served expire, as a metric.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Registry, Result};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::tls::Certificate;

const NAME: &str = "herald_certificate_expiry_timestamp_seconds";
const HELP: &str =
    "Unix time at which the certificate expires that a server of the program (metrics or webhook) serves";

/// The expiry of the certificate of a server. There is no series while the server has no certificate.
struct CertificateExpiry {
    description: Desc,
    server: &'static str,
    certificate: Arc<Certificate>,
}

/// Registers the expiry of the certificate of `server`.
///
/// # Errors
/// When the server has one already.
pub(super) fn register(
    registry: &Registry,
    server: &'static str,
    certificate: &Arc<Certificate>,
) -> Result<()> {
    let labels = HashMap::from([("server".to_owned(), server.to_owned())]);
    registry.register(Box::new(CertificateExpiry {
        description: Desc::new(NAME.to_owned(), HELP.to_owned(), Vec::new(), labels)?,
        server,
        certificate: Arc::clone(certificate),
    }))
}

impl CertificateExpiry {
    #[expect(clippy::cast_precision_loss, reason = "seconds of no year have 53 bits")]
    fn series(&self, expiry: i64) -> Metric {
        let mut label = LabelPair::default();
        label.set_name("server".to_owned());
        label.set_value(self.server.to_owned());
        let mut gauge = Gauge::default();
        gauge.set_value(expiry as f64);
        let mut series = Metric::from_label(vec![label]);
        series.set_gauge(gauge);
        series
    }
}

impl Collector for CertificateExpiry {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let certificate = self.certificate.current();
        let expiry = certificate.and_then(|current| expiry(current.cert.first()?));
        let mut family = MetricFamily::default();
        family.set_name(NAME.to_owned());
        family.set_help(HELP.to_owned());
        family.set_field_type(MetricType::GAUGE);
        family.set_metric(expiry.into_iter().map(|expiry| self.series(expiry)).collect());
        vec![family]
    }
}

/// Returns the Unix time of `notAfter` of a certificate in DER (RFC 5280 section 4.1).
fn expiry(certificate: &[u8]) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use prometheus::TextEncoder;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;
    use crate::admin::IssuedCertificate;

    fn issued(expiry: u64) -> IssuedCertificate {
        let made: SystemTime = UNIX_EPOCH + Duration::from_secs(expiry - 3600);
        IssuedCertificate::new("w.test.svc", Duration::from_secs(3600), made).expect("randomness")
    }

    #[test]
    fn the_expiry_is_read_in_both_forms_of_a_date() {
        // 2026, the last second of 2049, and the first of 2050, from which on years have four digits.
        for seconds in [1_796_000_000, 2_524_607_999, 2_524_608_000, 4_000_000_000] {
            let certificate = CertificateDer::from_pem_slice(issued(seconds).certificate.as_bytes());
            let certificate = certificate.expect("PEM");
            assert_eq!(expiry(&certificate), i64::try_from(seconds).ok());
            for length in 0..certificate.len() {
                assert_eq!(expiry(&certificate[..length]), None, "cut off after {length}");
            }
        }
    }

    #[test]
    fn the_metric_follows_the_certificate_that_is_served() {
        let registry = Registry::new();
        let certificate = Arc::new(Certificate::awaited());
        register(&registry, "webhook", &certificate).expect("a new series");
        let text = || {
            let families = registry.gather();
            TextEncoder::new().encode_to_string(&families).expect("text")
        };
        assert_eq!(text(), "");
        for seconds in [1_796_000_000, 1_797_000_000] {
            let issued = issued(seconds);
            let replaced = certificate.replace(issued.certificate.as_bytes(), issued.key.as_bytes());
            assert!(replaced.expect("a certificate"));
            let series = format!("\n{NAME}{{server=\"webhook\"}} {seconds}\n");
            assert!(text().contains(&series), "{}", text());
        }
        // Another server of the program.
        let other = Arc::new(Certificate::self_made().expect("randomness"));
        register(&registry, "metrics", &other).expect("a new series");
        assert_eq!(text().matches("server=").count(), 2);
        assert!(register(&registry, "metrics", &other).is_err());
    }
}
