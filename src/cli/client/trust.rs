//! Loads the CAs that the client trusts over TLS.

use std::path::Path;

use rustls::{ClientConfig, RootCertStore, version};

use crate::server::tls::{TlsError, certificates, provider};

/// A configuration that trusts the CAs in this file, or else those of the system, if they are needed.
///
/// # Errors
/// When the file cannot be used, or the TLS library refuses.
pub(super) fn config(ca: Option<&Path>, is_needed: bool) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
        }
        None if is_needed => {
            // Unreadable CAs are skipped. Without any CA, every server is refused.
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(event = "tls.system_ca_unreadable", %error, "cannot read a CA of the system");
            }
            let _counts = roots.add_parsable_certificates(found.certs);
        }
        None => {}
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
