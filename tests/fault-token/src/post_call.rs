//! What a call that has gone well leaves behind, and how its output is damaged.
//!
//! Every function here takes arguments of the call, and is safe to call with those alone.

use cryptoki_sys::{
    CK_BYTE, CK_MECHANISM, CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_SLOT_ID, CK_ULONG, CK_USER_TYPE,
};

use crate::inner_module::{Encryption, bytes};
use crate::interceptor::Interceptor;
use crate::prng::mix;
use crate::rule::Fault;

type Faults<'a> = &'a [(u64, Fault)];

/// # Safety
/// None is asked for.
pub(crate) unsafe fn finalized(
    interceptor: &Interceptor,
    _faults: Faults<'_>,
) -> Option<Encryption> {
    interceptor.inner.finalized();
    None
}

/// # Safety
/// `session` points to the new session.
pub(crate) unsafe fn session_opened(
    interceptor: &Interceptor,
    _faults: Faults<'_>,
    session: *const CK_SESSION_HANDLE,
    slot: CK_SLOT_ID,
) -> Option<Encryption> {
    // SAFETY: by the contract above.
    interceptor.inner.session_opened(unsafe { *session }, slot);
    None
}

/// # Safety
/// None is asked for.
pub(crate) unsafe fn session_closed(
    interceptor: &Interceptor,
    _faults: Faults<'_>,
    session: CK_SESSION_HANDLE,
) -> Option<Encryption> {
    interceptor.inner.session_closed(session);
    None
}

/// # Safety
/// The PIN has this length.
pub(crate) unsafe fn logged_in(
    interceptor: &Interceptor,
    _faults: Faults<'_>,
    user: CK_USER_TYPE,
    pin: *const CK_BYTE,
    length: CK_ULONG,
) -> Option<Encryption> {
    // SAFETY: by the contract above.
    interceptor.inner.logged_in(user, unsafe { bytes(pin, length) }.to_vec());
    None
}

/// # Safety
/// `mechanism` points to a mechanism.
pub(crate) unsafe fn encryption_begun(
    interceptor: &Interceptor,
    _faults: Faults<'_>,
    session: CK_SESSION_HANDLE,
    mechanism: *const CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> Option<Encryption> {
    let token_iv = interceptor.token_iv(session);
    let (token_iv, is_logged) = (token_iv.as_deref(), interceptor.is_logged());
    // SAFETY: by the contract above.
    unsafe { interceptor.inner.encryption_begun(session, mechanism, key, token_iv, is_logged) };
    None
}

/// # Safety
/// `at` is null or points to the output, which has the length that `length` points to.
pub(crate) unsafe fn encrypted(
    interceptor: &Interceptor,
    faults: Faults<'_>,
    session: CK_SESSION_HANDLE,
    at: *mut CK_BYTE,
    length: *const CK_ULONG,
) -> Option<Encryption> {
    // A question for the length leaves the encryption as it was.
    if at.is_null() {
        return None;
    }
    // SAFETY: by the contract above.
    unsafe { output(interceptor, faults, at, length) };
    interceptor.inner.encryption_ended(session)
}

/// # Safety
/// As [`encrypted`].
pub(crate) unsafe fn output(
    interceptor: &Interceptor,
    faults: Faults<'_>,
    at: *mut CK_BYTE,
    length: *const CK_ULONG,
) -> Option<Encryption> {
    // SAFETY: by the contract above.
    unsafe { random(interceptor, faults, at, *length) }
}

/// # Safety
/// `at` is null or points to an output of this length.
pub(crate) unsafe fn random(
    interceptor: &Interceptor,
    faults: Faults<'_>,
    at: *mut CK_BYTE,
    length: CK_ULONG,
) -> Option<Encryption> {
    if at.is_null() || length == 0 {
        return None;
    }
    let length = usize::try_from(length).ok()?;
    // SAFETY: by the contract above; it is the caller's own until the call returns.
    let output = unsafe { std::slice::from_raw_parts_mut(at, length) };
    for (rule, fault) in faults {
        match fault {
            Fault::FlipBit => output[0] ^= 1,
            Fault::StuckByte(byte) => output.fill(*byte),
            Fault::Sequence(seed) => {
                let draw = mix(*seed, interceptor.next_draw(*rule));
                for (index, to) in (1..).zip(output.chunks_mut(8)) {
                    to.copy_from_slice(&mix(draw, index).to_le_bytes()[..to.len()]);
                }
            }
            Fault::StuckBlock => {
                let block = interceptor.stuck_block(*rule, output);
                for (to, from) in output.iter_mut().zip(block.iter().cycle()) {
                    *to = *from;
                }
            }
            _ => {}
        }
    }
    None
}
