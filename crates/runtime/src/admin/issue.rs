//! Certificates of a webhook: an authority that signs one certificate and is forgotten.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;

use super::tls::provider;

/// How long before it was made a certificate is valid, for clients whose clocks are behind.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// A certificate in PEM, with its key and the certificate of its authority. The key of the authority exists only while it signs.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// The certificate of the authority.
    pub authority: String,
    /// The certificate of the server.
    pub certificate: String,
    /// The key of the server.
    pub key: String,
}

impl IssuedCertificate {
    /// Makes an authority, and by it the certificate of a server with the DNS name `name`, both valid until `validity` after `now`.
    ///
    /// # Errors
    /// When `name` is no DNS name, or the system has no randomness.
    pub fn new(name: &str, validity: Duration, now: SystemTime) -> anyhow::Result<Self> {
        let since = |time: SystemTime| {
            time.duration_since(UNIX_EPOCH)
                .context("the clock is before 1970")
        };
        let epoch = date_time_ymd(1970, 1, 1);
        let [begin, end] = [since(now - CLOCK_SKEW)?, since(now + validity)?];
        let params = |names: &[String], common_name: &str| {
            let mut params = CertificateParams::new(names)?;
            params.distinguished_name.push(DnType::CommonName, common_name);
            params.not_before = epoch + begin;
            params.not_after = epoch + end;
            anyhow::Ok(params)
        };
        let mut authority = params(&[], &format!("authority of {name}"))?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let mut server = params(&[name.to_owned()], name)?;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let server = server.signed_by(&key, &authority)?;
        Ok(Self {
            authority: authority.pem(),
            certificate: server.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Whether a server can serve the certificate, and a client that trusts the authority accepts it for `name` at `time`.
    pub fn is_accepted(&self, name: &str, time: SystemTime) -> bool {
        self.verify(name, time).is_ok()
    }

    fn verify(&self, name: &str, time: SystemTime) -> anyhow::Result<()> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(self.authority.as_bytes()) {
            roots.add(authority?)?;
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::new(provider())).build()?;
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes())?;
        let time = UnixTime::since_unix_epoch(time.duration_since(UNIX_EPOCH)?);
        verifier.verify_server_cert(&certificate, &[], &ServerName::try_from(name)?, &[], time)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())?;
        CertifiedKey::from_der(vec![certificate], key, &provider())?;
        Ok(())
    }
}

impl fmt::Debug for IssuedCertificate {
    /// Writes all but the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedCertificate")
            .field("authority", &self.authority)
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "herald-webhook.metallb-system.svc";
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(day: u32) -> SystemTime {
        UNIX_EPOCH + DAY * (20_000 + day)
    }

    fn issue() -> IssuedCertificate {
        IssuedCertificate::new(NAME, 90 * DAY, at(0)).expect("randomness")
    }

    #[test]
    fn a_certificate_is_accepted_for_its_name_and_time_by_clients_that_trust_its_authority() {
        let issued = issue();
        assert!(issued.is_accepted(NAME, at(0) - CLOCK_SKEW));
        assert!(issued.is_accepted(NAME, at(90) - CLOCK_SKEW));
        assert!(!issued.is_accepted(NAME, at(90) + CLOCK_SKEW));
        assert!(!issued.is_accepted("other.metallb-system.svc", at(1)));
        let other = IssuedCertificate {
            authority: issue().authority,
            ..issued.clone()
        };
        assert!(!other.is_accepted(NAME, at(1)));
        let both = IssuedCertificate {
            authority: format!("{}{}", other.authority, issued.authority),
            ..issued
        };
        assert!(both.is_accepted(NAME, at(1)), "during a rotation");
    }

    #[test]
    fn what_is_no_certificate_or_not_its_key_is_not_accepted() {
        for text in [
            "",
            "x",
            "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
        ] {
            let broken = IssuedCertificate {
                certificate: text.to_owned(),
                ..issue()
            };
            assert!(!broken.is_accepted(NAME, at(1)), "{text}");
        }
        for key in [String::new(), issue().certificate, issue().key] {
            let broken = IssuedCertificate { key, ..issue() };
            assert!(!broken.is_accepted(NAME, at(1)), "it has another key");
        }
    }

    #[test]
    fn the_key_of_the_authority_is_in_no_part() {
        let issued = issue();
        assert_eq!(issued.key.matches("PRIVATE KEY-----").count(), 2);
        assert!(!format!("{issued:?}").contains("PRIVATE"));
        assert!(!(issued.authority + &issued.certificate).contains("KEY"));
    }
}
