//! From the files of `etcd.tls` to what the TLS library wants.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::error::EtcdError;
use super::failure::Action;
use super::settings::Tls;

/// What every PEM file of certificates holds.
const PEM_CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// How this client proves who it is, and whom it believes. Blocks on files. `endpoints` are named in errors.
///
/// # Errors
///
/// A file cannot be read or holds something else: [`EtcdError::Invalid`]. What they hold does not fit together: [`EtcdError::Tls`].
pub(super) fn client_config(tls: &Tls, endpoints: &str) -> Result<Arc<ClientConfig>, EtcdError> {
    let unfit = |reason: String| EtcdError::Tls {
        what: "set up a connection".to_owned(),
        endpoint: endpoints.to_owned(),
        reason,
    };
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(ring::default_provider()));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unfit(error.to_string()))?
        .with_root_certificates(roots(tls.ca_file()).map_err(|refused| refused.told(unfit))?);
    let config = match tls.identity() {
        Some((certificate, key)) => {
            let (shown, key) = identity(certificate, key).map_err(|refused| refused.told(unfit))?;
            builder
                .with_client_auth_cert(shown, key)
                .map_err(|error| unfit(error.to_string()))?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
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

fn identity(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Refused> {
    let shown = certificates(certificate)?;
    let key_of = |error| {
        let path = key.display();
        Refused::Contents(format!("{path} holds no private key in PEM form: {error}"))
    };
    let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(key_of)?;
    Ok((shown, key))
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
