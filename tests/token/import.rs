//! Import of key material.

use aws_lc_rs::rsa;
use cryptoki::object::{Attribute, AttributeType};
use hsmgate::model::{KeySpec, WrappingAlgorithm};
use hsmgate::token::{
    CheckValue, ErrorClass, KeyIdentity, MacAlgorithm, ObjectName, PublicKey, Token, TokenError,
};

use super::harness::{
    WITHOUT_OAEP_SHA256, change, direct_session, name, pair, product, run, secret,
    with_every_token, with_every_token_but,
};
use super::tokens::Product;

/// openCryptoki ignores SENSITIVE and EXTRACTABLE in the template of an unwrapped key.
const UNWRAPS_OPEN_KEYS: [Product; 1] = [Product::OpenCryptoki];

async fn wrapping_pair(token: &Token) -> (KeyIdentity, rsa::PublicEncryptingKey) {
    let name = name();
    change(token, move |worker| worker.generate_wrapping_pair(&name)).await.unwrap();
    let key = pair(name);
    let public = run(token, move |worker| worker.public_key(key)).await.unwrap();
    let PublicKey::Rsa { modulus, exponent } = public else { panic!("not an RSA key") };
    assert_eq!(modulus.len(), 256);
    let public = rsa::PublicKeyComponents { n: modulus, e: exponent };
    (key, public.try_into().unwrap())
}

fn wrap(public: &rsa::PublicEncryptingKey, how: WrappingAlgorithm, material: &[u8]) -> Vec<u8> {
    let mut wrapped = vec![0; 256];
    let public = public.clone();
    if how == WrappingAlgorithm::RsaesPkcs1 {
        let public = rsa::Pkcs1PublicEncryptingKey::new(public).unwrap();
        public.encrypt(material, &mut wrapped).unwrap();
    } else {
        let public = rsa::OaepPublicEncryptingKey::new(public).unwrap();
        public.encrypt(&rsa::OAEP_SHA1_MGF1SHA1, material, &mut wrapped, None).unwrap();
    }
    wrapped
}

async fn unwrap(
    token: &Token,
    wrapping: KeyIdentity,
    how: WrappingAlgorithm,
    wrapped: Vec<u8>,
    target: ObjectName,
    spec: KeySpec,
) -> Result<CheckValue, TokenError> {
    let job = move |worker: &mut hsmgate::token::Worker<'_>| {
        worker.unwrap_secret(wrapping, how, &wrapped, &target, spec)
    };
    change(token, job).await
}

#[test]
fn imported_material_becomes_a_closed_key_that_works() {
    with_every_token_but(
        "import::imported_material_becomes_a_closed_key_that_works",
        &UNWRAPS_OPEN_KEYS,
        async |token| {
            let (wrapping, public) = wrapping_pair(&token).await;
            let mut values = Vec::new();
            for how in [WrappingAlgorithm::RsaesPkcs1, WrappingAlgorithm::RsaesOaepSha1] {
                let target = name();
                let wrapped = wrap(&public, how, &[0x42; 32]);
                let spec = KeySpec::Aes256;
                values.push(unwrap(&token, wrapping, how, wrapped, target, spec).await.unwrap());
                let key = secret(target);
                let decrypted = run(&token, move |worker| {
                    let encrypted = worker.encrypt(key, Some(b"aad"), b"text")?;
                    worker.decrypt(key, &encrypted.iv, Some(b"aad"), &encrypted.ciphertext)
                });
                assert_eq!(*decrypted.await.unwrap(), b"text");
                let (_pkcs11, session) = direct_session();
                let id = [Attribute::Token(true), Attribute::Id(key.id().as_bytes().to_vec())];
                let object = session.find_objects(&id).unwrap()[0];
                let closed = [Attribute::Sensitive(true), Attribute::Extractable(false)];
                let types: Vec<_> = closed.iter().map(Attribute::attribute_type).collect();
                assert_eq!(session.get_attributes(object, &types).unwrap(), closed);
                let value = session.get_attributes(object, &[AttributeType::Value]).unwrap();
                assert!(value.is_empty());
            }
            assert_eq!(values[0], values[1], "one material has two check values");
        },
    );
}

#[test]
fn check_values_tell_keys_apart() {
    with_every_token_but(
        "import::check_values_tell_keys_apart",
        &UNWRAPS_OPEN_KEYS,
        async |token| {
            let (wrapping, public) = wrapping_pair(&token).await;
            let how = WrappingAlgorithm::RsaesOaepSha1;
            let mut values = Vec::new();
            for byte in [1, 2] {
                for (spec, bytes) in
                    [(KeySpec::Aes128, 16), (KeySpec::Aes192, 24), (KeySpec::HmacSha256, 32)]
                {
                    let wrapped = wrap(&public, how, &vec![byte; bytes]);
                    let value = unwrap(&token, wrapping, how, wrapped, name(), spec).await.unwrap();
                    assert!(!values.contains(&value), "{value}");
                    values.push(value);
                }
            }
        },
    );
}

#[test]
fn an_imported_mac_key_makes_the_macs_of_its_material() {
    with_every_token_but(
        "import::an_imported_mac_key_makes_the_macs_of_its_material",
        &UNWRAPS_OPEN_KEYS,
        async |token| {
            let (wrapping, public) = wrapping_pair(&token).await;
            let (how, target) = (WrappingAlgorithm::RsaesOaepSha1, name());
            let wrapped = wrap(&public, how, &[9; 64]);
            unwrap(&token, wrapping, how, wrapped, target, KeySpec::HmacSha512).await.unwrap();
            let mac = run(&token, move |worker| {
                worker.mac(secret(target), MacAlgorithm::HmacSha512, b"message")
            });
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA512, &[9; 64]);
            let wanted = aws_lc_rs::hmac::sign(&key, b"message");
            assert_eq!(mac.await.unwrap(), wanted.as_ref());
        },
    );
}

#[test]
fn bad_material_is_refused_and_leaves_nothing() {
    with_every_token_but(
        "import::bad_material_is_refused_and_leaves_nothing",
        &UNWRAPS_OPEN_KEYS,
        async |token| {
            let (wrapping, public) = wrapping_pair(&token).await;
            for how in [WrappingAlgorithm::RsaesPkcs1, WrappingAlgorithm::RsaesOaepSha1] {
                let mut damaged = wrap(&public, how, &[1; 32]);
                damaged[9] ^= 1;
                for wrapped in [
                    wrap(&public, how, &[1; 16]),
                    wrap(&public, how, &[1; 20]),
                    wrap(&public, how, &[1; 24]),
                    wrap(&public, how, &[1; 31]),
                    wrap(&public, how, &[1; 33]),
                    wrap(&public, how, &[1; 48]),
                    wrap(&public, how, &[1; 64]),
                    wrap(&public, how, b""),
                    damaged,
                    vec![0; 256],
                    vec![255; 256],
                    vec![1; 255],
                    Vec::new(),
                ] {
                    let target = name();
                    let spec = KeySpec::Aes256;
                    let outcome = unwrap(&token, wrapping, how, wrapped, target, spec).await;
                    assert!(matches!(outcome, Err(TokenError::BadKeyMaterial)), "{outcome:?}");
                    let exists = run(&token, move |worker| worker.exists(secret(target))).await;
                    assert!(!exists.unwrap());
                }
            }
            token.ready().unwrap();
        },
    );
}

#[test]
fn a_way_that_would_need_the_material_out_here_is_unsupported() {
    let name_here = "import::a_way_that_would_need_the_material_out_here_is_unsupported";
    with_every_token(name_here, async |token| {
        let (wrapping, _public) = wrapping_pair(&token).await;
        let how = WrappingAlgorithm::RsaesOaepSha256;
        let wrapped = vec![1; 256];
        let error = unwrap(&token, wrapping, how, wrapped, name(), KeySpec::Aes256).await;
        if WITHOUT_OAEP_SHA256.contains(&product()) {
            assert!(matches!(error, Err(TokenError::Unsupported(_))), "{error:?}");
        } else {
            assert!(matches!(error, Err(TokenError::BadKeyMaterial)), "{error:?}");
        }
        let pair = unwrap(
            &token,
            wrapping,
            WrappingAlgorithm::RsaesPkcs1,
            vec![1; 256],
            name(),
            KeySpec::EcP256,
        );
        assert_eq!(pair.await.unwrap_err().class(), ErrorClass::BadInput);
    });
}
