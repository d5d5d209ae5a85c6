//! The manners of other tokens, as the fault token plays them before SoftHSM2: what a program sees
//! that knows nothing of this one.

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::aead::{GcmMessageParams, GcmParams, GeneratorFunction};
use cryptoki::mechanism::{Mechanism, MechanismType, MessageParam};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::Ulong;
use fault_token::Manner;

use super::harness::{LABEL, PIN, in_own_process_with, initialize, module};

const MESSAGE: &[u8] = b"a message";

/// Runs `test` on a session that is logged in to a token with these manners.
fn with_session(name: &str, manners: &[Manner], test: impl FnOnce(&Session)) {
    in_own_process_with(name, manners, || {
        initialize(LABEL);
        let pkcs11 = Pkcs11::new(module()).unwrap();
        pkcs11
            .initialize(cryptoki::context::CInitializeArgs::new(
                cryptoki::context::CInitializeFlags::OS_LOCKING_OK,
            ))
            .unwrap();
        let slots = pkcs11.get_slots_with_initialized_token().unwrap();
        let session = pkcs11.open_rw_session(slots[0]).unwrap();
        session.login(UserType::User, Some(&PIN.into())).unwrap();
        test(&session);
    });
}

fn aes_key(session: &Session, more: &[Attribute]) -> Result<ObjectHandle, RvError> {
    let mut template = vec![
        Attribute::ValueLen(Ulong::new(32)),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
    ];
    template.extend_from_slice(more);
    code(session.generate_key(&Mechanism::AesKeyGen, &template))
}

fn code<T>(result: Result<T, Error>) -> Result<T, RvError> {
    result.map_err(|error| match error {
        Error::Pkcs11(code, _function) => code,
        other => panic!("{other}"),
    })
}

/// Encrypts with AES-GCM and this IV, which the token may change.
fn encrypt(session: &Session, key: ObjectHandle, iv: &mut [u8]) -> Result<Vec<u8>, RvError> {
    let params = GcmParams::new(iv, b"", Ulong::new(128)).unwrap();
    code(session.encrypt(&Mechanism::AesGcm(params), key, MESSAGE))
}

fn decrypt(session: &Session, key: ObjectHandle, iv: &[u8], ciphertext: &[u8]) -> Vec<u8> {
    let mut iv = iv.to_vec();
    let params = GcmParams::new(&mut iv, b"", Ulong::new(128)).unwrap();
    session.decrypt(&Mechanism::AesGcm(params), key, ciphertext).unwrap()
}

fn writes_its_iv_back(session: &Session) {
    let key = aes_key(session, &[]).unwrap();
    assert_eq!(encrypt(session, key, &mut [7; 12]), Err(RvError::MechanismParamInvalid));
    assert_eq!(encrypt(session, key, &mut [0; 16]), Err(RvError::MechanismParamInvalid));
    let (mut iv, mut other_iv) = ([0; 12], [0; 12]);
    let ciphertext = encrypt(session, key, &mut iv).unwrap();
    assert_ne!(ciphertext, encrypt(session, key, &mut other_iv).unwrap());
    assert!(iv != other_iv && iv != [0; 12]);
    assert_eq!(ciphertext.len(), MESSAGE.len() + 16);
    assert_eq!(decrypt(session, key, &iv, &ciphertext), MESSAGE);
}

#[test]
fn an_iv_of_the_token_is_written_back() {
    let name = "manners::an_iv_of_the_token_is_written_back";
    with_session(name, &[Manner::IvWrittenBack], writes_its_iv_back);
}

#[test]
fn an_iv_of_the_token_is_written_back_by_the_encryption() {
    let name = "manners::an_iv_of_the_token_is_written_back_by_the_encryption";
    with_session(name, &[Manner::IvWrittenBackByEncrypt], writes_its_iv_back);
}

#[test]
fn an_iv_of_the_token_with_16_bytes_follows_the_tag() {
    let name = "manners::an_iv_of_the_token_with_16_bytes_follows_the_tag";
    with_session(name, &[Manner::IvAppended16], |session| {
        let key = aes_key(session, &[]).unwrap();
        let mut given = [7; 12];
        let output = encrypt(session, key, &mut given).unwrap();
        assert_eq!(output.len(), MESSAGE.len() + 16 + 16);
        let (ciphertext, iv) = output.split_at(MESSAGE.len() + 16);
        assert_eq!(decrypt(session, key, iv, ciphertext), MESSAGE);
        assert_eq!(given, [7; 12]);
        assert_ne!(encrypt(session, key, &mut given).unwrap(), output);
    });
}

#[test]
fn an_iv_of_the_token_with_12_bytes_follows_the_tag() {
    let name = "manners::an_iv_of_the_token_with_12_bytes_follows_the_tag";
    with_session(name, &[Manner::IvAppended12], |session| {
        let key = aes_key(session, &[]).unwrap();
        let output = encrypt(session, key, &mut [7; 12]).unwrap();
        let (ciphertext, iv) = output.split_at(MESSAGE.len() + 16);
        assert_eq!(iv.len(), 12);
        assert_eq!(decrypt(session, key, iv, ciphertext), MESSAGE);
        assert_eq!(encrypt(session, key, &mut []), Err(RvError::MechanismParamInvalid));
    });
}

#[test]
fn an_iv_of_the_token_precedes_the_ciphertext() {
    let name = "manners::an_iv_of_the_token_precedes_the_ciphertext";
    with_session(name, &[Manner::IvInFront12], |session| {
        let key = aes_key(session, &[]).unwrap();
        let output = encrypt(session, key, &mut [7; 12]).unwrap();
        assert_eq!(output.len(), 12 + MESSAGE.len() + 16);
        let (iv, ciphertext) = output.split_at(12);
        assert_eq!(decrypt(session, key, iv, ciphertext), MESSAGE);
    });
}

#[test]
fn a_token_without_copies_changes_and_some_attributes() {
    let name = "manners::a_token_without_copies_changes_and_some_attributes";
    let manners = Manner::list("cloud-hsm,attribute-ignored=CKA_EXTRACTABLE");
    with_session(name, &manners, |session| {
        let key = aes_key(session, &[]).unwrap();
        let copied = session.copy_object(key, &[Attribute::Token(false)]);
        assert_eq!(code(copied), Err(RvError::FunctionNotSupported));
        let changed = session.update_attributes(key, &[Attribute::Label(b"new".to_vec())]);
        assert_eq!(code(changed), Err(RvError::FunctionNotSupported));
        let closed = aes_key(session, &[Attribute::Modifiable(false)]);
        assert_eq!(closed, Err(RvError::AttributeTypeInvalid));
        let asked = [AttributeType::Modifiable, AttributeType::Extractable];
        let told = session.get_attributes(key, &asked).unwrap();
        assert_eq!(told, [Attribute::Extractable(true)]);
        let found = session.find_objects(&[Attribute::Modifiable(true)]);
        assert_eq!(code(found), Err(RvError::AttributeTypeInvalid));
    });
}

#[test]
fn a_token_with_limits() {
    let name = "manners::a_token_with_limits";
    let limits = "no-session-objects,label-limit=40,random-limit=1024";
    let manners = [
        Manner::list(limits),
        Manner::list("attribute-refused=CKA_COPYABLE:CKR_TEMPLATE_INCONSISTENT"),
    ]
    .concat();
    with_session(name, &manners, |session| {
        assert_eq!(aes_key(session, &[]), Err(RvError::TemplateInconsistent));
        let token = Attribute::Token(true);
        let key = aes_key(session, std::slice::from_ref(&token)).unwrap();
        let copied = session.copy_object(key, &[Attribute::Token(false)]);
        assert_eq!(code(copied), Err(RvError::TemplateInconsistent));
        let labelled = |bytes| {
            aes_key(session, &[token.clone(), Attribute::Label(vec![b'a'; bytes])]).map(|_key| ())
        };
        assert_eq!(labelled(40), Ok(()));
        assert_eq!(labelled(41), Err(RvError::AttributeValueInvalid));
        let refused = aes_key(session, &[token.clone(), Attribute::Copyable(true)]);
        assert_eq!(refused, Err(RvError::TemplateInconsistent));
        assert!(session.generate_random_slice(&mut [0; 1024]).is_ok());
        let longer = session.generate_random_slice(&mut [0; 1025]);
        assert_eq!(code(longer), Err(RvError::ArgumentsBad));
    });
}

#[test]
fn an_unwrapped_key_is_open_whatever_was_asked_for() {
    let name = "manners::an_unwrapped_key_is_open_whatever_was_asked_for";
    with_session(name, &[Manner::UnwrapTemplateIgnored], |session| {
        let wrapping =
            [Attribute::ValueLen(Ulong::new(32)), Attribute::Wrap(true), Attribute::Unwrap(true)];
        let wrapping = session.generate_key(&Mechanism::AesKeyGen, &wrapping).unwrap();
        let open = [
            Attribute::ValueLen(Ulong::new(32)),
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
        ];
        let key = session.generate_key(&Mechanism::AesKeyGen, &open).unwrap();
        let wrapped = session.wrap_key(&Mechanism::AesKeyWrap, wrapping, key).unwrap();
        let template = [
            Attribute::Class(cryptoki::object::ObjectClass::SECRET_KEY),
            Attribute::KeyType(cryptoki::object::KeyType::AES),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Modifiable(false),
        ];
        let unwrapped =
            session.unwrap_key(&Mechanism::AesKeyWrap, wrapping, &wrapped, &template).unwrap();
        let asked =
            [AttributeType::Sensitive, AttributeType::Extractable, AttributeType::Modifiable];
        let told = session.get_attributes(unwrapped, &asked).unwrap();
        let open = [
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
            Attribute::Modifiable(false),
        ];
        assert_eq!(told, open);
    });
}

#[test]
fn aes_gcm_encrypts_with_message_calls_only() {
    let name = "manners::aes_gcm_encrypts_with_message_calls_only";
    with_session(name, &[Manner::MessageCallsOnly], |session| {
        let key = aes_key(session, &[]).unwrap();
        assert_eq!(encrypt(session, key, &mut [7; 12]), Err(RvError::BufferTooSmall));
        let (mut iv, mut tag) = ([7; 12], [0; 16]);
        let none = GeneratorFunction::NoGenerate;
        let params = GcmMessageParams::new(&mut iv, 0.into(), none, &mut tag).unwrap();
        let mechanism = Mechanism::AesGcmMessage(params);
        // The failed encryption is still under way on the session.
        let session = other_session();
        session.message_encrypt_init(&mechanism, key).unwrap();
        let ciphertext =
            session.encrypt_message(&MessageParam::AesGcmMessage(params), b"", MESSAGE).unwrap();
        session.message_encrypt_final().unwrap();
        let tagged = [&ciphertext[..], params.tag()].concat();
        assert_eq!(decrypt(&session, key, &[7; 12], &tagged), MESSAGE);
        session.message_decrypt_init(&mechanism, key).unwrap();
        let opened = session
            .decrypt_message(&MessageParam::AesGcmMessage(params), b"", &ciphertext)
            .unwrap();
        assert_eq!(opened, MESSAGE);
        assert!(session.encrypt_message(&MessageParam::AesGcmMessage(params), b"", b"").is_err());
    });
}

#[test]
fn a_token_without_some_mechanisms() {
    let name = "manners::a_token_without_some_mechanisms";
    let manners = "no-mechanism=CKM_AES_ECB,mechanism-fails=CKM_AES_CTR:CKR_DEVICE_ERROR,\
                   no-unwrap=CKM_RSA_PKCS,no-secp256k1=CKR_DOMAIN_PARAMS_INVALID,rsa-limit=2048,\
                   aes-256-only,decrypt-error=CKR_FUNCTION_FAILED";
    with_session(name, &Manner::list(manners), |session| {
        let (pkcs11, slot) = (context(), slot());
        let listed = pkcs11.get_mechanism_list(slot).unwrap();
        assert!(!listed.contains(&MechanismType::AES_ECB), "{listed:?}");
        assert!(listed.contains(&MechanismType::AES_CBC), "{listed:?}");
        assert!(pkcs11.get_mechanism_info(slot, MechanismType::AES_ECB).is_err());
        let info = pkcs11.get_mechanism_info(slot, MechanismType::RSA_PKCS).unwrap();
        assert!(info.decrypt() && !info.unwrap());
        let key = aes_key(session, &[]).unwrap();
        let block = session.encrypt(&Mechanism::AesEcb, key, &[0; 16]);
        assert_eq!(code(block), Err(RvError::MechanismInvalid));
        assert_eq!(
            pair(session, &[0x06, 0x05, 0x2b, 0x81, 0x04, 0, 0x0a]),
            Err(RvError::DomainParamsInvalid)
        );
        let p256 = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        assert_eq!(pair(session, &p256), Ok(()));
        let bits = [Attribute::ModulusBits(3072.into())];
        let rsa = session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &bits, &[]);
        assert_eq!(code(rsa), Err(RvError::KeySizeRange));
        let short = [Attribute::ValueLen(16.into()), Attribute::Encrypt(true)];
        let short = session.generate_key(&Mechanism::AesKeyGen, &short).unwrap();
        assert_eq!(encrypt(session, short, &mut [7; 12]), Err(RvError::KeySizeRange));
        let mut changed = encrypt(session, key, &mut [7; 12]).unwrap();
        assert_eq!(decrypt(session, key, &[7; 12], &changed), MESSAGE);
        changed[0] ^= 1;
        let mut iv = [7; 12];
        let params = GcmParams::new(&mut iv, b"", Ulong::new(128)).unwrap();
        let opened = session.decrypt(&Mechanism::AesGcm(params), key, &changed);
        assert_eq!(code(opened), Err(RvError::FunctionFailed));
    });
}

fn pair(session: &Session, curve: &[u8]) -> Result<(), RvError> {
    let public = [Attribute::EcParams(curve.to_vec())];
    code(session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &[])).map(|_pair| ())
}

#[test]
fn a_token_that_is_used_up() {
    let name = "manners::a_token_that_is_used_up";
    let manners = "key-limit=2:CKR_KEY_EXHAUSTED,object-limit=2:CKR_DEVICE_MEMORY,\
                   session-limit=3:CKR_SESSION_COUNT";
    with_session(name, &Manner::list(manners), |session| {
        let token = |id| aes_key(session, &[Attribute::Token(true), Attribute::Id(vec![id])]);
        let (first, second) = (token(1).unwrap(), token(2).unwrap());
        assert_eq!(token(3), Err(RvError::DeviceMemory));
        session.destroy_object(second).unwrap();
        token(4).unwrap();
        assert!(aes_key(session, &[]).is_ok());
        for _use in 0..2 {
            encrypt(session, first, &mut [7; 12]).unwrap();
        }
        // CKR_KEY_EXHAUSTED, for which the binding has no name.
        assert_eq!(encrypt(session, first, &mut [7; 12]), Err(RvError::UnknownErrorCode(0x203)));
        let _more = [other_session(), other_session()];
        assert_eq!(code(context().open_rw_session(slot())).unwrap_err(), RvError::SessionCount);
    });
}

#[test]
fn a_token_with_foreign_objects_and_its_own_attributes() {
    let name = "manners::a_token_with_foreign_objects_and_its_own_attributes";
    let manners = "foreign-objects,attribute-not-told=CKA_LABEL,pair-requires=CKA_SUBJECT,\
                   zero-filled-texts,serial-number=17";
    with_session(name, &Manner::list(manners), |session| {
        let label = Attribute::Label(b"ours".to_vec());
        let key = aes_key(session, &[Attribute::Token(true), label.clone()]).unwrap();
        let found = session.find_objects(&[Attribute::Token(true)]).unwrap();
        assert_eq!(found.len(), 4);
        let secret = Attribute::Class(cryptoki::object::ObjectClass::SECRET_KEY);
        assert_eq!(session.find_objects(std::slice::from_ref(&secret)).unwrap().len(), 3);
        assert_eq!(session.find_objects(std::slice::from_ref(&label)).unwrap(), [key]);
        let classes =
            found.iter().map(|object| session.get_attributes(*object, &[AttributeType::Class]));
        assert_eq!(
            classes
                .filter(|class| class.as_ref().is_ok_and(|class| *class == [secret.clone()]))
                .count(),
            3
        );
        assert_eq!(session.get_attributes(key, &[AttributeType::Label]).unwrap(), []);
        let p256 = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        assert_eq!(pair(session, &p256), Err(RvError::TemplateIncomplete));
        let public = [Attribute::EcParams(p256.to_vec()), Attribute::Subject(Vec::new())];
        assert!(session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &[]).is_ok());
        let info = context().get_token_info(slot()).unwrap();
        assert!(info.label().starts_with(LABEL) && info.label().ends_with('\0'), "{info:?}");
        assert!(info.serial_number().starts_with("17"), "{info:?}");
    });
}

#[test]
fn a_module_that_wants_an_argument() {
    let name = "manners::a_module_that_wants_an_argument";
    in_own_process_with(name, &[Manner::ArgumentWanted], || {
        let pkcs11 = Pkcs11::new(module()).unwrap();
        let flags = cryptoki::context::CInitializeFlags::OS_LOCKING_OK;
        let initialized = pkcs11.initialize(cryptoki::context::CInitializeArgs::new(flags));
        assert_eq!(code(initialized), Err(RvError::ArgumentsBad));
        let text = c"configdir='/nowhere'";
        pkcs11_initialize::initialize(&pkcs11, flags, Some(text)).unwrap();
    });
}

/// The module again, which is initialized.
fn context() -> Pkcs11 {
    Pkcs11::new(module()).unwrap()
}

fn slot() -> cryptoki::slot::Slot {
    context().get_slots_with_initialized_token().unwrap()[0]
}

/// Another session of the same token.
fn other_session() -> Session {
    context().open_rw_session(slot()).unwrap()
}
