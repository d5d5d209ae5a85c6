//! One initialization of the module: its token, its sessions, its epoch.
//!
//! Handles and sessions are numbers. After C_Finalize the same numbers name other keys and other
//! sessions, so everything that belongs to an initialization is owned by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::MechanismType;
use cryptoki::session::Session;
use cryptoki::slot::{Limit, Slot};
use parking_lot::Mutex;

use super::behavior::{KnownUnwrapForm, TokenBehavior};
use super::checks::generator::GeneratorWatch;
use super::checks::steps::TestSession;
use super::checks::{round_trip, selftest};
use super::crypto::mechanism::Capability;
use super::crypto::mechanism_details::MechanismDetails;
use super::crypto::random::RandomSource;
use super::error::{ErrorClass, TokenError};
use super::library::{self, Library};
use super::objects::adaptation::AcceptedTemplates;
use super::selection::{self, LostToken};
use super::settings::{TokenInfo, TokenSelector, TokenSettings};
use super::tuning::{JobTime, MAX_WORKERS, processors, workers_for};
use crate::telemetry::Counter;

/// Sessions in addition to the workers': the anchor and the one for changes.
const EXTRA_SESSIONS: u64 = 2;

pub(super) struct Initialization {
    pub(super) epoch: u64,
    pub(super) info: TokenInfo,
    pub(super) mechanisms: Arc<[MechanismType]>,
    pub(super) mechanism_details: Arc<MechanismDetails>,
    pub(super) behavior: TokenBehavior,
    pub(super) templates: AcceptedTemplates,
    pub(super) unwrap_form: KnownUnwrapForm,
    pkcs11: Pkcs11,
    slot: Slot,
    /// Whether this process initialized the module, so that it must finalize it.
    initialized_by_us: bool,
    /// Opened first, closed last: keeps the token logged in and owns the session copies.
    anchor: Mutex<Option<Session>>,
    /// The number of workers to begin with.
    pub(super) workers: usize,
    /// The time of a job, as measured.
    pub(super) job_time: JobTime,
    /// One for the thread for changes, then one for each worker.
    sessions: Vec<Mutex<Option<Session>>>,
}

/// The loaded module, and the parameters of its initializations.
pub(super) struct Module {
    library: Library,
    pub(super) settings: TokenSettings,
    /// Shared by all threads; outlives an initialization.
    pub(super) generator: Arc<GeneratorWatch>,
    /// The number of initializations.
    epochs: AtomicU64,
    /// Whether this process initialized the module, so that it must finalize it.
    initialized_by_us: AtomicBool,
}

impl Module {
    /// Loads the module, whose random generator counts its failures.
    pub(super) fn load(
        settings: TokenSettings,
        generator_failures: Counter,
    ) -> Result<Self, TokenError> {
        Ok(Self {
            library: Library::load(&settings.module, settings.init_arguments.as_deref())?,
            settings,
            generator: Arc::new(GeneratorWatch::new(generator_failures)),
            epochs: AtomicU64::new(0),
            initialized_by_us: AtomicBool::new(false),
        })
    }

    /// The name of the token, if there are several.
    pub(super) fn name(&self) -> Option<&str> {
        self.settings.name.as_deref()
    }

    /// Initializes the module, finds the token, logs in once, and tests the token.
    /// `lost` is the token of earlier initializations.
    pub(super) fn open(&self, lost: Option<LostToken<'_>>) -> Result<Initialization, TokenError> {
        let was_initialized_by_us = self.initialized_by_us.load(Ordering::Relaxed);
        let initialized_by_us = self.library.initialize_again(was_initialized_by_us)?;
        let opened = self.assemble(lost, initialized_by_us);
        if opened.is_ok() {
            self.initialized_by_us.store(initialized_by_us, Ordering::Relaxed);
        } else if initialized_by_us {
            // All sessions of the failed try are closed by now.
            let _ = self.library.pkcs11.clone().finalize();
        }
        opened
    }

    fn assemble(
        &self,
        lost: Option<LostToken<'_>>,
        initialized_by_us: bool,
    ) -> Result<Initialization, TokenError> {
        let pkcs11 = &self.library.pkcs11;
        let (slot, raw_info) = find(pkcs11, &self.settings.selector, lost)?;
        let info = TokenInfo::from(&raw_info);
        let mechanisms = pkcs11.get_mechanism_list(slot)?;
        if !Capability::Aes256.is_among(&mechanisms) {
            return Err(TokenError::Unsupported("AES-GCM"));
        }
        let mechanism_details = Arc::new(MechanismDetails::read(pkcs11, slot, &mechanisms));
        let anchor = pkcs11.open_rw_session(slot)?;
        self.settings.log_in(&anchor, &raw_info)?;
        let again = || Ok(pkcs11.open_rw_session(slot)?);
        let templates = AcceptedTemplates::default();
        let behavior = selftest::run(
            TestSession { session: &anchor, open: &again, templates: &templates },
            &mut RandomSource::new(&self.generator),
            self.settings.is_modifiable,
        )?;
        let job_time = round_trip::measure(&anchor);
        let most = max_workers(&self.settings, raw_info.max_rw_session_count());
        let workers =
            self.settings.workers.map_or_else(|| workers_for(job_time, processors()), usize::from);
        Ok(Initialization {
            epoch: self.epochs.fetch_add(1, Ordering::Relaxed) + 1,
            info,
            mechanisms: mechanisms.into(),
            mechanism_details,
            behavior,
            templates,
            unwrap_form: KnownUnwrapForm::default(),
            pkcs11: pkcs11.clone(),
            slot,
            initialized_by_us,
            anchor: Mutex::new(Some(anchor)),
            workers: workers.min(most),
            job_time,
            sessions: (0..=most).map(|_index| Mutex::new(None)).collect(),
        })
    }
}

impl Initialization {
    /// The maximum number of workers that the token grants a session each.
    pub(super) fn max_workers(&self) -> usize {
        self.sessions.len().saturating_sub(1)
    }

    /// The session of a token thread: that of changes, or a worker. `None` if the token does not
    /// grant as many.
    pub(super) fn session(&self, worker: Option<usize>) -> Option<&Mutex<Option<Session>>> {
        self.sessions.get(worker.map_or(0, |position| position + 1))
    }

    /// Opens a session.
    pub(super) fn open_session(&self) -> Result<Session, TokenError> {
        Ok(self.pkcs11.open_rw_session(self.slot)?)
    }

    /// Logs in with this session.
    pub(super) fn log_in(
        &self,
        session: &Session,
        settings: &TokenSettings,
    ) -> Result<(), TokenError> {
        let info = self.pkcs11.get_token_info(self.slot)?;
        settings.log_in(session, &info)
    }

    /// Works with the anchor session, and repeats it with a new one if the session was lost.
    pub(super) fn with_anchor<T>(
        &self,
        mut work: impl FnMut(&Session) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let mut anchor = self.anchor.lock();
        if let Some(session) = anchor.take() {
            let result = work(&session);
            let is_lost = |error: &TokenError| error.class() == ErrorClass::SessionGone;
            if !result.as_ref().is_err_and(is_lost) {
                *anchor = Some(session);
                return result;
            }
        }
        let session = self.open_session()?;
        let result = work(&session);
        *anchor = Some(session);
        result
    }

    /// Ends this initialization: closes the sessions first, while their numbers are valid, then
    /// calls C_Finalize. No other thread may be inside the module.
    pub(super) fn finalize(self) {
        let Self { sessions, anchor, pkcs11, initialized_by_us, .. } = self;
        drop(sessions);
        drop(anchor);
        if initialized_by_us {
            // A lost module may fail to finalize; the next C_Initialize reports that.
            let _ = pkcs11.finalize();
        }
    }
}

/// Finds the slot of the token.
fn find(
    pkcs11: &Pkcs11,
    selector: &TokenSelector,
    lost: Option<LostToken<'_>>,
) -> Result<(Slot, cryptoki::slot::TokenInfo), TokenError> {
    let mut tokens = library::tokens(pkcs11)?;
    tokens.retain(|(_slot, info)| info.token_initialized());
    let shown: Vec<TokenInfo> = tokens.iter().map(|(_slot, info)| info.into()).collect();
    let index = selection::select(&shown, selector, lost)?;
    Ok(tokens.swap_remove(index))
}

/// The maximum number of workers: as configured, and at most the number of the token's sessions.
fn max_workers(settings: &TokenSettings, sessions: Limit) -> usize {
    let wanted = settings.workers.map_or(MAX_WORKERS, usize::from);
    let most = match sessions {
        Limit::Max(limit) => {
            usize::try_from(limit.saturating_sub(EXTRA_SESSIONS)).unwrap_or(usize::MAX)
        }
        Limit::Unavailable | Limit::Infinite => usize::MAX,
    };
    wanted.min(most).max(1)
}
