//! Encrypt, decrypt, random.

use std::collections::HashSet;

use hsmgate::model::{Iv, KeySpec};
use hsmgate::token::{Encrypted, Token, TokenError};

use super::harness::{key, name, run, secret, with_every_token};

async fn encrypt(
    token: &Token,
    key: hsmgate::token::KeyIdentity,
    text: &'static [u8],
) -> Encrypted {
    run(token, move |worker| worker.encrypt(key, Some(b"context"), text)).await.unwrap()
}

#[test]
fn what_is_encrypted_decrypts_with_its_data_and_with_no_other() {
    with_every_token(
        "cipher::what_is_encrypted_decrypts_with_its_data_and_with_no_other",
        async |token| {
            for spec in [KeySpec::Aes256, KeySpec::Aes192, KeySpec::Aes128] {
                let key = key(&token, spec).await;
                let Encrypted { iv, ciphertext, .. } = encrypt(&token, key, b"a message").await;
                assert_eq!(ciphertext.len(), 9 + 16);
                let decrypt = async |aad: Option<&'static [u8]>, ciphertext: Vec<u8>| {
                    run(&token, move |worker| worker.decrypt(key, &iv, aad, &ciphertext)).await
                };
                let good = decrypt(Some(b"context"), ciphertext.clone()).await.unwrap();
                assert_eq!(*good, b"a message");
                let mut changed = ciphertext.clone();
                *changed.last_mut().unwrap() ^= 1;
                for (aad, ciphertext) in [
                    (Some(&b"another"[..]), ciphertext.clone()),
                    (None, ciphertext.clone()),
                    (Some(b"context"), changed),
                    (Some(b"context"), ciphertext[..15].to_vec()),
                    (Some(b"context"), Vec::new()),
                ] {
                    let error = decrypt(aad, ciphertext).await.unwrap_err();
                    assert!(error.is_bad_ciphertext(), "{error}");
                }
            }
        },
    );
}

#[test]
fn no_associated_data_and_an_empty_message_are_fine() {
    with_every_token("cipher::no_associated_data_and_an_empty_message_are_fine", async |token| {
        let key = key(&token, KeySpec::Aes256).await;
        let decrypted = run(&token, move |worker| {
            let Encrypted { iv, ciphertext, .. } = worker.encrypt(key, None, b"")?;
            worker.decrypt(key, &iv, Some(b""), &ciphertext)
        });
        assert!(decrypted.await.unwrap().is_empty());
    });
}

#[test]
fn bad_ciphertexts_cost_neither_the_session_nor_the_key() {
    with_every_token(
        "cipher::bad_ciphertexts_cost_neither_the_session_nor_the_key",
        async |token| {
            let key = key(&token, KeySpec::Aes256).await;
            for _ in 0..200 {
                let bad =
                    run(&token, move |worker| worker.decrypt(key, &[1; 12].into(), None, &[2; 40]))
                        .await;
                assert!(bad.unwrap_err().is_bad_ciphertext());
            }
            let Encrypted { iv, ciphertext, .. } = encrypt(&token, key, b"still here").await;
            let decrypted =
                run(&token, move |worker| worker.decrypt(key, &iv, Some(b"context"), &ciphertext))
                    .await;
            assert_eq!(*decrypted.unwrap(), b"still here");
        },
    );
}

#[test]
fn a_key_that_is_not_there_is_not_found() {
    with_every_token("cipher::a_key_that_is_not_there_is_not_found", async |token| {
        let key = secret(name());
        let error = run(&token, move |worker| worker.encrypt(key, None, b"x")).await.unwrap_err();
        assert!(error.is_not_found(), "{error}");
        token.ready().unwrap();
    });
}

#[test]
fn no_iv_and_no_random_bytes_repeat() {
    with_every_token("cipher::no_iv_and_no_random_bytes_repeat", async |token| {
        let key = key(&token, KeySpec::Aes256).await;
        let ivs = run(&token, move |worker| {
            (0..1000)
                .map(|_| worker.encrypt(key, None, b"x").map(|ciphertext| ciphertext.iv))
                .collect()
        });
        let ivs: Vec<Iv> = ivs.await.unwrap();
        assert_eq!(ivs.iter().collect::<HashSet<_>>().len(), 1000);
        let random = async |bytes| run(&token, move |worker| worker.random(bytes)).await.unwrap();
        assert_eq!(random(10_000).await.len(), 10_000);
        assert_eq!(random(0).await.len(), 0);
        assert_ne!(*random(32).await, *random(32).await);
    });
}

#[test]
fn many_callers_at_once_get_each_their_own_answer() {
    with_every_token("cipher::many_callers_at_once_get_each_their_own_answer", async |token| {
        let keys = [key(&token, KeySpec::Aes256).await, key(&token, KeySpec::Aes256).await];
        let callers = (0..64_usize).map(|caller| {
            let token = token.clone();
            let key = keys[caller % 2];
            tokio::spawn(async move {
                for round in 0..50 {
                    let text = format!("caller {caller}, round {round}").into_bytes();
                    let wanted = text.clone();
                    let Encrypted { iv, ciphertext, .. } =
                        run(&token, move |worker| worker.encrypt(key, Some(b"a"), &text))
                            .await
                            .unwrap();
                    let decrypted = run(&token, move |worker| {
                        worker.decrypt(key, &iv, Some(b"a"), &ciphertext)
                    });
                    assert_eq!(*decrypted.await.unwrap(), wanted);
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
    });
}

#[test]
fn a_panic_in_a_job_is_an_error_of_that_job_alone() {
    with_every_token("cipher::a_panic_in_a_job_is_an_error_of_that_job_alone", async |token| {
        let key = key(&token, KeySpec::Aes256).await;
        let panicked = run::<()>(&token, |_worker| panic!("on purpose")).await;
        assert!(matches!(panicked, Err(TokenError::Panicked)));
        encrypt(&token, key, b"goes on").await;
    });
}
