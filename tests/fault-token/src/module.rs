//! The face of the module: the functions of PKCS#11 2.40, one line each, and some of 3.0.

#![expect(non_snake_case, reason = "the functions have the names of the specification")]

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BBOOL, CK_BYTE, CK_FLAGS, CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_INFO,
    CK_INTERFACE, CK_MECHANISM, CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CK_NOTIFY, CK_OBJECT_HANDLE,
    CK_RV, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SLOT_ID, CK_SLOT_INFO, CK_TOKEN_INFO, CK_ULONG,
    CK_USER_TYPE, CK_VERSION, CKR_ARGUMENTS_BAD, CKR_FUNCTION_NOT_SUPPORTED, CKR_OK,
};

use crate::interceptor::INTERCEPTOR;
use crate::manners::{
    attributes, creation, foreign, functions, iv, mechanisms, messages, random, tokens, unwrapping,
    wear,
};
use crate::post_call;

type Session = CK_SESSION_HANDLE;
type Object = CK_OBJECT_HANDLE;
type Bytes = *mut CK_BYTE;
type Count = *mut CK_ULONG;
type Template = *mut CK_ATTRIBUTE;
type Mechanism = *mut CK_MECHANISM;
type Void = *mut std::ffi::c_void;

/// A function: its hooks in their order, of which the first that answers ends the call; then the
/// real module; then what is done after a call that has gone well.
macro_rules! function {
    ($name:ident ($($argument:ident: $type:ty),*) [$($hook:path),*] $(then $then:ident($($given:ident),*))?) => {
        unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
            INTERCEPTOR.pass(
                stringify!($name),
                |call| {
                    hooks!(call ($($argument),*) $($hook),*);
                    match call.inner.functions.$name {
                        // SAFETY: the arguments are the caller's, who keeps the contract.
                        Some(function) => unsafe { function($($argument),*) },
                        None => CKR_FUNCTION_NOT_SUPPORTED,
                    }
                },
                function!(@then $($then($($given),*))?),
            )
        }
    };
    (@then) => { |_interceptor, _faults| None };
    (@then $then:ident($($given:ident),*)) => {
        // SAFETY: the arguments are those of a call that has gone well.
        |interceptor, faults| unsafe { post_call::$then(interceptor, faults, $($given),*) }
    };
}

macro_rules! hooks {
    (@one $call:ident ($($argument:ident),*) $hook:path) => {
        // SAFETY: the arguments are the caller's, who keeps the contract.
        if let Some(code) = unsafe { $hook($call, $($argument),*) } {
            return code;
        }
    };
    ($call:ident $arguments:tt $($hook:path),*) => {
        let _ = &$call;
        $(hooks!(@one $call $arguments $hook);)*
    };
}

macro_rules! functions {
    ($($name:ident $arguments:tt $(hooks [$($hook:path),*])? $(then $then:ident $given:tt)?;)*) => {
        $(function!($name $arguments [$($($hook),*)?] $(then $then $given)?);)*

        static FUNCTIONS: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
            version: CK_VERSION { major: 2, minor: 40 },
            C_GetFunctionList: Some(C_GetFunctionList),
            $($name: Some($name),)*
        };

        static FUNCTIONS_3_0: CK_FUNCTION_LIST_3_0 = CK_FUNCTION_LIST_3_0 {
            version: CK_VERSION { major: 3, minor: 0 },
            C_GetFunctionList: Some(C_GetFunctionList),
            $($name: Some($name),)*
            C_GetInterfaceList: None,
            C_GetInterface: Some(C_GetInterface),
            C_LoginUser: None,
            C_SessionCancel: None,
            C_MessageEncryptInit: Some(C_MessageEncryptInit),
            C_EncryptMessage: Some(C_EncryptMessage),
            C_EncryptMessageBegin: None,
            C_EncryptMessageNext: None,
            C_MessageEncryptFinal: Some(C_MessageEncryptFinal),
            C_MessageDecryptInit: Some(C_MessageDecryptInit),
            C_DecryptMessage: Some(C_DecryptMessage),
            C_DecryptMessageBegin: None,
            C_DecryptMessageNext: None,
            C_MessageDecryptFinal: Some(C_MessageDecryptFinal),
            C_MessageSignInit: None,
            C_SignMessage: None,
            C_SignMessageBegin: None,
            C_SignMessageNext: None,
            C_MessageSignFinal: None,
            C_MessageVerifyInit: None,
            C_VerifyMessage: None,
            C_VerifyMessageBegin: None,
            C_VerifyMessageNext: None,
            C_MessageVerifyFinal: None,
        };
    };
}

/// The way in.
///
/// # Safety
/// `list` is null or points to a place for a pointer.
#[unsafe(no_mangle)]
unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    // SAFETY: by the contract above. Nobody may write to the list.
    unsafe { *list = (&raw const FUNCTIONS).cast_mut() };
    CKR_OK
}

/// An interface, which nobody writes to.
#[repr(transparent)]
struct Interface(CK_INTERFACE);

// SAFETY: it points to statics that nobody writes to.
unsafe impl Sync for Interface {}

const fn interface(functions: *const std::ffi::c_void) -> Interface {
    let name = c"PKCS 11".as_ptr().cast::<u8>().cast_mut();
    Interface(CK_INTERFACE { pInterfaceName: name, pFunctionList: functions.cast_mut(), flags: 0 })
}

static INTERFACE: Interface = interface((&raw const FUNCTIONS).cast());
static INTERFACE_3_0: Interface = interface((&raw const FUNCTIONS_3_0).cast());

/// The way in of PKCS#11 3.0: the one interface that there is, whatever is asked for.
///
/// # Safety
/// `to` is null or points to a place for a pointer.
#[unsafe(no_mangle)]
unsafe extern "C" fn C_GetInterface(
    _name: *mut CK_BYTE,
    _version: *mut CK_VERSION,
    to: *mut *mut CK_INTERFACE,
    _flags: CK_FLAGS,
) -> CK_RV {
    if to.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    let interface = if INTERCEPTOR.offers_message_calls() {
        &raw const INTERFACE_3_0
    } else {
        &raw const INTERFACE
    };
    // SAFETY: by the contract above. The wrapper is transparent.
    unsafe { *to = interface.cast_mut().cast() };
    CKR_OK
}

/// A function that SoftHSM2 does not have.
macro_rules! message_functions {
    ($($name:ident ($($argument:ident: $type:ty),*) |$call:ident| $answer:expr, $(then $then:ident($($given:ident),*))?;)*) => {
        $(unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
            INTERCEPTOR.pass(
                stringify!($name),
                // SAFETY: the arguments are the caller's, who keeps the contract.
                |$call| unsafe { $answer },
                function!(@then $($then($($given),*))?),
            )
        })*
    };
}

message_functions! {
    C_MessageEncryptInit(session: Session, mechanism: Mechanism, key: Object)
        |call| messages::begin(call, true, session, mechanism, key),;
    C_EncryptMessage(
        session: Session, parameter: Void, _length: CK_ULONG, aad: Bytes, aad_length: CK_ULONG, input: Bytes, input_length: CK_ULONG, output: Bytes, output_length: Count
    )
        |call| messages::encrypt(call, session, parameter, aad, aad_length, input, input_length, output, output_length),
        then encrypted(session, output, output_length);
    C_MessageEncryptFinal(session: Session) |call| messages::end(call, true, session),;
    C_MessageDecryptInit(session: Session, mechanism: Mechanism, key: Object)
        |call| messages::begin(call, false, session, mechanism, key),;
    C_DecryptMessage(
        session: Session, parameter: Void, _length: CK_ULONG, aad: Bytes, aad_length: CK_ULONG, input: Bytes, input_length: CK_ULONG, output: Bytes, output_length: Count
    )
        |call| messages::decrypt(call, session, parameter, aad, aad_length, input, input_length, output, output_length),
        then output(output, output_length);
    C_MessageDecryptFinal(session: Session) |call| messages::end(call, false, session),;
}

functions! {
    C_Initialize(args: Void) hooks [tokens::initialize];
    C_Finalize(reserved: Void) then finalized();
    C_GetInfo(info: *mut CK_INFO);
    C_GetSlotList(present: CK_BBOOL, slots: *mut CK_SLOT_ID, count: Count);
    C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO);
    C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) hooks [tokens::get_token_info];
    C_GetMechanismList(slot: CK_SLOT_ID, mechanisms: *mut CK_MECHANISM_TYPE, count: Count) hooks [mechanisms::get_mechanism_list];
    C_GetMechanismInfo(
        slot: CK_SLOT_ID, mechanism: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO
    ) hooks [mechanisms::get_mechanism_info];
    C_InitToken(slot: CK_SLOT_ID, pin: Bytes, length: CK_ULONG, label: Bytes);
    C_InitPIN(session: Session, pin: Bytes, length: CK_ULONG);
    C_SetPIN(session: Session, old: Bytes, old_length: CK_ULONG, new: Bytes, new_length: CK_ULONG);
    C_OpenSession(
        slot: CK_SLOT_ID, flags: CK_FLAGS, application: Void, notify: CK_NOTIFY, session: *mut Session
    ) hooks [tokens::open_session] then session_opened(session, slot);
    C_CloseSession(session: Session) then session_closed(session);
    C_CloseAllSessions(slot: CK_SLOT_ID);
    C_GetSessionInfo(session: Session, info: *mut CK_SESSION_INFO);
    C_GetOperationState(session: Session, state: Bytes, length: Count);
    C_SetOperationState(
        session: Session, state: Bytes, length: CK_ULONG, encryption: Object, authentication: Object
    );
    C_Login(session: Session, user: CK_USER_TYPE, pin: Bytes, length: CK_ULONG) then logged_in(user, pin, length);
    C_Logout(session: Session);
    C_CreateObject(session: Session, template: Template, count: CK_ULONG, object: *mut Object) hooks [creation::create_object];
    C_CopyObject(
        session: Session, object: Object, template: Template, count: CK_ULONG, copy: *mut Object
    ) hooks [functions::copy_object, creation::copy_object];
    C_DestroyObject(session: Session, object: Object);
    C_GetObjectSize(session: Session, object: Object, size: Count);
    C_GetAttributeValue(session: Session, object: Object, template: Template, count: CK_ULONG) hooks [foreign::get_attribute_value, attributes::get_attribute_value];
    C_SetAttributeValue(session: Session, object: Object, template: Template, count: CK_ULONG) hooks [functions::set_attribute_value, attributes::set_attribute_value];
    C_FindObjectsInit(session: Session, template: Template, count: CK_ULONG) hooks [attributes::find_objects_init, foreign::find_objects_init];
    C_FindObjects(session: Session, objects: *mut Object, most: CK_ULONG, count: Count) hooks [foreign::find_objects];
    C_FindObjectsFinal(session: Session);
    C_EncryptInit(session: Session, mechanism: Mechanism, key: Object) hooks [mechanisms::begin, wear::begin, iv::encrypt_init] then encryption_begun(session, mechanism, key);
    C_Encrypt(
        session: Session, input: Bytes, length: CK_ULONG, output: Bytes, output_length: Count
    ) hooks [messages::classic_encrypt, iv::encrypt] then encrypted(session, output, output_length);
    C_EncryptUpdate(
        session: Session, input: Bytes, length: CK_ULONG, output: Bytes, output_length: Count
    );
    C_EncryptFinal(session: Session, output: Bytes, output_length: Count);
    C_DecryptInit(session: Session, mechanism: Mechanism, key: Object) hooks [mechanisms::begin];
    C_Decrypt(
        session: Session, input: Bytes, length: CK_ULONG, output: Bytes, output_length: Count
    ) hooks [wear::decrypt] then output(output, output_length);
    C_DecryptUpdate(
        session: Session, input: Bytes, length: CK_ULONG, output: Bytes, output_length: Count
    );
    C_DecryptFinal(session: Session, output: Bytes, output_length: Count);
    C_DigestInit(session: Session, mechanism: Mechanism);
    C_Digest(
        session: Session, input: Bytes, length: CK_ULONG, output: Bytes, output_length: Count
    );
    C_DigestUpdate(session: Session, input: Bytes, length: CK_ULONG);
    C_DigestKey(session: Session, key: Object);
    C_DigestFinal(session: Session, output: Bytes, output_length: Count);
    C_SignInit(session: Session, mechanism: Mechanism, key: Object) hooks [mechanisms::begin, wear::begin];
    C_Sign(session: Session, input: Bytes, length: CK_ULONG, output: Bytes, output_length: Count) then output(output, output_length);
    C_SignUpdate(session: Session, input: Bytes, length: CK_ULONG);
    C_SignFinal(session: Session, output: Bytes, output_length: Count);
    C_SignRecoverInit(session: Session, mechanism: Mechanism, key: Object);
    C_SignRecover(
        session: Session, input: Bytes, length: CK_ULONG, output: Bytes, output_length: Count
    );
    C_VerifyInit(session: Session, mechanism: Mechanism, key: Object) hooks [mechanisms::begin];
    C_Verify(
        session: Session, input: Bytes, length: CK_ULONG, signature: Bytes, signature_length: CK_ULONG
    );
    C_VerifyUpdate(session: Session, input: Bytes, length: CK_ULONG);
    C_VerifyFinal(session: Session, input: Bytes, length: CK_ULONG);
    C_VerifyRecoverInit(session: Session, mechanism: Mechanism, key: Object);
    C_VerifyRecover(
        session: Session, input: Bytes, length: CK_ULONG, output: Bytes, output_length: Count
    );
    C_DigestEncryptUpdate(
        session: Session, input: Bytes, length: CK_ULONG, output: Bytes, output_length: Count
    );
    C_DecryptDigestUpdate(
        session: Session, input: Bytes, length: CK_ULONG, output: Bytes, output_length: Count
    );
    C_SignEncryptUpdate(
        session: Session, input: Bytes, length: CK_ULONG, output: Bytes, output_length: Count
    );
    C_DecryptVerifyUpdate(
        session: Session, input: Bytes, length: CK_ULONG, output: Bytes, output_length: Count
    );
    C_GenerateKey(
        session: Session, mechanism: Mechanism, template: Template, count: CK_ULONG, key: *mut Object
    ) hooks [mechanisms::generate_key, creation::generate_key];
    C_GenerateKeyPair(
        session: Session, mechanism: Mechanism, public_template: Template, public_count: CK_ULONG, private_template: Template, private_count: CK_ULONG, public: *mut Object, private: *mut Object
    ) hooks [mechanisms::generate_key_pair, creation::generate_key_pair];
    C_WrapKey(
        session: Session, mechanism: Mechanism, wrapping: Object, key: Object, wrapped: Bytes, length: Count
    ) hooks [mechanisms::wrap_key];
    C_UnwrapKey(
        session: Session, mechanism: Mechanism, unwrapping: Object, wrapped: Bytes, length: CK_ULONG, template: Template, count: CK_ULONG, key: *mut Object
    ) hooks [mechanisms::unwrap_key, creation::unwrap_key, unwrapping::unwrap_key];
    C_DeriveKey(
        session: Session, mechanism: Mechanism, base: Object, template: Template, count: CK_ULONG, key: *mut Object
    );
    C_SeedRandom(session: Session, seed: Bytes, length: CK_ULONG);
    C_GenerateRandom(session: Session, random: Bytes, length: CK_ULONG) hooks [random::generate] then random(random, length);
    C_GetFunctionStatus(session: Session);
    C_CancelFunction(session: Session);
    C_WaitForSlotEvent(flags: CK_FLAGS, slot: *mut CK_SLOT_ID, reserved: Void);
}
