//! What every call passes on its way to the real module.

use std::collections::HashMap;
use std::env;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use cryptoki_sys::{CK_RV, CKR_OK};
use rustix::process::{Signal, getpid, kill_process};

use crate::answer;
use crate::beneath::{Beneath, Encryption};
use crate::control::Control;
use crate::log::{Entry, HANGING, KILLED, LATE, Log, OVERLAP};
use crate::rule::Fault;
use crate::threads;
use crate::{CONTROL_VARIABLE, LOG_VARIABLE, MODULE_VARIABLE};

/// How often a call that hangs looks whether it still has to.
const LOOK: Duration = Duration::from_millis(1);
const FINALIZE: &str = "C_Finalize";

pub(crate) static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::start);

pub(crate) struct Engine {
    pub(crate) beneath: Beneath,
    control: Mutex<Control>,
    log: Log,
    /// Held for reading by calls; for writing by what pulls the rug from under them, since the
    /// real module breaks when that happens inside a call.
    rug: RwLock<()>,
    /// Calls that are inside the module.
    inside: AtomicUsize,
    is_finalizing: AtomicBool,
    /// What a stuck generator gives, by the number of its rule.
    blocks: Mutex<HashMap<u64, Vec<u8>>>,
    /// How often a generator with a sequence was asked, by the number of its rule.
    draws: Mutex<HashMap<u64, u64>>,
}

impl Engine {
    fn start() -> Self {
        let path = |name: &str| {
            PathBuf::from(env::var_os(name).unwrap_or_else(|| panic!("{name} is not set")))
        };
        let module = path(MODULE_VARIABLE);
        Self {
            beneath: Beneath::load(module.to_str().expect("the path is text")),
            control: Mutex::new(Control::new(path(CONTROL_VARIABLE))),
            log: Log::open(&path(LOG_VARIABLE)),
            rug: RwLock::default(),
            inside: AtomicUsize::default(),
            is_finalizing: AtomicBool::default(),
            blocks: Mutex::default(),
            draws: Mutex::default(),
        }
    }

    /// Makes a call, with whatever has to go wrong. `after` is told how the output has to be
    /// damaged, once the call has gone well.
    pub(crate) fn pass(
        &self,
        function: &'static str,
        call: impl FnOnce(&Beneath) -> CK_RV,
        after: impl FnOnce(&Self, &[(u64, Fault)]) -> Option<Encryption>,
    ) -> CK_RV {
        threads::enter();
        let visit = Visit::begin(self, function);
        let faults = lock(&self.control).faults(function);
        for (number, fault) in &faults {
            match fault {
                Fault::Answer(name) => {
                    self.write(&visit, &faults, name, None);
                    return answer::code(name);
                }
                Fault::Delay(milliseconds) => thread::sleep(Duration::from_millis(*milliseconds)),
                Fault::Hang => {
                    self.write(&visit, &faults, HANGING, None);
                    self.hang(*number);
                }
                Fault::KillBefore => self.kill(&visit, &faults),
                Fault::Abort => process::abort(),
                fault => self.pull_the_rug(fault),
            }
        }
        let result = {
            let _rug = self.rug.read().unwrap_or_else(PoisonError::into_inner);
            call(&self.beneath)
        };
        let encryption = if result == CKR_OK { after(self, &faults) } else { None };
        let mut told = result;
        for (_number, fault) in &faults {
            match fault {
                Fault::KillAfter => self.kill(&visit, &faults),
                Fault::AnswerAfter(name) => told = answer::code(name),
                _ => {}
            }
        }
        self.write(&visit, &faults, &answer::name(told), encryption);
        told
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
    pub(crate) fn tell_late(&self) {
        self.log.write(&Entry {
            process: process::id(),
            function: String::new(),
            answer: LATE.to_owned(),
            rules: Vec::new(),
            key: None,
            iv: None,
        });
    }

    fn hang(&self, number: u64) {
        while lock(&self.control).has(number) {
            thread::sleep(LOOK);
        }
    }

    fn kill(&self, visit: &Visit<'_>, faults: &[(u64, Fault)]) {
        self.write(visit, faults, KILLED, None);
        kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
        // The signal is under way.
        loop {
            thread::park();
        }
    }

    fn pull_the_rug(&self, fault: &Fault) {
        let beneath = &self.beneath;
        let pull: &dyn Fn() = match fault {
            Fault::CloseSessions => &|| beneath.close_sessions(),
            Fault::LogOut => &|| beneath.log_out(),
            Fault::LogInAgain => &|| {
                beneath.log_out();
                beneath.log_in();
            },
            Fault::Finalize => &|| beneath.finalize(),
            _ => return,
        };
        let _rug = self.rug.write().unwrap_or_else(PoisonError::into_inner);
        pull();
    }

    fn write(
        &self,
        visit: &Visit<'_>,
        faults: &[(u64, Fault)],
        answer: &str,
        encryption: Option<Encryption>,
    ) {
        let (key, iv) = encryption.map(|it| (it.key, it.iv)).unzip();
        self.log.write(&Entry {
            process: process::id(),
            function: visit.function.to_owned(),
            answer: answer.to_owned(),
            rules: faults.iter().map(|(number, _fault)| *number).collect(),
            key,
            iv,
        });
    }
}

/// A call from its begin to its end.
struct Visit<'a> {
    engine: &'a Engine,
    function: &'static str,
}

impl<'a> Visit<'a> {
    /// C_Finalize beside any other call is undefined behaviour in a real module, so it is told.
    fn begin(engine: &'a Engine, function: &'static str) -> Self {
        let visit = Self { engine, function };
        let others = engine.inside.fetch_add(1, Ordering::SeqCst);
        let is_finalizing = if function == FINALIZE {
            engine.is_finalizing.store(true, Ordering::SeqCst);
            others > 0
        } else {
            engine.is_finalizing.load(Ordering::SeqCst)
        };
        if is_finalizing {
            engine.write(&visit, &[], OVERLAP, None);
        }
        visit
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if self.function == FINALIZE {
            self.engine.is_finalizing.store(false, Ordering::SeqCst);
        }
        self.engine.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
