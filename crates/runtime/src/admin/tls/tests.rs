use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// A certificate and its key in PEM, and the certificate for clients that trust it.
fn make() -> (Files, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("randomness");
    let files = Files {
        chain: made.cert.pem().into_bytes(),
        key: made.signing_key.serialize_pem().into_bytes(),
    };
    (files, made.cert.der().clone())
}

fn write(directory: &TempDir, files: &Files) {
    fs::write(directory.path().join("tls.crt"), &files.chain).expect("written");
    fs::write(directory.path().join("tls.key"), &files.key).expect("written");
}

/// Returns the negotiated cipher suite and curve.
async fn handshake(
    config: ServerConfig,
    trusted: CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> anyhow::Result<(String, u16)> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted)?;
    let client =
        ClientConfig::builder_with_provider(Arc::new(provider())).with_protocol_versions(versions)?;
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let accepted = TlsAcceptor::from(Arc::new(config)).accept(far);
    let name = ServerName::try_from("localhost")?;
    let connected = TlsConnector::from(Arc::new(client)).connect(name, near);
    let (_accepted, connected) = tokio::join!(accepted, connected);
    let connected = connected?;
    let (_, connection) = connected.get_ref();
    let suite = connection.negotiated_cipher_suite().context("a cipher suite")?;
    let group = connection.negotiated_key_exchange_group().context("a group")?;
    Ok((suite_name(&suite), group.name().into()))
}

fn config(certificate: &Arc<Certificate>) -> ServerConfig {
    server_config(TlsVersion::Tls13, &[], &[], Arc::clone(certificate)).expect("the defaults")
}

#[tokio::test]
async fn the_self_made_certificate_is_for_localhost() {
    let certificate = Arc::new(Certificate::self_made().expect("randomness"));
    let current = certificate.current.read().expect("no panic").clone();
    let trusted = current.expect("a certificate").cert[0].clone();
    let versions = [&version::TLS13];
    handshake(config(&certificate), trusted, &versions)
        .await
        .expect("a handshake");
    assert!(!certificate.reload().expect("nothing to read"));
}

#[tokio::test]
async fn a_mounted_certificate_is_replaced_when_its_files_change_and_stays_when_they_are_wrong() {
    let directory = tempfile::tempdir().expect("a directory");
    assert!(Certificate::read(directory.path()).is_err());
    let (first, trusted_first) = make();
    write(&directory, &first);
    let certificate = Arc::new(Certificate::read(directory.path()).expect("a certificate"));
    let versions = [&version::TLS13];
    let is_trusted = async |trusted: &CertificateDer<'static>| {
        handshake(config(&certificate), trusted.clone(), &versions)
            .await
            .is_ok()
    };
    assert!(is_trusted(&trusted_first).await);
    assert!(!certificate.reload().expect("the same files"));
    let (second, trusted_second) = make();
    // The new certificate with the old key.
    let half = Files {
        key: first.key.clone(),
        ..second.clone()
    };
    write(&directory, &half);
    assert!(certificate.reload().is_err());
    assert!(!certificate.reload().expect("it is reported once"));
    assert!(is_trusted(&trusted_first).await);
    write(&directory, &second);
    assert!(certificate.reload().expect("a certificate"));
    assert!(is_trusted(&trusted_second).await);
    assert!(!is_trusted(&trusted_first).await);
    fs::remove_file(directory.path().join("tls.crt")).expect("removed");
    assert!(!certificate.reload().expect("the files are being replaced"));
    assert!(is_trusted(&trusted_second).await);
}

#[tokio::test]
async fn a_client_gets_the_versions_ciphers_and_curves_that_were_chosen() {
    let certificate = Arc::new(Certificate::self_made().expect("randomness"));
    let current = certificate.current.read().expect("no panic").clone();
    let trusted = current.expect("a certificate").cert[0].clone();
    let tls12 = [&version::TLS12];
    let outcome = handshake(config(&certificate), trusted.clone(), &tls12).await;
    assert!(outcome.is_err(), "TLS 1.2 is not the default");
    let suite = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    let chosen = server_config(
        TlsVersion::Tls12,
        &[suite.to_owned()],
        &[24],
        Arc::clone(&certificate),
    );
    let outcome = handshake(chosen.expect("supported"), trusted.clone(), &tls12).await;
    assert_eq!(outcome.expect("a handshake"), (suite.to_owned(), 24));
    let outcome = handshake(config(&certificate), trusted, &[&version::TLS13]).await;
    assert_eq!(outcome.expect("a handshake").1, 29);
}

#[test]
fn options_that_cannot_be_met_are_refused_with_what_is_supported() {
    let certificate = Arc::new(Certificate::self_made().expect("randomness"));
    let error = |version, suites: &[&str], curves: &[u16]| {
        let suites: Vec<String> = suites.iter().map(|suite| (*suite).to_owned()).collect();
        let refused = server_config(version, &suites, curves, Arc::clone(&certificate));
        format!("{:#}", refused.expect_err("refused"))
    };
    let suite = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    assert!(error(TlsVersion::Tls13, &[suite], &[]).contains("--tls-min-version=VersionTLS12"));
    assert!(error(TlsVersion::Tls12, &["TLS_RSA_WITH_RC4_128_SHA"], &[]).contains(suite));
    assert!(error(TlsVersion::Tls13, &[], &[25]).contains("29, 23, 24"));
}
