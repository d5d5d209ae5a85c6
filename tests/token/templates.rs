//! Templates on tokens that know fewer attributes, keep fewer, or have no session objects.

use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::session::Session;
use fault_token::Manner;
use hsmgate::model::KeySpec;
use hsmgate::token::{
    Capability, CapabilityTest, Depth, ErrorClass, KeyIdentity, ObjectKind, TestResult, Token,
    TokenError, TokenSelector,
};

use super::harness::{
    LABEL, change, direct_session, in_own_process, in_own_process_with, initialize, key,
    objects_of, run, runtime, settings, with_manners,
};

const SPECS: [KeySpec; 4] =
    [KeySpec::Aes256, KeySpec::HmacSha256, KeySpec::EcP256, KeySpec::Rsa2048];

/// The label of the self-test's keys.
const TEST_LABEL: &[u8] =
    b"hsmgate: a key for a test that is destroyed after it; left over if no gateway is running now";

/// Generates and uses a key of each kind, and checks that the token has closed and complete keys.
async fn keys_of_each_kind_are_closed_and_work(token: &Token) -> Vec<KeyIdentity> {
    let mut keys = Vec::new();
    for spec in SPECS {
        keys.push(key(token, spec).await);
    }
    let aes = keys[0];
    let decrypted = run(token, move |worker| {
        let encrypted = worker.encrypt(aes, None, b"text")?;
        worker.decrypt(aes, &encrypted.iv, None, &encrypted.ciphertext)
    });
    assert_eq!(*decrypted.await.unwrap(), b"text");
    let (_pkcs11, session) = direct_session();
    for key in &keys {
        let objects = objects_of(&session, *key);
        assert!((1..=2).contains(&objects.len()), "{}", objects.len());
        for object in objects {
            let class = session.get_attributes(object, &[AttributeType::Class]).unwrap();
            let is_public = class == [Attribute::Class(ObjectClass::PUBLIC_KEY)];
            let closed = [Attribute::Sensitive(true), Attribute::Extractable(false)];
            let asked: Vec<_> = closed.iter().map(Attribute::attribute_type).collect();
            let told = session.get_attributes(object, &asked).unwrap();
            // Public keys have neither.
            assert!(told == closed || (is_public && told.is_empty()), "{told:?}");
        }
    }
    let inspected = token.inspect(Depth::Use).await.unwrap();
    assert_eq!(inspected.len(), SPECS.len());
    for one in inspected {
        assert_eq!(one.faults, Vec::<String>::new(), "{}", one.name);
    }
    keys
}

#[test]
fn attributes_that_a_token_does_not_know_are_omitted() {
    let name = "templates::attributes_that_a_token_does_not_know_are_omitted";
    let manners = Manner::list(
        "no-copy-object,attribute-unknown=CKA_MODIFIABLE,attribute-unknown=CKA_SIGN_RECOVER,\
         attribute-unknown=CKA_VERIFY_RECOVER,attribute-unknown=CKA_COPYABLE",
    );
    with_manners(name, &manners, async |token| {
        keys_of_each_kind_are_closed_and_work(&token).await;
    });
}

#[test]
fn only_the_attribute_that_a_token_refuses_is_omitted() {
    let name = "templates::only_the_attribute_that_a_token_refuses_is_omitted";
    let manners = Manner::list(
        "attribute-refused=CKA_SIGN_RECOVER:CKR_ATTRIBUTE_VALUE_INVALID,\
         attribute-refused=CKA_VERIFY_RECOVER:CKR_TEMPLATE_INCONSISTENT",
    );
    with_manners(name, &manners, async |token| {
        let keys = keys_of_each_kind_are_closed_and_work(&token).await;
        let (_pkcs11, session) = direct_session();
        for key in &keys[2..] {
            for object in objects_of(&session, *key) {
                let told = session.get_attributes(object, &[AttributeType::Modifiable]).unwrap();
                assert_eq!(told, [Attribute::Modifiable(false)]);
            }
        }
    });
}

#[test]
fn an_attribute_that_is_not_required_and_not_kept_is_a_remark() {
    let name = "templates::an_attribute_that_is_not_required_and_not_kept_is_a_remark";
    let manners = Manner::list("no-copy-object,attribute-ignored=CKA_MODIFIABLE");
    with_manners(name, &manners, async |token| {
        keys_of_each_kind_are_closed_and_work(&token).await;
        for one in token.inspect(Depth::Attributes).await.unwrap() {
            assert!(one.remarks.iter().all(|remark| remark.contains("CKA_MODIFIABLE")));
            assert!(!one.remarks.is_empty(), "{}", one.name);
        }
    });
}

/// Opens a token with these manners, which must be refused.
fn refused(name: &str, manners: &str, named: &str) {
    in_own_process_with(name, &Manner::list(manners), || {
        initialize(LABEL);
        let error = Token::open(settings(TokenSelector::Label(LABEL.into()))).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
        assert_eq!(error.class(), ErrorClass::Configuration);
    });
}

#[test]
fn a_token_that_does_not_keep_a_required_attribute_is_refused_by_its_name() {
    refused(
        "templates::a_token_that_does_not_keep_a_required_attribute_is_refused_by_its_name",
        "attribute-ignored=CKA_EXTRACTABLE",
        "CKA_EXTRACTABLE",
    );
}

#[test]
fn a_token_that_refuses_a_required_attribute_is_refused_by_its_name() {
    refused(
        "templates::a_token_that_refuses_a_required_attribute_is_refused_by_its_name",
        "attribute-refused=CKA_DERIVE:CKR_ATTRIBUTE_TYPE_INVALID,attribute-unknown=CKA_MODIFIABLE",
        "CKA_DERIVE",
    );
}

#[test]
fn a_token_with_short_labels_is_refused_by_the_name_of_the_attribute() {
    refused(
        "templates::a_token_with_short_labels_is_refused_by_the_name_of_the_attribute",
        "label-limit=91",
        "CKA_LABEL of 92 bytes",
    );
}

#[test]
fn a_token_with_short_labels_and_no_session_objects_is_refused_too() {
    refused(
        "templates::a_token_with_short_labels_and_no_session_objects_is_refused_too",
        "label-limit=40,no-session-objects",
        "CKA_LABEL of 92 bytes",
    );
}

fn test_keys(session: &Session) -> usize {
    let left = [Attribute::Token(true), Attribute::Label(TEST_LABEL.to_vec())];
    session.find_objects(&left).unwrap().len()
}

#[test]
fn a_token_without_session_objects_works_and_no_test_key_stays() {
    let name = "templates::a_token_without_session_objects_works_and_no_test_key_stays";
    with_manners(name, &[Manner::NoSessionObjects], async |token| {
        keys_of_each_kind_are_closed_and_work(&token).await;
        for test in CapabilityTest::ALL.iter().copied().filter(|test| !test.is_slow()) {
            change(&token, move |worker| worker.run_capability_test(test)).await.unwrap();
        }
        for capability in [Capability::HmacSha256, Capability::EcP256, Capability::UnwrapPkcs1] {
            assert_eq!(token.capability(capability).result, TestResult::Works, "{capability}");
        }
        let (_pkcs11, session) = direct_session();
        assert_eq!(test_keys(&session), 0);
        let all = session.find_objects(&[Attribute::Token(true)]).unwrap();
        assert_eq!(all.len(), 2 + 2 * 2, "two secret keys and two pairs");
    });
}

#[test]
fn a_test_key_that_a_killed_process_left_is_destroyed_at_the_next_start() {
    let name = "templates::a_test_key_that_a_killed_process_left_is_destroyed_at_the_next_start";
    in_own_process_with(name, &[Manner::NoSessionObjects], || {
        initialize(LABEL);
        let open = || Token::open(settings(TokenSelector::Label(LABEL.into()))).unwrap();
        let token = open();
        let (_pkcs11, session) = direct_session();
        let left = [
            Attribute::Token(true),
            Attribute::Label(TEST_LABEL.to_vec()),
            Attribute::ValueLen(32.into()),
        ];
        session.generate_key(&cryptoki::mechanism::Mechanism::AesKeyGen, &left).unwrap();
        assert_eq!(test_keys(&session), 1);
        drop(session);
        token.close();
        let token = open();
        assert_eq!(test_keys(&direct_session().1), 0);
        token.close();
    });
}

#[test]
fn keys_are_modifiable_if_the_settings_say_so() {
    in_own_process("templates::keys_are_modifiable_if_the_settings_say_so", || {
        initialize(LABEL);
        let mut settings = settings(TokenSelector::Label(LABEL.into()));
        settings.is_modifiable = true;
        let token = Token::open(settings).unwrap();
        runtime().block_on(async {
            for key in keys_of_each_kind_are_closed_and_work(&token).await {
                let (_pkcs11, session) = direct_session();
                for object in objects_of(&session, key) {
                    let told =
                        session.get_attributes(object, &[AttributeType::Modifiable]).unwrap();
                    assert_eq!(told, [Attribute::Modifiable(true)]);
                }
            }
        });
        token.close();
    });
}

#[test]
fn a_refusal_of_every_template_is_the_error_of_the_token() {
    let name = "templates::a_refusal_of_every_template_is_the_error_of_the_token";
    let manners = Manner::list("attribute-refused=CKA_ID:CKR_ATTRIBUTE_VALUE_INVALID");
    in_own_process_with(name, &manners, || {
        initialize(LABEL);
        let error = Token::open(settings(TokenSelector::Label(LABEL.into()))).unwrap_err();
        assert!(matches!(error, TokenError::AttributeRefused(_)), "{error}");
    });
}

#[test]
fn a_pair_that_a_token_finds_incomplete_gets_more_attributes() {
    let name = "templates::a_pair_that_a_token_finds_incomplete_gets_more_attributes";
    let manners = Manner::list(
        "pair-requires=CKA_DESTROYABLE,attribute-unknown=CKA_MODIFIABLE,no-copy-object",
    );
    with_manners(name, &manners, async |token| {
        keys_of_each_kind_are_closed_and_work(&token).await;
    });
}

#[test]
fn the_size_of_an_rsa_key_is_known_without_its_attribute() {
    let name = "templates::the_size_of_an_rsa_key_is_known_without_its_attribute";
    let manners = Manner::list("attribute-not-told=CKA_MODULUS_BITS");
    with_manners(name, &manners, async |token| {
        keys_of_each_kind_are_closed_and_work(&token).await;
        let inspected = token.inspect(Depth::Attributes).await.unwrap();
        let is_rsa = |one: &hsmgate::token::Inspected| {
            matches!(one.kind, Some(ObjectKind::Key { spec: KeySpec::Rsa2048, .. }))
        };
        assert_eq!(inspected.iter().filter(|one| is_rsa(one)).count(), 1, "{inspected:?}");
    });
}

#[test]
fn objects_of_other_programs_are_passed_over_and_counted() {
    let name = "templates::objects_of_other_programs_are_passed_over_and_counted";
    with_manners(name, &[Manner::ForeignObjects], async |token| {
        let keys = keys_of_each_kind_are_closed_and_work(&token).await;
        assert_eq!(token.list().await.unwrap().len(), keys.len());
        // The binding cannot name a vendor's class; the key type of a vendor is a number.
        assert_eq!(token.unreadable_objects(), 1);
        assert_eq!(token.inspect(Depth::Use).await.unwrap().len(), keys.len());
        assert_eq!(token.unreadable_objects(), 1);
        let destroyed = keys[0];
        change(&token, move |worker| worker.destroy(destroyed)).await.unwrap();
        assert_eq!(token.list().await.unwrap().len(), keys.len() - 1);
    });
}
