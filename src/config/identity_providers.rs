//! The identity providers of the configuration, in a file of their own: each has several settings.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use serde::Deserialize;

use crate::model::{
    DEFAULT_MAX_TOKEN_AGE_SECONDS, IdentityProvider, ProviderName, Time, TokenAlgorithm,
};

/// How often keys are read again, in seconds, unless a provider sets it.
const DEFAULT_REFRESH_SECONDS: u64 = 300;
const REFRESH_SECONDS: std::ops::RangeInclusive<u64> = 1..=86_400;

/// The greatest age of a token that is accepted once, in seconds. With the tolerated difference of the
/// clocks it is the time for which nonces are kept.
const MAX_AGE_OF_ONE_USE_SECONDS: i64 = 840;

/// An identity provider of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSettings {
    /// The provider, without its keys.
    pub provider: IdentityProvider,
    /// Where its keys are.
    pub keys: KeySource,
    /// How often they are read again.
    pub refresh: Duration,
    /// Whether a token is accepted only once.
    pub accepts_once: bool,
}

/// Where the key set of a provider is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In a file.
    File(PathBuf),
    /// At an address.
    Url {
        /// The address, with https, or with http on loopback.
        url: Uri,
        /// The CAs that are trusted, as a PEM file. `None` means those of the system.
        ca: Option<PathBuf>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProvidersFile {
    #[serde(default)]
    provider: Vec<ProviderEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderEntry {
    name: String,
    issuer: String,
    audiences: Vec<String>,
    keys_file: Option<PathBuf>,
    keys_url: Option<String>,
    keys_ca: Option<PathBuf>,
    algorithms: Option<Vec<String>>,
    max_age_seconds: Option<i64>,
    refresh_seconds: Option<u64>,
    #[serde(default)]
    accept_once: bool,
}

/// Reads the file with the providers.
///
/// # Errors
/// With its first fault.
pub(super) fn read(path: &Path) -> Result<Vec<ProviderSettings>, String> {
    let of_file = |fault: String| format!("{}: {fault}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| of_file(error.to_string()))?;
    parse(&text).map_err(of_file)
}

fn parse(text: &str) -> Result<Vec<ProviderSettings>, String> {
    let file: ProvidersFile = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        format!("line {}: {}", before.matches('\n').count() + 1, error.message())
    })?;
    let mut names = BTreeSet::new();
    file.provider
        .into_iter()
        .map(|entry| {
            let name = entry.name.clone();
            let settings =
                entry.checked().map_err(|fault| format!("provider {name:?}: {fault}"))?;
            if !names.insert(name.clone()) {
                return Err(format!("provider {name:?}: two providers have this name"));
            }
            Ok(settings)
        })
        .collect()
}

impl ProviderEntry {
    fn checked(self) -> Result<ProviderSettings, String> {
        let name: ProviderName = self.name.parse().map_err(|fault| format!("{fault}"))?;
        let keys = match (self.keys_file, self.keys_url) {
            (Some(path), None) if self.keys_ca.is_none() => {
                KeySource::File(absolute("keys_file", path)?)
            }
            (None, Some(url)) => KeySource::Url {
                url: key_url(&url).ok_or("keys_url must be an https URL without a user")?,
                ca: self.keys_ca.map(|path| absolute("keys_ca", path)).transpose()?,
            },
            _ => return Err("keys_file or keys_url is necessary; keys_ca is for keys_url".into()),
        };
        let algorithms = self.algorithms.map_or(Ok(TokenAlgorithm::ALL.to_vec()), |texts| {
            texts.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>()
        });
        let provider = IdentityProvider {
            name,
            // The same after a restart and at every gateway with this configuration.
            id: format!("configuration {}", self.issuer),
            issuer: self.issuer,
            audiences: self.audiences,
            algorithms: algorithms.map_err(|fault| format!("{fault}"))?,
            keys: String::new(),
            max_age_seconds: self.max_age_seconds.unwrap_or(if self.accept_once {
                MAX_AGE_OF_ONE_USE_SECONDS
            } else {
                DEFAULT_MAX_TOKEN_AGE_SECONDS
            }),
            created: Time::from_unix(0),
        };
        provider.check()?;
        if self.accept_once && provider.max_age_seconds > MAX_AGE_OF_ONE_USE_SECONDS {
            return Err("with accept_once max_age_seconds must be at most 840".to_owned());
        }
        let refresh = self.refresh_seconds.unwrap_or(DEFAULT_REFRESH_SECONDS);
        if !REFRESH_SECONDS.contains(&refresh) {
            return Err("refresh_seconds must be 1 to 86400".to_owned());
        }
        let refresh = Duration::from_secs(refresh);
        Ok(ProviderSettings { provider, keys, refresh, accepts_once: self.accept_once })
    }
}

fn absolute(name: &str, path: PathBuf) -> Result<PathBuf, String> {
    if path.is_absolute() { Ok(path) } else { Err(format!("{name} must be an absolute path")) }
}

/// An https URL, or an http URL on loopback, where no network is between.
fn key_url(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let authority = url.authority()?;
    let host = authority.host();
    let is_loopback = ["127.0.0.1", "[::1]", "localhost"].contains(&host);
    let is_allowed = match url.scheme_str() {
        Some("https") => true,
        Some("http") => is_loopback,
        _ => false,
    };
    (is_allowed && !host.is_empty() && !authority.as_str().contains('@')).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    const K8S: &str = "[[provider]]\nname = \"k8s\"\nissuer = \"https://issuer\"\n\
                       audiences = [\"kms\"]\n";

    #[test]
    fn a_provider_has_its_keys_in_a_file_or_at_an_address() {
        let text = format!(
            "{K8S}keys_file = \"/etc/jwks.json\"\n{}\
             keys_url = \"https://issuer/keys\"\nkeys_ca = \"/etc/ca.pem\"\n\
             algorithms = [\"ES256\"]\nmax_age_seconds = 900\nrefresh_seconds = 60\n",
            K8S.replace("k8s", "ci")
        );
        let [k8s, ci] = &*parse(&text).unwrap() else { panic!("two providers") };
        assert_eq!(k8s.keys, KeySource::File("/etc/jwks.json".into()));
        assert_eq!(k8s.refresh, Duration::from_mins(5));
        assert_eq!(k8s.provider.algorithms, TokenAlgorithm::ALL);
        assert_eq!(k8s.provider.max_age_seconds, DEFAULT_MAX_TOKEN_AGE_SECONDS);
        let url = "https://issuer/keys".parse().unwrap();
        assert_eq!(ci.keys, KeySource::Url { url, ca: Some("/etc/ca.pem".into()) });
        assert_eq!(ci.provider.algorithms, [TokenAlgorithm::Es256]);
        assert_eq!((ci.provider.max_age_seconds, ci.refresh.as_secs()), (900, 60));
        assert_eq!(parse("").unwrap(), []);
        let once = parse(&format!("{K8S}keys_file = \"/k\"\naccept_once = true\n")).unwrap();
        assert!(once[0].accepts_once && once[0].provider.max_age_seconds == 840);
        assert!(!k8s.accepts_once);
    }

    #[test]
    fn a_fault_names_the_provider_or_the_line() {
        let file = "keys_file = \"/k\"\n";
        for (text, fault) in [
            (K8S.to_owned(), "provider \"k8s\": keys_file or keys_url is necessary"),
            (format!("{K8S}{file}keys_url = \"https://a/k\"\n"), "keys_file or keys_url"),
            (format!("{K8S}{file}keys_ca = \"/ca\"\n"), "keys_ca is for keys_url"),
            (format!("{K8S}keys_file = \"k\"\n"), "keys_file must be an absolute path"),
            (format!("{K8S}keys_url = \"http://a/k\"\n"), "must be an https URL"),
            (format!("{K8S}keys_url = \"http://127.0.0.1.a/k\"\n"), "must be an https URL"),
            (format!("{K8S}keys_url = \"https://u:p@a/k\"\n"), "must be an https URL"),
            (format!("{K8S}keys_url = \"file:///k\"\n"), "must be an https URL"),
            (format!("{K8S}keys_url = \"https://a/k\"\nkeys_ca = \"c\"\n"), "keys_ca must be"),
            (format!("{K8S}{file}algorithms = [\"HS256\"]\n"), "token algorithm"),
            (format!("{K8S}{file}algorithms = []\n"), "an algorithm is necessary"),
            (format!("{K8S}{file}max_age_seconds = 1\n"), "60 to 604800"),
            (format!("{K8S}{file}accept_once = true\nmax_age_seconds = 841\n"), "at most 840"),
            (format!("{K8S}{file}refresh_seconds = 0\n"), "refresh_seconds must be 1 to 86400"),
            (format!("{K8S}{file}{K8S}{file}"), "two providers have this name"),
            (format!("{K8S}{file}kyes = 1\n"), "line 6: "),
            (format!("{}{file}", K8S.replace("k8s", "-")), "identity provider name"),
            (format!("{}{file}", K8S.replace("[\"kms\"]", "[]")), "1 to 50 audiences"),
            (format!("{}{file}", K8S.replace("https://issuer", "")), "the issuer must have"),
        ] {
            let found = parse(&text).unwrap_err();
            assert!(found.contains(fault), "{found}, not {fault}");
        }
        let url = |text| key_url(text).is_some();
        assert!(
            url("http://127.0.0.1:8000/k") && url("http://[::1]/k") && url("http://localhost/")
        );
    }
}
