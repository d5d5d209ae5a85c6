//! Maps keys and versions to token objects: checks state and version, and binds the associated
//! data.
//!
//! It takes an [`AuthorizedKey`](crate::authz::AuthorizedKey), never a key id, and does not depend
//! on the protocols.

mod asymmetric;
mod capability_tests;
mod data_key_pair;
mod deletion;
pub mod error;
mod execution;
mod import;
mod invocations;
mod known_answers;
mod lifecycle;
mod mac;
mod metrics;
mod pending_versions;
mod public_key;
mod reconcile;
pub mod recovery;
mod rewrap;
mod rotation;
mod secret;
mod secret_check;
mod state;
pub mod store_counter;
mod symmetric;
mod usable_version;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

pub use data_key_pair::{DataKeyPair, PairForm};
pub use error::KeyringError;
pub use execution::{Execution, LastCall, LastExecution};
pub use import::{WrappedMaterial, WrappingKey};
pub use invocations::IvEvent;
pub use lifecycle::NewKey;
pub use metrics::KeyringMetrics;
pub use public_key::{RecipientKey, signature_from_der, signature_to_der};
pub use rewrap::SecretDataKeys;
pub use secret::{EncryptedSecret, decrypt_secret};
pub use secret_check::SecretCheck;
pub use state::KeyAction;
pub use usable_version::{AesGcm, PublicHalf, UsableVersion, VersionSelector};

use crate::config::{KeyringSettings, TokenTimeouts};
use crate::error::ErrorCode;
use crate::model::{IvBudget, IvLength, KeyId, KeyRecord, KeySpec, KeyVersion, VerificationRate};
use crate::store::{Store, StoreError};
use crate::token::{KeyIdentity, KnownAnswers, Token};
use data_key_pair::PairGenerator;
use invocations::Invocations;
use known_answers::StoredAnswers;
use pending_versions::PendingVersions;
use tokio::sync::watch;

/// The keys of this gateway.
#[derive(Clone)]
pub struct Keyring {
    store: Store,
    token: Token,
    timeouts: TokenTimeouts,
    verifies_data_keys: bool,
    verified_encryptions: VerificationRate,
    /// The number of encryptions, if only some of them are verified.
    encryptions: Arc<AtomicU64>,
    invocations: Arc<Invocations>,
    answers: Arc<StoredAnswers>,
    metrics: KeyringMetrics,
    pending_versions: PendingVersions,
    pair_generator: PairGenerator,
    /// Locked while imported material changes.
    material: Arc<tokio::sync::Mutex<()>>,
    /// Locked while an import token is issued: it replaces another one.
    import_tokens: Arc<tokio::sync::Mutex<()>>,
    /// Locked while the key of the gateway for secrets is looked for and created.
    internal_keys: Arc<tokio::sync::Mutex<()>>,
    /// Keys whose rows mark their material absent, and whose objects may still exist.
    pending_destruction: Arc<Mutex<BTreeSet<KeyId>>>,
}

/// The identity that the token objects of a version must have.
fn identity(record: &KeyRecord, version: &KeyVersion) -> KeyIdentity {
    let identity = KeyIdentity::of_key(record.id, record.spec, version.number, version.id);
    identity.with_iv_length(version.iv_length)
}

/// Checks that the state of a key allows `wanted`, without a keyring, for a command.
///
/// # Errors
/// The code of the state table.
pub fn check_state(record: &KeyRecord, wanted: KeyAction) -> Result<(), ErrorCode> {
    state::check(record.state, wanted)
}

impl Keyring {
    /// Creates a keyring over a store and its token.
    pub fn new(
        store: Store,
        token: Token,
        settings: KeyringSettings,
        metrics: KeyringMetrics,
    ) -> Self {
        let KeyringSettings { timeouts, iv_budget, verify_data_keys, verify_encryptions } =
            settings;
        let invocations = Arc::new(Invocations::new(store.clone(), iv_budget, metrics.clone()));
        let answers = StoredAnswers::new(store.clone());
        let known: Arc<dyn KnownAnswers> = Arc::<StoredAnswers>::clone(&answers);
        token.set_known_answers(&known);
        Self {
            store,
            token,
            timeouts,
            verifies_data_keys: verify_data_keys,
            verified_encryptions: verify_encryptions,
            encryptions: Arc::default(),
            invocations,
            answers,
            metrics,
            pending_versions: PendingVersions::default(),
            pair_generator: PairGenerator::default(),
            material: Arc::default(),
            import_tokens: Arc::default(),
            internal_keys: Arc::default(),
            pending_destruction: Arc::default(),
        }
    }

    /// The same keyring, with the store of a job, whose changes are refused once another gateway runs it.
    #[must_use]
    pub fn with_store(&self, store: Store) -> Self {
        Self { store, ..self.clone() }
    }

    /// Returns the unused leases of encryptions to the store, when a gateway stops.
    ///
    /// # Errors
    /// When the store fails; the count of some versions is then too high.
    pub async fn return_leases(&self) -> Result<(), StoreError> {
        self.invocations.return_leases().await
    }

    /// Takes the events of the invocation budget that are to be recorded, each with its key.
    pub fn take_iv_events(&self) -> Vec<(KeyId, IvEvent)> {
        let events = std::mem::take(&mut *self.invocations.events());
        let key_of = |event: &IvEvent| self.store.key_of_version(event.version);
        events.into_iter().filter_map(|event| Some((key_of(&event)?.id, event))).collect()
    }

    /// Puts an event back that could not be recorded.
    pub fn requeue_iv_event(&self, event: IvEvent) {
        self.invocations.events().push(event);
    }

    /// Checks that the token accepts calls now.
    ///
    /// # Errors
    /// Why it does not.
    pub fn ready(&self) -> Result<(), KeyringError> {
        Ok(self.token.ready()?)
    }

    /// As [`Token::is_group`].
    pub fn has_several_tokens(&self) -> bool {
        self.token.is_group()
    }

    /// As [`Token::reconnects`].
    pub fn token_reconnects(&self) -> watch::Receiver<()> {
        self.token.reconnects()
    }

    /// As [`Token::check_calls`].
    pub fn check_token_calls(&self) {
        self.token.check_calls();
    }

    /// The limits of encryptions of a key version.
    pub fn iv_budget(&self) -> IvBudget {
        self.invocations.limits()
    }

    /// The token timeouts.
    pub fn timeouts(&self) -> TokenTimeouts {
        self.timeouts
    }

    /// The length of the IVs of a new version of a key of this spec.
    fn new_iv_length(&self, spec: KeySpec) -> IvLength {
        if spec.is_symmetric_cipher() {
            self.token.gcm_form().iv_length()
        } else {
            IvLength::default()
        }
    }

    /// The keys that are due for something.
    fn keys_where(&self, is_due: impl Fn(&KeyRecord) -> bool) -> Vec<KeyId> {
        let keys = self.store.keys();
        keys.iter().filter(|record| is_due(record)).map(|record| record.id).collect()
    }
}
