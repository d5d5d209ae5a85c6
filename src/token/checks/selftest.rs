//! Checks that the token's AES-GCM is correct: one token accepted any associated data and ignored
//! the IV. Runs on a session key at each initialization.

use std::time::Duration;

use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::types::Ulong;

use crate::model::{IV_BYTES, clock};
use crate::token::behavior::{Copies, GcmForm, TokenBehavior};
use crate::token::crypto::gcm::{GcmKey, Iv};
use crate::token::crypto::random::RandomSource;
use crate::token::error::TokenError;
use crate::token::objects::query;
use crate::token::objects::template::{self, ObjectLifetime, SecretUse};

const AAD: &[u8] = b"hsmgate self-test: associated data";
const MESSAGE: &[u8] = b"hsmgate self-test: a message";
/// The longest plaintext of the API: 6,144 bytes as Base64 text.
const LONGEST: usize = 8_192;

/// The maximum tries of a step: a token that fails one call in ten is usable, and the whole test
/// has about fifty calls.
const TRIES: u32 = 5;
/// A slow failure is not repeated.
const RETRY_TIME: Duration = Duration::from_millis(500);

/// Opens another session.
type OpenSession<'a> = &'a dyn Fn() -> Result<Session, TokenError>;

/// The sessions of a test: the one that owns the keys, and after a failed call another one for the
/// operations, because an operation may still be active on the first.
struct Steps<'a> {
    key_session: &'a Session,
    open: OpenSession<'a>,
    retry_session: Option<Session>,
}

impl<'a> Steps<'a> {
    fn new(key_session: &'a Session, open: OpenSession<'a>) -> Self {
        Self { key_session, open, retry_session: None }
    }

    /// Performs a step, and repeats it on a new session after a transient failure.
    fn step<T>(
        &mut self,
        mut work: impl FnMut(&Session) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        repeat(|is_retry| {
            if is_retry {
                self.retry_session = (self.open)().ok().or_else(|| self.retry_session.take());
            }
            work(self.retry_session.as_ref().unwrap_or(self.key_session))
        })
    }

    /// As `step`, with a key.
    fn step_with<T>(
        &mut self,
        key: ObjectHandle,
        form: GcmForm,
        mut work: impl FnMut(GcmKey<'_>) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        self.step(|session| work(GcmKey::new(session, key, form)))
    }

    /// As `step`, on the session that owns the keys, for calls that leave no operation active.
    fn on_key_session<T>(
        &self,
        mut work: impl FnMut(&Session) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        repeat(|_is_retry| work(self.key_session))
    }
}

/// Performs a call, and repeats it after a transient failure.
fn repeat<T>(mut call: impl FnMut(bool) -> Result<T, TokenError>) -> Result<T, TokenError> {
    let start = clock::monotonic();
    let mut outcome = call(false);
    for _retry in 1..TRIES {
        let is_transient = outcome.as_ref().is_err_and(TokenError::is_transient);
        if !is_transient || clock::since(start) >= RETRY_TIME {
            break;
        }
        outcome = call(true);
    }
    outcome
}

/// Tests the token with a key that has the attributes of all others, and returns how it behaves.
pub(crate) fn run(
    session: &Session,
    open: OpenSession<'_>,
    random: &mut RandomSource,
) -> Result<TokenBehavior, TokenError> {
    let mut steps = Steps::new(session, open);
    steps.on_key_session(|session| random.bytes(session, 64))?;
    let behavior = copies(&mut steps, random);
    let form = behavior.gcm;
    with_key(&mut steps, behavior, |steps, key| {
        steps.step_with(key, form, |key| {
            gcm_honours_the_iv(key, &random.iv(key.session)?, &random.iv(key.session)?)
        })?;
        steps.step_with(key, form, |key| {
            gcm_refuses(key, &random.iv(key.session)?, &random.iv(key.session)?)
        })?;
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
        steps
            .step_with(key, form, |key| round_trip(key, &random.iv(key.session)?, aad, message))?;
    }
    Ok(())
}

/// Whether the token works at all: encrypts and decrypts one message.
pub(crate) fn health_check(
    session: &Session,
    open: OpenSession<'_>,
    behavior: TokenBehavior,
) -> Result<(), TokenError> {
    with_key(&mut Steps::new(session, open), behavior, |steps, key| {
        steps.step_with(key, behavior.gcm, |key| round_trip(key, &[0x5a; IV_BYTES], AAD, MESSAGE))
    })
}

/// Copies are an optimization: if they fail, they are not used.
fn copies(steps: &mut Steps<'_>, random: &mut RandomSource) -> TokenBehavior {
    let of = |copies| TokenBehavior { gcm: GcmForm::CallerIv, copies };
    let mut work = |behavior: TokenBehavior| {
        let outcome = with_key(steps, behavior, |steps, key| {
            let copy = steps.on_key_session(|session| query::copy(session, key))?;
            let decrypted = steps.step(|session| {
                let iv = random.iv(session)?;
                let ciphertext =
                    GcmKey::new(session, copy, behavior.gcm).encrypt(&iv, AAD, MESSAGE)?;
                GcmKey::new(session, key, behavior.gcm).decrypt(&iv, AAD, &ciphertext)
            })?;
            steps.on_key_session(|session| Ok(session.destroy_object(copy)?))?;
            Ok(*decrypted == MESSAGE)
        });
        outcome.unwrap_or(false)
    };
    let mut candidates = [Copies::OfClosed, Copies::OfModifiable].map(of).into_iter();
    candidates.find(|behavior| work(*behavior)).unwrap_or(of(Copies::Never))
}

/// Generates a session key for `test` and destroys it afterwards.
fn with_key<T>(
    steps: &mut Steps<'_>,
    behavior: TokenBehavior,
    test: impl FnOnce(&mut Steps<'_>, ObjectHandle) -> Result<T, TokenError>,
) -> Result<T, TokenError> {
    let bytes = Some(Ulong::new(32));
    let template =
        template::secret_key(bytes, SecretUse::Cipher, ObjectLifetime::Session, behavior);
    let key = steps
        .on_key_session(|session| Ok(session.generate_key(&Mechanism::AesKeyGen, &template)?))?;
    let result = steps
        .on_key_session(|session| query::check(session, key, &template))
        .and_then(|()| test(steps, key));
    let destroyed = steps.on_key_session(|session| Ok(session.destroy_object(key)?));
    let value = result?;
    destroyed?;
    Ok(value)
}

fn gcm_honours_the_iv(key: GcmKey<'_>, iv: &Iv, other_iv: &Iv) -> Result<(), TokenError> {
    let ciphertext = key.encrypt(iv, AAD, MESSAGE)?;
    match key.encrypt(iv, AAD, MESSAGE) {
        Ok(second) if second != ciphertext => {
            return Err(TokenError::Untrusted("AES-GCM with one IV gives two ciphertexts"));
        }
        // A token that detects the second use of an IV is accepted.
        Ok(_) | Err(TokenError::Call { code: RvError::MechanismParamInvalid, .. }) => {}
        Err(error) => return Err(error),
    }
    if key.encrypt(other_iv, AAD, MESSAGE)? == ciphertext {
        return Err(TokenError::Untrusted("AES-GCM ignores the IV"));
    }
    Ok(())
}

fn gcm_refuses(key: GcmKey<'_>, iv: &Iv, other_iv: &Iv) -> Result<(), TokenError> {
    let ciphertext = key.encrypt(iv, AAD, MESSAGE)?;
    let mut changed = ciphertext.clone();
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
    }
    let decrypts = |iv, aad, ciphertext: &[u8]| key.decrypt(iv, aad, ciphertext).is_ok();
    if decrypts(iv, b"other associated data", &ciphertext) || decrypts(iv, &[], &ciphertext) {
        return Err(TokenError::Untrusted("AES-GCM takes other associated data"));
    }
    if decrypts(iv, AAD, &changed) {
        return Err(TokenError::Untrusted("AES-GCM takes a changed tag"));
    }
    if decrypts(other_iv, AAD, &ciphertext) {
        return Err(TokenError::Untrusted("AES-GCM takes another IV"));
    }
    Ok(())
}

fn round_trip(key: GcmKey<'_>, iv: &Iv, aad: &[u8], message: &[u8]) -> Result<(), TokenError> {
    let ciphertext = key.encrypt(iv, aad, message)?;
    if *key.decrypt(iv, aad, &ciphertext)? == message {
        Ok(())
    } else {
        Err(TokenError::Untrusted("AES-GCM does not decrypt what it encrypted"))
    }
}
