//! Generates a root CA, a sub CA and a server certificate.
//!
//! Three certificates and not two, because the Java SDK of a KMS instance up to 0.2.x trusts only the
//! first certificate of its CA file that is not self-signed.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::client::verify_server_name;
use rustls::pki_types::{DnsName, ServerName};
use rustls::server::ParsedCertificate;
use zeroize::Zeroizing;

use super::super::private_files;
use crate::config::CertificateFiles;
use crate::model::{Time, clock, random};
use crate::server::tls::certificates;

/// The names that every development certificate has.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The prefix of a wildcard name, for all hosts of a domain.
const WILDCARD: &str = "*.";

const DAY_SECONDS: i64 = 86_400;

/// The validity of a certificate in days, unless it is given.
pub(in super::super) const DEFAULT_DAYS: i64 = 365;
/// The maximum validity in days: clients of Apple accept no certificate that is valid for longer.
pub(super) const MAX_DAYS: i64 = 825;

/// A name in a certificate: a host name, a wildcard (`*.kms.example`), or an IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Name(String);

/// A text is not a valid name in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither a host name, nor `*.` and a domain, nor an IP address")]
pub(in super::super) struct InvalidName;

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let name = text.to_ascii_lowercase();
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(Self(address.to_string()));
        }
        let host = match name.strip_prefix(WILDCARD) {
            // Clients accept no certificate for all hosts of a top-level domain.
            Some(domain) if domain.contains('.') => domain,
            Some(_) => return Err(InvalidName),
            None => &name,
        };
        let is_host = DnsName::try_from(host).is_ok() && !host.ends_with('.');
        is_host.then_some(Self(name)).ok_or(InvalidName)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Name {
    /// Whether the certificate is valid for this name. A wildcard is tested with one host.
    fn is_in(&self, certificate: &ParsedCertificate<'_>) -> bool {
        let host = match self.0.strip_prefix(WILDCARD) {
            Some(domain) => format!("a.{domain}"),
            None => self.0.clone(),
        };
        ServerName::try_from(host).is_ok_and(|name| verify_server_name(certificate, &name).is_ok())
    }
}

/// The files of a CA and its one server.
#[derive(Debug)]
pub(in super::super) struct Files {
    /// For clients: the certificates of the sub CA and of the root CA. Clients that read only one read the
    /// first, and either is enough to trust the server.
    pub(in super::super) ca: PathBuf,
    /// The certificates of the server and of the sub CA; and the key of the server.
    pub(in super::super) server: CertificateFiles,
}

impl Files {
    /// The files in a directory, whether they exist or not.
    pub(in super::super) fn of(directory: &Path) -> Self {
        let file = |name| directory.join(name);
        let server = CertificateFiles { certificate: file("server.pem"), key: file("server.key") };
        Self { ca: file("ca.pem"), server }
    }

    /// All of them.
    pub(super) fn all(&self) -> [&Path; 3] {
        [&self.ca, &self.server.certificate, &self.server.key]
    }

    /// Generates and writes new files; only the owner may read the key of the server. The keys of root and
    /// sub CA are discarded, so that a CA that clients trust can sign nothing else. Returns the end of the
    /// validity.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(in super::super) fn make(&self, names: &[Name], days: i64) -> anyhow::Result<Time> {
        let validity = Validity::of_days(days);
        let made = GeneratedPem::new(names, validity).context("cannot generate a certificate")?;
        let directory = self.ca.parent().unwrap_or(Path::new("."));
        let writing = |path: &Path| format!("cannot write {}", path.display());
        fs::create_dir_all(directory).with_context(|| writing(directory))?;
        fs::write(&self.ca, made.ca).with_context(|| writing(&self.ca))?;
        let CertificateFiles { certificate, key } = &self.server;
        fs::write(certificate, made.server).with_context(|| writing(certificate))?;
        private_files::write(key, made.key.as_bytes())?;
        Ok(validity.not_after)
    }

    /// The first of these names for which the server's certificate is not valid.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub(in super::super) fn first_missing_name<'a>(
        &self,
        names: &'a [Name],
    ) -> anyhow::Result<Option<&'a Name>> {
        if names.is_empty() {
            return Ok(None);
        }
        let chain = certificates(&self.server.certificate)?;
        let server = chain.first().context("the file contains no certificate")?;
        let server = ParsedCertificate::try_from(server)?;
        Ok(names.iter().find(|name| !name.is_in(&server)))
    }
}

/// The validity of all certificates of a chain.
#[derive(Clone, Copy)]
struct Validity {
    not_before: Time,
    not_after: Time,
}

impl Validity {
    /// From yesterday, because clocks differ, for this many days from now.
    fn of_days(days: i64) -> Self {
        let now = clock::now();
        let not_before = now.plus_seconds(-DAY_SECONDS);
        Self { not_before, not_after: now.plus_seconds(days * DAY_SECONDS) }
    }
}

/// The contents of the files, as PEM.
struct GeneratedPem {
    ca: String,
    server: String,
    key: Zeroizing<String>,
}

impl GeneratedPem {
    fn new(names: &[Name], validity: Validity) -> Result<Self, rcgen::Error> {
        // The names are unique, because OpenSSL confuses two CAs of one name in one trust store.
        let id = random::uuid().simple().to_string();
        let root = ca_params(&format!("hsmgate development root CA {id}"), 1, validity)?;
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate()?)?;
        let sub = ca_params(&format!("hsmgate development sub CA {id}"), 0, validity)?;
        let sub = CertifiedIssuer::signed_by(sub, KeyPair::generate()?, &root)?;

        let given = names.iter().map(|name| name.0.as_str());
        let names: BTreeSet<&str> = OWN_NAMES.into_iter().chain(given).collect();
        let names: Vec<_> = names.into_iter().map(str::to_owned).collect();
        let mut server = with_validity("hsmgate", CertificateParams::new(names)?, validity);
        // With basic constraints and a key identifier, which the strict checks of OpenSSL require.
        server.is_ca = IsCa::ExplicitNoCa;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let server = server.signed_by(&key, &sub)?;
        Ok(Self {
            ca: [sub.pem(), root.pem()].concat(),
            server: [server.pem(), sub.pem()].concat(),
            key: Zeroizing::new(key.serialize_pem()),
        })
    }
}

/// The parameters of a CA with at most `below` CAs under it.
fn ca_params(name: &str, below: u8, validity: Validity) -> Result<CertificateParams, rcgen::Error> {
    let mut ca = with_validity(name, CertificateParams::new([])?, validity);
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(ca)
}

fn with_validity(
    name: &str,
    mut params: CertificateParams,
    validity: Validity,
) -> CertificateParams {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    let since_epoch = |time: Time| {
        let seconds = u64::try_from(time.unix()).unwrap_or_default();
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    params.not_before = since_epoch(validity.not_before);
    params.not_after = since_epoch(validity.not_after);
    params
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use tempfile::TempDir;
    use x509_cert::Certificate;
    use x509_cert::der::Decode as _;
    use x509_cert::ext::pkix::{
        AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
        SubjectKeyIdentifier,
    };

    use super::*;
    use crate::server::tls::ServerCertificate;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn made(names: &[Name]) -> (TempDir, Files) {
        let directory = TempDir::new().unwrap();
        let files = Files::of(&directory.path().join("tls"));
        files.make(names, DEFAULT_DAYS).unwrap();
        (directory, files)
    }

    fn read(path: &Path) -> Vec<Certificate> {
        let all = certificates(path).unwrap();
        all.iter().map(|der| Certificate::from_der(der).unwrap()).collect()
    }

    #[test]
    fn the_files_serve_tls_and_the_key_is_private() {
        let (_directory, files) = made(&[name("kms.example")]);
        assert_eq!(fs::metadata(&files.server.key).unwrap().mode() & 0o777, 0o600);
        let days_left = || {
            let identity = ServerCertificate::open(files.server.clone()).unwrap();
            identity.days_left(clock::now())
        };
        assert!((364.0..=365.0).contains(&days_left()), "{}", days_left());
        files.make(&[], 30).unwrap();
        assert!((29.0..=30.0).contains(&days_left()), "{}", days_left());
    }

    #[test]
    fn clients_get_sub_ca_and_root_and_the_server_sends_itself_and_the_sub_ca() {
        let (_directory, files) = made(&[]);
        let (ca, server) = (read(&files.ca), read(&files.server.certificate));
        let ([sub, root], [server, sent_sub]) = (&ca[..], &server[..]) else {
            panic!("{} and {} certificates", ca.len(), server.len())
        };
        assert_eq!(sub, sent_sub);
        let [root, sub, server] = [root, sub, server].map(Certificate::tbs_certificate);
        assert_eq!(root.issuer(), root.subject());
        assert_eq!(sub.issuer(), root.subject());
        assert_ne!(sub.issuer(), sub.subject());
        assert_eq!(server.issuer(), sub.subject());

        for (of, ca, path_length) in
            [(root, true, Some(1)), (sub, true, Some(0)), (server, false, None)]
        {
            let (is_critical, basic) = of.get_extension::<BasicConstraints>().unwrap().unwrap();
            assert!(is_critical);
            assert_eq!((basic.ca, basic.path_len_constraint), (ca, path_length));
            let usage = of.get_extension::<KeyUsage>().unwrap().unwrap();
            let usages = if ca {
                KeyUsages::KeyCertSign | KeyUsages::CRLSign
            } else {
                KeyUsages::DigitalSignature.into()
            };
            assert_eq!(usage, (true, KeyUsage(usages)));
            let extended = of.get_extension::<ExtendedKeyUsage>().unwrap();
            assert_eq!(extended.is_some(), !ca, "a CA is bound to no purpose");
        }
        for (of, issuer) in [(server, sub), (sub, root), (root, root)] {
            let (_, own) = issuer.get_extension::<SubjectKeyIdentifier>().unwrap().unwrap();
            let (_, named) = of.get_extension::<AuthorityKeyIdentifier>().unwrap().unwrap();
            assert_eq!(named.key_identifier, Some(own.0));
            let (inner, outer) = (of.validity(), issuer.validity());
            assert!(outer.not_before.to_unix_duration() <= inner.not_before.to_unix_duration());
            assert!(outer.not_after.to_unix_duration() >= inner.not_after.to_unix_duration());
        }
    }

    #[test]
    fn no_key_of_a_ca_is_left_behind() {
        let (directory, _files) = made(&[]);
        let mut names = Vec::new();
        for entry in fs::read_dir(directory.path().join("tls")).unwrap() {
            let entry = entry.unwrap();
            names.push(entry.file_name().into_string().unwrap());
            let text = fs::read_to_string(entry.path()).unwrap();
            let keys = text.matches("PRIVATE KEY-----").count() / 2;
            assert_eq!(keys, usize::from(entry.file_name() == "server.key"));
        }
        names.sort();
        assert_eq!(names, ["ca.pem", "server.key", "server.pem"]);
    }

    #[test]
    fn a_name_that_the_certificate_lacks_is_found() {
        let given = ["kms.cn-hangzhou.aliyuncs.com", "*.cryptoservice.kms.aliyuncs.com"].map(name);
        let (_directory, files) = made(&given);
        let own = OWN_NAMES.map(name);
        assert_eq!(files.first_missing_name(&own).unwrap(), None);
        assert_eq!(files.first_missing_name(&given).unwrap(), None);
        let one = [name("kst-hzz1.cryptoservice.kms.aliyuncs.com")];
        assert_eq!(files.first_missing_name(&one).unwrap(), None);
        for lacking in ["kms.cn-beijing.aliyuncs.com", "*.kms.aliyuncs.com", "127.0.0.2"] {
            let names = [name("localhost"), name(lacking)];
            assert_eq!(files.first_missing_name(&names).unwrap(), Some(&names[1]));
        }
    }

    #[test]
    fn a_name_is_a_host_the_hosts_of_a_domain_or_an_address() {
        for good in ["kms.example", "10.0.0.1", "::1", "*.kms.example", "KMS.Example", "gateway"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "kms.例",
            "https://kms.example",
            "kms.example:443",
            "kms.example.",
            "*",
            "*.",
            "*.com",
            "kms.*.example",
            "a b",
            "[::1]",
            "10.0.0.256",
        ] {
            assert_eq!(bad.parse::<Name>(), Err(InvalidName), "{bad}");
        }
        assert_eq!(name("KMS.Example").to_string(), "kms.example");
    }
}
