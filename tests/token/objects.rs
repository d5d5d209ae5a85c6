//! Objects: create, destroy, list, and their attributes.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType};
use hsmgate::model::KeySpec;
use hsmgate::token::{KeyClass, KeyIdentity, ObjectName, ObjectOwner, ServiceKey, TokenError};

use super::harness::{
    SEPARATE_CALLERS, budget, change, direct_session, key, name, run, secret, with_every_token,
    with_every_token_but, with_token,
};
use crate::tokens::Product;

#[test]
fn a_secret_key_is_closed_and_its_value_can_not_be_read() {
    with_every_token(
        "objects::a_secret_key_is_closed_and_its_value_can_not_be_read",
        async |token| {
            let key = key(&token, KeySpec::Aes256).await;
            let (_pkcs11, session) = direct_session();
            let id = Attribute::Id(key.id().as_bytes().to_vec());
            let objects = session.find_objects(&[Attribute::Token(true), id]).unwrap();
            assert_eq!(objects.len(), 1);
            let wanted = [
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
                Attribute::Wrap(false),
                Attribute::Unwrap(false),
                Attribute::Sign(false),
                Attribute::Verify(false),
                Attribute::Derive(false),
            ];
            let types: Vec<_> = wanted.iter().map(Attribute::attribute_type).collect();
            assert_eq!(session.get_attributes(objects[0], &types).unwrap(), wanted);
            let value = session.get_attributes(objects[0], &[AttributeType::Value]).unwrap();
            assert!(value.is_empty(), "the value of a sensitive key was given out");
            for opening in [Attribute::Sensitive(false), Attribute::Extractable(true)] {
                assert!(session.update_attributes(objects[0], &[opening]).is_err());
            }
        },
    );
}

#[test]
fn a_destroyed_key_stops_working_with_its_copy() {
    with_every_token_but(
        "objects::a_destroyed_key_stops_working_with_its_copy",
        &SEPARATE_CALLERS,
        async |token| {
            let key = key(&token, KeySpec::Aes256).await;
            run(&token, move |worker| worker.encrypt(key, None, b"x")).await.unwrap();
            assert!(run(&token, move |worker| worker.exists(key)).await.unwrap());
            let (_pkcs11, session) = direct_session();
            let id = Attribute::Id(key.id().as_bytes().to_vec());
            let copy = [Attribute::Token(false), Attribute::Sensitive(true), id.clone()];
            assert_eq!(session.find_objects(&copy).unwrap().len(), 1, "no closed copy is in use");
            change(&token, move |worker| worker.destroy(key)).await.unwrap();
            let error =
                run(&token, move |worker| worker.encrypt(key, None, b"x")).await.unwrap_err();
            assert!(error.is_not_found(), "{error}");
            assert!(!run(&token, move |worker| worker.exists(key)).await.unwrap());
            assert!(session.find_objects(&[id]).unwrap().is_empty(), "a copy lives on");
            change(&token, move |worker| worker.destroy(key)).await.unwrap();
        },
    );
}

#[test]
fn our_keys_are_listed_by_name_and_others_are_not() {
    let name_here = "objects::our_keys_are_listed_by_name_and_others_are_not";
    // NSS has no data objects.
    with_every_token_but(name_here, &[Product::Nss], async |token| {
        let access_key =
            ObjectName { owner: ObjectOwner::Service(ServiceKey::AccessKeyEncryption), ..name() };
        let mut names = vec![name(), name(), access_key];
        for name in names.clone() {
            change(&token, move |worker| {
                worker.generate(&name, KeySpec::Aes256, KeySpec::Aes256.usages()[0])
            })
            .await
            .unwrap();
        }
        let (_pkcs11, session) = direct_session();
        let foreign = [Attribute::Token(true), Attribute::Label(b"somebody's".to_vec())];
        let data = Attribute::Class(cryptoki::object::ObjectClass::DATA);
        session.create_object(&[&foreign[..], &[data]].concat()).unwrap();
        names.sort();
        assert_eq!(token.list().await.unwrap(), names);
    });
}

/// By its label, which `hsmgate` gives to each key for a test.
#[test]
fn a_test_key_that_a_killed_process_left_is_destroyed_and_other_keys_are_not() {
    let name_here =
        "objects::a_test_key_that_a_killed_process_left_is_destroyed_and_other_keys_are_not";
    with_token(name_here, async |token| {
        let kept = key(&token, KeySpec::Aes256).await;
        let (_pkcs11, session) = direct_session();
        let label = "hsmgate: a key for a test that is destroyed after it; left over if no gateway is \
                     running now";
        let test = [Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec())];
        let length = Attribute::ValueLen(32.into());
        session.generate_key(&Mechanism::AesKeyGen, &[&test[..], &[length]].concat()).unwrap();
        token.destroy_left_test_keys(&budget()).await;
        assert_eq!(session.find_objects(&test).unwrap().len(), 0);
        assert!(run(&token, move |worker| worker.exists(kept)).await.unwrap());
    });
}

#[test]
fn two_keys_with_one_id_are_an_error_and_not_a_choice() {
    with_token("objects::two_keys_with_one_id_are_an_error_and_not_a_choice", async |token| {
        let name = name();
        let key = secret(name);
        let spec = KeySpec::Aes256;
        change(&token, move |worker| worker.generate(&name, spec, spec.usages()[0])).await.unwrap();
        change(&token, move |worker| worker.generate(&name, spec, spec.usages()[0])).await.unwrap();
        assert!(run(&token, move |worker| worker.exists(key)).await.is_err());
    });
}

#[test]
fn an_object_is_neither_used_nor_destroyed_for_another_owner_or_class() {
    with_every_token(
        "objects::an_object_is_neither_used_nor_destroyed_for_another_owner_or_class",
        async |token| {
            let mine = key(&token, KeySpec::Aes256).await;
            let version = mine.id();
            let wrong = [
                KeyIdentity { name: ObjectName { owner: name().owner, ..mine.name }, ..mine },
                KeyIdentity::of_service(ServiceKey::AccessKeyEncryption, version),
                KeyIdentity { class: KeyClass::Pair, ..mine },
            ];
            for is_known in [true, false] {
                for other in wrong {
                    if !is_known {
                        direct_session().1.logout().unwrap();
                    }
                    let used = run(&token, move |worker| worker.encrypt(other, None, b"x")).await;
                    assert!(matches!(used, Err(TokenError::KeyMismatch { .. })), "{used:?}");
                    let there = run(&token, move |worker| worker.exists(other)).await;
                    assert!(matches!(there, Err(TokenError::KeyMismatch { .. })), "{there:?}");
                }
            }
            for other in &wrong[..2] {
                let other = *other;
                let gone = change(&token, move |worker| worker.destroy(other)).await;
                assert!(matches!(gone, Err(TokenError::KeyMismatch { .. })), "{gone:?}");
            }
            run(&token, move |worker| worker.encrypt(mine, None, b"x")).await.unwrap();
        },
    );
}
