//! Recovery of lost logins, sessions and objects.

use std::time::Duration;

use cryptoki::object::Attribute;
use hsmgate::model::KeySpec;
use hsmgate::token::{Encrypted, KeyIdentity, Token, TokenError, UnavailableReason};

use super::harness::{
    PIN, SEPARATE_CALLERS, change, direct_session, key, objects_of, run, token_directory,
    with_every_token, with_every_token_but, with_token,
};
use crate::tokens::Product;

async fn works(token: &Token, key: KeyIdentity) -> Result<(), TokenError> {
    let decrypted = run(token, move |worker| {
        let encrypted = worker.encrypt(key, None, b"text")?;
        worker.decrypt(key, &encrypted.iv, None, &encrypted.ciphertext)
    });
    assert_eq!(*decrypted.await?, b"text");
    Ok(())
}

/// As [`works`], for a caller who repeats a call for which the objects were locked too long: a machine
/// that does not run the thread with the lock makes others wait.
async fn works_repeatedly(token: &Token, key: KeyIdentity) -> Result<(), TokenError> {
    loop {
        match works(token, key).await {
            Err(TokenError::Busy) => {}
            outcome => return outcome,
        }
    }
}

/// Waits until the token is ready, or away for the reason.
async fn until(token: &Token, wanted: Option<UnavailableReason>) {
    let waiting = async {
        loop {
            let reason = match token.ready() {
                Ok(()) => None,
                Err(TokenError::Unavailable(reason)) => Some(reason),
                Err(error) => panic!("{error}"),
            };
            if reason == wanted {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
}

#[test]
fn a_logout_under_our_feet_is_made_good_unnoticed() {
    with_every_token_but(
        "recovery::a_logout_under_our_feet_is_made_good_unnoticed",
        // The handles of NSS work after a logout, so that there is no new login. kryoptic blocks C_Logout
        // and C_CopyObject for ever if they overlap.
        &[SEPARATE_CALLERS.as_slice(), &[Product::Nss, Product::Kryoptic]].concat(),
        async |token| {
            let key = key(&token, KeySpec::Aes256).await;
            works(&token, key).await.unwrap();
            for _ in 0..3 {
                direct_session().1.logout().unwrap();
                works(&token, key).await.unwrap();
                direct_session().1.logout().unwrap();
                assert!(run(&token, move |worker| worker.exists(key)).await.unwrap());
                direct_session().1.logout().unwrap();
                assert_eq!(token.list().await.unwrap().len(), 1);
            }
            token.ready().unwrap();
        },
    );
}

#[test]
fn a_module_that_was_finalized_is_brought_back() {
    with_every_token_but(
        "recovery::a_module_that_was_finalized_is_brought_back",
        &SEPARATE_CALLERS,
        async |token| {
            let key = key(&token, KeySpec::Aes256).await;
            let old =
                run(&token, move |worker| worker.encrypt(key, None, b"before")).await.unwrap();
            let (pkcs11, session) = direct_session();
            drop(session);
            pkcs11.finalize().unwrap();
            let error = works(&token, key).await.unwrap_err();
            assert!(error.is_unavailable(), "{error}");
            until(&token, None).await;
            works(&token, key).await.unwrap();
            let decrypted =
                run(&token, move |worker| worker.decrypt(key, &old.iv, None, &old.ciphertext));
            assert_eq!(*decrypted.await.unwrap(), b"before");
        },
    );
}

#[test]
fn after_a_refused_pin_nobody_logs_in_again() {
    with_token("recovery::after_a_refused_pin_nobody_logs_in_again", async |token| {
        let key = key(&token, KeySpec::Aes256).await;
        let (pkcs11, session) = direct_session();
        session.set_pin(&PIN.into(), &"another PIN".into()).unwrap();
        drop(session);
        pkcs11.finalize().unwrap();
        assert!(works(&token, key).await.is_err());
        until(&token, Some(UnavailableReason::PinRefused)).await;
        let error = works(&token, key).await.unwrap_err();
        assert!(matches!(error, TokenError::Unavailable(UnavailableReason::PinRefused)), "{error}");
    });
}

#[test]
fn storage_that_went_away_is_not_taken_for_destroyed_keys() {
    let name = "recovery::storage_that_went_away_is_not_taken_for_destroyed_keys";
    with_token(name, async |token| {
        let first = key(&token, KeySpec::Aes256).await;
        let second = key(&token, KeySpec::Aes256).await;
        let tokens = token_directory();
        let aside = tokens.with_extension("aside");
        std::fs::rename(&tokens, &aside).unwrap();
        let exists = run(&token, move |worker| worker.exists(first)).await;
        assert!(exists.is_err(), "a key counts as destroyed because its storage is away");
        assert!(works(&token, second).await.unwrap_err().is_unavailable());
        std::fs::rename(&aside, &tokens).unwrap();
        until(&token, None).await;
        works(&token, first).await.unwrap();
        works(&token, second).await.unwrap();
    });
}

/// Decision D9.
#[test]
fn the_copy_of_a_key_that_somebody_else_destroyed_is_used_for_5_s_at_most() {
    let name = "recovery::the_copy_of_a_key_that_somebody_else_destroyed_is_used_for_5_s_at_most";
    with_token(name, async |token| {
        let encrypt = |key| run(&token, move |worker| worker.encrypt(key, None, b"text"));
        let [first, second] =
            [key(&token, KeySpec::Aes256).await, key(&token, KeySpec::Aes256).await];
        let other = key(&token, KeySpec::Aes256).await;
        let Encrypted { iv, ciphertext, .. } = encrypt(second).await.unwrap();
        let (_pkcs11, session) = direct_session();
        for object in [first, second].into_iter().flat_map(|key| objects_of(&session, key)) {
            session.destroy_object(object).unwrap();
        }
        encrypt(first).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5_100)).await;
        let gone = encrypt(first).await;
        assert!(matches!(gone, Err(TokenError::NotFound)), "{gone:?}");
        let gone = run(&token, move |worker| worker.decrypt(second, &iv, None, &ciphertext)).await;
        assert!(matches!(gone, Err(TokenError::NotFound)), "{gone:?}");
        encrypt(other).await.unwrap();
    });
}

#[test]
fn a_key_that_somebody_else_destroyed_is_not_found() {
    with_every_token("recovery::a_key_that_somebody_else_destroyed_is_not_found", async |token| {
        let doomed = key(&token, KeySpec::EcP256).await;
        let other = key(&token, KeySpec::Aes256).await;
        let (_pkcs11, session) = direct_session();
        let id = Attribute::Id(doomed.id().as_bytes().to_vec());
        for object in session.find_objects(&[id]).unwrap() {
            session.destroy_object(object).unwrap();
        }
        let algorithm = hsmgate::token::SignAlgorithm::EcdsaSha256;
        let signed = run(&token, move |worker| worker.sign(doomed, algorithm, &[1; 32])).await;
        let error = signed.unwrap_err();
        assert!(error.is_not_found(), "{error}");
        works(&token, other).await.unwrap();
    });
}

#[test]
fn keys_come_and_go_beside_encryption_and_logouts() {
    with_token("recovery::keys_come_and_go_beside_encryption_and_logouts", async |token| {
        let lasting = key(&token, KeySpec::Aes256).await;
        let other = token.clone();
        let changes = tokio::spawn(async move {
            for _ in 0..100 {
                let passing = key(&other, KeySpec::Aes256).await;
                works_repeatedly(&other, passing).await.unwrap();
                change(&other, move |worker| worker.destroy(passing)).await.unwrap();
            }
        });
        let mut round = 0_u32;
        while !changes.is_finished() {
            works_repeatedly(&token, lasting).await.unwrap();
            round += 1;
            if round.is_multiple_of(50) {
                // Twice at once is no logout, and no harm either.
                let _ = direct_session().1.logout();
            }
        }
        changes.await.unwrap();
        token.ready().unwrap();
    });
}
