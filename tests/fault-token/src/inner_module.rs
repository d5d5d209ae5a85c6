//! What is done to the real module beneath the gateway, and what has to be known for it.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::ffi::c_void;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_FUNCTION_LIST, CK_GCM_PARAMS, CK_MECHANISM,
    CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CK_TRUE, CK_ULONG, CK_USER_TYPE,
    CKA_ID, CKA_KEY_TYPE, CKA_TOKEN, CKF_SERIAL_SESSION, CKK_AES, CKM_AES_GCM, CKR_OK, Pkcs11,
};
use rustix::fs::{FlockOperation, flock};

/// The real module.
pub(crate) struct InnerModule {
    pub(crate) functions: CK_FUNCTION_LIST,
    /// Keeps it loaded.
    _library: Pkcs11,
    /// Variables for C_Initialize.
    environment: BTreeMap<String, PathBuf>,
    state: Mutex<ModuleState>,
}

/// What calls have shown.
#[derive(Default)]
struct ModuleState {
    /// Open sessions and their slots, in the order of opening.
    sessions: BTreeMap<CK_SESSION_HANDLE, CK_SLOT_ID>,
    login: Option<(CK_USER_TYPE, Vec<u8>)>,
    /// Encryptions with AES-GCM that have begun.
    encryptions: HashMap<CK_SESSION_HANDLE, Encryption>,
}

/// Key and IV in hexadecimal digits; empty if they are not logged.
#[derive(Default)]
pub(crate) struct Encryption {
    pub(crate) key: String,
    pub(crate) iv: String,
}

impl InnerModule {
    /// Loads the module.
    pub(crate) fn load(path: &Path, environment: BTreeMap<String, PathBuf>) -> Self {
        // SAFETY: the module is one that may be loaded, as the caller of this one says of it.
        let library = unsafe { Pkcs11::new(path) }.expect("the real module can be loaded");
        let mut list = std::ptr::null_mut();
        // SAFETY: the one argument is a place for the pointer.
        let answer = unsafe { library.C_GetFunctionList(&raw mut list) };
        assert_eq!(answer, CKR_OK, "the real module has a function list");
        // SAFETY: on CKR_OK it points to a list that lives as long as the library.
        let functions = unsafe { *list };
        Self { functions, _library: library, environment, state: Mutex::default() }
    }

    /// C_Initialize, with the variables of this copy of the module; `None` when it has none.
    ///
    /// # Safety
    /// `args` is an argument of the function.
    pub(crate) unsafe fn initialize(&self, args: *mut c_void) -> Option<CK_RV> {
        if self.environment.is_empty() {
            return None;
        }
        // The program itself is a file that every copy can lock: they have no memory in common.
        let program = File::open("/proc/self/exe").expect("the program can be read");
        flock(&program, FlockOperation::LockExclusive).expect("the program can be locked");
        let before: Vec<_> =
            self.environment.keys().map(|name| (name, env::var_os(name))).collect();
        for (name, value) in &self.environment {
            // SAFETY: other copies wait; no other code of a test reads these variables meanwhile.
            unsafe { env::set_var(name, value) };
        }
        // SAFETY: by the contract above.
        let answer = self.functions.C_Initialize.map(|initialize| unsafe { initialize(args) });
        for (name, value) in before {
            // SAFETY: as above.
            unsafe {
                value.map_or_else(|| env::remove_var(name), |value| env::set_var(name, value));
            };
        }
        answer
    }

    fn state<T>(&self, work: impl FnOnce(&mut ModuleState) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn session_opened(&self, session: CK_SESSION_HANDLE, slot: CK_SLOT_ID) {
        self.state(|state| state.sessions.insert(session, slot));
    }

    pub(crate) fn session_closed(&self, session: CK_SESSION_HANDLE) {
        self.state(|state| state.sessions.remove(&session));
    }

    pub(crate) fn logged_in(&self, user: CK_USER_TYPE, pin: Vec<u8>) {
        self.state(|state| state.login = Some((user, pin)));
    }

    pub(crate) fn finalized(&self) {
        self.state(|state| state.sessions.clear());
    }

    /// How many sessions are open.
    pub(crate) fn session_count(&self) -> usize {
        self.state(|state| state.sessions.len())
    }

    /// Whether an encryption with AES-GCM has begun on a session.
    pub(crate) fn is_encrypting_with_gcm(&self, session: CK_SESSION_HANDLE) -> bool {
        self.state(|state| state.encryptions.contains_key(&session))
    }

    /// Notes key and IV of an encryption by a message call, before it has ended.
    pub(crate) fn message_encrypted(
        &self,
        session: CK_SESSION_HANDLE,
        key: CK_OBJECT_HANDLE,
        iv: &[u8],
    ) {
        let encryption = Encryption { key: hex(&self.id_of(session, key)), iv: hex(iv) };
        self.state(|state| state.encryptions.insert(session, encryption));
    }

    /// How many token objects there are on the token of a session; 0 when it cannot be found out.
    pub(crate) fn token_objects(&self, session: CK_SESSION_HANDLE) -> usize {
        let slot = self.state(|state| state.sessions.get(&session).copied());
        slot.and_then(|slot| self.search_token_objects(slot)).unwrap_or(0)
    }

    /// Searches on a session of its own: the caller's may have a search under way.
    fn search_token_objects(&self, slot: CK_SLOT_ID) -> Option<usize> {
        let functions = &self.functions;
        let (mut own, mut is_token, mut found) = (0, CK_TRUE, 0);
        let value = (&raw mut is_token).cast();
        let mut template = CK_ATTRIBUTE { type_: CKA_TOKEN, pValue: value, ulValueLen: 1 };
        let null = std::ptr::null_mut();
        // SAFETY: the session is this function's; the template and the handles have the lengths told.
        unsafe {
            let answer =
                functions.C_OpenSession?(slot, CKF_SERIAL_SESSION, null, None, &raw mut own);
            if answer != CKR_OK {
                return None;
            }
            functions.C_FindObjectsInit?(own, &raw mut template, 1);
            loop {
                let (mut handles, mut count) = ([0; 64], 0);
                functions.C_FindObjects?(own, handles.as_mut_ptr(), 64, &raw mut count);
                if count == 0 {
                    break;
                }
                found += usize::try_from(count).ok()?;
            }
            functions.C_FindObjectsFinal?(own);
            functions.C_CloseSession?(own);
        }
        Some(found)
    }

    /// Closes all sessions.
    pub(crate) fn close_sessions(&self) {
        let sessions = self.state(|state| std::mem::take(&mut state.sessions));
        for slot in sessions.values() {
            // SAFETY: a slot may be any number. A second time for one slot does no harm.
            self.functions.C_CloseAllSessions.map(|close| unsafe { close(*slot) });
        }
    }

    /// Logs the user out.
    pub(crate) fn log_out(&self) {
        for session in self.state(|state| state.sessions.keys().copied().collect::<Vec<_>>()) {
            // SAFETY: a session may be any number.
            self.functions.C_Logout.map(|log_out| unsafe { log_out(session) });
        }
    }

    /// Logs the user in as the last time.
    pub(crate) fn log_in(&self) {
        let (sessions, login) = self.state(|state| {
            (state.sessions.keys().copied().collect::<Vec<_>>(), state.login.clone())
        });
        let Some((user, mut pin)) = login else { return };
        let length = ulong(pin.len());
        let call = self.functions.C_Login.expect("a module has C_Login");
        for session in sessions {
            // SAFETY: the PIN has this length.
            if unsafe { call(session, user, pin.as_mut_ptr(), length) } == CKR_OK {
                return;
            }
        }
    }

    /// Finalizes the module.
    pub(crate) fn finalize(&self) {
        // SAFETY: the argument has to be null.
        self.functions.C_Finalize.map(|finalize| unsafe { finalize(std::ptr::null_mut()) });
        self.finalized();
    }

    /// Notes an encryption with AES-GCM, and its key and IV if they are logged: the token is called for that.
    /// `token_iv` is the one that the token has made.
    ///
    /// # Safety
    /// `mechanism` points to a mechanism, as C_EncryptInit wants it.
    pub(crate) unsafe fn encryption_begun(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: *const CK_MECHANISM,
        key: CK_OBJECT_HANDLE,
        token_iv: Option<&[u8]>,
        is_logged: bool,
    ) {
        // SAFETY: by the contract above.
        let mechanism = unsafe { &*mechanism };
        if mechanism.mechanism != CKM_AES_GCM {
            return self.state(|state| drop(state.encryptions.remove(&session)));
        }
        let params: *const CK_GCM_PARAMS = mechanism.pParameter.cast();
        // SAFETY: the parameter of AES-GCM is this, and its IV has the length that it tells.
        let iv = unsafe { bytes((*params).pIv, (*params).ulIvLen) };
        let encryption = is_logged.then(|| Encryption {
            key: hex(&self.id_of(session, key)),
            iv: hex(token_iv.unwrap_or(iv)),
        });
        let encryption = encryption.unwrap_or_default();
        self.state(|state| state.encryptions.insert(session, encryption));
    }

    /// The encryption with AES-GCM that has ended.
    pub(crate) fn encryption_ended(&self, session: CK_SESSION_HANDLE) -> Option<Encryption> {
        self.state(|state| state.encryptions.remove(&session))
    }

    /// The CKA_ID of an object; empty without one.
    pub(crate) fn id_of(&self, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Vec<u8> {
        let mut id = [0_u8; 64];
        let length = self.read(session, key, CKA_ID, &mut id).unwrap_or(0);
        id.get(..length).unwrap_or_default().to_vec()
    }

    /// An attribute of an object that is a number.
    pub(crate) fn number(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Option<CK_ULONG> {
        let mut number = [0; size_of::<CK_ULONG>()];
        self.read(session, object, kind, &mut number)?;
        Some(CK_ULONG::from_ne_bytes(number))
    }

    /// Whether an object is an AES key.
    pub(crate) fn is_aes(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> bool {
        self.number(session, object, CKA_KEY_TYPE) == Some(CKK_AES)
    }

    /// Reads an attribute and gives its length.
    fn read(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
        to: &mut [u8],
    ) -> Option<usize> {
        let (value, length) = (to.as_mut_ptr().cast(), ulong(to.len()));
        let mut attribute = CK_ATTRIBUTE { type_: kind, pValue: value, ulValueLen: length };
        let read = self.functions.C_GetAttributeValue?;
        // SAFETY: one attribute, whose value has the place that it tells.
        let answer: CK_RV = unsafe { read(session, object, &raw mut attribute, 1) };
        if answer == CKR_OK { usize::try_from(attribute.ulValueLen).ok() } else { None }
    }
}

/// So many bytes at this place.
///
/// # Safety
/// They are there, and nobody writes them meanwhile.
pub(crate) unsafe fn bytes<'a>(at: *const u8, length: CK_ULONG) -> &'a [u8] {
    let length = usize::try_from(length).unwrap_or(0);
    if at.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: by the contract above.
    unsafe { std::slice::from_raw_parts(at, length) }
}

pub(crate) fn ulong(length: usize) -> CK_ULONG {
    CK_ULONG::try_from(length).expect("a length fits")
}

/// In hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}
