//! Selects the gateway and the AccessKey of a client command.

use std::error::Error as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use secrecy::SecretString;
use serde_json::Value;
use tokio::runtime::{self, Runtime};

use super::client::{CallError, Client};
use super::client_file::ClientFile;
use super::exit::CliError;
use crate::config::secret::read_private_file;

/// The default gateway.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:8200";
/// The file that `hsmgate dev` writes, relative to the directory that it is started in.
pub(super) const CLIENT_FILE: &str = ".hsmgate/client.json";
const SECRET_VARIABLE: &str = "HSMGATE_ACCESS_KEY_SECRET";
/// The security token of a temporary AccessKey.
const TOKEN_VARIABLE: &str = "HSMGATE_SECURITY_TOKEN";
/// The variables of the vendor's SDKs and command line.
const VENDOR_ID: &str = "ALIBABA_CLOUD_ACCESS_KEY_ID";
const VENDOR_SECRET: &str = "ALIBABA_CLOUD_ACCESS_KEY_SECRET";
const VENDOR_TOKEN: &str = "ALIBABA_CLOUD_SECURITY_TOKEN";

/// Gateway and AccessKey. Missing values are read from `.hsmgate/client.json` in the current directory,
/// which `hsmgate dev` writes; without it, the AccessKey from the variables of the vendor's SDKs,
/// `ALIBABA_CLOUD_ACCESS_KEY_ID` and `ALIBABA_CLOUD_ACCESS_KEY_SECRET`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connection {
    /// The gateway [default: that of `hsmgate dev` here, or http://127.0.0.1:8200]
    #[arg(long, env = "HSMGATE_ENDPOINT", value_name = "URL")]
    endpoint: Option<String>,
    /// The AccessKey's public half [default: that of `hsmgate dev` here]
    #[arg(long, env = "HSMGATE_ACCESS_KEY_ID", value_name = "ID")]
    access_key_id: Option<String>,
    /// A file with the AccessKey's secret half, in place of HSMGATE_ACCESS_KEY_SECRET
    #[arg(long, value_name = "FILE")]
    access_key_secret_file: Option<PathBuf>,
    /// A PEM file with the CA of the gateway's certificate [default: that of `hsmgate dev` here,
    /// or the CAs that the system trusts]
    #[arg(long, env = "HSMGATE_CA_FILE", value_name = "FILE", value_parser = path())]
    ca_file: Option<PathBuf>,
}

/// A path, which may be empty.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// The address at which this machine reaches a listener.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    address
}

/// A blocking client.
#[derive(Debug)]
pub(super) struct Remote {
    client: Client,
    ca_file: Option<PathBuf>,
    runtime: Runtime,
}

#[derive(Debug)]
struct ResolvedConnection {
    endpoint: String,
    ca_file: Option<PathBuf>,
    access_key_id: String,
    secret: SecretString,
    security_token: Option<SecretString>,
}

/// The secrets in the environment.
#[derive(Debug, Default)]
struct Environment {
    secret: Option<SecretString>,
    security_token: Option<SecretString>,
    /// The AccessKey of the vendor's variables.
    vendor: Option<(String, SecretString)>,
    vendor_token: Option<SecretString>,
}

impl Environment {
    fn of_process() -> Self {
        let text = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        let secret = |name| text(name).map(SecretString::from);
        Self {
            secret: secret(SECRET_VARIABLE),
            security_token: secret(TOKEN_VARIABLE),
            vendor: text(VENDOR_ID).zip(secret(VENDOR_SECRET)),
            vendor_token: secret(VENDOR_TOKEN),
        }
    }
}

impl Connection {
    /// Creates a client of the selected gateway.
    ///
    /// # Errors
    /// When no AccessKey is given, or the endpoint is not a URL.
    pub(super) fn open(&self) -> anyhow::Result<Remote> {
        let resolved = self.resolve(Environment::of_process(), Path::new(CLIENT_FILE))?;
        let ResolvedConnection { endpoint, ca_file, access_key_id, secret, security_token } =
            resolved;
        let client = Client::trusting(ca_file.as_deref(), &endpoint, &access_key_id, secret);
        let client = client.map_err(|error| {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            CliError::usage(format!("endpoint {endpoint:?}: {error}{cause}"))
        })?;
        let client = match security_token {
            Some(token) => client.with_security_token(token),
            None => client,
        };
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Remote { client, ca_file, runtime })
    }

    fn resolve(&self, environment: Environment, file: &Path) -> anyhow::Result<ResolvedConnection> {
        let secret = match &self.access_key_secret_file {
            Some(path) => Some(read_private_file(path)?),
            None => environment.secret,
        };
        // A variable that is empty is not set, as in a workflow without the secret of its repository.
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (endpoint, access_key_id) = (given(&self.endpoint), given(&self.access_key_id));
        let ca_file = self.ca_file.clone().filter(|path| !path.as_os_str().is_empty());
        let is_whole = endpoint.is_some() && access_key_id.is_some() && secret.is_some();
        let file = if is_whole { None } else { ClientFile::load(file)? };
        let file_endpoint = file.as_ref().map(|file| file.endpoint.clone());
        // The CA is valid only for the endpoint of the file.
        let file_ca = match &endpoint {
            Some(endpoint) if file_endpoint.as_ref() != Some(endpoint) => None,
            _ => file.as_ref().and_then(|file| file.ca_file.clone()),
        };
        let mut security_token = environment.security_token;
        let given = (access_key_id, secret, file, environment.vendor);
        let (access_key_id, secret) = match given {
            (Some(id), Some(secret), _, _) => (id, secret),
            (None, None, Some(file), _) => (file.access_key_id, file.access_key_secret),
            (None, None, None, Some((id, secret))) => {
                security_token = security_token.or(environment.vendor_token);
                (id, secret)
            }
            (None, None, None, None) => {
                return Err(CliError::usage(format!(
                    "no AccessKey: set HSMGATE_ACCESS_KEY_ID and {SECRET_VARIABLE}, or {VENDOR_ID} \
                     and {VENDOR_SECRET}, or call from the directory in which hsmgate dev was started"
                ))
                .into());
            }
            (Some(_), None, _, _) => {
                let what = "an AccessKey id without its secret: set HSMGATE_ACCESS_KEY_SECRET or \
                            give --access-key-secret-file";
                return Err(CliError::usage(what).into());
            }
            (None, Some(_), _, _) => {
                let what = "an AccessKey secret without its id: set HSMGATE_ACCESS_KEY_ID or give \
                            --access-key-id";
                return Err(CliError::usage(what).into());
            }
        };
        let endpoint = endpoint.or(file_endpoint);
        Ok(ResolvedConnection {
            endpoint: endpoint.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
            ca_file: ca_file.or(file_ca),
            access_key_id,
            secret,
            security_token,
        })
    }
}

impl Remote {
    /// The asynchronous client.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The file with the CA of the gateway's certificate, if given.
    pub(super) fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// Waits for work with the client. Its connections belong to the runtime of this value.
    pub(super) fn wait_for<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Calls an action of the API.
    ///
    /// # Errors
    /// When the gateway refuses, cannot be reached, or does not respond with JSON.
    pub(super) fn call(&self, action: &str, params: &[(&str, &str)]) -> Result<Value, CallError> {
        self.runtime.block_on(self.client.call(action, params))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use tempfile::TempDir;

    use super::*;
    use crate::cli::exit::Exit;

    fn given(endpoint: Option<&str>, id: Option<&str>) -> Connection {
        Connection {
            endpoint: endpoint.map(str::to_owned),
            access_key_id: id.map(str::to_owned),
            access_key_secret_file: None,
            ca_file: None,
        }
    }

    fn with_secret() -> Environment {
        Environment { secret: Some("s".into()), ..Environment::default() }
    }

    fn dev_file(directory: &TempDir) -> PathBuf {
        let path = directory.path().join("client.json");
        let file = ClientFile {
            endpoint: "http://127.0.0.1:9".to_owned(),
            region: "cn-hangzhou".to_owned(),
            account: "1234567890123456".to_owned(),
            access_key_id: "dev".to_owned(),
            access_key_secret: "dev-secret".into(),
            ca_file: Some("/dev/ca.pem".into()),
            admin: None,
        };
        file.save(&path).unwrap();
        path
    }

    #[test]
    fn what_is_not_given_comes_from_the_file_of_dev() {
        let directory = TempDir::new().unwrap();
        let file = dev_file(&directory);
        let resolved = given(None, None).resolve(Environment::default(), &file).unwrap();
        assert_eq!(resolved.endpoint, "http://127.0.0.1:9");
        assert_eq!(resolved.access_key_id, "dev");
        assert_eq!(resolved.secret.expose_secret(), "dev-secret");
        assert_eq!(resolved.ca_file.as_deref(), Some(Path::new("/dev/ca.pem")));
        let resolved = given(Some("http://h"), Some("me")).resolve(with_secret(), &file).unwrap();
        assert_eq!(resolved.endpoint, "http://h");
        assert_eq!(resolved.ca_file, None);
        assert_eq!(resolved.access_key_id, "me");
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let directory = TempDir::new().unwrap();
        let empty = Connection { ca_file: Some(PathBuf::new()), ..given(Some(""), Some("")) };
        let resolved = empty.resolve(Environment::default(), &dev_file(&directory)).unwrap();
        assert_eq!(resolved.endpoint, "http://127.0.0.1:9");
        assert_eq!(resolved.access_key_id, "dev");
        assert_eq!(resolved.ca_file.as_deref(), Some(Path::new("/dev/ca.pem")));
    }

    #[test]
    fn an_access_key_is_taken_whole_or_not_at_all() {
        let directory = TempDir::new().unwrap();
        let file = dev_file(&directory);
        for (id, environment) in [(Some("me"), Environment::default()), (None, with_secret())] {
            let error = given(None, id).resolve(environment, &file).unwrap_err();
            assert_eq!(Exit::of(&error), Exit::Usage);
        }
    }

    #[test]
    fn without_a_file_the_default_endpoint_is_called() {
        let nowhere = Path::new("/nonexistent/client.json");
        let resolved = given(None, Some("me")).resolve(with_secret(), nowhere).unwrap();
        assert_eq!(resolved.endpoint, DEFAULT_ENDPOINT);
        let error = given(None, None).resolve(Environment::default(), nowhere).unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Usage);
    }

    #[test]
    fn the_variables_of_the_vendor_are_used_where_nothing_else_is_given() {
        let vendor = || Environment {
            vendor: Some(("LTAI-vendor".to_owned(), "v".into())),
            vendor_token: Some("token".into()),
            ..Environment::default()
        };
        let nowhere = Path::new("/nonexistent/client.json");
        let resolved = given(None, None).resolve(vendor(), nowhere).unwrap();
        assert_eq!(resolved.access_key_id, "LTAI-vendor");
        assert!(resolved.security_token.is_some());
        let directory = TempDir::new().unwrap();
        let resolved = given(None, None).resolve(vendor(), &dev_file(&directory)).unwrap();
        assert_eq!(resolved.access_key_id, "dev");
        assert!(resolved.security_token.is_none());
    }
}
