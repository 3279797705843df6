//! TLS: which versions and ciphers, and the certificate.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, ensure};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedCipherSuite, version};

/// The lowest version of TLS that a client may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[value(name = "VersionTLS12")]
    Tls12,
    /// TLS 1.3.
    #[default]
    #[value(name = "VersionTLS13")]
    Tls13,
}

/// Returns the configuration of a server with this certificate. Cipher suites are IANA names of TLS 1.2, curves are numbers of
/// IANA's registry; without any the defaults of rustls are used.
///
/// # Errors
/// When a cipher suite or a curve is not supported, or no version uses it.
pub(super) fn server_config(
    min_version: TlsVersion,
    cipher_suites: &[String],
    curves: &[u16],
    certificate: Arc<Certificate>,
) -> anyhow::Result<ServerConfig> {
    ensure!(
        cipher_suites.is_empty() || min_version == TlsVersion::Tls12,
        "--tls-cipher-suites: the cipher suites of TLS 1.3 cannot be chosen; add --tls-min-version=VersionTLS12"
    );
    let mut provider = ring::default_provider();
    if !cipher_suites.is_empty() {
        let (of_tls13, of_tls12): (Vec<_>, Vec<_>) = std::mem::take(&mut provider.cipher_suites)
            .into_iter()
            .partition(|suite| suite.tls13().is_some());
        let chosen = chosen("--tls-cipher-suites", cipher_suites, &of_tls12, suite_name)?;
        provider.cipher_suites = chosen.into_iter().chain(of_tls13).collect();
    }
    if !curves.is_empty() {
        let supported = std::mem::take(&mut provider.kx_groups);
        let number = |group: &&dyn SupportedKxGroup| u16::from(group.name());
        provider.kx_groups = chosen("--tls-curve-preferences", curves, &supported, number)?;
    }
    let versions: &[_] = match min_version {
        TlsVersion::Tls12 => &[&version::TLS13, &version::TLS12],
        TlsVersion::Tls13 => &[&version::TLS13],
    };
    let config = ServerConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions)?;
    let mut config = config.with_no_client_auth().with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A client that scrapes twice a minute gains nothing by resuming a session, and sessions take memory.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn suite_name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite())
}

/// Returns those of `supported` that are named, in the order of the names.
fn chosen<T: Copy, N: PartialEq + ToString>(
    flag: &str,
    names: &[N],
    supported: &[T],
    name: impl Fn(&T) -> N,
) -> anyhow::Result<Vec<T>> {
    let find = |wanted: &N| {
        let found = supported.iter().find(|one| name(one) == *wanted).copied();
        found.with_context(|| {
            let all: Vec<String> = supported.iter().map(|one| name(one).to_string()).collect();
            let wanted = wanted.to_string();
            format!(
                "{flag}: {wanted} is not supported; supported are {}",
                all.join(", ")
            )
        })
    };
    names.iter().map(find).collect()
}

/// The certificate of a server. It can be replaced while connections use it.
#[derive(Debug)]
pub struct Certificate {
    /// `None` until there is one: handshakes fail.
    current: RwLock<Option<Arc<CertifiedKey>>>,
    /// What was read last from files or an object; `None` for a self-made certificate.
    read: RwLock<Option<Files>>,
    /// The directory with the files, if it has one.
    directory: Option<PathBuf>,
}

/// The contents of `tls.crt` and `tls.key`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Files {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    /// The certificate of a server that gets one later, by [`Self::replace`].
    pub fn awaited() -> Self {
        Self {
            current: RwLock::default(),
            read: RwLock::default(),
            directory: None,
        }
    }

    /// Makes a certificate for `localhost` that no authority has signed, as MetalLB does.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(super) fn self_made() -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .context("making a certificate for the metrics")?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(|error| anyhow::anyhow!("the key that was made: {error}"))?;
        let certified = CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider())?;
        Ok(Self {
            current: RwLock::new(Some(Arc::new(certified))),
            ..Self::awaited()
        })
    }

    /// Reads `tls.crt` and `tls.key` of a directory.
    ///
    /// # Errors
    /// When a file cannot be read, or the two are no certificate and its key.
    pub(super) fn read(directory: &Path) -> anyhow::Result<Self> {
        let certificate = Self {
            directory: Some(directory.to_owned()),
            ..Self::awaited()
        };
        certificate.take(Files::read(directory)?)?;
        Ok(certificate)
    }

    /// Reads the files again. Returns whether the certificate was replaced. A file that is wrong is reported once.
    ///
    /// # Errors
    /// When the files changed and cannot be used; the certificate before stays in use.
    pub(super) fn reload(&self) -> anyhow::Result<bool> {
        // The two files are replaced one after the other where a tool writes them; the next call sees both.
        match self.directory.as_deref().map(Files::read) {
            Some(Ok(files)) => self.take(files),
            Some(Err(_)) | None => Ok(false),
        }
    }

    /// Replaces the certificate with one in PEM, and returns whether it is another one. A wrong one is reported once.
    ///
    /// # Errors
    /// When it cannot be used; the certificate before stays in use.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> anyhow::Result<bool> {
        let (chain, key) = (chain.to_vec(), key.to_vec());
        self.take(Files { chain, key })
    }

    /// Returns the certificate that is served.
    pub(super) fn current(&self) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    fn take(&self, files: Files) -> anyhow::Result<bool> {
        let mut read = self.read.write().unwrap_or_else(PoisonError::into_inner);
        if read.as_ref() == Some(&files) {
            return Ok(false);
        }
        let certified = files.parse();
        *read = Some(files);
        let certified = match &self.directory {
            Some(directory) => {
                certified.with_context(|| format!("{} has no usable certificate", directory.display()))
            }
            None => certified,
        };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(certified?));
        Ok(true)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
}

impl Files {
    fn read(directory: &Path) -> anyhow::Result<Self> {
        let read = |name| {
            let path = directory.join(name);
            fs::read(&path).with_context(|| {
                format!(
                    "cannot read {}: mount a Secret of type kubernetes.io/tls there",
                    path.display()
                )
            })
        };
        Ok(Self {
            chain: read("tls.crt")?,
            key: read("tls.key")?,
        })
    }

    fn parse(&self) -> anyhow::Result<CertifiedKey> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&self.chain).collect::<Result<_, _>>()?;
        ensure!(!chain.is_empty(), "tls.crt has no certificate");
        let key = PrivateKeyDer::from_pem_slice(&self.key).context("tls.key")?;
        Ok(CertifiedKey::from_der(chain, key, &provider())?)
    }
}

pub(super) fn provider() -> CryptoProvider {
    ring::default_provider()
}

#[cfg(test)]
mod tests;
