//! What `hsmgate dev` says once it serves.

use std::env;
use std::fmt;
use std::path::Path;

use secrecy::ExposeSecret;
use serde::Serialize;

use super::super::client_file::ClientFile;
use super::super::client_key::files::Files;
use super::demo::{ALIAS, FirstUse, MESSAGE};

/// Characters of a ciphertext blob that are shown.
const SHOWN_CHARACTERS: usize = 56;

/// The program of the README, which the SDK tests run.
const EXAMPLE: &str = include_str!("../../../examples/first_encryption.py");

/// The package that it needs.
const SDK: &str = "alibabacloud-kms20160120==3.3.1";

/// The same for a client key and the SDK of a KMS instance.
const INSTANCE_EXAMPLE: &str = include_str!("../../../examples/instance_encryption.py");
const INSTANCE_SDK: &str = "alibabacloud-dkms-gcs==1.0.2";

/// The line of `--json`.
#[derive(Debug, Serialize)]
pub(super) struct JsonLine<'a> {
    pub(super) endpoint: &'a str,
    pub(super) region: &'a str,
    pub(super) account: &'a str,
    pub(super) access_key_id: &'a str,
    pub(super) access_key_secret: &'a str,
    pub(super) key_id: &'a str,
    pub(super) alias: &'a str,
    /// The CA of its certificate; absent over plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ca_file: Option<&'a Path>,
    /// The client key and its password; absent over plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_key_file: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_key_password_file: Option<&'a Path>,
    /// Where health and metrics are.
    pub(super) admin: &'a str,
}

/// The words for people.
pub(super) struct Banner<'a> {
    /// Endpoint and AccessKey.
    pub(super) file: &'a ClientFile,
    /// The files of the client key, with TLS.
    pub(super) client_key: Option<&'a Files>,
    /// Where health and metrics are.
    pub(super) admin: &'a str,
    /// The demo key.
    pub(super) key_id: &'a str,
    /// What became of its first use.
    pub(super) first_use: &'a FirstUse,
    /// The directory, as it was given.
    pub(super) dir: &'a Path,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file;
        let secret = file.access_key_secret.expose_secret();
        writeln!(f)?;
        writeln!(f, "  hsmgate dev serves. FOR DEVELOPMENT ONLY: the PINs lie beside the token")?;
        writeln!(f, "  in {}. Ctrl-C stops it.", self.dir.display())?;
        writeln!(f)?;
        writeln!(f, "  Endpoint         {}", file.endpoint)?;
        if let Some(ca) = &file.ca_file {
            writeln!(f, "  CA file          {}", ca.display())?;
        }
        writeln!(f, "  Health, metrics  {0}/readyz, {0}/metrics", self.admin)?;
        writeln!(f, "  Region, account  {}, {}", file.region, file.account)?;
        writeln!(f, "  AccessKey        {}  {secret}", file.access_key_id)?;
        if let Some(files) = self.client_key {
            writeln!(f, "  ClientKey        {}", files.key.display())?;
            writeln!(f, "  its password     {}", files.password.display())?;
        }
        writeln!(f, "  Key              {ALIAS} = {}", self.key_id)?;
        writeln!(f)?;
        self.first_use(f)?;
        self.shell_commands(f)
    }
}

impl Banner<'_> {
    fn first_use(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first_use {
            FirstUse::Done { blob, decrypted } => {
                let head: String = blob.chars().take(SHOWN_CHARACTERS).collect();
                writeln!(f, "  Encrypt {MESSAGE:?}  ->  {head}...")?;
                writeln!(f, "  Decrypt that back       ->  {decrypted:?}")?;
            }
            FirstUse::Refused(code) => writeln!(f, "  Encrypt with {ALIAS} is refused: {code}")?,
        }
        writeln!(f)
    }

    /// The variables that the gateway's own client and the example read, and lines for both.
    fn shell_commands(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file;
        let program = env::args().next().unwrap_or_else(|| "hsmgate".to_owned());
        writeln!(f, "  Try it, in another shell:")?;
        writeln!(f)?;
        writeln!(f, "export HSMGATE_ENDPOINT={}", file.endpoint)?;
        writeln!(f, "export HSMGATE_ACCESS_KEY_ID={}", file.access_key_id)?;
        writeln!(
            f,
            "export HSMGATE_ACCESS_KEY_SECRET='{}'",
            file.access_key_secret.expose_secret()
        )?;
        if let Some(ca) = &file.ca_file {
            writeln!(f, "export HSMGATE_CA_FILE='{}'", ca.display())?;
        }
        if let Some(files) = self.client_key {
            writeln!(f, "export HSMGATE_CLIENT_KEY_FILE='{}'", files.key.display())?;
            let password = files.password.display();
            writeln!(f, "export HSMGATE_CLIENT_KEY_PASSWORD_FILE='{password}'")?;
        }
        writeln!(f, "echo hello | {program} encrypt {ALIAS} | {program} decrypt")?;
        writeln!(f)?;
        writeln!(f, "  And with the official Python SDK:")?;
        writeln!(f)?;
        writeln!(f, "pip install {SDK}")?;
        write!(f, "python3 - <<'END'\n{EXAMPLE}END\n")?;
        if self.client_key.is_none() {
            return Ok(());
        }
        writeln!(f)?;
        writeln!(f, "  And with the Python SDK of a KMS instance, in an environment of its own:")?;
        writeln!(f)?;
        writeln!(f, "pip install {INSTANCE_SDK}")?;
        write!(f, "python3 - <<'END'\n{INSTANCE_EXAMPLE}END\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn banner(dir: &str, first_use: &FirstUse, client_key: Option<&Files>) -> String {
        let file = ClientFile {
            endpoint: "http://127.0.0.1:8200".to_owned(),
            region: "cn-hangzhou".to_owned(),
            account: "1234567890123456".to_owned(),
            access_key_id: "LTAIx".to_owned(),
            access_key_secret: "s3cret".into(),
            ca_file: None,
        };
        let (admin, dir) = ("http://127.0.0.1:8201", Path::new(dir));
        Banner { file: &file, client_key, admin, key_id: "key-x", first_use, dir }.to_string()
    }

    #[test]
    fn it_says_what_to_paste_and_that_it_is_for_development() {
        let done = FirstUse::Done { blob: "NDZh".to_owned(), decrypted: MESSAGE.to_owned() };
        let text = banner(".hsmgate", &done, None);
        assert!(text.contains("FOR DEVELOPMENT ONLY"));
        assert!(text.contains("\nexport HSMGATE_ENDPOINT=http://127.0.0.1:8200\n"));
        assert!(text.contains("\nexport HSMGATE_ACCESS_KEY_SECRET='s3cret'\n"));
        assert!(text.contains("encrypt alias/demo"));
        assert!(text.contains(EXAMPLE));
        assert!(!text.contains("CLIENT_KEY") && !text.contains(INSTANCE_EXAMPLE));
        let files = Files::of(Path::new("/dev"), "KAAP.x");
        let text = banner(".hsmgate", &done, Some(&files));
        assert!(text.contains("\nexport HSMGATE_CLIENT_KEY_FILE='/dev/clientKey_KAAP.x.json'\n"));
        let password = "CLIENT_KEY_PASSWORD_FILE='/dev/clientKey_KAAP.x_Password.txt'\n";
        assert!(text.contains(password) && text.contains(INSTANCE_EXAMPLE));
    }

    #[test]
    fn the_packages_are_those_that_the_tests_install() {
        let requirements = include_str!("../../../tests/sdk/requirements.txt");
        assert!(requirements.lines().any(|line| line == SDK));
        let requirements = include_str!("../../../tests/sdk/requirements-instance.txt");
        assert!(requirements.lines().any(|line| line == INSTANCE_SDK));
    }

    #[test]
    fn a_demo_key_that_its_owner_disabled_is_told_about() {
        let text = banner(".hsmgate", &FirstUse::Refused("Rejected.Disabled".to_owned()), None);
        assert!(text.contains("refused: Rejected.Disabled"));
    }
}
