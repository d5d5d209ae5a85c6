//! Finds out in which form the token performs AES-GCM: who makes the IV, where it is returned, and
//! which functions are called. A form is accepted if what was encrypted in it can be decrypted.

use cryptoki::object::ObjectHandle;

use super::steps::Steps;
use crate::model::IvLength;
use crate::token::behavior::{GcmCalls, GcmForm, IvInput, IvPlace, IvSource, TokenIv};
use crate::token::crypto::gcm::{GcmOutput, IvParameter};
use crate::token::crypto::random::RandomSource;
use crate::token::error::TokenError;

const AAD: &[u8] = b"hsmgate self-test: form of AES-GCM";
const MESSAGE: &[u8] = b"hsmgate self-test: a message for the form";

/// The form in which a key encrypts and decrypts.
///
/// # Errors
/// The failure with the caller's IV, if the token has no known form.
pub(crate) fn find_form(
    steps: &mut Steps<'_>,
    key: ObjectHandle,
    random: &mut RandomSource,
) -> Result<GcmForm, TokenError> {
    let mut first_failure = None;
    for encryption in [GcmCalls::SinglePart, GcmCalls::Message] {
        for input in [None, Some(IvInput::Zeros), Some(IvInput::Nothing)] {
            match form_with(steps, key, random, encryption, input) {
                Ok(form) => return Ok(form),
                Err(error) => {
                    let calls = GcmForm { encryption, ..GcmForm::USUAL }.encrypts_with();
                    tracing::debug!(
                        event = "token.gcm_form_refused",
                        calls,
                        ?input,
                        %error,
                        "the token does not encrypt with this IV"
                    );
                    first_failure.get_or_insert(error);
                    steps.renew_session();
                }
            }
        }
    }
    Err(first_failure.unwrap_or(TokenError::Unsupported("AES-GCM")))
}

/// The form for this IV in the parameters; `None` is a random one of the caller.
fn form_with(
    steps: &mut Steps<'_>,
    key: ObjectHandle,
    random: &mut RandomSource,
    encryption: GcmCalls,
    input: Option<IvInput>,
) -> Result<GcmForm, TokenError> {
    let sources = sources(encryption, input);
    // Only the source decides which generator a message asks for; the place is not known yet.
    let iv = *sources.first().unwrap_or(&IvSource::Caller);
    let output = steps.step_with(key, GcmForm { iv, encryption, ..GcmForm::USUAL }, |key| {
        let iv = match input {
            None => random.iv(key.session)?.into(),
            Some(input) => IvParameter::of(input),
        };
        key.output_of(iv, AAD, MESSAGE)
    })?;
    let mut failure = TokenError::Untrusted("its AES-GCM ciphertexts have an unknown form");
    for iv in sources {
        for decryption in decryptions(encryption) {
            match decrypts(steps, key, GcmForm { iv, encryption, decryption }, &output) {
                Ok(()) => return Ok(GcmForm { iv, encryption, decryption }),
                Err(error) => failure = error,
            }
        }
    }
    Err(failure)
}

/// The ways in which an output may contain the IV that was used.
fn sources(encryption: GcmCalls, input: Option<IvInput>) -> Vec<IvSource> {
    let Some(input) = input else { return vec![IvSource::Caller] };
    let token = |place, length| IvSource::Token(TokenIv { input, place, length });
    let mut sources = Vec::new();
    if input == IvInput::Zeros {
        sources.push(token(IvPlace::Parameter, IvLength::Bits96));
    }
    if encryption == GcmCalls::SinglePart {
        for length in IvLength::ALL {
            sources.extend(
                [IvPlace::AfterTag, IvPlace::BeforeCiphertext, IvPlace::AlwaysBeforeCiphertext]
                    .map(|place| token(place, length)),
            );
        }
    }
    sources
}

fn decryptions(encryption: GcmCalls) -> Vec<GcmCalls> {
    match encryption {
        GcmCalls::SinglePart => vec![GcmCalls::SinglePart],
        GcmCalls::Message => vec![GcmCalls::SinglePart, GcmCalls::Message],
    }
}

/// Decrypts an output that is read in this form.
fn decrypts(
    steps: &mut Steps<'_>,
    key: ObjectHandle,
    form: GcmForm,
    output: &GcmOutput,
) -> Result<(), TokenError> {
    let ciphertext = form.iv.ciphertext(output.clone())?;
    let decrypted =
        steps.step_with(key, form, |key| key.decrypt(&ciphertext.iv, AAD, &ciphertext.bytes));
    // A failed decryption may have left an operation active.
    match decrypted.inspect_err(|_error| steps.renew_session()) {
        Ok(decrypted) if *decrypted == MESSAGE => Ok(()),
        Ok(_other) => Err(TokenError::Untrusted("AES-GCM does not decrypt what it encrypted")),
        Err(error) => Err(error),
    }
}
