//! Whether a token can be trusted with AES-GCM: one that was tried takes any associated data
//! and ignores the IV. Run on a session key at each initialisation.

use std::time::{Duration, Instant};

use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{KeyType, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;

use super::error::TokenError;
use super::gcm;
use super::objects::query;
use super::random::RandomSource;
use super::template::{self, Copies, Home, SecretUse};
use crate::model::IV_BYTES;

const AAD: &[u8] = b"hsmgate self-test: associated data";
const MESSAGE: &[u8] = b"hsmgate self-test: a message";
/// The longest plaintext of the API: 6,144 bytes as Base64 text.
const LONGEST: usize = 8_192;

/// How often a step is made before its failure counts: a token that errs in one call of ten is still
/// a good one, and the whole test has some fifty calls.
const TRIES: u32 = 5;
/// A token that is slow to fail is not asked again.
const RETRY_TIME: Duration = Duration::from_millis(500);

/// How another session is opened.
type Open<'a> = &'a dyn Fn() -> Result<Session, TokenError>;

/// The sessions of a test: one that owns the keys, and another in place of it once a failed call may
/// have left that one in the middle of an operation.
struct Steps<'a> {
    home: &'a Session,
    open: Open<'a>,
    again: Option<Session>,
}

impl<'a> Steps<'a> {
    fn new(home: &'a Session, open: Open<'a>) -> Self {
        Self { home, open, again: None }
    }

    /// Makes a step, again on a new session when it fails in a way that may pass.
    fn step<T>(
        &mut self,
        mut work: impl FnMut(&Session) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let start = Instant::now();
        let mut tries = 1;
        loop {
            match work(self.again.as_ref().unwrap_or(self.home)) {
                Err(error) if tries < TRIES && error.may_pass() && start.elapsed() < RETRY_TIME => {
                }
                outcome => return outcome,
            }
            tries += 1;
            self.again = (self.open)().ok().or_else(|| self.again.take());
        }
    }

    /// As `step`, on the session that owns the keys, for calls that leave no operation behind.
    fn at_home<T>(
        &self,
        mut work: impl FnMut(&Session) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let start = Instant::now();
        let mut tries = 1;
        loop {
            match work(self.home) {
                Err(error) if tries < TRIES && error.may_pass() && start.elapsed() < RETRY_TIME => {
                }
                outcome => return outcome,
            }
            tries += 1;
        }
    }
}

/// Tests the token, with a key that is made as all others will be. Tells which copies of keys
/// work there.
pub(super) fn run(
    session: &Session,
    open: Open<'_>,
    random: &mut RandomSource,
) -> Result<Copies, TokenError> {
    let mut steps = Steps::new(session, open);
    steps.at_home(|session| random.bytes(session, 64))?;
    let copies = copies(&mut steps, random);
    with_key(&mut steps, copies, |steps, key| {
        steps.step(|session| {
            gcm_honours_the_iv(session, key, &random.iv(session)?, &random.iv(session)?)
        })?;
        steps.step(|session| {
            gcm_refuses(session, key, &random.iv(session)?, &random.iv(session)?)
        })?;
        // A build of SoftHSM aborts the process on a message without associated data: better
        // here than later.
        let longest = vec![7; LONGEST];
        for (aad, message) in
            [(AAD, MESSAGE), (&[][..], MESSAGE), (AAD, &[][..]), (AAD, longest.as_slice())]
        {
            steps.step(|session| round_trip(session, key, &random.iv(session)?, aad, message))?;
        }
        Ok(())
    })?;
    Ok(copies)
}

/// Whether the token does anything at all: one message to and fro.
pub(super) fn pulse(session: &Session, open: Open<'_>, copies: Copies) -> Result<(), TokenError> {
    with_key(&mut Steps::new(session, open), copies, |steps, key| {
        steps.step(|session| round_trip(session, key, &[0x5a; IV_BYTES], AAD, MESSAGE))
    })
}

/// Copies are an optimisation: whatever goes wrong with them, they are not used.
fn copies(steps: &mut Steps<'_>, random: &mut RandomSource) -> Copies {
    let mut work = |copies| {
        let outcome = with_key(steps, copies, |steps, key| {
            let copy = steps.at_home(|session| query::copy(session, key))?;
            let opened = steps.step(|session| {
                let iv = random.iv(session)?;
                let sealed = gcm::seal(session, copy, &iv, AAD, MESSAGE)?;
                gcm::open(session, key, &iv, AAD, &sealed)
            })?;
            steps.at_home(|session| Ok(session.destroy_object(copy)?))?;
            Ok(*opened == MESSAGE)
        });
        outcome.unwrap_or(false)
    };
    let mut candidates = [Copies::OfClosed, Copies::OfModifiable].into_iter();
    candidates.find(|copies| work(*copies)).unwrap_or(Copies::Never)
}

/// Makes a session key for `test` and destroys it afterwards.
fn with_key<T>(
    steps: &mut Steps<'_>,
    copies: Copies,
    test: impl FnOnce(&mut Steps<'_>, ObjectHandle) -> Result<T, TokenError>,
) -> Result<T, TokenError> {
    let bytes = Some(Ulong::new(32));
    let template =
        template::secret_key(KeyType::AES, bytes, SecretUse::Cipher, Home::Session, copies);
    let key =
        steps.at_home(|session| Ok(session.generate_key(&Mechanism::AesKeyGen, &template)?))?;
    let result = steps
        .at_home(|session| query::check(session, key, &template))
        .and_then(|()| test(steps, key));
    let destroyed = steps.at_home(|session| Ok(session.destroy_object(key)?));
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
