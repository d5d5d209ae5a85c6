//! The URL of a PostgreSQL database: what it may contain, and where its password comes from.

use std::net::IpAddr;
use std::path::Path;

use url::{Host, Url};

use super::secret::PinSource;

/// The parameters that name the source of the password. The configuration adds them; the store takes
/// them out again and reads the password.
pub(crate) const PASSWORD_FILE: &str = "password_file";
/// As [`PASSWORD_FILE`], for a credential of systemd.
pub(crate) const PASSWORD_CREDENTIAL: &str = "password_credential";

/// The parameter with the name of this gateway in its cluster. The configuration adds it; the store takes it
/// out again.
pub(crate) const MEMBER: &str = "cluster_member";

/// The parameters that a URL may have. Others would change what the store relies on.
const PARAMETERS: &[&str] = &["host", "application_name"];

/// Whether a text begins as the URL of a PostgreSQL database.
pub(super) fn is_url(text: &str) -> bool {
    ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme))
}

/// Checks a URL, and adds the source of the password and the name of the gateway in its cluster.
///
/// # Errors
/// What is wrong with it. The text does not contain the URL.
pub(super) fn complete(
    text: &str,
    password: Option<&PinSource>,
    member: Option<&str>,
) -> Result<String, String> {
    let mut url = Url::parse(text).map_err(|error| format!("is not a valid URL: {error}"))?;
    let has_password_parameter = url.query_pairs().any(|(name, _value)| name == "password");
    if url.password().is_some() || has_password_parameter {
        let what = "must not contain the password: set store.password_file or store.password_credential \
                    instead, or the option of the command for a file with it";
        return Err(what.to_owned());
    }
    if url.username().is_empty() || url.path().trim_start_matches('/').is_empty() {
        return Err("must name a role and a database: postgres://ROLE@HOST/DATABASE".to_owned());
    }
    let other = url.query_pairs().find(|(name, _value)| !PARAMETERS.contains(&&**name));
    if let Some((name, _value)) = other {
        return Err(format!(
            "has the unknown parameter {name:?}: known are {}",
            PARAMETERS.join(", ")
        ));
    }
    if !is_local(&url) {
        let what = "must be on this host, a loopback address or a Unix socket (host=/DIRECTORY): \
                    connections to other hosts need TLS, which is not supported yet";
        return Err(what.to_owned());
    }
    let source = match password {
        None => None,
        Some(PinSource::File(path)) => path.to_str().map(|path| (PASSWORD_FILE, path)),
        Some(PinSource::Credential(name)) => Some((PASSWORD_CREDENTIAL, name.as_str())),
    };
    for (name, value) in source.into_iter().chain(member.map(|member| (MEMBER, member))) {
        url.query_pairs_mut().append_pair(name, value);
    }
    Ok(url.into())
}

/// Checks the URL of a database of either kind that a command names, and adds the file with its password.
///
/// # Errors
/// What is wrong with it. The text does not contain the URL.
pub fn store_url(text: &str, password_file: Option<&Path>) -> Result<String, String> {
    if text.starts_with("sqlite://") {
        return match password_file {
            Some(_file) => Err("is a SQLite file, which has no password".to_owned()),
            None => Ok(text.to_owned()),
        };
    }
    if !is_url(text) {
        return Err("must begin with sqlite:// or postgres://".to_owned());
    }
    let password = password_file.map(|file| PinSource::File(file.to_owned()));
    complete(text, password.as_ref(), None)
}

/// Whether the connection does not leave the host.
fn is_local(url: &Url) -> bool {
    let is_local_host = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        // A scheme that URLs do not define has every host as a name.
        Some(Host::Domain(name)) => {
            name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
        None => false,
    };
    let mut hosts = url.query_pairs().filter(|(name, _value)| name == "host").peekable();
    let names_host = hosts.peek().is_some();
    let are_sockets = hosts.all(|(_name, value)| value.starts_with('/'));
    if names_host { are_sockets } else { is_local_host }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_password_gets_its_source_and_the_name() {
        let url = "postgres://hsmgate@localhost/keys?host=/run/postgresql";
        assert_eq!(complete(url, None, None).unwrap(), url);
        let file = PinSource::File("/etc/hsmgate/db password".into());
        let with_file = complete("postgres://hsmgate@127.0.0.1:5433/keys", Some(&file), None);
        let wanted =
            "postgres://hsmgate@127.0.0.1:5433/keys?password_file=%2Fetc%2Fhsmgate%2Fdb+password";
        assert_eq!(with_file.unwrap(), wanted);
        let credential = PinSource::Credential("db".to_owned());
        let with_credential = complete(url, Some(&credential), Some("a")).unwrap();
        let wanted = format!("{url}&password_credential=db&cluster_member=a");
        assert_eq!(with_credential, wanted);
    }

    #[test]
    fn a_url_that_would_weaken_the_store_is_refused_without_its_secret() {
        for (url, why) in [
            ("postgres://hsmgate:hunter2@localhost/keys", "store.password_file"),
            ("postgres://hsmgate@localhost/keys?password=hunter2", "store.password_file"),
            ("postgres://localhost/keys", "must name a role"),
            ("postgres://hsmgate@localhost/", "must name a role"),
            ("postgres://hsmgate@db.example.com/keys", "need TLS"),
            ("postgres://hsmgate@192.0.2.1/keys", "need TLS"),
            ("postgres://hsmgate@localhost/keys?host=db.example.com", "need TLS"),
            ("postgres://hsmgate@localhost/keys?host=/run&host=db.example.com", "need TLS"),
            ("postgres://hsmgate@localhost/keys?hostaddr=192.0.2.1", "hostaddr"),
            ("postgres://hsmgate@localhost/keys?cluster_member=a", "cluster_member"),
            ("postgres://hsmgate@localhost/keys?options=-c%20search_path%3Dx", "options"),
        ] {
            let refused = complete(url, None, None).unwrap_err();
            assert!(refused.contains(why), "{url}: {refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
