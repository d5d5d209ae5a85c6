//! The token stopped between any two calls of an import: what another program sees there, and what a
//! kill there leaves.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use fault_token::{Fault, HANGING, Manner, Rule};
use hsmgate::cli::client::{CallError, Client};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::scale::{is_long, report};
use crate::setup::{FaultToken, PLAINTEXT};
use crate::support::gateway::text;
use crate::support::installation::{AccessKey, Installation, LABEL, Server, run};
use crate::support::key_material::wrap;
use crate::support::object_listing::check_all_closed;
use crate::support::process::eventually;
use crate::support::softhsm::scratch;

/// The functions after which the token, or what is seen of it, may differ.
const CHANGING: [&str; 6] = [
    "C_GenerateKeyPair",
    "C_UnwrapKey",
    "C_SetAttributeValue",
    "C_CopyObject",
    "C_DestroyObject",
    "C_CloseSession",
];
const IMPORT: [(&str, &str); 2] =
    [("WrappingKeySpec", "RSA_2048"), ("WrappingAlgorithm", "RSAES_OAEP_SHA_1")];
/// The objects of an import token.
const PAIR: usize = 2;
/// The secret key of the AccessKeys, and the private key of the audit.
const SERVICE_KEYS: usize = 2;
/// A stop is longer than any other pause of a token.
const LONG: &str =
    "[token]\ntimeout_ms = 600000\nkey_pair_timeout_ms = 600000\nhang_timeout_ms = 600000\n";

/// A gateway on a token that stops at each call of an import in turn.
struct Steps {
    token: FaultToken,
    manners: Vec<Manner>,
    installation: Installation,
    user: AccessKey,
    /// The files of the token that another program has read last, and the number of keys in them.
    seen: RefCell<(Files, usize)>,
    /// Of the token's control file.
    _directory: TempDir,
}

/// The files of a token by their paths.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// How an import under way ended.
#[derive(Debug, PartialEq)]
enum End {
    Done,
    /// The gateway was killed.
    Killed,
}

impl Steps {
    fn new(manners: &[Manner]) -> Self {
        let directory = TempDir::new_in(scratch()).unwrap();
        let token = FaultToken::new(directory.path());
        let edit = |text: &mut String| *text = text.replace("[token]\n", LONG);
        let (installation, user) = token.installation(edit);
        let manners = manners.to_vec();
        let seen = RefCell::default();
        let mut steps = Self { token, manners, installation, user, seen, _directory: directory };
        steps.clear();
        steps
    }

    /// Only the manners are in force.
    fn clear(&mut self) {
        self.token.clear();
        for manner in &self.manners {
            self.token.add(Rule::manner(*manner));
        }
    }

    /// Imports material into a key, and stops the token before each call. `at_stop` decides whether the
    /// gateway lives on. Returns the functions of the calls.
    async fn run(
        &mut self,
        server: &mut Option<Server>,
        key: &str,
        mut at_stop: impl FnMut(&Self, usize) -> bool,
    ) -> (Vec<String>, End) {
        let client = server.as_ref().unwrap().client(&self.user);
        self.token.calls();
        let mut rule = self.token.add(Rule::on_all(Fault::Freeze));
        let key = key.to_owned();
        let import = tokio::spawn(async move { import(&client, &key).await });
        let mut functions = Vec::new();
        while let Some(function) = self.next_stop(rule, &import).await {
            functions.push(function);
            if !at_stop(self, functions.len() - 1) {
                drop(server.take());
                self.clear();
                assert!(import.await.unwrap().is_err());
                return (functions, End::Killed);
            }
            rule = self.token.replace(rule, Rule::on_all(Fault::Freeze));
        }
        self.token.remove(rule);
        import.await.unwrap().unwrap();
        (functions, End::Done)
    }

    /// Waits until the token stops under a rule, and returns the function; `None` if the import ended.
    async fn next_stop(
        &self,
        rule: u64,
        import: &JoinHandle<Result<(), CallError>>,
    ) -> Option<String> {
        eventually(async || {
            let calls = self.token.calls();
            let mut stops = calls.into_iter().filter(|call| call.return_code == HANGING);
            match stops.find(|call| call.rules.contains(&rule)) {
                Some(stop) => Ok(Some(stop.function)),
                None if import.is_finished() => Ok(None),
                None => Err("the import neither stops nor ends"),
            }
        })
        .await
    }

    /// Another program finds no open key. Returns the number of private and secret keys. Files in which it
    /// has found none are not read again.
    fn all_are_closed(&self) -> usize {
        let files = self.files();
        let mut seen = self.seen.borrow_mut();
        if seen.0 != files {
            let (token, pin) = (&self.installation.token, self.installation.pin());
            let listing = run(token.object_listing(LABEL, pin), b"").done();
            let keys = check_all_closed(&listing);
            *seen = (files, keys.unwrap_or_else(|open| panic!("an open key: {open}")));
        }
        seen.1
    }

    fn files(&self) -> Files {
        let tokens = fs::read_dir(self.installation.path("tokens")).unwrap();
        let files = tokens.flat_map(|token| fs::read_dir(token.unwrap().path()).unwrap());
        let paths = files.map(|file| file.unwrap().path());
        paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    async fn new_key(&self, server: &Server) -> String {
        let client = server.client(&self.user);
        let made = client.call("CreateKey", &[("Origin", "EXTERNAL")]).await.unwrap();
        text(&made["KeyMetadata"]["KeyId"]).to_owned()
    }

    async fn encrypts(&self, server: &Server, key: &str) {
        let client = server.client(&self.user);
        client.call("Encrypt", &[("KeyId", key), ("Plaintext", PLAINTEXT)]).await.unwrap();
    }

    /// Kills at this call of the first import of a gateway. After the next start nothing is left, and the
    /// import succeeds.
    async fn kill_at(&mut self, at: usize) -> Option<String> {
        let mut server = Some(self.installation.serve());
        let key = self.new_key(server.as_ref().unwrap()).await;
        let before = self.installation.token_objects();
        let (functions, end) = self.run(&mut server, &key, |_steps, call| call != at).await;
        if end == End::Done {
            return None;
        }
        self.all_are_closed();
        let server = self.installation.serve();
        let client = server.client(&self.user);
        let described = client.call("DescribeKey", &[("KeyId", &key)]).await.unwrap();
        let is_imported = described["KeyMetadata"]["KeyState"] == "Enabled";
        // The pair of an import token remains as long as its row; what a test has left is destroyed soon
        // after the start.
        eventually(async || {
            let objects = self.installation.token_objects() - usize::from(is_imported);
            let is_clean = [before, before + PAIR].contains(&objects);
            if is_clean { Ok(()) } else { Err(format!("{before} {objects} {functions:?}")) }
        })
        .await;
        import(&client, &key).await.unwrap();
        self.encrypts(&server, &key).await;
        assert_eq!(self.installation.token_objects(), before + 1 + PAIR, "{functions:?}");
        self.all_are_closed();
        functions.last().cloned()
    }
}

/// Imports material into a key, with a new import token.
async fn import(client: &Client, key: &str) -> Result<(), CallError> {
    let key = ("KeyId", key);
    let given = client.call("GetParametersForImport", &[&IMPORT[..], &[key]].concat()).await?;
    let wrapped = wrap(&given, &[7; 32]);
    let params = [
        key,
        ("ImportToken", text(&given["ImportToken"])),
        ("EncryptedKeyMaterial", &wrapped),
        ("KeyMaterialExpireUnix", "0"),
    ];
    client.call("ImportKeyMaterial", &params).await.map(drop)
}

/// Another program lists the objects at each stop of an import.
async fn no_key_is_open_at_a_stop(manners: &[Manner], expected: &[&str]) {
    let mut steps = Steps::new(manners);
    let mut server = Some(steps.installation.serve());
    let key = steps.new_key(server.as_ref().unwrap()).await;
    let mut most = 0;
    let look = |steps: &Steps, _call| {
        let keys = steps.all_are_closed();
        assert!(keys >= SERVICE_KEYS, "{keys}");
        most = most.max(keys);
        true
    };
    let (functions, end) = steps.run(&mut server, &key, look).await;
    assert_eq!(end, End::Done);
    for function in expected {
        assert!(functions.iter().any(|called| called == function), "{function}: {functions:?}");
    }
    // The private key of the pair, and the imported key before the last calls.
    assert_eq!(most, SERVICE_KEYS + 2, "{functions:?}");
    steps.encrypts(server.as_ref().unwrap(), &key).await;
    report(&format!("{manners:?}: no open key at {} stops", functions.len()));
}

/// The stops at which the gateway is killed: before and after the calls that change something, those of
/// the probes that precede the import once for each function. Under torture, all.
fn due_stops(functions: &[String]) -> Vec<usize> {
    if is_long() {
        return (0..functions.len()).collect();
    }
    let import = functions.iter().rposition(|function| function == "C_UnwrapKey").unwrap();
    let first = |at: usize| functions.iter().position(|one| *one == functions[at]) == Some(at);
    let changing = (0..functions.len()).filter(|at| CHANGING.contains(&&*functions[*at]));
    let due = changing.filter(|at| *at >= import || first(*at)).flat_map(|at| [at, at + 1]);
    let due: BTreeSet<_> = due.filter(|at| *at < functions.len()).collect();
    due.into_iter().collect()
}

async fn a_kill_at_a_stop_leaves_nothing(manners: &[Manner]) {
    let mut steps = Steps::new(manners);
    let mut server = Some(steps.installation.serve());
    let key = steps.new_key(server.as_ref().unwrap()).await;
    let (functions, _end) = steps.run(&mut server, &key, |_steps, _call| true).await;
    assert_eq!(server.take().unwrap().stop(), Some(0));
    let mut killed_at = Vec::new();
    for at in due_stops(&functions) {
        killed_at.extend(steps.kill_at(at).await);
    }
    // No fault remains.
    let doctor = steps.installation.configured(&["doctor"]);
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
    let (kills, calls) = (killed_at.len(), functions.len());
    report(&format!("{manners:?}: {kills} kills in {calls} calls: {}", killed_at.join(" ")));
    assert!(kills > 5, "{functions:?}");
}

#[tokio::test]
async fn no_key_is_open_between_two_calls_of_an_import() {
    no_key_is_open_at_a_stop(&[], &["C_GenerateKeyPair", "C_UnwrapKey", "C_DestroyObject"]).await;
}

#[tokio::test]
async fn no_key_is_open_between_two_calls_of_an_import_that_ignores_the_template() {
    let expected = ["C_UnwrapKey", "C_SetAttributeValue", "C_CopyObject", "C_DestroyObject"];
    no_key_is_open_at_a_stop(&[Manner::UnwrapTemplateIgnored], &expected).await;
}

#[tokio::test]
async fn a_kill_between_two_calls_of_an_import_leaves_nothing() {
    a_kill_at_a_stop_leaves_nothing(&[]).await;
}

#[tokio::test]
async fn a_kill_between_two_calls_of_an_import_that_ignores_the_template_leaves_nothing() {
    a_kill_at_a_stop_leaves_nothing(&[Manner::UnwrapTemplateIgnored]).await;
}
