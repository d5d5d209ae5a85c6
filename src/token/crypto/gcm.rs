//! AES-GCM with a 128-bit tag after the ciphertext, in the form that the token has: the IV from the
//! caller or from the token, and the calls of PKCS#11 2.40 or 3.0.

use cryptoki::mechanism::aead::{GcmMessageParams, GcmParams, GeneratorFunction};
use cryptoki::mechanism::{Mechanism, MessageParam};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::types::Ulong;
use zeroize::Zeroizing;

use super::random::RandomSource;
use crate::model::{IV_BYTES, Iv, IvLength, TAG_BYTES};
use crate::token::behavior::{GcmCalls, GcmForm, IvInput, IvPlace, IvSource, TokenIv};
use crate::token::error::TokenError;

/// The IV in the parameters of an encryption: the caller's, or what the token needs in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IvParameter {
    bytes: [u8; IV_BYTES],
    length: usize,
}

/// A ciphertext with its tag, and the IV that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GcmCiphertext {
    pub(crate) iv: Iv,
    pub(crate) bytes: Vec<u8>,
}

/// What a token returned for an encryption.
#[derive(Debug, Clone)]
pub(crate) struct GcmOutput {
    /// The IV in the parameters before the call.
    input: IvParameter,
    /// The IV in the parameters after the call.
    parameter: IvParameter,
    bytes: Vec<u8>,
    /// Length of the ciphertext with its tag.
    length: usize,
}

/// A key on a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GcmKey<'a> {
    pub(crate) session: &'a Session,
    key: ObjectHandle,
    form: GcmForm,
}

impl IvParameter {
    const EMPTY: Self = Self { bytes: [0; IV_BYTES], length: 0 };
    const ZEROS: Self = Self { bytes: [0; IV_BYTES], length: IV_BYTES };

    fn as_mut_slice(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.length).unwrap_or_default()
    }

    /// What a token that makes its IV needs.
    pub(crate) const fn of(input: IvInput) -> Self {
        match input {
            IvInput::Zeros => Self::ZEROS,
            IvInput::Nothing => Self::EMPTY,
        }
    }
}

impl From<[u8; IV_BYTES]> for IvParameter {
    fn from(bytes: [u8; IV_BYTES]) -> Self {
        Self { bytes, length: IV_BYTES }
    }
}

impl GcmForm {
    /// The parameter for an encryption with this IV of the caller.
    ///
    /// # Errors
    /// `Unsupported` if the token makes every IV.
    pub(crate) fn given_iv(self, iv: [u8; IV_BYTES]) -> Result<IvParameter, TokenError> {
        match self.iv {
            IvSource::Caller => Ok(iv.into()),
            IvSource::Token(_) => {
                Err(TokenError::Unsupported("an IV of the caller, because it makes every IV"))
            }
        }
    }

    /// The parameter for an encryption with this IV, if the token does not make it.
    pub(crate) fn iv_or_token_made(self, iv: [u8; IV_BYTES]) -> IvParameter {
        match self.iv {
            IvSource::Caller => iv.into(),
            IvSource::Token(iv) => IvParameter::of(iv.input),
        }
    }

    /// The parameter for an encryption whose IV the caller does not choose: a random one, if the token does not
    /// make it.
    pub(crate) fn new_iv(
        self,
        session: &Session,
        random: &mut RandomSource,
    ) -> Result<IvParameter, TokenError> {
        match self.iv {
            IvSource::Caller => Ok(random.iv(session)?.into()),
            IvSource::Token(iv) => Ok(IvParameter::of(iv.input)),
        }
    }
}

impl<'a> GcmKey<'a> {
    pub(crate) const fn new(session: &'a Session, key: ObjectHandle, form: GcmForm) -> Self {
        Self { session, key, form }
    }

    /// Encrypts with a new IV.
    pub(crate) fn encrypt_with_new_iv(
        self,
        random: &mut RandomSource,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<GcmCiphertext, TokenError> {
        self.encrypt(self.form.new_iv(self.session, random)?, aad, plaintext)
    }

    /// Encrypts. Empty associated data is the same as none.
    pub(crate) fn encrypt(
        self,
        iv: IvParameter,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<GcmCiphertext, TokenError> {
        let output = self.output_of(iv, aad, plaintext)?;
        self.form.iv.ciphertext(output)
    }

    /// Encrypts, without finding the IV in the output.
    pub(crate) fn output_of(
        self,
        iv: IvParameter,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<GcmOutput, TokenError> {
        // The token gets a copy: a token that generates its own IV writes it back.
        let mut parameter = iv;
        let bytes = match self.form.encryption {
            GcmCalls::SinglePart => {
                let params = GcmParams::new(parameter.as_mut_slice(), aad, tag_bits())?;
                self.session.encrypt(&Mechanism::AesGcm(params), self.key, plaintext)?
            }
            GcmCalls::Message => self.encrypt_message(&mut parameter, aad, plaintext)?,
        };
        Ok(GcmOutput { input: iv, parameter, bytes, length: plaintext.len() + TAG_BYTES })
    }

    /// Encrypts with the message calls, one message for each initialization: keys alternate on a
    /// session.
    fn encrypt_message(
        self,
        iv: &mut IvParameter,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        let mut tag = [0; TAG_BYTES];
        let generator = match self.form.iv {
            IvSource::Caller => GeneratorFunction::NoGenerate,
            IvSource::Token(_) => GeneratorFunction::GenerateRandom,
        };
        let params = GcmMessageParams::new(iv.as_mut_slice(), Ulong::new(0), generator, &mut tag)?;
        self.session.message_encrypt_init(&Mechanism::AesGcmMessage(params), self.key)?;
        let message = MessageParam::AesGcmMessage(params);
        let encrypted = self.session.encrypt_message(&message, aad, plaintext);
        // If it stays active, the next initialization fails, and is repeated on a new session.
        let _ended = self.session.message_encrypt_final();
        let mut encrypted = encrypted?;
        encrypted.extend_from_slice(&tag);
        Ok(encrypted)
    }

    /// Decrypts a ciphertext with its tag. One that is shorter than the tag is not sent to the
    /// token: openCryptoki leaves the session unusable after one.
    pub(crate) fn decrypt(
        self,
        iv: &Iv,
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        if ciphertext.len() < TAG_BYTES {
            return Err(TokenError::BadCiphertext);
        }
        // The token gets a copy of the IV.
        let mut iv = *iv;
        let plaintext = match (self.form.iv, self.form.decryption) {
            (IvSource::Token(TokenIv { input, place: IvPlace::AlwaysBeforeCiphertext, .. }), _) => {
                let input_bytes = [iv.as_slice(), ciphertext].concat();
                self.decrypt_single_part(IvParameter::of(input).as_mut_slice(), aad, &input_bytes)?
            }
            (_, GcmCalls::SinglePart) => {
                self.decrypt_single_part(iv.as_mut_slice(), aad, ciphertext)?
            }
            (_, GcmCalls::Message) => self.decrypt_message(iv.as_mut_slice(), aad, ciphertext)?,
        };
        if plaintext.len() + TAG_BYTES != ciphertext.len() {
            return Err(TokenError::Untrusted("its AES-GCM plaintexts have a wrong length"));
        }
        Ok(plaintext)
    }

    fn decrypt_single_part(
        self,
        iv: &mut [u8],
        aad: &[u8],
        input: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let params = GcmParams::new(iv, aad, tag_bits())?;
        Ok(Zeroizing::new(self.session.decrypt(&Mechanism::AesGcm(params), self.key, input)?))
    }

    fn decrypt_message(
        self,
        iv: &mut [u8],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let (ciphertext, tag) =
            ciphertext.split_last_chunk::<TAG_BYTES>().ok_or(TokenError::BadCiphertext)?;
        let mut tag = *tag;
        let generator = GeneratorFunction::NoGenerate;
        let params = GcmMessageParams::new(iv, Ulong::new(0), generator, &mut tag)?;
        self.session.message_decrypt_init(&Mechanism::AesGcmMessage(params), self.key)?;
        let message = MessageParam::AesGcmMessage(params);
        let decrypted = self.session.decrypt_message(&message, aad, ciphertext);
        // Also after a failure, which leaves the operation active.
        let _ended = self.session.message_decrypt_final();
        Ok(Zeroizing::new(decrypted?))
    }
}

impl IvSource {
    /// Finds the IV that was used in the output of an encryption.
    ///
    /// # Errors
    /// `Untrusted` if the output has another form.
    pub(crate) fn ciphertext(self, output: GcmOutput) -> Result<GcmCiphertext, TokenError> {
        let length = output.length;
        let ciphertext = match self {
            Self::Caller => output.with_given_iv()?,
            Self::Token(TokenIv { place: IvPlace::Parameter, .. }) => output.with_written_iv()?,
            Self::Token(TokenIv { place: IvPlace::AfterTag, length, .. }) => {
                output.with_iv_after_tag(length)?
            }
            Self::Token(TokenIv {
                place: IvPlace::BeforeCiphertext | IvPlace::AlwaysBeforeCiphertext,
                length,
                ..
            }) => output.with_iv_before_ciphertext(length)?,
        };
        if ciphertext.bytes.len() == length { Ok(ciphertext) } else { Err(WRONG_LENGTH) }
    }
}

const WRONG_LENGTH: TokenError =
    TokenError::Untrusted("its AES-GCM ciphertexts have a wrong length");

impl GcmOutput {
    fn with_given_iv(self) -> Result<GcmCiphertext, TokenError> {
        if self.parameter == self.input {
            Ok(GcmCiphertext { iv: self.parameter.bytes.into(), bytes: self.bytes })
        } else {
            Err(TokenError::Untrusted("it replaces the IV of AES-GCM with its own"))
        }
    }

    fn with_written_iv(self) -> Result<GcmCiphertext, TokenError> {
        if self.parameter == self.input {
            return Err(TokenError::Untrusted("it does not return the IV of AES-GCM"));
        }
        Ok(GcmCiphertext { iv: self.parameter.bytes.into(), bytes: self.bytes })
    }

    fn with_iv_after_tag(mut self, length: IvLength) -> Result<GcmCiphertext, TokenError> {
        let iv = self.bytes.get(self.length..).and_then(|iv| Iv::try_from(iv).ok());
        let iv = iv.filter(|iv| iv.length() == length).ok_or(WRONG_LENGTH)?;
        self.bytes.truncate(self.length);
        Ok(GcmCiphertext { iv, bytes: self.bytes })
    }

    fn with_iv_before_ciphertext(mut self, length: IvLength) -> Result<GcmCiphertext, TokenError> {
        let (iv, _ciphertext) = Iv::split_from(&self.bytes, length).ok_or(WRONG_LENGTH)?;
        self.bytes.drain(..length.bytes());
        Ok(GcmCiphertext { iv, bytes: self.bytes })
    }
}

fn tag_bits() -> Ulong {
    Ulong::new(128)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: usize = 5;

    fn token(place: IvPlace, length: IvLength) -> IvSource {
        IvSource::Token(TokenIv { input: IvInput::Zeros, place, length })
    }

    /// An output for zeros in the parameters, which are `parameter` afterwards.
    fn output(parameter: u8, bytes: &[&[u8]]) -> GcmOutput {
        GcmOutput {
            input: IvParameter::ZEROS,
            parameter: [parameter; IV_BYTES].into(),
            bytes: bytes.concat(),
            length: MESSAGE + TAG_BYTES,
        }
    }

    fn read(source: IvSource, output: GcmOutput) -> Option<(Vec<u8>, Vec<u8>)> {
        let ciphertext = source.ciphertext(output).ok()?;
        Some((ciphertext.iv.as_slice().to_vec(), ciphertext.bytes))
    }

    #[test]
    fn the_iv_is_found_where_the_token_returns_it() {
        let (ciphertext, iv) = ([1; MESSAGE + TAG_BYTES], [9; 16]);
        let found = |length: usize| Some((iv[..length].to_vec(), ciphertext.to_vec()));
        let written = token(IvPlace::Parameter, IvLength::Bits96);
        assert_eq!(read(written, output(9, &[&ciphertext])), found(12));
        for length in IvLength::ALL {
            let iv = &iv[..length.bytes()];
            let after = token(IvPlace::AfterTag, length);
            assert_eq!(read(after, output(0, &[&ciphertext, iv])), found(iv.len()));
            for place in [IvPlace::BeforeCiphertext, IvPlace::AlwaysBeforeCiphertext] {
                let before = token(place, length);
                assert_eq!(read(before, output(0, &[iv, &ciphertext])), found(iv.len()));
            }
        }
        assert_eq!(
            read(IvSource::Caller, output(0, &[&ciphertext])),
            Some((vec![0; 12], ciphertext.to_vec()))
        );
    }

    #[test]
    fn an_output_of_another_form_is_refused() {
        let ciphertext = [1; MESSAGE + TAG_BYTES];
        let written = token(IvPlace::Parameter, IvLength::Bits96);
        let after = token(IvPlace::AfterTag, IvLength::Bits96);
        let before = token(IvPlace::BeforeCiphertext, IvLength::Bits128);
        for (source, output) in [
            (IvSource::Caller, output(9, &[&ciphertext])),
            (IvSource::Caller, output(0, &[&ciphertext, &[9; 12]])),
            (written, output(0, &[&ciphertext])),
            (written, output(9, &[&ciphertext, &[9; 12]])),
            (after, output(0, &[&ciphertext])),
            (after, output(0, &[&ciphertext, &[9; 16]])),
            (before, output(0, &[&ciphertext, &[9; 12]])),
            (before, output(0, &[&[9; 3]])),
        ] {
            assert!(read(source, output.clone()).is_none(), "{source:?} {output:?}");
        }
    }

    #[test]
    fn a_token_that_makes_every_iv_refuses_one_of_a_caller() {
        let iv = token(IvPlace::Parameter, IvLength::Bits96);
        let form = GcmForm { iv, ..GcmForm::USUAL };
        assert!(matches!(form.given_iv([7; IV_BYTES]), Err(TokenError::Unsupported(_))));
        assert_eq!(form.iv_or_token_made([7; IV_BYTES]), IvParameter::ZEROS);
        assert!(GcmForm::USUAL.given_iv([7; IV_BYTES]).is_ok());
    }
}
