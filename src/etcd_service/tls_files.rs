//! From the files of `etcd.tls` to what the TLS library wants.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_rustls::rustls::client::{ResolvesClientCert, Resumption};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SignatureScheme};

use super::error::EtcdError;
use super::failure::Action;
use super::settings::Tls;

/// What every PEM file of certificates holds.
const PEM_CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// What connections over TLS are made with.
pub(super) struct ClientTls {
    /// How this client proves who it is, and whom it believes.
    pub(super) config: Arc<ClientConfig>,
    /// What it shows, if it shows anything.
    pub(super) identity: Option<Arc<Identity>>,
}

impl ClientTls {
    /// As `tls` says. Blocks on files. `endpoints` are named in errors.
    ///
    /// # Errors
    ///
    /// A file cannot be read or holds something else: [`EtcdError::Invalid`]. What they hold does not fit together: [`EtcdError::Tls`].
    pub(super) fn read(tls: &Tls, endpoints: &str) -> Result<Self, EtcdError> {
        let unfit = |reason: String| EtcdError::Tls {
            what: "set up a connection".to_owned(),
            endpoint: endpoints.to_owned(),
            reason,
        };
        let provider = CryptoProvider::get_default()
            .cloned()
            .unwrap_or_else(|| Arc::new(ring::default_provider()));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unfit(error.to_string()))?
            .with_root_certificates(roots(tls.ca_file()).map_err(|refused| refused.told(unfit))?);
        let Some((certificate, key)) = tls.identity() else {
            let config = Arc::new(builder.with_no_client_auth());
            return Ok(Self {
                config,
                identity: None,
            });
        };
        let identity = Identity::read(certificate, key, provider);
        let identity = Arc::new(identity.map_err(|refused| refused.told(unfit))?);
        let shown: Arc<dyn ResolvesClientCert> = Arc::clone(&identity) as _;
        let mut config = builder.with_client_cert_resolver(shown);
        // In a session that is taken up again the certificate of its beginning would count.
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            identity: Some(identity),
        })
    }
}

/// The certificate that this client shows, with its key. Both are read anew before each connection, for certificates may be renewed every few
/// hours while the process lives.
pub(super) struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    shown: Mutex<Arc<CertifiedKey>>,
}

impl Identity {
    fn read(
        certificate: &Path,
        key: &Path,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Refused> {
        Ok(Self {
            shown: Mutex::new(Arc::new(pair(certificate, key, &provider)?)),
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            provider,
        })
    }

    /// Reads the files again. If they are of no use, as when only one of the two has been written yet, what was read before is shown.
    pub(super) async fn renew(self: &Arc<Self>) {
        let this = Arc::clone(self);
        let read = move || pair(&this.certificate, &this.key, &this.provider);
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(pair)) => *self.shown.lock() = Arc::new(pair),
            Ok(Err(refused)) => {
                let error = refused.told(|reason| EtcdError::Tls {
                    what: "read etcd.tls.cert_file and etcd.tls.key_file again".to_owned(),
                    endpoint: "this machine".to_owned(),
                    reason,
                });
                tracing::warn!(%error, "the certificate that was read before is shown to etcd");
            }
            // The runtime ends.
            Err(_) => {}
        }
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.lock()))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Shows no key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Why there are no settings for TLS.
enum Refused {
    File(EtcdError),
    Contents(String),
}

impl Refused {
    fn told(self, unfit: impl FnOnce(String) -> EtcdError) -> EtcdError {
        match self {
            Self::File(error) => error,
            Self::Contents(reason) => unfit(reason),
        }
    }
}

/// The authorities that are believed: those in `file`, or else those of the system.
fn roots(file: Option<&Path>) -> Result<RootCertStore, Refused> {
    let (certificates, whose) = match file {
        Some(file) => (certificates(file)?, file.display().to_string()),
        None => {
            let found = rustls_native_certs::load_native_certs();
            if !found.errors.is_empty() {
                tracing::debug!(errors = ?found.errors, "some certificates of the system cannot be read");
            }
            (found.certs, "this system".to_owned())
        }
    };
    let mut roots = RootCertStore::empty();
    let (good, _) = roots.add_parsable_certificates(certificates);
    if good == 0 {
        return Err(Refused::Contents(format!(
            "{whose} has no certificate of an authority that can be used"
        )));
    }
    Ok(roots)
}

/// A certificate and the key that belongs to it.
fn pair(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Refused> {
    let shown = certificates(certificate)?;
    let key_of = |error| {
        let path = key.display();
        Refused::Contents(format!("{path} holds no private key in PEM form: {error}"))
    };
    let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(key_of)?;
    CertifiedKey::from_der(shown, key, provider)
        .map_err(|error| Refused::Contents(error.to_string()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Refused> {
    let pem = read(path)?;
    let is_one = |part| part == PEM_CERTIFICATE;
    if !pem.windows(PEM_CERTIFICATE.len()).any(is_one) {
        let reason = "it holds no certificate in PEM form".to_owned();
        return Err(Refused::File(unreadable(path, reason)));
    }
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| Refused::File(unreadable(path, error.to_string())))
}

fn read(path: &Path) -> Result<Vec<u8>, Refused> {
    std::fs::read(path).map_err(|error| Refused::File(unreadable(path, error.to_string())))
}

fn unreadable(path: &Path, reason: String) -> EtcdError {
    EtcdError::Invalid {
        what: Action::new("read", path.as_os_str().as_encoded_bytes()).to_string(),
        endpoint: "etcd.tls".to_owned(),
        reason,
    }
}
