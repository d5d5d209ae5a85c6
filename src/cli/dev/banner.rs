//! What `hsmgate dev` says once it serves.

use std::env;
use std::fmt;
use std::path::Path;

use secrecy::ExposeSecret;
use serde::Serialize;

use super::super::client_file::ClientFile;
use super::demo::{ALIAS, FirstUse, MESSAGE};

/// Characters of a ciphertext blob that are shown.
const SHOWN: usize = 56;

/// The line of `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    pub(super) endpoint: &'a str,
    pub(super) region: &'a str,
    pub(super) account: &'a str,
    pub(super) access_key_id: &'a str,
    pub(super) access_key_secret: &'a str,
    pub(super) key_id: &'a str,
    pub(super) alias: &'a str,
    /// The CA of its certificate; null over plain HTTP.
    pub(super) ca_file: Option<&'a Path>,
}

/// The words for people.
pub(super) struct Banner<'a> {
    /// Endpoint and AccessKey.
    pub(super) file: &'a ClientFile,
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
        writeln!(f, "  Region, account  {}, {}", file.region, file.account)?;
        writeln!(f, "  AccessKey        {}  {secret}", file.access_key_id)?;
        writeln!(f, "  Key              {ALIAS} = {}", self.key_id)?;
        writeln!(f)?;
        self.first_use(f)?;
        self.own_client(f)?;
        self.python(f)
    }
}

impl Banner<'_> {
    fn first_use(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first_use {
            FirstUse::Done { blob, opened } => {
                let head: String = blob.chars().take(SHOWN).collect();
                writeln!(f, "  Encrypt {MESSAGE:?}  ->  {head}...")?;
                writeln!(f, "  Decrypt that back       ->  {opened:?}")?;
            }
            FirstUse::Refused(code) => writeln!(f, "  Encrypt with {ALIAS} is refused: {code}")?,
        }
        writeln!(f)
    }

    /// Lines for the gateway's own client, which finds its AccessKey by itself in the directory
    /// that holds `.hsmgate`.
    fn own_client(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = env::args().next().unwrap_or_else(|| "hsmgate".to_owned());
        writeln!(f, "  Try it, in another shell:")?;
        writeln!(f)?;
        if self.dir != Path::new(".hsmgate") {
            writeln!(f, "export HSMGATE_ENDPOINT={}", self.file.endpoint)?;
            writeln!(f, "export HSMGATE_ACCESS_KEY_ID={}", self.file.access_key_id)?;
            let secret = self.file.access_key_secret.expose_secret();
            writeln!(f, "export HSMGATE_ACCESS_KEY_SECRET='{secret}'")?;
            if let Some(ca) = &self.file.ca_file {
                writeln!(f, "export HSMGATE_CA_FILE='{}'", ca.display())?;
            }
        }
        writeln!(f, "echo hello | {program} encrypt {ALIAS} | {program} decrypt")?;
        writeln!(f)
    }

    fn python(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file;
        let (protocol, address) = file.endpoint.split_once("://").unwrap_or_default();
        let trust = match &file.ca_file {
            Some(ca) => format!(", ca='{}'", ca.display()),
            None => String::new(),
        };
        writeln!(f, "  Or with the Python SDK (pip install alibabacloud-kms20160120):")?;
        write!(
            f,
            "
python3 - <<'END'
from alibabacloud_kms20160120.client import Client
from alibabacloud_kms20160120.models import DecryptRequest, EncryptRequest
from alibabacloud_tea_openapi.models import Config
kms = Client(Config(access_key_id='{}', access_key_secret='{}',
                    endpoint='{address}', protocol='{protocol}'{trust}))
sealed = kms.encrypt(EncryptRequest(key_id='{ALIAS}', plaintext='SGVsbG8=')).body
print(kms.decrypt(DecryptRequest(ciphertext_blob=sealed.ciphertext_blob)).body.plaintext)
END
",
            file.access_key_id,
            file.access_key_secret.expose_secret()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn banner(dir: &str, first_use: &FirstUse) -> String {
        let file = ClientFile {
            endpoint: "http://127.0.0.1:8200".to_owned(),
            region: "cn-hangzhou".to_owned(),
            account: "1234567890123456".to_owned(),
            access_key_id: "LTAIx".to_owned(),
            access_key_secret: "s3cret".into(),
            ca_file: None,
        };
        Banner { file: &file, key_id: "key-x", first_use, dir: Path::new(dir) }.to_string()
    }

    #[test]
    fn it_says_what_to_paste_and_that_it_is_for_development() {
        let done = FirstUse::Done { blob: "NDZh".to_owned(), opened: MESSAGE.to_owned() };
        let text = banner(".hsmgate", &done);
        assert!(text.contains("FOR DEVELOPMENT ONLY"));
        assert!(text.contains("endpoint='127.0.0.1:8200', protocol='http'"));
        assert!(text.contains("encrypt alias/demo"));
        assert!(!text.contains("export"), "the client finds .hsmgate by itself");
        assert!(banner("/tmp/other", &done).contains("export HSMGATE_ACCESS_KEY_SECRET='s3cret'"));
    }

    #[test]
    fn a_demo_key_that_its_owner_disabled_is_told_about() {
        let text = banner(".hsmgate", &FirstUse::Refused("Rejected.Disabled".to_owned()));
        assert!(text.contains("refused: Rejected.Disabled"));
    }
}
