//! Whom a fetch by TLS trusts: the system's authorities, or those of a file.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::error::{FetchError, Kind};

/// Reads the authorities anew, so that renewed ones hold without a restart. Blocks.
pub(super) fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, FetchError> {
    let roots = match ca_file {
        Some(path) => of_file(path)?,
        None => of_system()?,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| FetchError::caused(Kind::Tls, "cannot speak TLS", &error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn of_file(path: &Path) -> Result<RootCertStore, FetchError> {
    let cannot = |cause: &dyn std::error::Error| {
        FetchError::caused(Kind::Tls, format!("cannot read the authorities of {}", path.display()), cause)
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| cannot(&error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| cannot(&error))?;
        roots.add(certificate).map_err(|error| cannot(&error))?;
    }
    if roots.is_empty() {
        let message = format!("{} has no certificate in PEM", path.display());
        return Err(FetchError::new(Kind::Tls, message));
    }
    Ok(roots)
}

fn of_system() -> Result<RootCertStore, FetchError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems have some that are too old to be read.
    let _ = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        let message = format!(
            "the system has no certificate authorities (package ca-certificates){why}; or name a `ca_file`"
        );
        return Err(FetchError::new(Kind::Tls, message));
    }
    Ok(roots)
}
