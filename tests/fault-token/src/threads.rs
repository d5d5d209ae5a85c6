//! Threads that were inside the module: like OpenSSL below SoftHSM2 it has something to do at the end
//! of each, and of the process. It crashes there when both happen at once; this one tells of it.

use std::ffi::c_int;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::interceptor::INTERCEPTOR;

/// How long the module works at the end of a thread: long enough to be met there by an end of the
/// process that does not wait.
const WORK: Duration = Duration::from_millis(50);

/// Threads that were inside and have not ended.
static THREADS_INSIDE: AtomicUsize = AtomicUsize::new(0);
static AT_EXIT: Once = Once::new();

unsafe extern "C" {
    fn atexit(function: extern "C" fn()) -> c_int;
}

struct ThreadMarker;

thread_local! {
    static THREAD_MARKER: ThreadMarker = {
        THREADS_INSIDE.fetch_add(1, Ordering::SeqCst);
        ThreadMarker
    };
}

impl Drop for ThreadMarker {
    fn drop(&mut self) {
        thread::sleep(WORK);
        THREADS_INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A thread comes in.
pub(crate) fn enter() {
    // A thread at its end does not come in for the first time.
    let _ = THREAD_MARKER.try_with(|_marker| ());
    AT_EXIT.call_once(|| {
        // SAFETY: the function takes nothing and does not unwind into C: writing the log alone
        // could fail, and the process is ending.
        let refused = unsafe { atexit(at_exit) };
        assert_eq!(refused, 0, "the C library takes 32 such functions at least");
    });
}

extern "C" fn at_exit() {
    if THREADS_INSIDE.load(Ordering::SeqCst) > 0 {
        INTERCEPTOR.log_late();
    }
}
