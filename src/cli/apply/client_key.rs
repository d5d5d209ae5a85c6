//! Client keys, whose files are written where the seed file is applied.
//!
//! The API has no names of client keys, so the directory of its files identifies one: an entry is true if the
//! directory has the files of a client key of its access point that is valid. No file is replaced.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::entry::{Difference, Work};
use super::values::SentSecret;
use crate::app::Backend;
use crate::cli::client_key::files::{self, Files};
use crate::cli::exit::CliError;
use crate::cli::operator::{Operator, OperatorCommand};
use crate::cli::output::Output;
use crate::cli::private_files;
use crate::config::Duty;
use crate::model::{AccessName, AccessPoint, ClientKeyId, ClientKeyRecord, Time, clock};
use crate::ops::access::client_keys::create_client_key::CreateClientKey;

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// A client key of a seed file.
pub(super) struct ClientKeyEntry {
    pub(super) access_point: AccessName,
    /// Whether the same file makes the access point.
    pub(super) is_access_point_in_file: bool,
    /// The directory of its files.
    pub(super) directory: PathBuf,
    /// How long a new one is valid, to the end of the day.
    pub(super) days: Option<i64>,
    /// A client key that is valid for fewer days is followed by a new one.
    pub(super) renew_before_days: i64,
}

impl ClientKeyEntry {
    /// The command that compares it with the gateway and, unless it is a plan, makes it true.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub(super) fn command(&self, is_plan: bool) -> anyhow::Result<ApplyClientKey> {
        let password = if is_plan {
            None
        } else {
            // Before anything is created whose files could not be written.
            private_files::create_directory(&self.directory)?;
            Some(SentSecret::new(SecretString::from(files::password()?.as_str())))
        };
        Ok(ApplyClientKey {
            access_point: self.access_point.clone(),
            is_access_point_in_file: self.is_access_point_in_file,
            present: self.present()?,
            days: self.days,
            renew_before_days: self.renew_before_days,
            password,
        })
    }

    /// The client keys whose files the directory has.
    fn present(&self) -> anyhow::Result<Vec<ClientKeyId>> {
        let ids = files::ids(&self.directory);
        let ids = ids.with_context(|| format!("cannot read {}", self.directory.display()))?;
        let complete = ids.iter().filter(|id| Files::of(&self.directory, id).are_present());
        Ok(complete.filter_map(|id| id.parse().ok()).collect())
    }

    /// Writes the files of a client key that was created.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn write(
        &self,
        command: &ApplyClientKey,
        applied: &AppliedClientKey,
    ) -> anyhow::Result<()> {
        let (Some(created), Some(password)) = (&applied.created, &command.password) else {
            return Ok(());
        };
        let id = created.id.to_string();
        let data = created.private_key_data.value().expose_secret();
        let files = Files::of(&self.directory, &id);
        files.write(&id, data, password.value().expose_secret()).with_context(|| {
            format!("the client key has no files, delete it: hsmgate client-key delete {id}")
        })
    }
}

/// Compares a client key of a seed file with the gateway, and creates it if it is missing.
#[derive(Serialize, Deserialize)]
pub(in crate::cli) struct ApplyClientKey {
    access_point: AccessName,
    is_access_point_in_file: bool,
    /// Those with files.
    present: Vec<ClientKeyId>,
    days: Option<i64>,
    renew_before_days: i64,
    /// The password of a new one; not in a plan.
    password: Option<SentSecret>,
}

/// The outcome.
#[derive(Serialize, Deserialize)]
pub(super) struct AppliedClientKey {
    pub(super) difference: Difference,
    created: Option<Created>,
}

/// A client key that was created.
#[derive(Serialize, Deserialize)]
struct Created {
    id: ClientKeyId,
    /// Base64 of the PKCS#12.
    private_key_data: SentSecret,
}

impl OperatorCommand for ApplyClientKey {
    const NAME: &'static str = "apply client-key";
    const DUTY: Option<Duty> = Some(Duty::Principals);
    type On = Backend;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = vec![("AapName", self.access_point.to_string())];
        if self.password.is_none() {
            parameters.push(("Plan", "true".to_owned()));
        }
        parameters
    }

    async fn run(
        &self,
        on: &Backend,
        operator: &Operator,
        output: &mut Output,
    ) -> anyhow::Result<()> {
        let work = Work::new(on, operator, self.password.is_none())?;
        let applied = self.apply(&work).await?;
        if applied.difference.is_change() {
            output.record("Change", applied.difference.to_string());
        }
        Ok(output.json(&applied)?)
    }
}

impl ApplyClientKey {
    async fn apply(&self, work: &Work<'_>) -> anyhow::Result<AppliedClientKey> {
        let now = clock::now();
        if let Some(record) = self.valid(work, now) {
            let difference = self.difference(&record.id.to_string());
            return Ok(AppliedClientKey { difference, created: None });
        }
        let is_missing = work.store().document::<AccessPoint>(self.access_point.as_str()).is_none();
        if is_missing && !(work.is_plan() && self.is_access_point_in_file) {
            let what = format!("the access point {} does not exist", self.access_point);
            return Err(CliError::NotFound(what).into());
        }
        let created = self.create(work, now).await?;
        let difference = match &created {
            Some(created) => self.difference(&created.id.to_string()),
            None => Difference::of(format!("client key of access point {}", self.access_point)),
        };
        Ok(AppliedClientKey { difference: difference.create(), created })
    }

    fn difference(&self, id: &str) -> Difference {
        let mut difference = Difference::of(format!("client key {id}"));
        difference.note(format!("of access point {}", self.access_point));
        difference
    }

    /// The client key that has files and is valid for long enough.
    fn valid(&self, work: &Work<'_>, now: Time) -> Option<Arc<ClientKeyRecord>> {
        let until = now
            .plus_seconds(self.renew_before_days.saturating_add(1).saturating_mul(SECONDS_PER_DAY));
        let records = self.present.iter();
        let mut records = records.filter_map(|id| work.store().document(&id.to_string()));
        records.find(|record: &Arc<ClientKeyRecord>| {
            record.access_point == self.access_point
                && record.is_valid_at(now)
                && until < record.not_after
        })
    }

    async fn create(&self, work: &Work<'_>, now: Time) -> anyhow::Result<Option<Created>> {
        let Some(password) = &self.password else { return Ok(None) };
        // From midnight to midnight, so that a call that another operator has to release is the same again.
        let midnight = now.plus_seconds(-now.unix().rem_euclid(SECONDS_PER_DAY));
        let validity = self.days.map(|days| {
            let end = midnight.plus_seconds(days.saturating_mul(SECONDS_PER_DAY));
            [("NotBefore", midnight.to_string()), ("NotAfter", end.to_string())]
        });
        let mut parameters = vec![
            ("AapName", self.access_point.as_str()),
            ("Password", password.value().expose_secret()),
        ];
        let validity = validity.iter().flatten();
        parameters.extend(validity.map(|(name, time)| (*name, time.as_str())));
        let created = work.call::<CreateClientKey>(&parameters).await?;
        Ok(created.map(|created| Created {
            id: created.id(),
            private_key_data: SentSecret::new(SecretString::from(created.private_key_data())),
        }))
    }
}
