//! Whether a token can be trusted with AES-GCM: one that was tried takes any associated data
//! and ignores the IV. Run on a session key at each initialisation.

use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{KeyType, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;

use super::error::TokenError;
use super::gcm;
use super::handles::copy;
use super::random::RandomSource;
use super::template::{self, Copies, Home, SecretUse};
use crate::model::IV_BYTES;

const AAD: &[u8] = b"hsmgate self-test: associated data";
const MESSAGE: &[u8] = b"hsmgate self-test: a message";
/// The longest plaintext of the API: 6,144 bytes as Base64 text.
const LONGEST: usize = 8_192;

/// Tests the token, with a key that is made as all others will be. Tells which copies of keys
/// work there.
pub(super) fn run(session: &Session, random: &mut RandomSource) -> Result<Copies, TokenError> {
    random.bytes(session, 64)?;
    let copies = copies(session, random);
    with_key(session, copies, |key| {
        let mut iv = || random.iv(session);
        gcm_honours_the_iv(session, key, &iv()?, &iv()?)?;
        gcm_refuses(session, key, &iv()?, &iv()?)?;
        round_trip(session, key, &iv()?, AAD, MESSAGE)?;
        // A build of SoftHSM aborts the process on a message without associated data: better
        // here than later.
        round_trip(session, key, &iv()?, &[], MESSAGE)?;
        round_trip(session, key, &iv()?, AAD, &[])?;
        round_trip(session, key, &iv()?, AAD, &vec![7; LONGEST])
    })?;
    Ok(copies)
}

/// Whether the token does anything at all: one message to and fro.
pub(super) fn pulse(session: &Session, copies: Copies) -> Result<(), TokenError> {
    with_key(session, copies, |key| round_trip(session, key, &[0x5a; IV_BYTES], AAD, MESSAGE))
}

/// Copies are an optimisation: whatever goes wrong with them, they are not used.
fn copies(session: &Session, random: &mut RandomSource) -> Copies {
    let mut work = |copies| {
        let outcome = with_key(session, copies, |key| {
            let iv = random.iv(session)?;
            let copy = copy(session, key)?;
            let sealed = gcm::seal(session, copy, &iv, AAD, MESSAGE)?;
            let opened = gcm::open(session, key, &iv, AAD, &sealed)?;
            session.destroy_object(copy)?;
            Ok(*opened == MESSAGE)
        });
        outcome.unwrap_or(false)
    };
    let mut candidates = [Copies::OfClosed, Copies::OfModifiable].into_iter();
    candidates.find(|copies| work(*copies)).unwrap_or(Copies::Never)
}

/// Makes a session key for `test` and destroys it afterwards.
fn with_key<T>(
    session: &Session,
    copies: Copies,
    test: impl FnOnce(ObjectHandle) -> Result<T, TokenError>,
) -> Result<T, TokenError> {
    let bytes = Some(Ulong::new(32));
    let template =
        template::secret_key(KeyType::AES, bytes, SecretUse::Cipher, Home::Session, copies);
    let key = session.generate_key(&Mechanism::AesKeyGen, &template)?;
    let result = template::check(session, key, &template).and_then(|()| test(key));
    let destroyed = session.destroy_object(key);
    let value = result?;
    destroyed?;
    Ok(value)
}

fn gcm_honours_the_iv(
    session: &Session,
    key: ObjectHandle,
    iv: &[u8; IV_BYTES],
    other_iv: &[u8; IV_BYTES],
) -> Result<(), TokenError> {
    let sealed = gcm::seal(session, key, iv, AAD, MESSAGE)?;
    match gcm::seal(session, key, iv, AAD, MESSAGE) {
        Ok(again) if again != sealed => {
            return Err(TokenError::Untrusted("AES-GCM with one IV gives two ciphertexts"));
        }
        // A token that remembers IVs and refuses a second use is welcome.
        Ok(_) | Err(TokenError::Call { code: RvError::MechanismParamInvalid, .. }) => {}
        Err(error) => return Err(error),
    }
    if gcm::seal(session, key, other_iv, AAD, MESSAGE)? == sealed {
        return Err(TokenError::Untrusted("AES-GCM ignores the IV"));
    }
    Ok(())
}

fn gcm_refuses(
    session: &Session,
    key: ObjectHandle,
    iv: &[u8; IV_BYTES],
    other_iv: &[u8; IV_BYTES],
) -> Result<(), TokenError> {
    let sealed = gcm::seal(session, key, iv, AAD, MESSAGE)?;
    let mut changed = sealed.clone();
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
    }
    let opens = |iv, aad, sealed: &[u8]| gcm::open(session, key, iv, aad, sealed).is_ok();
    if opens(iv, b"other associated data", &sealed) || opens(iv, &[], &sealed) {
        return Err(TokenError::Untrusted("AES-GCM takes other associated data"));
    }
    if opens(iv, AAD, &changed) {
        return Err(TokenError::Untrusted("AES-GCM takes a changed tag"));
    }
    if opens(other_iv, AAD, &sealed) {
        return Err(TokenError::Untrusted("AES-GCM takes another IV"));
    }
    Ok(())
}

fn round_trip(
    session: &Session,
    key: ObjectHandle,
    iv: &[u8; IV_BYTES],
    aad: &[u8],
    message: &[u8],
) -> Result<(), TokenError> {
    let sealed = gcm::seal(session, key, iv, aad, message)?;
    if *gcm::open(session, key, iv, aad, &sealed)? == message {
        Ok(())
    } else {
        Err(TokenError::Untrusted("AES-GCM does not open what it sealed"))
    }
}
