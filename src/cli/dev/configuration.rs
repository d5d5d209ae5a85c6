//! The configuration of a gateway for development: `hsmgate dev` starts from it, and keeps it as a
//! file for the commands that take one, such as `hsmgate doctor`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::super::private_files;
use super::super::tls::certificate::Files;
use super::directory::DevDirectory;
use super::{ACCOUNT, CONNECTIONS, Dev, REGION, TOKEN_LABEL};
use crate::config::{Config, ConfigError, Operators};
use crate::model::{AccountId, Region};

const HEAD: &str = "\
# Written by hsmgate dev at each of its starts, for commands that take a configuration. They find the
# token with SOFTHSM2_CONF set to the softhsm2.conf beside this file.
";

impl Dev {
    /// Writes the configuration to its file, and returns it.
    ///
    /// # Errors
    /// When an argument is out of range, a path is not UTF-8, or the file cannot be written.
    pub(super) fn configuration(
        &self,
        dev_directory: &DevDirectory,
        module: &Path,
        tls: Option<&Files>,
    ) -> anyhow::Result<Config> {
        let text = self.configuration_text(dev_directory, module, tls)?;
        let path = dev_directory.configuration_path();
        let config =
            Config::parse(&text).map_err(|faults| ConfigError::Faults(faults.of_file(&path)))?;
        private_files::write(&path, text.as_bytes())?;
        Ok(config)
    }

    fn configuration_text(
        &self,
        dev_directory: &DevDirectory,
        module: &Path,
        tls: Option<&Files>,
    ) -> anyhow::Result<String> {
        let known = dev_directory.client_file()?;
        let module = module.canonicalize().context("cannot find the module")?;
        let audit_file = self.audit_file.as_ref().map(std::path::absolute).transpose();
        let audit_file = audit_file.context("cannot find the audit file")?;
        let given = (
            self.region.as_ref().map(Region::as_str),
            self.account.as_ref().map(AccountId::as_str),
        );
        let known = known.as_ref().map(|file| (file.region.as_str(), file.account.as_str()));
        let region = given.0.or(known.map(|(region, _)| region)).unwrap_or(REGION);
        let account = given.1.or(known.map(|(_, account)| account)).unwrap_or(ACCOUNT);
        let mut document = json!({
            "listen": {
                "address": self.listen,
                "drain_ms": 0,
                "allow_insecure_http": self.listen_beyond_loopback,
            },
            "admin": {
                "address": self.admin,
                "allow_insecure_http": self.listen_beyond_loopback,
            },
            "service": {"region": region, "account": account},
            "token": {
                "module": utf8(module)?,
                "label": TOKEN_LABEL,
                "pin_file": utf8(dev_directory.pin_path())?,
            },
            "store": {
                "url": dev_directory.store_url()?,
                "state_directory": utf8(dev_directory.directory().to_owned())?,
            },
            "limits": {
                "calls_per_second": self.calls_per_second,
                "authentication_failures_per_second": self.authentication_failures_per_second,
                // All its clients are on this machine.
                "connections": CONNECTIONS,
                "connections_per_source": CONNECTIONS,
            },
            "crypto": {"accept_non_base64_plaintext": self.accept_non_base64_plaintext},
            "audit": {
                "file": utf8(audit_file.unwrap_or_else(|| dev_directory.audit_file()))?,
                "journal_mib": 1,
            },
        });
        let socket = Operators::default_socket(dev_directory.directory());
        if let (Err(_too_long), Some(document)) =
            (Operators::check_socket(&socket), document.as_object_mut())
        {
            document.insert("operators".to_owned(), json!({"socket": ""}));
        }
        if let (Some(files), Some(document)) = (tls, document.as_object_mut()) {
            let certificate = utf8(files.server.certificate.clone())?;
            let key = utf8(files.server.key.clone())?;
            document.insert("tls".to_owned(), json!({"certificate": certificate, "key": key}));
        }
        Ok(format!("{HEAD}\n{}", toml::to_string(&document).context("cannot write hsmgate.toml")?))
    }
}

fn utf8(path: PathBuf) -> anyhow::Result<String> {
    let text = path.into_os_string().into_string();
    text.map_err(|path| anyhow::anyhow!("the path {} is not UTF-8", path.display()))
}
