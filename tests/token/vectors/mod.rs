//! Published test vectors (`tests/vectors`) through the token: each key is put into it in clear by
//! the test's own session. The counts of each file show with `--nocapture`.

mod ciphers;
mod decryption;
mod keys;
mod signatures;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

/// What became of a test of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Taken, with the right result.
    Accepted,
    /// Refused as bad data, and in no other way.
    Refused,
    /// It asks for what our calls have no way to say, which the text names.
    NotOurs(&'static str),
}

impl Outcome {
    fn of(is_good: bool) -> Self {
        if is_good { Self::Accepted } else { Self::Refused }
    }
}

/// One file of vectors, and how many of its tests went which way.
struct Vectors {
    file: &'static str,
    content: Value,
    accepted: usize,
    refused: usize,
    not_ours: Vec<&'static str>,
}

impl Vectors {
    fn read(file: &'static str) -> Self {
        let text = std::fs::read_to_string(directory().join(file)).unwrap();
        let content = serde_json::from_str(&text).unwrap();
        Self { file, content, accepted: 0, refused: 0, not_ours: Vec::new() }
    }

    fn groups(&self) -> Vec<Value> {
        self.content["testGroups"].as_array().unwrap().clone()
    }

    /// Holds an outcome against the file's own verdict.
    fn count(&mut self, test: &Value, outcome: Outcome) {
        let (file, id) = (self.file, &test["tcId"]);
        match (outcome, test["result"].as_str().unwrap()) {
            (Outcome::Accepted, "invalid") => panic!("{file}, test {id}: a bad one is taken"),
            (Outcome::Refused, "valid") => panic!("{file}, test {id}: a good one is refused"),
            (Outcome::Accepted, _) => self.accepted += 1,
            (Outcome::Refused, _) => self.refused += 1,
            (Outcome::NotOurs(what), _) => self.not_ours.push(what),
        }
    }

    /// Every test of the file was counted.
    fn finish(self) {
        let Self { file, content, accepted, refused, not_ours } = self;
        let total = usize::try_from(content["numberOfTests"].as_u64().unwrap()).unwrap();
        assert_eq!(accepted + refused + not_ours.len(), total, "{file} was not used up");
        println!("vectors: {file}: {accepted} accepted, {refused} refused");
        for what in not_ours.iter().copied().collect::<BTreeSet<_>>() {
            let count = not_ours.iter().filter(|other| **other == what).count();
            println!("vectors: {file}: {count} not ours: {what}");
        }
    }
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn tests(group: &Value) -> &[Value] {
    group["tests"].as_array().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// No API that is served here wraps keys with AES.
const NOT_OFFERED: &str = "wycheproof_aes_256_kwp.json";
/// These are for request signatures: `authn::signature` uses them.
const OF_REQUESTS: [&str; 2] = ["wycheproof_hmac_sha1.json", "wycheproof_hmac_sha256.json"];

#[test]
fn every_file_is_used() {
    let used: BTreeSet<String> = ciphers::FILES
        .into_iter()
        .chain(decryption::FILES.map(|(file, _hash)| file))
        .chain([decryption::MIXED, decryption::MISCELLANEOUS, decryption::PKCS1])
        .chain(signatures::ECDSA.map(|(file, _curve, _form)| file))
        .chain(signatures::RSA.map(|(file, _algorithm)| file))
        .chain(signatures::MADE)
        .chain(OF_REQUESTS)
        .chain([NOT_OFFERED])
        .map(str::to_owned)
        .collect();
    let there: BTreeSet<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|is| is == "json"))
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(used, there);
}
