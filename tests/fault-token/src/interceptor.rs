//! What every call passes on its way to the real module.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use cryptoki_sys::{CK_RV, CK_SESSION_HANDLE, CKR_OK};
use rustix::process::{Signal, getpid, kill_process};
use rustix::thread::set_current_timer_slack;

use crate::control::Control;
use crate::inner_module::{Encryption, InnerModule};
use crate::log::{Entry, HANGING, KILLED, LATE, Log, OVERLAP};
use crate::manners::{Call, MannerState, messages};
use crate::parallel_calls::ParallelCalls;
use crate::return_codes;
use crate::rule::Fault;
use crate::settings::Settings;
use crate::threads;

/// How often a call that hangs looks whether it still has to.
const POLL: Duration = Duration::from_millis(1);
const FINALIZE: &str = "C_Finalize";

pub(crate) static INTERCEPTOR: LazyLock<Interceptor> = LazyLock::new(Interceptor::start);

pub(crate) struct Interceptor {
    pub(crate) inner: InnerModule,
    control: Mutex<Control>,
    log: Log,
    manner_state: MannerState,
    /// Held for reading by calls; for writing by what pulls the rug from under them, since the
    /// real module breaks when that happens inside a call.
    call_lock: RwLock<()>,
    /// Calls that are inside the module.
    inside: AtomicUsize,
    is_finalizing: AtomicBool,
    parallel_calls: ParallelCalls,
    /// What a stuck generator gives, by the number of its rule.
    blocks: Mutex<HashMap<u64, Vec<u8>>>,
    /// How often a generator with a sequence was asked, by the number of its rule.
    draws: Mutex<HashMap<u64, u64>>,
}

impl Interceptor {
    fn start() -> Self {
        let settings = Settings::load();
        Self {
            inner: InnerModule::load(&settings.module, settings.environment),
            control: Mutex::new(Control::new(settings.control, settings.manners)),
            log: Log::open(settings.log.as_deref()),
            manner_state: MannerState::default(),
            call_lock: RwLock::default(),
            inside: AtomicUsize::default(),
            is_finalizing: AtomicBool::default(),
            parallel_calls: ParallelCalls::default(),
            blocks: Mutex::default(),
            draws: Mutex::default(),
        }
    }

    /// Makes a call, with whatever has to go wrong. `after` is told how the output has to be
    /// damaged, once the call has gone well.
    pub(crate) fn pass(
        &self,
        function: &'static str,
        call: impl FnOnce(Call<'_>) -> CK_RV,
        after: impl FnOnce(&Self, &[(u64, Fault)]) -> Option<Encryption>,
    ) -> CK_RV {
        threads::enter();
        let call_record = CallRecord::begin(self, function);
        let (faults, manners) = {
            let mut control = lock(&self.control);
            (control.faults(function), control.manners())
        };
        let mut permits = Vec::new();
        for (number, fault) in &faults {
            match fault {
                Fault::ReturnCode(name) => {
                    self.write(&call_record, &faults, name, None);
                    return return_codes::code(name);
                }
                Fault::Delay(microseconds) => wait(Duration::from_micros(*microseconds)),
                Fault::Parallel(limit) => permits.push(self.parallel_calls.enter(*number, *limit)),
                Fault::Hang => {
                    self.write(&call_record, &faults, HANGING, None);
                    self.hang(*number);
                }
                Fault::Freeze => {
                    let _guard = self.call_lock.write().unwrap_or_else(PoisonError::into_inner);
                    self.write(&call_record, &faults, HANGING, None);
                    self.hang(*number);
                }
                Fault::KillBefore => self.kill(&call_record, &faults),
                Fault::Abort => process::abort(),
                fault => self.disrupt(fault),
            }
        }
        let result = {
            let _guard = self.call_lock.read().unwrap_or_else(PoisonError::into_inner);
            let (inner, state) = (&self.inner, &self.manner_state);
            call(Call { inner, manners: &manners, state })
        };
        drop(permits);
        let encryption = if result == CKR_OK { after(self, &faults) } else { None };
        let mut returned = result;
        for (_number, fault) in &faults {
            match fault {
                Fault::KillAfter => self.kill(&call_record, &faults),
                Fault::ReturnCodeAfter(name) => returned = return_codes::code(name),
                _ => {}
            }
        }
        self.write(&call_record, &faults, &return_codes::name(returned), encryption);
        returned
    }

    /// Whether calls are written to a log.
    pub(crate) fn is_logged(&self) -> bool {
        self.log.is_written()
    }

    /// Whether the token has the message calls of PKCS#11 3.0.
    pub(crate) fn offers_message_calls(&self) -> bool {
        let mut control = lock(&self.control);
        control.refresh();
        messages::are_offered(&control.manners())
    }

    /// The random bytes of a stuck generator under this rule, of which the first were `bytes`.
    pub(crate) fn stuck_block(&self, rule: u64, bytes: &[u8]) -> Vec<u8> {
        lock(&self.blocks).entry(rule).or_insert_with(|| bytes.to_vec()).clone()
    }

    /// Which draw of a generator with a sequence this is under this rule, from 1 on.
    pub(crate) fn next_draw(&self, rule: u64) -> u64 {
        let mut draws = lock(&self.draws);
        let draw = draws.entry(rule).or_default();
        *draw += 1;
        *draw
    }

    /// Says that a thread is still there while the process ends.
    pub(crate) fn log_late(&self) {
        self.log.write(&Entry {
            process: process::id(),
            function: String::new(),
            return_code: LATE.to_owned(),
            rules: Vec::new(),
            key: None,
            iv: None,
        });
    }

    /// The IV of an encryption that has begun, if the token has made it.
    pub(crate) fn token_iv(&self, session: CK_SESSION_HANDLE) -> Option<Vec<u8>> {
        self.manner_state.encryptions().get(&session).map(|encryption| encryption.iv.clone())
    }

    fn hang(&self, number: u64) {
        while lock(&self.control).has(number) {
            thread::sleep(POLL);
        }
    }

    fn kill(&self, call_record: &CallRecord<'_>, faults: &[(u64, Fault)]) {
        self.write(call_record, faults, KILLED, None);
        kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
        // The signal is under way.
        loop {
            thread::park();
        }
    }

    fn disrupt(&self, fault: &Fault) {
        let inner = &self.inner;
        let pull: &dyn Fn() = match fault {
            Fault::CloseSessions => &|| inner.close_sessions(),
            Fault::LogOut => &|| inner.log_out(),
            Fault::LogInAgain => &|| {
                inner.log_out();
                inner.log_in();
            },
            Fault::Finalize => &|| inner.finalize(),
            _ => return,
        };
        let _guard = self.call_lock.write().unwrap_or_else(PoisonError::into_inner);
        pull();
    }

    fn write(
        &self,
        call_record: &CallRecord<'_>,
        faults: &[(u64, Fault)],
        return_code: &str,
        encryption: Option<Encryption>,
    ) {
        if !self.log.is_written() {
            return;
        }
        let (key, iv) = encryption.map(|it| (it.key, it.iv)).unzip();
        self.log.write(&Entry {
            process: process::id(),
            function: call_record.function.to_owned(),
            return_code: return_code.to_owned(),
            rules: faults.iter().map(|(number, _fault)| *number).collect(),
            key,
            iv,
        });
    }
}

/// A call from its begin to its end.
struct CallRecord<'a> {
    interceptor: &'a Interceptor,
    function: &'static str,
}

impl<'a> CallRecord<'a> {
    /// C_Finalize beside any other call is undefined behavior in a real module, so it is told.
    fn begin(interceptor: &'a Interceptor, function: &'static str) -> Self {
        let call_record = Self { interceptor, function };
        let others = interceptor.inside.fetch_add(1, Ordering::SeqCst);
        let is_finalizing = if function == FINALIZE {
            interceptor.is_finalizing.store(true, Ordering::SeqCst);
            others > 0
        } else {
            interceptor.is_finalizing.load(Ordering::SeqCst)
        };
        if is_finalizing {
            interceptor.write(&call_record, &[], OVERLAP, None);
        }
        call_record
    }
}

impl Drop for CallRecord<'_> {
    fn drop(&mut self) {
        if self.function == FINALIZE {
            self.interceptor.is_finalizing.store(false, Ordering::SeqCst);
        }
        self.interceptor.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits for this time, as precisely as the system can: by default it may add 50 microseconds.
fn wait(time: Duration) {
    set_current_timer_slack(Some(NonZeroU64::MIN)).expect("a thread may set its own timer slack");
    thread::sleep(time);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
