//! Checks that the token's AES-GCM is correct: one token accepted any associated data and ignored
//! the IV. Runs at each initialization.

use cryptoki::error::RvError;
use cryptoki::object::ObjectHandle;

use super::gcm_probe::find_form;
use super::steps::{Steps, TestSession};
use super::test_key::{self, with_key};
use crate::model::{IV_BYTES, Iv, KeyVersionId};
use crate::token::behavior::{Copies, GcmForm, TestKeys, TokenBehavior};
use crate::token::crypto::gcm::{GcmCiphertext, GcmKey, IvParameter};
use crate::token::crypto::random::RandomSource;
use crate::token::error::TokenError;
use crate::token::objects::query;

const AAD: &[u8] = b"hsmgate self-test: associated data";
const MESSAGE: &[u8] = b"hsmgate self-test: a message";
/// The longest plaintext of the API: 6,144 bytes as Base64 text.
const LONGEST: usize = 8_192;

/// The IVs of the token that are compared.
const TOKEN_IVS: usize = 4;

/// Tests the token with a key that has the attributes of all others, and returns how it behaves.
pub(crate) fn run(
    token: TestSession<'_>,
    random: &mut RandomSource,
    is_modifiable: bool,
) -> Result<TokenBehavior, TokenError> {
    let mut steps = Steps::new(token);
    random.find_max_draw(|draw| steps.on_key_session(draw))?;
    // The form does not depend on the attributes that a copy needs.
    let first = test_key::find_lifetime(
        &steps,
        TokenBehavior {
            gcm: GcmForm::USUAL,
            copies: Copies::Never,
            test_keys: TestKeys::SessionObjects,
            is_modifiable,
        },
    )?;
    let form = with_key(&mut steps, first, |steps, key| find_form(steps, key, random))?;
    let behavior = copies(&mut steps, TokenBehavior { gcm: form, ..first }, random);
    with_key(&mut steps, behavior, |steps, key| {
        steps.step_with(key, form, |key| {
            if form.token_makes_iv() {
                gcm_makes_new_ivs(key, random)
            } else {
                gcm_honours_the_iv(key, random.iv(key.session)?, random.iv(key.session)?)
            }
        })?;
        steps.step_with(key, form, |key| gcm_refuses(key, random))?;
        round_trips(steps, key, form, random)
    })?;
    Ok(behavior)
}

fn round_trips(
    steps: &mut Steps<'_>,
    key: ObjectHandle,
    form: GcmForm,
    random: &mut RandomSource,
) -> Result<(), TokenError> {
    let longest = vec![7; LONGEST];
    // One build of SoftHSM aborts the process on a message without associated data: better now than
    // later.
    for (aad, message) in
        [(AAD, MESSAGE), (&[][..], MESSAGE), (AAD, &[][..]), (AAD, longest.as_slice())]
    {
        steps.step_with(key, form, |key| {
            round_trip(key, form.new_iv(key.session, random)?, aad, message)
        })?;
    }
    Ok(())
}

/// Whether the token works at all: encrypts and decrypts one message.
pub(crate) fn health_check(
    token: TestSession<'_>,
    behavior: TokenBehavior,
) -> Result<(), TokenError> {
    let form = behavior.gcm;
    with_key(&mut Steps::new(token), behavior, |steps, key| {
        // The key encrypts nothing else, so its IV needs no generator.
        let iv = form.iv_or_token_made([0x5a; IV_BYTES]);
        steps.step_with(key, form, |key| round_trip(key, iv, AAD, MESSAGE))
    })
}

/// Copies are an optimization: if they fail, they are not used.
fn copies(
    steps: &mut Steps<'_>,
    measured: TokenBehavior,
    random: &mut RandomSource,
) -> TokenBehavior {
    if measured.test_keys == TestKeys::TokenObjects {
        return measured;
    }
    let gcm = measured.gcm;
    let of = |copies| TokenBehavior { copies, ..measured };
    let mut work = |behavior: TokenBehavior| {
        let outcome = with_key(steps, behavior, |steps, key| {
            let copy = steps.on_key_session(|session| query::copy(session, key))?;
            let decrypted = steps.step(|session| {
                let encrypted =
                    GcmKey::new(session, copy, gcm).encrypt_with_new_iv(random, AAD, MESSAGE)?;
                GcmKey::new(session, key, gcm).decrypt(&encrypted.iv, AAD, &encrypted.bytes)
            })?;
            steps.on_key_session(|session| Ok(session.destroy_object(copy)?))?;
            Ok(*decrypted == MESSAGE)
        });
        outcome.unwrap_or(false)
    };
    let mut candidates = [Copies::OfClosed, Copies::OfModifiable].map(of).into_iter();
    candidates.find(|behavior| work(*behavior)).unwrap_or(of(Copies::Never))
}

fn gcm_honours_the_iv(
    key: GcmKey<'_>,
    iv: [u8; IV_BYTES],
    other_iv: [u8; IV_BYTES],
) -> Result<(), TokenError> {
    let ciphertext = key.encrypt(iv.into(), AAD, MESSAGE)?;
    match key.encrypt(iv.into(), AAD, MESSAGE) {
        Ok(second) if second != ciphertext => {
            return Err(TokenError::Untrusted("AES-GCM with one IV gives two ciphertexts"));
        }
        // A token that detects the second use of an IV is accepted.
        Ok(_) | Err(TokenError::Call { code: RvError::MechanismParamInvalid, .. }) => {}
        Err(error) => return Err(error),
    }
    if key.encrypt(other_iv.into(), AAD, MESSAGE)?.bytes == ciphertext.bytes {
        return Err(TokenError::Untrusted("AES-GCM ignores the IV"));
    }
    Ok(())
}

/// A token that makes the IVs must not make one twice.
fn gcm_makes_new_ivs(key: GcmKey<'_>, random: &mut RandomSource) -> Result<(), TokenError> {
    // A token may count the IVs of each key: those of the key of an earlier self-test come again.
    let id = KeyVersionId::random();
    for _message in 0..TOKEN_IVS {
        let ciphertext = key.encrypt_with_new_iv(random, AAD, MESSAGE)?;
        random.check_token_iv(id, &ciphertext.iv)?;
    }
    Ok(())
}

fn gcm_refuses(key: GcmKey<'_>, random: &mut RandomSource) -> Result<(), TokenError> {
    let GcmCiphertext { iv, bytes: ciphertext } = key.encrypt_with_new_iv(random, AAD, MESSAGE)?;
    let other_iv = key.encrypt_with_new_iv(random, AAD, MESSAGE)?.iv;
    let mut changed = ciphertext.clone();
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
    }
    let decrypts =
        |iv: &Iv, aad: &[u8], ciphertext: &[u8]| key.decrypt(iv, aad, ciphertext).is_ok();
    if decrypts(&iv, b"other associated data", &ciphertext) || decrypts(&iv, &[], &ciphertext) {
        return Err(TokenError::Untrusted("AES-GCM takes other associated data"));
    }
    if decrypts(&iv, AAD, &changed) {
        return Err(TokenError::Untrusted("AES-GCM takes a changed tag"));
    }
    if decrypts(&other_iv, AAD, &ciphertext) {
        return Err(TokenError::Untrusted("AES-GCM takes another IV"));
    }
    Ok(())
}

fn round_trip(
    key: GcmKey<'_>,
    iv: IvParameter,
    aad: &[u8],
    message: &[u8],
) -> Result<(), TokenError> {
    let ciphertext = key.encrypt(iv, aad, message)?;
    if *key.decrypt(&ciphertext.iv, aad, &ciphertext.bytes)? == message {
        Ok(())
    } else {
        Err(TokenError::Untrusted("AES-GCM does not decrypt what it encrypted"))
    }
}
