//! A CA and a server certificate of it, made on the spot.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use uuid::Uuid;

use super::super::client_file::write_private_file;
use crate::config::CertificateFiles;
use crate::model::Time;

/// The names that every development certificate has.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const DAY_SECONDS: i64 = 86_400;

/// How long a certificate is good.
const DAYS: i64 = 365;

/// A host name or an IP address that can stand in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Name(String);

impl FromStr for Name {
    type Err = rcgen::Error;

    fn from_str(text: &str) -> Result<Self, rcgen::Error> {
        CertificateParams::new([text.to_owned()]).map(|_params| Self(text.to_owned()))
    }
}

/// The files of a CA and its one server.
#[derive(Debug)]
pub(in super::super) struct Files {
    /// The CA's certificate, for clients. It is the only one in its file: some SDKs take the
    /// second one of two for the CA.
    pub(in super::super) ca: PathBuf,
    /// The server's certificate and key.
    pub(in super::super) server: CertificateFiles,
}

impl Files {
    /// The files in a directory, there or not.
    pub(in super::super) fn of(directory: &Path) -> Self {
        let file = |name| directory.join(name);
        let server = CertificateFiles { certificate: file("server.pem"), key: file("server.key") };
        Self { ca: file("ca.pem"), server }
    }

    /// All of them.
    pub(super) fn all(&self) -> [&Path; 3] {
        [&self.ca, &self.server.certificate, &self.server.key]
    }

    /// Makes CA and certificate anew and writes them; only the owner may read the key.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(in super::super) fn make(&self, names: &[Name]) -> anyhow::Result<()> {
        let (ca, server, key) = make(names).context("cannot make a certificate")?;
        let directory = self.ca.parent().unwrap_or(Path::new("."));
        let writing = |path: &Path| format!("cannot write {}", path.display());
        fs::create_dir_all(directory).with_context(|| writing(directory))?;
        fs::write(&self.ca, ca.pem()).with_context(|| writing(&self.ca))?;
        let CertificateFiles { certificate, key: key_path } = &self.server;
        fs::write(certificate, server.pem()).with_context(|| writing(certificate))?;
        let text = zeroize::Zeroizing::new(key.serialize_pem());
        write_private_file(key_path, text.as_bytes()).with_context(|| writing(key_path))
    }
}

fn make(names: &[Name]) -> Result<(Certificate, Certificate, KeyPair), rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let mut ca = lasting(CertificateParams::new([])?);
    // A name of its own each time: two CAs of one name in one trust store mislead OpenSSL.
    ca.distinguished_name
        .push(DnType::CommonName, format!("hsmgate development CA {}", Uuid::new_v4().simple()));
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_certificate = ca.self_signed(&ca_key)?;

    let given = names.iter().map(|name| name.0.as_str());
    let names: Vec<String> = OWN_NAMES.into_iter().chain(given).map(str::to_owned).collect();
    let mut server = lasting(CertificateParams::new(names)?);
    server.distinguished_name.push(DnType::CommonName, "hsmgate");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &Issuer::new(ca, ca_key))?;
    Ok((ca_certificate, certificate, key))
}

/// From yesterday, as clocks differ, for a year.
fn lasting(mut params: CertificateParams) -> CertificateParams {
    params.distinguished_name = rcgen::DistinguishedName::new();
    let since_epoch = |days: i64| {
        let seconds = Time::now().plus_seconds(days * DAY_SECONDS).unix();
        date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    };
    params.not_before = since_epoch(-1);
    params.not_after = since_epoch(DAYS);
    params
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use tempfile::TempDir;

    use super::*;
    use crate::wire::tls::{Identity, certificates};

    #[test]
    fn the_files_serve_tls_and_the_key_is_private() {
        let directory = TempDir::new().unwrap();
        let files = Files::of(&directory.path().join("tls"));
        files.make(&["kms.example".parse().unwrap()]).unwrap();
        assert_eq!(certificates(&files.ca).unwrap().len(), 1);
        assert_eq!(fs::metadata(&files.server.key).unwrap().mode() & 0o777, 0o600);
        let identity = Identity::open(files.server).unwrap();
        let days = identity.days_left(Time::now());
        assert!((364.0..=365.0).contains(&days), "{days}");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert!("kms.example".parse::<Name>().is_ok());
        assert!("10.0.0.1".parse::<Name>().is_ok());
        assert!("kms.例".parse::<Name>().is_err());
    }
}
