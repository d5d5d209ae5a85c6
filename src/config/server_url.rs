//! The URL of a PostgreSQL database at one or more hosts, as libpq has it: the hosts are separated by commas, and
//! `target_session_attrs` says which of them is used.
//!
//! `Url` knows one host. The text with several is split here, and nowhere else.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::{Position, Url};

/// The parameter that says which server is used.
pub(crate) const TARGET: &str = "target_session_attrs";
/// The parameter with hosts in place of those before the name of the database.
const HOST: &str = "host";

/// The URL of a PostgreSQL database at one or more hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    /// The URL, with the first one of several hosts.
    first: Url,
    /// The further hosts, each with its port, as they are written.
    others: Vec<String>,
}

/// Which of several servers is used: `target_session_attrs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionTarget {
    /// The first one that responds.
    Any,
    /// One that accepts changes: no standby, and `default_transaction_read_only` is off.
    ReadWrite,
    /// One that accepts none.
    ReadOnly,
    /// One that is no standby.
    Primary,
    /// A standby.
    Standby,
    /// A standby, or another one if there is none.
    PreferStandby,
    /// One that accepts changes, or another one if there is none. No value of the parameter.
    PreferReadWrite,
}

impl SessionTarget {
    const NAMES: [(&'static str, Self); 6] = [
        ("any", Self::Any),
        ("read-write", Self::ReadWrite),
        ("read-only", Self::ReadOnly),
        ("primary", Self::Primary),
        ("standby", Self::Standby),
        ("prefer-standby", Self::PreferStandby),
    ];

    fn parse(text: &str) -> Result<Self, String> {
        let found = Self::NAMES.iter().find(|(name, _target)| *name == text);
        found.map(|(_name, target)| *target).ok_or_else(|| {
            let names = Self::NAMES.map(|(name, _target)| name).join(", ");
            format!("has an unknown value of {TARGET}: known are {names}")
        })
    }
}

impl ServerUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it. The text does not contain the URL.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parse =
            |text: &str| Url::parse(text).map_err(|error| format!("is not a valid URL: {error}"));
        let (start, end) = hosts(text);
        let (Some(head), Some(hosts), Some(tail)) =
            (text.get(..start), text.get(start..end), text.get(end..))
        else {
            return parse(text).map(|first| Self { first, others: Vec::new() });
        };
        let mut each = hosts.split(',');
        let first = parse(&format!("{head}{}{tail}", each.next().unwrap_or_default()))?;
        let others: Vec<String> = each.map(str::to_owned).collect();
        if others.iter().any(String::is_empty) {
            return Err("has an empty host in the list of hosts".to_owned());
        }
        for other in &others {
            parse(&format!("{head}{other}{tail}"))?;
        }
        Ok(Self { first, others })
    }

    /// The URL with its first host: the scheme, the role, the name of the database and the parameters are those
    /// of all.
    pub(crate) fn first(&self) -> &Url {
        &self.first
    }

    /// Adds a parameter.
    pub(crate) fn append(&mut self, name: &str, value: &str) {
        self.first.query_pairs_mut().append_pair(name, value);
    }

    /// Replaces the password.
    pub(super) fn set_password(&mut self, password: &str) -> Result<(), ()> {
        self.first.set_password(Some(password))
    }

    /// The value of a parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        parameter(&self.first, name)
    }

    /// Which server is used, if the URL says so.
    ///
    /// # Errors
    /// For an unknown value.
    pub(crate) fn target(&self) -> Result<Option<SessionTarget>, String> {
        self.parameter(TARGET).map(|text| SessionTarget::parse(&text)).transpose()
    }

    /// For each host a URL with this one alone, and without the parameter of the target.
    ///
    /// # Errors
    /// When the hosts of the parameter `host` do not fit the ports.
    pub(crate) fn addresses(&self) -> Result<Vec<Url>, String> {
        let head = &self.first[..Position::BeforeHost];
        let tail = &self.first[Position::BeforePath..];
        let of_first = &self.first[Position::BeforeHost..Position::BeforePath];
        let others = self.others.iter().map(String::as_str);
        let authority = std::iter::once(of_first).chain(others);
        let mut urls = authority
            .map(|host| Url::parse(&format!("{head}{host}{tail}")))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("is not a valid URL: {error}"))?;
        let hosts = self.parameter(HOST);
        let hosts: Vec<&str> = hosts.iter().flat_map(|hosts| hosts.split(',')).collect();
        if hosts.len() > 1 && urls.len() == 1 {
            // As libpq: one port is that of all hosts.
            urls = vec![self.first.clone(); hosts.len()];
        }
        if hosts.len() > 1 && hosts.len() != urls.len() || hosts.len() == 1 && urls.len() > 1 {
            return Err(format!("has {} hosts, and {} in {HOST}", urls.len(), hosts.len()));
        }
        if hosts.len() > 1 && hosts.iter().any(|host| host.is_empty()) {
            return Err(format!("has an empty host in {HOST}"));
        }
        for (number, url) in urls.iter_mut().enumerate() {
            let mut pairs = Vec::new();
            for (name, value) in url.query_pairs() {
                let own = hosts.get(number).filter(|_host| name == HOST);
                let value = own.map_or(value.into_owned(), |host| (*host).to_owned());
                pairs.push((name.into_owned(), value));
            }
            pairs.retain(|(name, _value)| name != TARGET);
            set_query(url, &pairs);
        }
        Ok(urls)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.first[..Position::BeforePath])?;
        for other in &self.others {
            write!(formatter, ",{other}")?;
        }
        formatter.write_str(&self.first[Position::BeforePath..])
    }
}

/// Replaces the parameters of a URL.
pub(crate) fn set_query(url: &mut Url, pairs: &[(String, String)]) {
    url.set_query(None);
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
}

/// The value of a parameter.
pub(super) fn parameter(url: &Url, name: &str) -> Option<String> {
    let found = url.query_pairs().find(|(found, _value)| found == name);
    found.map(|(_name, value)| value.into_owned())
}

/// The host that is connected to. The driver prefers a directory of a socket, and then the parameter.
pub(super) fn host(url: &Url) -> Option<String> {
    let of_url = url.host_str().map(|host| percent_decode_str(host).decode_utf8_lossy());
    if let Some(socket) = of_url.as_ref().filter(|host| host.starts_with('/')) {
        return Some(socket.clone().into_owned());
    }
    parameter(url, HOST).or(of_url.map(std::borrow::Cow::into_owned))
}

/// A host and its port as they are shown: without what may be secret.
pub(crate) fn address(url: &Url) -> String {
    let host = host(url).unwrap_or_default();
    match url.port() {
        Some(port) if host.starts_with('/') => format!("{host}/.s.PGSQL.{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// Where the hosts of a URL begin and end.
fn hosts(text: &str) -> (usize, usize) {
    let begin = text.find("://").map_or(text.len(), |scheme| scheme + 3);
    let rest = text.get(begin..).unwrap_or_default();
    let end = rest.find(['/', '?', '#']).map_or(text.len(), |end| begin + end);
    let authority = text.get(begin..end).unwrap_or_default();
    (authority.rfind('@').map_or(begin, |at| begin + at + 1), end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<String> {
        let url = ServerUrl::parse(text).unwrap();
        assert_eq!(ServerUrl::parse(&url.to_string()).unwrap(), url);
        url.addresses().unwrap().into_iter().map(String::from).collect()
    }

    #[test]
    fn each_host_has_a_url_of_its_own() {
        let one = "postgres://hsmgate@db.example.com:5433/keys?sslmode=disable";
        assert_eq!(addresses(one), [one]);
        assert_eq!(
            addresses(
                "postgres://u@h1:5432,h2:5433,[::1],h4/keys?target_session_attrs=any&sslmode=x"
            ),
            ["h1:5432", "h2:5433", "[::1]", "h4"]
                .map(|host| format!("postgres://u@{host}/keys?sslmode=x"))
        );
        assert_eq!(
            addresses(
                "postgres://u@localhost:5433/keys?host=/run/a,h2&target_session_attrs=primary"
            ),
            ["%2Frun%2Fa", "h2"]
                .map(|host| format!("postgres://u@localhost:5433/keys?host={host}"))
        );
        assert_eq!(
            addresses("postgres://u@x:1,y:2/keys?host=h1,h2"),
            ["x:1/keys?host=h1", "y:2/keys?host=h2"].map(|host| format!("postgres://u@{host}"))
        );
        assert_eq!(
            addresses("postgres://u@%2Frun%2Fa,%2Frun%2Fb/keys"),
            ["a", "b"].map(|name| format!("postgres://u@%2Frun%2F{name}/keys"))
        );
    }

    #[test]
    fn the_text_is_that_with_all_hosts() {
        let mut url = ServerUrl::parse("postgres://u@h1:5432,h2:5433/keys").unwrap();
        url.append("sslmode", "disable");
        assert_eq!(url.to_string(), "postgres://u@h1:5432,h2:5433/keys?sslmode=disable");
        assert_eq!(url.target(), Ok(None));
        assert_eq!(
            url.addresses().unwrap().iter().map(address).collect::<Vec<_>>(),
            ["h1:5432", "h2:5433"]
        );
        let url =
            "postgres://u@localhost:1/keys?host=/run/a,/run/b&target_session_attrs=read-write";
        let url = ServerUrl::parse(url).unwrap();
        assert_eq!(url.target(), Ok(Some(SessionTarget::ReadWrite)));
        assert_eq!(address(&url.addresses().unwrap()[1]), "/run/b/.s.PGSQL.1");
    }

    #[test]
    fn a_list_that_is_not_clear_is_refused() {
        for (url, why) in [
            ("postgres://u@h1,/keys", "empty host"),
            ("postgres://u@h1,,h3/keys", "empty host"),
            ("postgres://u@h1:5432,h2:x/keys", "port"),
            ("postgres://u@h1,h2/keys?host=/run/a", "has 2 hosts, and 1 in host"),
            ("postgres://u@h1,h2/keys?host=/run/a,/run/b,/run/c", "has 2 hosts, and 3 in host"),
            ("postgres://u@h1/keys?host=/run/a,", "empty host"),
            ("postgres://u@h1/keys?target_session_attrs=writable", "prefer-standby"),
        ] {
            let parsed = ServerUrl::parse(url);
            let target = parsed.clone().and_then(|url| url.target());
            let refused = parsed.and_then(|url| url.addresses()).err().or(target.err()).unwrap();
            assert!(refused.contains(why), "{url}: {refused}");
        }
    }
}
