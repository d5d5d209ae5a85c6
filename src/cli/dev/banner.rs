//! What `hsmgate dev` prints as soon as it serves.

use std::env;
use std::fmt;
use std::path::Path;

use secrecy::ExposeSecret;
use serde::Serialize;

use super::super::client_file::ClientFile;
use super::super::client_key::files::Files;
use super::demo::{FirstUse, MESSAGE};
use super::directory::{FIRST_ENCRYPTION, INSTANCE_ENCRYPTION};

/// Characters of a ciphertext blob that are shown.
const SHOWN_CHARACTERS: usize = 56;

/// The package of the first example.
const SDK: &str = "alibabacloud-kms20160120==3.3.1";
/// That of the example for a client key and the SDK of a KMS instance.
const INSTANCE_SDK: &str = "alibabacloud-dkms-gcs==1.0.2";

/// The text for people; serialized, the line of `--json`.
#[derive(Serialize)]
pub(super) struct Banner<'a> {
    /// Endpoint and AccessKey.
    #[serde(flatten)]
    pub(super) file: &'a ClientFile,
    /// The demo key.
    pub(super) key_id: &'a str,
    /// The alias of the demo key.
    pub(super) alias: &'a str,
    /// The files of the client key; absent over plain HTTP.
    #[serde(flatten)]
    pub(super) client_key: Option<&'a Files>,
    /// The result of the first Encrypt and Decrypt.
    #[serde(skip)]
    pub(super) first_use: &'a FirstUse,
    /// The directory, as it was given.
    #[serde(skip)]
    pub(super) dir: &'a Path,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n  hsmgate dev serves. FOR DEVELOPMENT ONLY: the PINs lie beside the token")?;
        writeln!(f, "  in {}. Ctrl-C stops it.\n", self.dir.display())?;
        for (name, value) in self.facts() {
            writeln!(f, "  {name:15}  {value}")?;
        }
        writeln!(f)?;
        self.first_use(f)?;
        writeln!(f, "\n  Try it, in another shell:\n\n{}", self.exports())?;
        let program = env::args().next().unwrap_or_else(|| "hsmgate".to_owned());
        let (alias, dir) = (self.alias, self.dir);
        writeln!(f, "echo hello | {program} encrypt {alias} | {program} decrypt")?;
        writeln!(f, "\n  With the official Python SDK:\n")?;
        writeln!(f, "{}", example(dir, "sdk", SDK, FIRST_ENCRYPTION))?;
        if self.client_key.is_some() {
            writeln!(f, "\n  With the Python SDK of a KMS instance:\n")?;
            writeln!(f, "{}", example(dir, "instance-sdk", INSTANCE_SDK, INSTANCE_ENCRYPTION))?;
        }
        Ok(())
    }
}

/// The commands that run an example in an environment of its own: the Python of a distribution installs
/// packages in no other way.
fn example(dir: &Path, environment: &str, package: &str, name: &str) -> String {
    let (environment, file) = (dir.join(environment), dir.join(name));
    let (environment, file) = (environment.display(), file.display());
    format!(
        "python3 -m venv {environment} && {environment}/bin/pip install {package}\n\
         {environment}/bin/python {file}"
    )
}

impl Banner<'_> {
    /// The variables as lines of a shell.
    pub(super) fn exports(&self) -> String {
        let lines =
            self.variables().into_iter().map(|(name, value)| format!("export {name}={value}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let file = self.file;
        let admin = file.admin.as_deref().unwrap_or_default();
        let secret = file.access_key_secret.expose_secret();
        let mut facts = vec![("Endpoint", file.endpoint.clone())];
        facts.extend(file.ca_file.as_ref().map(|ca| ("CA file", ca.display().to_string())));
        facts.extend([
            ("Health, metrics", format!("{admin}/readyz, {admin}/metrics")),
            ("Region, account", format!("{}, {}", file.region, file.account)),
            ("AccessKey", format!("{}  {secret}", file.access_key_id)),
        ]);
        if let Some(files) = self.client_key {
            facts.push(("ClientKey", files.key.display().to_string()));
            facts.push(("its password", files.password.display().to_string()));
        }
        facts.push(("Key", format!("{} = {}", self.alias, self.key_id)));
        facts
    }

    fn first_use(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first_use {
            FirstUse::Done { blob, decrypted } => {
                let head: String = blob.chars().take(SHOWN_CHARACTERS).collect();
                writeln!(f, "  Encrypt {MESSAGE:?}  ->  {head}...")?;
                writeln!(f, "  Decrypt that back       ->  {decrypted:?}")
            }
            FirstUse::Refused(code) => {
                writeln!(f, "  Encrypt with {} is refused: {code}", self.alias)
            }
        }
    }

    /// The variables that the client commands and the example read, quoted for a shell.
    fn variables(&self) -> Vec<(&'static str, String)> {
        let file = self.file;
        let quoted = |path: &Path| format!("'{}'", path.display());
        let secret = format!("'{}'", file.access_key_secret.expose_secret());
        let mut variables = vec![
            ("HSMGATE_ENDPOINT", file.endpoint.clone()),
            ("HSMGATE_ACCESS_KEY_ID", file.access_key_id.clone()),
            ("HSMGATE_ACCESS_KEY_SECRET", secret),
        ];
        variables.extend(file.ca_file.as_ref().map(|ca| ("HSMGATE_CA_FILE", quoted(ca))));
        if let Some(files) = self.client_key {
            variables.push(("HSMGATE_CLIENT_KEY_FILE", quoted(&files.key)));
            variables.push(("HSMGATE_CLIENT_KEY_PASSWORD_FILE", quoted(&files.password)));
        }
        variables
    }
}

#[cfg(test)]
mod tests {
    use super::super::demo::ALIAS;
    use super::*;

    fn banner(dir: &str, first_use: &FirstUse, client_key: Option<&Files>) -> String {
        let file = ClientFile {
            endpoint: "http://127.0.0.1:8200".to_owned(),
            region: "cn-hangzhou".to_owned(),
            account: "1234567890123456".to_owned(),
            access_key_id: "LTAIx".to_owned(),
            access_key_secret: "s3cret".into(),
            ca_file: None,
            admin: Some("http://127.0.0.1:8201".to_owned()),
        };
        let (key_id, alias, dir) = ("key-x", ALIAS, Path::new(dir));
        Banner { file: &file, key_id, alias, client_key, first_use, dir }.to_string()
    }

    #[test]
    fn it_says_what_to_paste_and_that_it_is_for_development() {
        let done = FirstUse::Done { blob: "NDZh".to_owned(), decrypted: MESSAGE.to_owned() };
        let text = banner(".hsmgate", &done, None);
        assert!(text.contains("FOR DEVELOPMENT ONLY"));
        assert!(text.contains("\nexport HSMGATE_ENDPOINT=http://127.0.0.1:8200\n"));
        assert!(text.contains("\nexport HSMGATE_ACCESS_KEY_SECRET='s3cret'\n"));
        assert!(text.contains("encrypt alias/demo"));
        assert!(text.contains("\n.hsmgate/sdk/bin/python .hsmgate/first_encryption.py\n"));
        assert!(!text.contains("CLIENT_KEY") && !text.contains("instance"));
        assert!(text.lines().count() < 30, "{text}");
        let files = Files::of(Path::new("/dev"), "KAAP.x");
        let text = banner(".hsmgate", &done, Some(&files));
        assert!(text.contains("\nexport HSMGATE_CLIENT_KEY_FILE='/dev/clientKey_KAAP.x.json'\n"));
        let password = "CLIENT_KEY_PASSWORD_FILE='/dev/clientKey_KAAP.x_Password.txt'\n";
        assert!(text.contains(password) && text.contains("/instance_encryption.py\n"));
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
