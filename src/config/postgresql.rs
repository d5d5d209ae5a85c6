//! The URL of a PostgreSQL database: what it may contain, and where its password comes from.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use url::Url;

use super::secret::PinSource;
use super::server_url::{ServerUrl, TARGET, host, parameter, set_query};

/// The parameters that name the source of the password. The configuration adds them; the store takes
/// them out again and reads the password.
pub(crate) const PASSWORD_FILE: &str = "password_file";
/// As [`PASSWORD_FILE`], for a credential of systemd.
pub(crate) const PASSWORD_CREDENTIAL: &str = "password_credential";

/// The parameter with the name of this gateway in its cluster. The configuration adds it; the store takes it
/// out again.
pub(crate) const MEMBER: &str = "cluster_member";

/// The parameter with the URL of the same database for what needs a session. The configuration adds it; the
/// store takes it out again.
pub(crate) const NOTIFY_URL: &str = "notify_url";

/// The parameter with the file of a CA.
pub(crate) const SSL_ROOT_CERTIFICATE: &str = "sslrootcert";
/// The parameter with the file of the certificate of this client.
pub(crate) const SSL_CERTIFICATE: &str = "sslcert";
/// The parameter with the file of its private key.
pub(crate) const SSL_KEY: &str = "sslkey";
/// The parameters that name a file of TLS.
const SSL_FILES: &[&str] = &[SSL_ROOT_CERTIFICATE, SSL_CERTIFICATE, SSL_KEY];
/// The parameter that says whether TLS is used and what is verified.
const SSL_MODE: &str = "sslmode";
/// TLS, with the certificate and the name of the server verified.
const VERIFY: &str = "verify-full";
/// No TLS.
const DISABLE: &str = "disable";

/// The parameters that a URL may have. Others would change what the store relies on.
const PARAMETERS: &[&str] =
    &["host", TARGET, "application_name", SSL_MODE, SSL_ROOT_CERTIFICATE, SSL_CERTIFICATE, SSL_KEY];

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
    let mut servers = ServerUrl::parse(text)?;
    let url = servers.first();
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
    // Of two, the driver takes the last one.
    let is_repeated = |name: &&&str| url.query_pairs().filter(|(one, _)| one == **name).count() > 1;
    if let Some(name) = PARAMETERS.iter().find(is_repeated) {
        return Err(format!("has the parameter {name:?} twice"));
    }
    servers.target()?;
    let modes = modes(&servers)?;
    if let [mode, others @ ..] = &*modes
        && parameter(url, SSL_MODE).is_none()
        && others.iter().all(|other| other == mode)
    {
        servers.append(SSL_MODE, mode);
    }
    let source = match password {
        None => None,
        Some(PinSource::File(path)) => path.to_str().map(|path| (PASSWORD_FILE, path)),
        Some(PinSource::Credential(name)) => Some((PASSWORD_CREDENTIAL, name.as_str())),
    };
    for (name, value) in source.into_iter().chain(member.map(|member| (MEMBER, member))) {
        servers.append(name, value);
    }
    Ok(servers.to_string())
}

/// The mode of TLS of each host.
fn modes(servers: &ServerUrl) -> Result<Vec<String>, String> {
    let mode = |url: &Url| parameter(url, SSL_MODE).unwrap_or_default();
    Ok(addresses(servers)?.iter().map(mode).collect())
}

/// The URL of each host of a database, with the mode of TLS.
///
/// # Errors
/// What is wrong with one of them.
pub(crate) fn addresses(servers: &ServerUrl) -> Result<Vec<Url>, String> {
    let mut urls = servers.addresses()?;
    if !urls.iter().all(is_socket) {
        // As libpq: what is said of TLS is for the other hosts.
        urls.iter_mut().filter(|url| is_socket(url)).for_each(remove_tls);
    }
    urls.iter_mut().try_for_each(set_ssl_mode)?;
    Ok(urls)
}

fn remove_tls(url: &mut Url) {
    let pairs = url.query_pairs().into_owned();
    let is_of_tls = |name: &str| name == SSL_MODE || SSL_FILES.contains(&name);
    let pairs: Vec<_> = pairs.filter(|(name, _value)| !is_of_tls(name)).collect();
    set_query(url, &pairs);
}

/// Adds the completed URL for what needs a session to the completed URL of a database.
pub(super) fn add_notify_url(url: &str, notify_url: &str) -> Result<String, String> {
    let mut url = ServerUrl::parse(url)?;
    url.append(NOTIFY_URL, notify_url);
    Ok(url.to_string())
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

/// Checks the parameters of TLS, and adds the mode unless the URL has one: TLS with the certificate and the
/// name of the server verified for other hosts, and for this one if a file of TLS is named; none otherwise.
fn set_ssl_mode(url: &mut Url) -> Result<(), String> {
    let files: Vec<_> = SSL_FILES.iter().filter(|name| parameter(url, name).is_some()).collect();
    let is_relative =
        |name: &&&&str| parameter(url, name).is_some_and(|file| !file.starts_with('/'));
    if let Some(name) = files.iter().find(is_relative) {
        return Err(format!("must have the absolute path of a file in {name}"));
    }
    if files.contains(&&SSL_CERTIFICATE) != files.contains(&&SSL_KEY) {
        return Err(format!("must have both {SSL_CERTIFICATE} and {SSL_KEY}, or neither"));
    }
    let default = if is_this_host(url) && files.is_empty() { DISABLE } else { VERIFY };
    let mode = parameter(url, SSL_MODE);
    match (mode.as_deref().unwrap_or(default), files.first()) {
        (VERIFY, _) if is_socket(url) => {
            return Err("names a Unix socket, where a server has no TLS".to_owned());
        }
        (DISABLE, Some(file)) => {
            return Err(format!("has {file}, which needs {SSL_MODE}={VERIFY}"));
        }
        (VERIFY | DISABLE, _) => {}
        _ => {
            return Err(format!(
                "must have {SSL_MODE}={VERIFY}, the default for other hosts, or {SSL_MODE}={DISABLE}: \
                 other modes do not verify the server or its name"
            ));
        }
    }
    if mode.is_none() {
        url.query_pairs_mut().append_pair(SSL_MODE, default);
    }
    Ok(())
}

/// The files that decide which server is accepted at a URL or at the one for what needs a session, and who
/// this client is.
pub fn tls_files(url: &str) -> Vec<PathBuf> {
    let Ok(url) = ServerUrl::parse(url) else { return Vec::new() };
    let of_url = SSL_FILES.iter().filter_map(|name| url.parameter(name)).map(PathBuf::from);
    let of_notify_url = url.parameter(NOTIFY_URL).map(|url| tls_files(&url));
    of_url.chain(of_notify_url.into_iter().flatten()).collect()
}

/// Whether rows and passwords cross a network without TLS: the URL, or the one for what needs a session, has
/// `sslmode=disable` and names another host.
pub fn is_in_clear(url: &str) -> bool {
    ServerUrl::parse(url).is_ok_and(|servers| {
        addresses(&servers).is_ok_and(|urls| urls.iter().any(is_address_in_clear))
            || servers.parameter(NOTIFY_URL).is_some_and(|url| is_in_clear(&url))
    })
}

/// As [`is_in_clear`], for the URL of one host with the mode of TLS.
pub(crate) fn is_address_in_clear(url: &Url) -> bool {
    !is_this_host(url) && parameter(url, SSL_MODE).is_some_and(|mode| mode == DISABLE)
}

/// Whether the URL of a database has another one for what needs a session: `store.notify_url` is set.
pub fn has_notify_url(url: &str) -> bool {
    ServerUrl::parse(url).is_ok_and(|url| url.parameter(NOTIFY_URL).is_some())
}

/// Whether the connection does not leave this host.
fn is_this_host(url: &Url) -> bool {
    is_socket(url) || host(url).is_some_and(|host| is_loopback(&host))
}

fn is_socket(url: &Url) -> bool {
    host(url).is_some_and(|host| host.starts_with('/'))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_password_gets_its_source_and_the_name() {
        let url = "postgres://hsmgate@localhost/keys?host=/run/postgresql";
        let local = format!("{url}&sslmode=disable");
        assert_eq!(complete(url, None, None).unwrap(), local);
        let file = PinSource::File("/etc/hsmgate/db password".into());
        let with_file = complete("postgres://hsmgate@127.0.0.1:5433/keys", Some(&file), None);
        let wanted = "postgres://hsmgate@127.0.0.1:5433/keys?sslmode=disable&password_file=%2Fetc%2Fhsmgate%2Fdb+password";
        assert_eq!(with_file.unwrap(), wanted);
        let credential = PinSource::Credential("db".to_owned());
        let with_credential = complete(url, Some(&credential), Some("a")).unwrap();
        let wanted = format!("{local}&password_credential=db&cluster_member=a");
        assert_eq!(with_credential, wanted);
    }

    #[test]
    fn the_server_is_verified_unless_it_is_on_this_host() {
        for (url, mode) in [
            ("postgres://hsmgate@db.example.com/keys", VERIFY),
            ("postgres://hsmgate@192.0.2.1/keys?sslrootcert=/etc/ca.pem", VERIFY),
            ("postgres://hsmgate@[2001:db8::1]/keys", VERIFY),
            ("postgres://hsmgate@localhost/keys?host=db.example.com", VERIFY),
            ("postgres://hsmgate@localhost/keys?sslrootcert=/etc/ca.pem", VERIFY),
            ("postgres://hsmgate@localhost/keys?sslcert=/c.pem&sslkey=/k.pem", VERIFY),
            ("postgres://hsmgate@localhost/keys?sslmode=verify-full", VERIFY),
            ("postgres://hsmgate@[::1]/keys", DISABLE),
            ("postgres://hsmgate@%2Frun%2Fpostgresql/keys", DISABLE),
            ("postgres://hsmgate@db.example.com/keys?host=/run/postgresql", DISABLE),
            ("postgres://hsmgate@db.example.com/keys?sslmode=disable", DISABLE),
        ] {
            let completed = complete(url, None, None).unwrap();
            assert_eq!(completed.matches("sslmode=").count(), 1, "{completed}");
            assert!(completed.contains(&format!("sslmode={mode}")), "{completed}");
            assert_eq!(is_in_clear(&completed), url.ends_with("sslmode=disable"), "{completed}");
        }
        let url = "postgres://hsmgate@db/keys?sslrootcert=/ca.pem&sslcert=/c.pem&sslkey=/k.pem";
        assert_eq!(tls_files(url), ["/ca.pem", "/c.pem", "/k.pem"].map(PathBuf::from));
    }

    #[test]
    fn each_of_several_hosts_has_the_mode_of_tls_that_it_needs() {
        let complete = |url| complete(url, None, None).unwrap();
        let completed =
            complete("postgres://u@db1:5432,db2:5433/keys?target_session_attrs=read-write");
        assert!(completed.starts_with("postgres://u@db1:5432,db2:5433/keys?"), "{completed}");
        assert!(completed.ends_with("&sslmode=verify-full"), "{completed}");
        assert!(!is_in_clear(&completed));
        let completed = complete("postgres://u@localhost,[::1]/keys");
        assert!(completed.ends_with("?sslmode=disable"), "{completed}");
        let completed = complete("postgres://u@localhost,db2/keys");
        assert!(!completed.contains("sslmode"), "{completed}");
        assert!(!is_in_clear(&completed));
        let mixed = complete("postgres://u@x/keys?host=/run/postgresql,db2&sslrootcert=/ca.pem");
        let modes = |text: &str| modes(&ServerUrl::parse(text).unwrap()).unwrap();
        assert_eq!(modes(&mixed), [DISABLE, VERIFY]);
        assert!(is_in_clear(&complete("postgres://u@localhost,db2/keys?sslmode=disable")));
    }

    #[test]
    fn the_url_for_sessions_obeys_the_rules_of_the_other() {
        let complete = |url| complete(url, None, None).unwrap();
        let pooler = complete("postgres://hsmgate@localhost:6432/keys?host=/run/pgbouncer");
        let direct = complete("postgres://hsmgate@db/keys?sslmode=disable");
        let both = add_notify_url(&pooler, &direct).unwrap();
        assert!(!has_notify_url(&pooler) && has_notify_url(&both));
        assert!(!is_in_clear(&pooler) && is_in_clear(&both));
        let direct = complete("postgres://hsmgate@db/keys?sslrootcert=/ca.pem");
        let both = add_notify_url(&pooler, &direct).unwrap();
        assert!(!is_in_clear(&both));
        assert_eq!(tls_files(&both), ["/ca.pem"].map(PathBuf::from));
    }

    #[test]
    fn a_url_that_would_weaken_the_store_is_refused_without_its_secret() {
        for (url, why) in [
            ("postgres://hsmgate:hunter2@localhost/keys", "store.password_file"),
            ("postgres://hsmgate@localhost/keys?password=hunter2", "store.password_file"),
            ("postgres://localhost/keys", "must name a role"),
            ("postgres://hsmgate@localhost/", "must name a role"),
            ("postgres://hsmgate@192.0.2.1/keys?sslmode=prefer", "sslmode=verify-full"),
            ("postgres://hsmgate@192.0.2.1/keys?sslmode=verify-ca", "sslmode=verify-full"),
            ("postgres://hsmgate@localhost/keys?sslmode=require", "sslmode=verify-full"),
            ("postgres://hsmgate@localhost/keys?host=/run&host=db.example.com", "twice"),
            ("postgres://hsmgate@db/keys?sslmode=verify-full&sslmode=disable", "twice"),
            ("postgres://hsmgate@localhost/keys?host=/run&sslmode=verify-full", "has no TLS"),
            ("postgres://hsmgate@localhost/keys?host=/run&sslrootcert=/ca.pem", "has no TLS"),
            ("postgres://hsmgate@db/keys?sslmode=disable&sslrootcert=/ca", "needs sslmode"),
            ("postgres://hsmgate@db/keys?sslcert=/c.pem", "sslkey"),
            ("postgres://hsmgate@192.0.2.1/keys?sslrootcert=ca.pem", "absolute path"),
            ("postgres://hsmgate@localhost/keys?hostaddr=192.0.2.1", "hostaddr"),
            ("postgres://hsmgate@localhost/keys?cluster_member=a", "cluster_member"),
            ("postgres://hsmgate@localhost/keys?notify_url=postgres://x", "notify_url"),
            ("postgres://hsmgate:hunter2@h1:5432,h2:5433/keys", "store.password_file"),
            ("postgres://hsmgate@h1,h2/keys?sslmode=require", "sslmode=verify-full"),
            ("postgres://hsmgate@h1,h2/keys?target_session_attrs=master", "prefer-standby"),
            ("postgres://hsmgate@h1,h2/keys?host=/run/a,/run/b&sslmode=verify-full", "has no TLS"),
            ("postgres://hsmgate@localhost/keys?options=-c%20search_path%3Dx", "options"),
        ] {
            let refused = complete(url, None, None).unwrap_err();
            assert!(refused.contains(why), "{url}: {refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
