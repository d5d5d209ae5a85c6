//! TLS to a PostgreSQL database: the files that its URL names, and what to do when a connection fails. The
//! driver verifies the server.

use std::error::Error as StdError;
use std::fs;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, Error as TlsError};

use crate::config::postgresql::{SSL_CERTIFICATE, SSL_KEY, SSL_ROOT_CERTIFICATE};
use crate::config::secret::read_private_text;

/// Maximum size of a private key in bytes.
const MAX_KEY_BYTES: usize = 65_536;

const NO_TLS: &str = "the server does not support it. Set ssl = on at the server. If you trust the whole \
                      network between here and the server, add sslmode=disable to the URL (store.url): \
                      passwords and rows then cross it in the clear";
const UNKNOWN_ISSUER: &str = "no CA that is trusted has signed the certificate of the server. Name the file \
                              of its CA in the parameter sslrootcert of the URL (store.url)";
const OTHER_NAME: &str = "the certificate of the server does not have the host of the URL (store.url) as a \
                          name. Use a host name that it has, or give the server a certificate with this one";
const EXPIRED: &str = "the certificate of the server has expired, or is not valid yet. Renew it, or check \
                       the clock of this host";
const NOT_ACCEPTED: &str = "the certificate of the server is not accepted. Check it, and the file that \
                            sslrootcert names in the URL (store.url): it must be that of a CA";
const REFUSED_BY_SERVER: &str = "the server ended the handshake. Check its log, and the files that sslcert \
                                 and sslkey name in the URL (store.url)";
const OTHER: &str = "check the log of the server";

/// A file of TLS to a PostgreSQL database cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}, which {parameter} names in the URL of the database", .path.display())]
pub struct TlsFileError {
    /// The parameter of the URL.
    parameter: &'static str,
    path: PathBuf,
    source: Box<dyn StdError + Send + Sync>,
}

/// Checks a parameter of a URL, if it names a file: the file must be readable, and must be a certificate, or
/// a key that only its owner may read. The driver names no file in its errors.
pub(super) fn check_file(parameter: &str, path: &Path) -> Result<(), TlsFileError> {
    let parameter = match parameter {
        SSL_ROOT_CERTIFICATE => SSL_ROOT_CERTIFICATE,
        SSL_CERTIFICATE => SSL_CERTIFICATE,
        SSL_KEY => {
            let read = read_private_text(path, MAX_KEY_BYTES);
            return read.map(drop).map_err(|error| unusable(SSL_KEY, path, error.into()));
        }
        _ => return Ok(()),
    };
    let text = fs::read(path).map_err(|error| unusable(parameter, path, error.into()))?;
    match CertificateDer::pem_slice_iter(&text).next() {
        Some(Ok(_certificate)) => Ok(()),
        Some(Err(error)) => Err(unusable(parameter, path, error.into())),
        None => Err(unusable(parameter, path, "it has no certificate in PEM".into())),
    }
}

fn unusable(
    parameter: &'static str,
    path: &Path,
    source: Box<dyn StdError + Send + Sync>,
) -> TlsFileError {
    TlsFileError { parameter, path: path.to_owned(), source }
}

/// What to do about an error, if it is one of TLS.
pub(super) fn remedy(error: &sqlx::Error) -> Option<&'static str> {
    let found = match error {
        sqlx::Error::Io(error) => error.get_ref()?.downcast_ref::<TlsError>(),
        // The driver has a text alone for this.
        sqlx::Error::Tls(error) if error.to_string() == "server does not support TLS" => {
            return Some(NO_TLS);
        }
        sqlx::Error::Tls(error) => match error.downcast_ref::<TlsError>() {
            None => return Some(OTHER),
            found => found,
        },
        _ => None,
    };
    found.map(|error| match error {
        TlsError::InvalidCertificate(error) => remedy_of_certificate(error),
        TlsError::AlertReceived(_alert) => REFUSED_BY_SERVER,
        _ => OTHER,
    })
}

fn remedy_of_certificate(error: &CertificateError) -> &'static str {
    match error {
        // The latter is of a CA that has the name of the one that signed it.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => UNKNOWN_ISSUER,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            OTHER_NAME
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => EXPIRED,
        _ => NOT_ACCEPTED,
    }
}
