//! Key pairs and MAC keys.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use aws_lc_rs::{digest, hmac, rsa};
use cryptoki::object::Attribute;
use hsmgate::model::{KeySpec, KeyUsage};
use hsmgate::token::{
    Curve, KeyIdentity, MacAlgorithm, OaepHash, PublicKey, SignAlgorithm, Token, TokenError,
};

use super::harness::{
    WITHOUT_SECP256K1, change, direct_session, key, name, pair, product, run, secret,
    with_every_token,
};

const MESSAGE: &[u8] = b"a message to sign";

fn digest_of(message: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, message).as_ref().to_vec()
}

async fn cipher_pair(token: &Token, spec: KeySpec) -> KeyIdentity {
    let name = name();
    let made = move |worker: &mut hsmgate::token::Worker<'_>| {
        worker.generate(&name, spec, KeyUsage::EncryptDecrypt)
    };
    change(token, made).await.unwrap();
    pair(name)
}

#[test]
fn rsa_signatures_are_good_elsewhere_and_here() {
    with_every_token("key_pairs::rsa_signatures_are_good_elsewhere_and_here", async |token| {
        for spec in [KeySpec::Rsa2048, KeySpec::Rsa3072] {
            let key = key(&token, spec).await;
            let public = run(&token, move |worker| worker.public_key(key)).await.unwrap();
            let PublicKey::Rsa { modulus, exponent } = public else { panic!("not an RSA key") };
            assert_eq!(exponent, [1, 0, 1]);
            for algorithm in [SignAlgorithm::RsaPssSha256, SignAlgorithm::RsaPkcs1Sha256] {
                let digest = digest_of(MESSAGE);
                let sign = move |worker: &mut hsmgate::token::Worker<'_>| {
                    let good = worker.sign(key, algorithm, &digest)?;
                    let mut bad = good.clone();
                    bad[100] ^= 1;
                    assert!(worker.verify(key, algorithm, &digest, &good)?);
                    assert!(!worker.verify(key, algorithm, &digest, &bad)?);
                    assert!(!worker.verify(key, algorithm, &digest, &good[1..])?);
                    assert!(!worker.verify(key, algorithm, &[7; 32], &good)?);
                    Ok(good)
                };
                let signature = run(&token, sign).await.unwrap();
                let components = RsaPublicKeyComponents { n: &modulus, e: &exponent };
                let check = match algorithm {
                    SignAlgorithm::RsaPssSha256 => &RSA_PSS_2048_8192_SHA256,
                    _ => &RSA_PKCS1_2048_8192_SHA256,
                };
                components.verify(check, MESSAGE, &signature).unwrap();
            }
        }
    });
}

#[test]
fn ecdsa_signatures_are_good_elsewhere_and_here() {
    with_every_token("key_pairs::ecdsa_signatures_are_good_elsewhere_and_here", async |token| {
        let has_secp256k1 = !WITHOUT_SECP256K1.contains(&product());
        let specs = [KeySpec::EcP256].into_iter().chain(has_secp256k1.then_some(KeySpec::EcP256k));
        for spec in specs {
            let key = key(&token, spec).await;
            let digest = digest_of(MESSAGE);
            let algorithm = SignAlgorithm::EcdsaSha256;
            let public = run(&token, move |worker| worker.public_key(key)).await.unwrap();
            let PublicKey::Ec { curve, point } = public else { panic!("not an EC key") };
            let sign = move |worker: &mut hsmgate::token::Worker<'_>| {
                let good = worker.sign(key, algorithm, &digest)?;
                let mut bad = good.clone();
                bad[40] ^= 1;
                assert!(worker.verify(key, algorithm, &digest, &good)?);
                assert!(!worker.verify(key, algorithm, &digest, &bad)?);
                assert!(!worker.verify(key, algorithm, &digest, &[0; 64])?);
                assert!(!worker.verify(key, algorithm, &digest, &[])?);
                Ok(good)
            };
            let signature = run(&token, sign).await.unwrap();
            assert_eq!(signature.len(), 64);
            if curve == Curve::P256 {
                let elsewhere = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point);
                elsewhere.verify(MESSAGE, &signature).unwrap();
            }
        }
    });
}

#[test]
fn what_anybody_encrypts_for_an_rsa_key_decrypts_in_the_token() {
    with_every_token(
        "key_pairs::what_anybody_encrypts_for_an_rsa_key_decrypts_in_the_token",
        async |token| {
            let key = cipher_pair(&token, KeySpec::Rsa2048).await;
            let public = run(&token, move |worker| worker.public_key(key)).await.unwrap();
            let PublicKey::Rsa { modulus, exponent } = public else { panic!("not an RSA key") };
            let public = rsa::PublicKeyComponents { n: modulus, e: exponent };
            let public = rsa::OaepPublicEncryptingKey::new(public.try_into().unwrap()).unwrap();
            for (hash, elsewhere) in [
                (OaepHash::Sha1, &rsa::OAEP_SHA1_MGF1SHA1),
                (OaepHash::Sha256, &rsa::OAEP_SHA256_MGF1SHA256),
            ] {
                let mut ciphertext = vec![0; 256];
                public.encrypt(elsewhere, b"a secret", &mut ciphertext, None).unwrap();
                let decrypt = async |ciphertext: Vec<u8>| {
                    run(&token, move |worker| worker.rsa_decrypt(key, hash, &ciphertext)).await
                };
                assert_eq!(*decrypt(ciphertext.clone()).await.unwrap(), b"a secret");
                let mut damaged = ciphertext.clone();
                damaged[255] ^= 1;
                for bad in
                    [damaged, ciphertext[1..].to_vec(), vec![0; 256], vec![255; 256], Vec::new()]
                {
                    let error = decrypt(bad).await.unwrap_err();
                    assert!(matches!(error, TokenError::BadCiphertext), "{error}");
                }
                assert_eq!(*decrypt(ciphertext).await.unwrap(), b"a secret");
            }
        },
    );
}

#[test]
fn macs_are_the_same_elsewhere_for_every_hash() {
    with_every_token("key_pairs::macs_are_the_same_elsewhere_for_every_hash", async |token| {
        for (spec, algorithm, bytes) in [
            (KeySpec::HmacSha224, MacAlgorithm::HmacSha224, 28),
            (KeySpec::HmacSha256, MacAlgorithm::HmacSha256, 32),
            (KeySpec::HmacSha384, MacAlgorithm::HmacSha384, 48),
            (KeySpec::HmacSha512, MacAlgorithm::HmacSha512, 64),
        ] {
            let key = key(&token, spec).await;
            let macs = run(&token, move |worker| {
                let mac = worker.mac(key, algorithm, MESSAGE)?;
                assert_eq!(worker.mac(key, algorithm, MESSAGE)?, mac);
                assert_ne!(worker.mac(key, algorithm, b"another")?, mac);
                Ok((mac, worker.mac(key, algorithm, b"")?))
            });
            let (mac, empty) = macs.await.unwrap();
            assert_eq!((mac.len(), empty.len()), (bytes, bytes));
        }
    });
}

#[test]
fn a_mac_with_a_known_key_is_the_one_of_the_standard() {
    with_every_token(
        "key_pairs::a_mac_with_a_known_key_is_the_one_of_the_standard",
        async |token| {
            let id = secret(name());
            let (_pkcs11, session) = direct_session();
            let known = [
                Attribute::Class(cryptoki::object::ObjectClass::SECRET_KEY),
                Attribute::KeyType(cryptoki::object::KeyType::GENERIC_SECRET),
                Attribute::Token(true),
                Attribute::Id(id.id().as_bytes().to_vec()),
                Attribute::Label(id.name.to_string().into_bytes()),
                Attribute::Sign(true),
                Attribute::Value(vec![11; 32]),
            ];
            session.create_object(&known).unwrap();
            let made = run(&token, move |worker| worker.mac(id, MacAlgorithm::HmacSha256, MESSAGE));
            let wanted = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[11; 32]), MESSAGE);
            assert_eq!(made.await.unwrap(), wanted.as_ref());
        },
    );
}

#[test]
fn a_private_key_does_only_what_its_usage_says() {
    with_every_token("key_pairs::a_private_key_does_only_what_its_usage_says", async |token| {
        let signing = key(&token, KeySpec::Rsa2048).await;
        let opening = cipher_pair(&token, KeySpec::Rsa2048).await;
        let wrong =
            run(&token, move |worker| worker.rsa_decrypt(signing, OaepHash::Sha1, &[1; 256]));
        let error = wrong.await.unwrap_err();
        assert_eq!(error.class(), hsmgate::token::ErrorClass::Configuration, "{error}");
        let wrong =
            run(&token, move |worker| worker.sign(opening, SignAlgorithm::RsaPssSha256, &[1; 32]));
        assert!(wrong.await.is_err());
        token.ready().unwrap();
        for key in [signing, opening] {
            change(&token, move |worker| worker.destroy(key)).await.unwrap();
        }
        let (_pkcs11, session) = direct_session();
        assert!(session.find_objects(&[Attribute::Token(true)]).unwrap().is_empty());
    });
}

#[test]
fn what_the_token_has_no_numbers_for_is_unsupported() {
    with_every_token(
        "key_pairs::what_the_token_has_no_numbers_for_is_unsupported",
        async |token| {
            for spec in [KeySpec::Sm4, KeySpec::EcSm2] {
                let name = name();
                let made =
                    change(&token, move |worker| worker.generate(&name, spec, spec.usages()[0]));
                assert!(matches!(made.await, Err(TokenError::Unsupported(_))), "{spec}");
            }
        },
    );
}
