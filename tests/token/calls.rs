//! The number of calls into the module for one operation: behind a network, each is a round trip.

use std::cell::Cell;
use std::future::Future;
use std::num::NonZeroUsize;
use std::time::Duration;

use fault_token::{Fault, Rule, When, read_log, write_rules};
use hsmgate::model::{KeySpec, KeyUsage};
use hsmgate::token::{
    EncryptOptions, Encrypted, KeyIdentity, OaepHash, SignAlgorithm, Token, TokenSettings,
};

use super::harness::{FaultToken, budget, change, key, name, pair, run, with_fault_token};

/// The binding asks for the length of each output first.
const ENCRYPT: [&str; 3] = ["C_EncryptInit", "C_Encrypt", "C_Encrypt"];
const DECRYPT: [&str; 3] = ["C_DecryptInit", "C_Decrypt", "C_Decrypt"];
const SIGN: [&str; 3] = ["C_SignInit", "C_Sign", "C_Sign"];
const VERIFY: [&str; 2] = ["C_VerifyInit", "C_Verify"];
const DIGEST: [u8; 32] = [7; 32];
/// A copy, and its attributes.
const COPY: [&str; 2] = ["C_CopyObject", "C_GetAttributeValue"];
/// The binding asks for the lengths of the attributes first.
const SEARCH: [&str; 5] = [
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_FindObjectsFinal",
    "C_GetAttributeValue",
    "C_GetAttributeValue",
];

/// The log of a token.
struct Calls {
    files: FaultToken,
    read: Cell<usize>,
}

impl Calls {
    /// The functions that were called since the last time.
    fn since_last(&self) -> Vec<String> {
        let (entries, end) = read_log(&self.files.log, self.read.get());
        self.read.set(end);
        entries.into_iter().map(|entry| entry.function).collect()
    }

    /// The functions that a job calls.
    async fn of<T>(&self, job: impl Future<Output = T>) -> Vec<String> {
        self.since_last();
        job.await;
        self.since_last()
    }

    /// The second C_Decrypt from now on has this code: the first tells the length of the output.
    fn decryption_fails(&self, code: &str) {
        let rule = Rule::on(&["C_Decrypt"], Fault::return_code(code)).when(When::At(2));
        write_rules(&self.files.control, &[rule]);
    }
}

/// Opens a token with one worker, and runs the test with the log of its calls. A second worker would
/// open a session and draw IVs at its first job.
fn with_calls<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Token, Calls) -> F) {
    let one_worker = |settings| TokenSettings { workers: NonZeroUsize::new(1), ..settings };
    with_fault_token(name, one_worker, |token, files| {
        test(token, Calls { files, read: Cell::new(0) })
    });
}

async fn rsa_key(token: &Token, usage: KeyUsage) -> KeyIdentity {
    let name = name();
    let make = change(token, move |worker| worker.generate(&name, KeySpec::Rsa2048, usage));
    make.await.unwrap();
    pair(name)
}

#[test]
fn an_encryption_makes_three_calls_and_a_data_key_seven() {
    let name = "calls::an_encryption_makes_three_calls_and_a_data_key_seven";
    with_calls(name, async |token, calls| {
        let key = key(&token, KeySpec::Aes256).await;
        let encrypt = || run(&token, move |worker| worker.encrypt(key, None, b"text"));
        // The first draws IVs.
        let encrypted = encrypt().await.unwrap();
        assert_eq!(calls.of(encrypt()).await, ENCRYPT);
        let decrypt = run(&token, move |worker| {
            worker.decrypt(key, &encrypted.iv, None, &encrypted.ciphertext)
        });
        assert_eq!(calls.of(decrypt).await, DECRYPT);
        let data_key = run(&token, move |worker| {
            let secret = worker.random(32)?;
            let options = EncryptOptions { is_verified: true, ..EncryptOptions::default() };
            worker.encrypt_as(key, options, None, &secret)
        });
        let expected = [&["C_GenerateRandom"][..], &ENCRYPT, &DECRYPT].concat();
        assert_eq!(calls.of(data_key).await, expected);
    });
}

/// Opens the token again, so that no key has a session copy, with a session in both threads and random
/// bytes in the one that uses keys.
async fn reopened(token: &Token, calls: &Calls, used: KeyIdentity) -> Token {
    token.close();
    let settings = TokenSettings { workers: NonZeroUsize::new(1), ..calls.files.settings() };
    let token = Token::open(settings).unwrap();
    run(&token, move |worker| worker.encrypt(used, None, b"text")).await.unwrap();
    change(&token, move |worker| worker.exists(used)).await.unwrap();
    token
}

/// The copy hangs while the key is used: the only thread that uses keys must not make it.
#[test]
fn a_first_use_of_a_listed_key_makes_no_further_call_and_a_second_its_copy_beside() {
    let name =
        "calls::a_first_use_of_a_listed_key_makes_no_further_call_and_a_second_its_copy_beside";
    with_calls(name, async |token, calls| {
        let [used, cold] = [key(&token, KeySpec::Aes256).await, key(&token, KeySpec::Aes256).await];
        let token = reopened(&token, &calls, used).await;
        token.list().await.unwrap();
        let encrypt = || run(&token, move |worker| worker.encrypt(cold, None, b"text"));
        assert_eq!(calls.of(encrypt()).await, ENCRYPT);
        // The thread that would make a copy has time for it between its jobs.
        for _ in 0..20 {
            change(&token, move |worker| worker.exists(used)).await.unwrap();
        }
        assert!(!calls.since_last().iter().any(|function| function == COPY[0]));
        write_rules(&calls.files.control, &[Rule::on(&COPY[..1], Fault::Hang)]);
        let two = async { [encrypt().await.unwrap(), encrypt().await.unwrap()] };
        let mut made = calls.of(two).await;
        // The log tells that it hangs, and again when it goes on.
        while !made.iter().any(|function| function == COPY[0]) {
            made.extend(calls.since_last());
            tokio::task::yield_now().await;
        }
        made.retain(|function| function != COPY[0]);
        assert_eq!(made, ENCRYPT.repeat(2));
        write_rules(&calls.files.control, &[]);
        let mut beside = Vec::new();
        while beside.len() < COPY.len() {
            beside.extend(calls.since_last());
            tokio::task::yield_now().await;
        }
        assert_eq!(beside, COPY);
        token.close();
    });
}

#[test]
fn the_first_use_of_a_key_that_was_not_listed_makes_one_search() {
    let name = "calls::the_first_use_of_a_key_that_was_not_listed_makes_one_search";
    with_calls(name, async |token, calls| {
        let [used, cold] = [key(&token, KeySpec::Aes256).await, key(&token, KeySpec::Aes256).await];
        let token = reopened(&token, &calls, used).await;
        write_rules(&calls.files.control, &[Rule::on(&COPY[..1], Fault::Hang)]);
        let encrypt =
            move |worker: &mut hsmgate::token::Worker<'_>| worker.encrypt(cold, None, b"text");
        let mut first_use = calls.of(token.run_with(cold, &budget(), encrypt)).await;
        first_use.retain(|function| function != COPY[0]);
        assert_eq!(first_use, [&SEARCH[..], &ENCRYPT].concat());
        write_rules(&calls.files.control, &[]);
        token.close();
    });
}

/// A key with a session copy.
async fn copied_key(token: &Token) -> (KeyIdentity, Encrypted) {
    let key = key(token, KeySpec::Aes256).await;
    (key, run(token, move |worker| worker.encrypt(key, None, b"text")).await.unwrap())
}

#[test]
fn a_copy_is_used_after_5_s_only_if_the_original_decrypts() {
    let name = "calls::a_copy_is_used_after_5_s_only_if_the_original_decrypts";
    with_calls(name, async |token, calls| {
        let encrypt = |key: KeyIdentity, is_verified| {
            let options = EncryptOptions { is_verified, ..EncryptOptions::default() };
            run(&token, move |worker| worker.encrypt_as(key, options, None, b"text"))
        };
        let decrypt = |key: KeyIdentity, text: &Encrypted| {
            let Encrypted { iv, ciphertext, .. } = text.clone();
            run(&token, move |worker| worker.decrypt(key, &iv, None, &ciphertext))
        };
        let mut keys = Vec::new();
        for _ in 0..4 {
            keys.push(copied_key(&token).await);
        }
        let [encrypting, decrypting, verifying, other] = &keys[..] else { panic!() };
        tokio::time::sleep(Duration::from_millis(5_100)).await;

        let both = [&ENCRYPT[..], &DECRYPT].concat();
        assert_eq!(calls.of(encrypt(encrypting.0, false)).await, both);
        assert_eq!(calls.of(encrypt(encrypting.0, false)).await, ENCRYPT);
        assert_eq!(calls.of(decrypt(decrypting.0, &decrypting.1)).await, DECRYPT);
        assert_eq!(calls.of(encrypt(decrypting.0, false)).await, ENCRYPT);
        assert_eq!(calls.of(encrypt(verifying.0, true)).await, both);
        // A changed ciphertext proves nothing, so the original is checked.
        let mut changed = other.1.clone();
        changed.ciphertext[5] ^= 1;
        assert!(decrypt(other.0, &changed).await.unwrap_err().is_bad_ciphertext());
        assert_eq!(calls.of(encrypt(other.0, false)).await, ENCRYPT);
    });
}

#[test]
fn an_rsa_decryption_makes_three_calls_and_an_encryption_none() {
    let name = "calls::an_rsa_decryption_makes_three_calls_and_an_encryption_none";
    with_calls(name, async |token, calls| {
        let pair = rsa_key(&token, KeyUsage::EncryptDecrypt).await;
        let decrypt =
            || run(&token, move |worker| worker.rsa_decrypt(pair, OaepHash::Sha1, &[1; 256]));
        assert!(decrypt().await.unwrap_err().is_bad_ciphertext());
        calls.decryption_fails("CKR_ENCRYPTED_DATA_INVALID");
        assert_eq!(calls.of(decrypt()).await, DECRYPT);
        let public_key = || run(&token, move |worker| worker.public_key(pair));
        let read = public_key().await.unwrap();
        assert_eq!(calls.of(public_key()).await, [""; 0]);
        assert_eq!(public_key().await.unwrap(), read);
    });
}

#[test]
fn a_signature_makes_three_calls_and_its_verification_two() {
    let name = "calls::a_signature_makes_three_calls_and_its_verification_two";
    with_calls(name, async |token, calls| {
        let pair = rsa_key(&token, KeyUsage::SignVerify).await;
        let algorithm = SignAlgorithm::RsaPssSha256;
        let sign = || run(&token, move |worker| worker.sign(pair, algorithm, &DIGEST));
        let signature = sign().await.unwrap();
        assert_eq!(calls.of(sign()).await, SIGN);
        let verify = || {
            let signature = signature.clone();
            run(&token, move |worker| worker.verify(pair, algorithm, &DIGEST, &signature))
        };
        // The first reads the length of the modulus.
        assert!(verify().await.unwrap());
        assert_eq!(calls.of(verify()).await, VERIFY);
    });
}

#[test]
fn a_changed_tag_makes_three_calls_if_the_token_says_so_and_nine_if_not() {
    let name = "calls::a_changed_tag_makes_three_calls_if_the_token_says_so_and_nine_if_not";
    with_calls(name, async |token, calls| {
        let key = key(&token, KeySpec::Aes256).await;
        let encrypted = run(&token, move |worker| worker.encrypt(key, None, b"text"));
        let mut encrypted = encrypted.await.unwrap();
        encrypted.ciphertext[5] ^= 1;
        let decrypt = async || {
            let encrypted = encrypted.clone();
            let decrypted = run(&token, move |worker| {
                worker.decrypt(key, &encrypted.iv, None, &encrypted.ciphertext)
            });
            assert!(decrypted.await.unwrap_err().is_bad_ciphertext());
        };
        calls.decryption_fails("CKR_ENCRYPTED_DATA_INVALID");
        assert_eq!(calls.of(decrypt()).await, DECRYPT);
        // SoftHSM2 reports GENERAL_ERROR, which a failing token reports too: the first time, a
        // control call decides, whose result is valid for a second.
        write_rules(&calls.files.control, &[]);
        decrypt().await;
        assert_eq!(calls.of(decrypt()).await, DECRYPT.repeat(3));
    });
}
