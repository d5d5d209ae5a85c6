//! Tokens that make the IV of AES-GCM themselves: where they return it, what a caller's IV becomes,
//! and that every ciphertext decrypts with the IV that was returned.

use std::collections::HashSet;

use fault_token::Manner;
use hsmgate::model::{Iv, KeySpec};
use hsmgate::token::{EncryptOptions, Encrypted, Token, TokenError, Worker};

use super::harness::{key, run, with_manners, with_product, with_token};
use crate::tokens::Product;

const AAD: &[u8] = b"context";

/// Encrypts, decrypts, refuses what was changed, and verifies, with this form.
async fn works_with(token: &Token, from: &str, iv_bytes: usize) {
    let form = token.gcm_form();
    assert_eq!((&*form.to_string(), form.iv_length().bytes()), (from, iv_bytes));
    for spec in [KeySpec::Aes256, KeySpec::Aes128] {
        let key = key(token, spec).await;
        let mut ivs = HashSet::new();
        for message in [&b"a message"[..], b"", &[7; 8192]] {
            let options = EncryptOptions { iv: None, is_verified: true };
            let encrypt =
                move |worker: &mut Worker<'_>| worker.encrypt_as(key, options, Some(AAD), message);
            let Encrypted { iv, ciphertext, uses } = run(token, encrypt).await.unwrap();
            assert_eq!((ciphertext.len(), uses), (message.len() + 16, 1));
            assert_eq!(iv.as_slice().len(), iv_bytes);
            assert!(ivs.insert(iv));
            let decrypt = async |iv: Iv, aad: &'static [u8], ciphertext: Vec<u8>| {
                run(token, move |worker| worker.decrypt(key, &iv, Some(aad), &ciphertext)).await
            };
            assert_eq!(*decrypt(iv, AAD, ciphertext.clone()).await.unwrap(), message);
            let mut changed = ciphertext.clone();
            *changed.last_mut().unwrap() ^= 1;
            for (iv, aad, ciphertext) in [
                (iv, AAD, changed),
                (iv, &b"another"[..], ciphertext.clone()),
                (Iv::from([9; 12]), AAD, ciphertext.clone()),
                (iv, AAD, ciphertext[..15].to_vec()),
            ] {
                let error = decrypt(iv, aad, ciphertext).await.unwrap_err();
                assert!(error.is_bad_ciphertext(), "{error}");
            }
        }
    }
}

async fn refuses_the_iv_of_a_caller(token: &Token) {
    let key = key(token, KeySpec::Aes256).await;
    let options = EncryptOptions { iv: Some([7; 12]), is_verified: false };
    let encrypt = move |worker: &mut Worker<'_>| worker.encrypt_as(key, options, None, b"x");
    let error = run(token, encrypt).await.unwrap_err();
    assert!(matches!(error, TokenError::Unsupported(_)), "{error}");
}

fn token_with(test: &'static str, manner: Manner, from: &'static str, iv_bytes: usize) {
    with_manners(test, &[manner], async |token| {
        works_with(&token, from, iv_bytes).await;
        refuses_the_iv_of_a_caller(&token).await;
    });
}

#[test]
fn a_caller_gives_the_iv_to_most_tokens() {
    with_token("gcm_forms::a_caller_gives_the_iv_to_most_tokens", async |token| {
        works_with(&token, "gateway", 12).await;
        assert!(!token.gcm_form().token_makes_iv());
    });
}

#[test]
fn a_token_whose_length_query_leaves_out_the_tag_encrypts_with_message_calls() {
    let name =
        "gcm_forms::a_token_whose_length_query_leaves_out_the_tag_encrypts_with_message_calls";
    with_product(name, Product::Nss, async |token| {
        works_with(&token, "gateway", 12).await;
        let form = token.gcm_form();
        assert_eq!((form.encrypts_with(), form.decrypts_with()), ("C_EncryptMessage", "C_Decrypt"));
    });
}

#[test]
fn a_token_without_the_classic_calls_encrypts_and_decrypts_with_message_calls() {
    let name =
        "gcm_forms::a_token_without_the_classic_calls_encrypts_and_decrypts_with_message_calls";
    let manners = Manner::list("message-calls,mechanism-fails=CKM_AES_GCM:CKR_MECHANISM_INVALID");
    with_manners(name, &manners, async |token| {
        works_with(&token, "gateway", 12).await;
        let calls = (token.gcm_form().encrypts_with(), token.gcm_form().decrypts_with());
        assert_eq!(calls, ("C_EncryptMessage", "C_DecryptMessage"));
    });
}

#[test]
fn an_iv_that_is_written_back_is_returned() {
    let name = "gcm_forms::an_iv_that_is_written_back_is_returned";
    token_with(name, Manner::IvWrittenBack, "token (in the parameters)", 12);
}

#[test]
fn an_iv_that_the_encryption_writes_back_is_returned() {
    let name = "gcm_forms::an_iv_that_the_encryption_writes_back_is_returned";
    token_with(name, Manner::IvWrittenBackByEncrypt, "token (in the parameters)", 12);
}

#[test]
fn an_iv_after_the_tag_is_returned() {
    let name = "gcm_forms::an_iv_after_the_tag_is_returned";
    token_with(name, Manner::IvAppended12, "token (after the tag)", 12);
}

#[test]
fn an_iv_before_the_ciphertext_is_returned() {
    let name = "gcm_forms::an_iv_before_the_ciphertext_is_returned";
    token_with(name, Manner::IvInFront12, "token (before the ciphertext)", 12);
}

#[test]
fn an_iv_of_16_bytes_after_the_tag_is_returned() {
    let name = "gcm_forms::an_iv_of_16_bytes_after_the_tag_is_returned";
    token_with(name, Manner::IvAppended16, "token (after the tag)", 16);
}

#[test]
fn short_random_draws_are_enough() {
    let name = "gcm_forms::short_random_draws_are_enough";
    with_manners(name, &[Manner::RandomLimit(300)], async |token| {
        assert_eq!(token.max_random_draw(), 256);
        let key = key(&token, KeySpec::Aes256).await;
        let ivs = run(&token, move |worker| {
            (0..100).map(|_| Ok(worker.encrypt(key, None, b"x")?.iv)).collect()
        });
        let ivs: HashSet<Iv> = ivs.await.unwrap();
        assert_eq!(ivs.len(), 100);
        assert_eq!(run(&token, |worker| worker.random(1024)).await.unwrap().len(), 1024);
    });
}

#[test]
fn a_token_without_a_limit_gives_the_largest_draw() {
    let name = "gcm_forms::a_token_without_a_limit_gives_the_largest_draw";
    with_token(name, async |token| assert_eq!(token.max_random_draw(), 4096));
}
