//! The directory of a gateway for development: token, PINs, database and AccessKey.

use std::env;
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::super::client_file::ClientFile;
use super::super::exit::CliError;
use super::super::private_files;
use super::super::tls::certificate::{DEFAULT_DAYS, Files, Name};
use crate::app::{LockError, ProcessLock};
use crate::config::secret::read_private_file;
use crate::model::{clock, random};
use crate::server::tls::{ServerCertificate, certificates};

/// The variable with the path of the SoftHSM2 configuration.
const SOFTHSM2_CONF: &str = "SOFTHSM2_CONF";
const SOFTHSM2_CONF_TEMPLATE: &str = include_str!("../../../softhsm/softhsm2.conf.in");
/// The database and the audit file.
pub(in crate::cli) const DATABASE: &str = "hsmgate.db";
pub(in crate::cli) const AUDIT_FILE: &str = "audit.jsonl";
/// The configuration of the gateway.
pub(in crate::cli) const CONFIGURATION_FILE: &str = "hsmgate.toml";
/// The programs of the README and of docs/instance-protocol.md, which the SDK tests run.
pub(super) const FIRST_ENCRYPTION: &str = "first_encryption.py";
pub(super) const INSTANCE_ENCRYPTION: &str = "instance_encryption.py";
/// The SoftHSM2 configuration.
const CONFIGURATION: &str = "softhsm2.conf";
const PIN_BYTES: usize = 16;

/// A prepared directory. While a gateway uses it, it is locked for that process until it is dropped or
/// the process ends.
#[derive(Debug)]
pub(super) struct DevDirectory {
    directory: PathBuf,
    _lock: Option<ProcessLock>,
}

impl DevDirectory {
    /// Creates what is missing, and changes nothing else. Only the owner may access the new files.
    ///
    /// # Errors
    /// When another process uses the directory, a file cannot be created, or the path of the directory
    /// cannot be written to a configuration file.
    pub(super) fn prepare(directory: &Path) -> anyhow::Result<Self> {
        let shown = directory.display();
        private_files::create_directory(directory)?;
        let directory = directory.canonicalize().with_context(|| format!("cannot find {shown}"))?;
        // The SoftHSM2 configuration and the URL of the database contain the path as text.
        let Some(text) = directory.to_str().filter(|text| !text.contains(['\n', '?', '#', '%']))
        else {
            let what = format!(
                "cannot use {shown}: choose a directory without special characters in its path"
            );
            return Err(CliError::usage(what).into());
        };
        let configuration = SOFTHSM2_CONF_TEMPLATE.replace("@DIR@", text);
        let dev_directory = Self { _lock: Some(lock(&directory)?), directory };
        private_files::create_directory(&dev_directory.path("tokens"))?;
        private_files::write(&dev_directory.path(CONFIGURATION), configuration.as_bytes())?;
        dev_directory.make_pin("pin")?;
        dev_directory.make_pin("so-pin")?;
        Ok(dev_directory)
    }

    /// Writes the programs that the banner names.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn write_examples(&self, has_client_key: bool) -> anyhow::Result<()> {
        let first = include_str!("../../../examples/first_encryption.py");
        private_files::write(&self.path(FIRST_ENCRYPTION), first.as_bytes())?;
        if has_client_key {
            let instance = include_str!("../../../examples/instance_encryption.py");
            private_files::write(&self.path(INSTANCE_ENCRYPTION), instance.as_bytes())?;
        }
        Ok(())
    }

    /// Finds a directory that was prepared before, while a gateway may be using it.
    ///
    /// # Errors
    /// When it does not exist.
    pub(super) fn find(directory: &Path) -> anyhow::Result<Self> {
        let shown = directory.display();
        let directory = directory.canonicalize().with_context(|| format!("cannot find {shown}"))?;
        let dev_directory = Self { _lock: None, directory };
        if !dev_directory.path(CONFIGURATION).is_file() {
            let what = format!("{shown} is not a directory of hsmgate dev");
            return Err(CliError::NotFound(what).into());
        }
        Ok(dev_directory)
    }

    /// Ensures that the SoftHSM2 of this process finds the token of this directory: executes this program
    /// again if the variable has another value. (Setting a variable of the running process is unsafe.)
    ///
    /// # Errors
    /// When the process cannot be replaced.
    pub(super) fn reexec_with_softhsm(&self) -> anyhow::Result<()> {
        let configuration = self.path(CONFIGURATION);
        if env::var_os(SOFTHSM2_CONF).is_some_and(|set| set == *configuration) {
            return Ok(());
        }
        let mut arguments = env::args_os();
        let program = env::current_exe().context("cannot find this program")?;
        let error = Command::new(program)
            .arg0(arguments.next().unwrap_or_else(|| "hsmgate".into()))
            .args(arguments)
            .env(SOFTHSM2_CONF, configuration)
            .exec();
        Err(error).context("cannot start this program again")
    }

    /// The directory itself, absolute.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The URL of its database.
    ///
    /// # Errors
    /// Never for a directory that was prepared.
    pub(super) fn store_url(&self) -> anyhow::Result<String> {
        let path = self.path(DATABASE);
        let text = path.to_str().context("the path is no text")?;
        Ok(format!("sqlite://{text}"))
    }

    /// The audit file.
    pub(super) fn audit_file(&self) -> PathBuf {
        self.path(AUDIT_FILE)
    }

    /// The path of the user PIN.
    pub(super) fn pin_path(&self) -> PathBuf {
        self.path("pin")
    }

    /// The user PIN.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub(super) fn pin(&self) -> anyhow::Result<SecretString> {
        Ok(read_private_file(&self.pin_path())?)
    }

    /// The SO PIN.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub(super) fn so_pin(&self) -> anyhow::Result<SecretString> {
        Ok(read_private_file(&self.path("so-pin"))?)
    }

    /// The path of the configuration, which other commands use too.
    pub(super) fn configuration_path(&self) -> PathBuf {
        self.path(CONFIGURATION_FILE)
    }

    /// Endpoint and AccessKey of the last start, if any.
    ///
    /// # Errors
    /// When the file is damaged or accessible to other users.
    pub(super) fn client_file(&self) -> anyhow::Result<Option<ClientFile>> {
        ClientFile::load(&self.client_path())
    }

    /// A certificate for a listener on this address and with these names. It is created if none is valid for
    /// another day. An existing one stays, because clients trust its CA.
    ///
    /// # Errors
    /// When it cannot be created, or the existing one lacks one of the names.
    pub(super) fn certificate(&self, address: IpAddr, names: &[Name]) -> anyhow::Result<Files> {
        let files = Files::of(&self.path("tls"));
        let is_good = ServerCertificate::open(files.server.clone())
            .is_ok_and(|certificate| certificate.days_left(clock::now()) >= 1.0);
        if !is_good {
            let mut names = names.to_vec();
            names.push(address.to_string().parse()?);
            files.make(&names, DEFAULT_DAYS)?;
        } else if let Some(name) = files.first_missing_name(names)? {
            let (directory, shown) = (self.path("tls"), files.server.certificate.display());
            let directory = directory.display();
            let what = format!(
                "{shown} is not valid for {name}. Create another CA and certificate with hsmgate tls \
                 self-signed --force --out {directory} --name {name}, with --name for every other \
                 name too; clients then need the new ca.pem"
            );
            return Err(CliError::usage(what).into());
        } else if certificates(&files.ca).is_ok_and(|ca| ca.len() == 1) {
            tracing::info!(
                event = "tls.single_ca",
                ca_file = %files.ca.display(),
                "the CA file contains no sub CA, which the instance SDK for Java up to 0.2.x requires; \
                 hsmgate tls self-signed --force creates another CA with a sub CA"
            );
        }
        Ok(files)
    }

    /// The path of the client file.
    pub(super) fn client_path(&self) -> PathBuf {
        self.path("client.json")
    }

    /// The directory of the client key.
    pub(super) fn client_key_directory(&self) -> PathBuf {
        self.path("client-key")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn make_pin(&self, name: &str) -> anyhow::Result<()> {
        let path = self.path(name);
        if path.exists() {
            return Ok(());
        }
        let random = random::secret::<PIN_BYTES>().context("no random bytes")?;
        let pin = Zeroizing::new(URL_SAFE_NO_PAD.encode(random.as_ref()));
        private_files::write(&path, pin.as_bytes())
    }
}

fn lock(directory: &Path) -> anyhow::Result<ProcessLock> {
    match ProcessLock::take(&directory.join("lock"), directory) {
        Ok(lock) => Ok(lock),
        Err(LockError::Taken { process, .. }) => {
            let process = process.map_or_else(String::new, |id| format!(" (process {id})"));
            bail!("another hsmgate dev is running in {}{process}", directory.display())
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;
    use tempfile::TempDir;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn everything_made_is_its_owners_alone() {
        let outer = TempDir::new().unwrap();
        let directory = outer.path().join("a/b");
        let _home = DevDirectory::prepare(&directory).unwrap();
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(&directory.join("tokens")), 0o700);
        for name in ["softhsm2.conf", "pin", "so-pin", "lock"] {
            assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
        }
    }

    #[test]
    fn the_next_start_finds_the_same_pins() {
        let directory = TempDir::new().unwrap();
        let pins = || {
            let dev_directory = DevDirectory::prepare(directory.path()).unwrap();
            let exposed = |pin: SecretString| pin.expose_secret().to_owned();
            (exposed(dev_directory.pin().unwrap()), exposed(dev_directory.so_pin().unwrap()))
        };
        let (pin, so_pin) = pins();
        assert_ne!(pin, so_pin);
        assert_eq!(pins(), (pin, so_pin));
    }

    #[test]
    fn the_directory_may_move_with_its_token() {
        let outer = TempDir::new().unwrap();
        drop(DevDirectory::prepare(&outer.path().join("old")).unwrap());
        fs::rename(outer.path().join("old"), outer.path().join("new")).unwrap();
        let dev_directory = DevDirectory::prepare(&outer.path().join("new")).unwrap();
        let configuration = fs::read_to_string(dev_directory.path("softhsm2.conf")).unwrap();
        let tokens = dev_directory.path("tokens");
        assert!(configuration.contains(&format!("tokendir = {}\n", tokens.display())));
    }

    #[test]
    fn a_directory_serves_one_process_at_a_time() {
        let directory = TempDir::new().unwrap();
        let dev_directory = DevDirectory::prepare(directory.path()).unwrap();
        let error = DevDirectory::prepare(directory.path()).unwrap_err();
        let told = error.to_string();
        assert!(told.starts_with("another hsmgate dev is running in "), "{told}");
        assert!(told.ends_with(&format!("(process {})", std::process::id())), "{told}");
        drop(dev_directory);
        assert!(DevDirectory::prepare(directory.path()).is_ok());
    }
}
