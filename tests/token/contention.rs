//! Contention in the token: creating and finding objects is serialized, and using them continues.

use std::sync::mpsc;
use std::time::Duration;

use cryptoki::object::Attribute;
use hsmgate::model::KeySpec;
use hsmgate::token::{Budget, KeyIdentity, Token, TokenError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::harness::{budget, change, direct_session, key, name, run, secret, with_token};

async fn encrypts(token: &Token, key: KeyIdentity) -> Result<(), TokenError> {
    run(token, move |worker| worker.encrypt(key, None, b"text")).await.map(drop)
}

/// Keys whose handles are not known any more, once the first call has noticed: as after a start.
async fn keys_without_handles<const N: usize>(token: &Token) -> [KeyIdentity; N] {
    let mut keys = [secret(name()); N];
    for made in &mut keys {
        *made = key(token, KeySpec::Aes256).await;
    }
    direct_session().1.logout().unwrap();
    keys
}

/// Somebody makes a key, and is at it until the sender says so.
async fn generation_in_progress(
    token: &Token,
) -> (mpsc::Sender<()>, JoinHandle<Result<(), TokenError>>) {
    let (done, is_done) = mpsc::channel();
    let (begun, is_begun) = oneshot::channel();
    let token = token.clone();
    let work = tokio::spawn(async move {
        change(&token, move |_worker| {
            begun.send(()).unwrap();
            is_done.recv().unwrap();
            Ok(())
        })
        .await
    });
    is_begun.await.unwrap();
    (done, work)
}

#[test]
fn only_what_has_to_be_found_waits_for_whoever_makes_a_key() {
    let name = "contention::only_what_has_to_be_found_waits_for_whoever_makes_a_key";
    with_token(name, async |token| {
        let [warm, found, lost] = keys_without_handles(&token).await;
        encrypts(&token, warm).await.unwrap();
        let (done, work) = generation_in_progress(&token).await;
        let other = token.clone();
        let finding = tokio::spawn(async move {
            let encrypt =
                move |worker: &mut hsmgate::token::Worker<'_>| worker.encrypt(found, None, b"text");
            other.run_with(found, &budget(), encrypt).await
        });
        for _ in 0..10 {
            encrypts(&token, warm).await.unwrap();
        }
        // A call that comes to search all the same gives up, for those behind it.
        let searching = encrypts(&token, lost).await;
        assert!(matches!(searching, Err(TokenError::Busy)), "{searching:?}");
        encrypts(&token, warm).await.unwrap();
        token.ready().unwrap();
        assert!(!finding.is_finished());
        done.send(()).unwrap();
        work.await.unwrap().unwrap();
        finding.await.unwrap().unwrap();
        encrypts(&token, lost).await.unwrap();
    });
}

#[test]
fn whoever_cannot_wait_for_a_key_to_be_made_does_not_take_the_token_for_hanging() {
    let name =
        "contention::whoever_cannot_wait_for_a_key_to_be_made_does_not_take_the_token_for_hanging";
    with_token(name, async |token| {
        let [warm, found] = keys_without_handles(&token).await;
        encrypts(&token, warm).await.unwrap();
        let (done, work) = generation_in_progress(&token).await;
        let short = Budget::new(Duration::from_millis(700));
        let found = token.run_with(found, &short, |_worker| Ok(())).await;
        assert!(matches!(found, Err(TokenError::Deadline)), "{found:?}");
        let other = token.clone();
        let next = tokio::spawn(async move { key(&other, KeySpec::Aes256).await });
        // It is in the queue, and was not turned away.
        while token.load().waiting_changes == 0 {
            assert!(!next.is_finished());
            tokio::task::yield_now().await;
        }
        done.send(()).unwrap();
        work.await.unwrap().unwrap();
        next.await.unwrap();
    });
}

#[test]
fn a_look_at_the_token_that_had_to_be_put_off_after_a_login_is_made_later() {
    let name = "contention::a_look_at_the_token_that_had_to_be_put_off_after_a_login_is_made_later";
    with_token(name, async |token| {
        let [warm, identity_key] = keys_without_handles(&token).await;
        token.set_identity_key(identity_key);
        encrypts(&token, warm).await.unwrap();
        let (done, work) = generation_in_progress(&token).await;
        direct_session().1.logout().unwrap();
        let turned_away = encrypts(&token, warm).await;
        assert!(matches!(turned_away, Err(TokenError::Busy)), "{turned_away:?}");
        // Logged in it is; and now it is another token, as far as one can see.
        let (pkcs11, session) = direct_session();
        let identity_key = Attribute::Id(identity_key.id().as_bytes().to_vec());
        for object in session.find_objects(&[identity_key]).unwrap() {
            session.destroy_object(object).unwrap();
        }
        // SoftHSM2 crashes when a session closes while the recovery finalizes the module.
        drop((session, pkcs11));
        done.send(()).unwrap();
        work.await.unwrap().unwrap();
        let (spec, new) = (KeySpec::Aes256, super::harness::name());
        let made = change(&token, move |worker| worker.generate(&new, spec, spec.usages()[0]));
        let refused = made.await;
        assert!(matches!(refused, Err(TokenError::Untrusted(_))), "{refused:?}");
    });
}

#[test]
fn a_key_that_was_listed_needs_no_search() {
    with_token("contention::a_key_that_was_listed_needs_no_search", async |token| {
        let keys = keys_without_handles::<5>(&token).await;
        let pair = key(&token, KeySpec::EcP256).await;
        direct_session().1.logout().unwrap();
        assert_eq!(token.list().await.unwrap().len(), keys.len() + 1);
        let (done, work) = generation_in_progress(&token).await;
        for key in keys {
            encrypts(&token, key).await.unwrap();
        }
        run(&token, move |worker| worker.public_key(pair)).await.unwrap();
        done.send(()).unwrap();
        work.await.unwrap().unwrap();
        // Now there is time for its copy, and it is found out when the original is gone.
        let [first, ..] = keys;
        encrypts(&token, first).await.unwrap();
        change(&token, move |worker| worker.destroy(first)).await.unwrap();
        assert!(encrypts(&token, first).await.unwrap_err().is_not_found());
    });
}

#[test]
fn of_two_keys_with_one_id_a_list_keeps_none() {
    with_token("contention::of_two_keys_with_one_id_a_list_keeps_none", async |token| {
        let (spec, name) = (KeySpec::Aes256, name());
        for _ in 0..2 {
            let make = change(&token, move |worker| worker.generate(&name, spec, spec.usages()[0]));
            make.await.unwrap();
        }
        direct_session().1.logout().unwrap();
        assert_eq!(token.list().await.unwrap(), [name]);
        let error = encrypts(&token, secret(name)).await.unwrap_err();
        assert!(matches!(error, TokenError::Duplicate), "{error}");
    });
}
