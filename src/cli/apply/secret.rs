//! Secrets.

use std::collections::BTreeMap;

use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::entry::{Difference, SeedEntry, Work};
use super::tags::{change_tags, tags_as_json};
use super::values::{Description, NamedKey, SentSecret};
use crate::cli::exit::CliError;
use crate::config::Duty;
use crate::model::{SecretDataType, SecretName, SecretRecord, SecretVersionId, TagKey, TagValue};
use crate::ops::secrets::create_secret::CreateSecret;
use crate::ops::secrets::put_secret_value::PutSecretValue;
use crate::ops::secrets::update_secret::UpdateSecret;

/// A secret with one version. A version that exists keeps its value, which is not compared.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::cli) struct SecretEntry {
    pub(super) name: SecretName,
    pub(super) version: SecretVersionId,
    /// Not in a plan.
    pub(super) value: Option<SentSecret>,
    pub(super) data_type: SecretDataType,
    /// The key that encrypts it, and whether the same file makes it.
    pub(super) key: Option<(NamedKey, bool)>,
    pub(super) description: Option<Description>,
    pub(super) tags: BTreeMap<TagKey, TagValue>,
}

impl SeedEntry for SecretEntry {
    const NAME: &'static str = "apply secret";
    const DUTY: Duty = Duty::Keys;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("SecretName", self.name.to_string()), ("VersionId", self.version.to_string())]
    }

    async fn apply(&self, work: &Work<'_>) -> anyhow::Result<Vec<Difference>> {
        if let Some(value) = &self.value {
            work.check_secret(value)?;
        }
        let mut difference = Difference::of(format!("secret {}", self.name));
        match work.store().secret(&self.name).await? {
            None => {
                difference = difference.create();
                difference.note(format!("version {}", self.version));
                self.create(work).await?;
            }
            Some(record) if record.delete_at.is_some() => {
                difference.note("its deletion is scheduled, not changed");
            }
            Some(record) => self.change(&record, &mut difference, work).await?,
        }
        Ok(vec![difference])
    }
}

impl SecretEntry {
    /// What is sent for a plan: its value is not needed.
    pub(super) fn planned(&self) -> Self {
        Self { value: None, ..self.clone() }
    }

    fn value(&self) -> &str {
        self.value.as_ref().map(|value| value.value().expose_secret()).unwrap_or_default()
    }

    async fn create(&self, work: &Work<'_>) -> anyhow::Result<()> {
        if let Some((NamedKey::Alias(alias), is_in_file)) = &self.key
            && work.store().alias_target(alias).is_none()
            && !(work.is_plan() && *is_in_file)
        {
            return Err(CliError::NotFound(format!("{alias} does not exist")).into());
        }
        let tags = tags_as_json(self.tags.iter())?;
        let key = self.key.as_ref().map(|(key, _is_in_file)| key.to_string());
        let mut parameters = vec![
            ("SecretName", self.name.as_str()),
            ("VersionId", self.version.as_str()),
            ("SecretData", self.value()),
            ("SecretDataType", self.data_type.as_str()),
            ("Tags", &tags),
        ];
        parameters.extend(self.description.as_ref().map(|text| ("Description", text.as_str())));
        parameters.extend(key.as_deref().map(|key| ("EncryptionKeyId", key)));
        work.call::<CreateSecret>(&parameters).await.map(drop)
    }

    async fn change(
        &self,
        record: &SecretRecord,
        difference: &mut Difference,
        work: &Work<'_>,
    ) -> anyhow::Result<()> {
        let name = ("SecretName", self.name.as_str());
        if record.version(&self.version).is_none() {
            difference.change(format!("version {}", self.version));
            let parameters = [
                name,
                ("VersionId", self.version.as_str()),
                ("SecretData", self.value()),
                ("SecretDataType", self.data_type.as_str()),
            ];
            work.call::<PutSecretValue>(&parameters).await?;
        }
        let differs = |text: &&Description| text.as_str() != record.description;
        if let Some(text) = self.description.as_ref().filter(differs) {
            difference.change("description");
            work.call::<UpdateSecret>(&[name, ("Description", text.as_str())]).await?;
        }
        change_tags(name, &self.tags, &record.tags, difference, work).await?;
        Ok(())
    }
}
