//! Keys, by an alias.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::entry::{Difference, SeedEntry, Work};
use super::tags::{change_tags, tags_as_json};
use super::values::{Description, Rotates, SentSecret};
use crate::cli::exit::CliError;
use crate::cli::key::import;
use crate::cli::response;
use crate::config::Duty;
use crate::model::{
    KeyId, KeyRecord, KeySpec, KeyState, KeyUsage, OperatorAlias, Rotation, TagKey, TagValue,
};
use crate::ops::keys::create_key::CreateKey;
use crate::ops::keys::update_key_description::UpdateKeyDescription;
use crate::ops::keys::update_rotation_policy::UpdateRotationPolicy;
use crate::ops::material::get_parameters_for_import::GetParametersForImport;
use crate::ops::material::import_key_material::ImportKeyMaterial;

/// How many keys of one alias may have been deleted.
const MAX_SUCCESSORS: u32 = 1000;

/// A key with its aliases.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::cli) struct KeyEntry {
    /// The alias that finds it.
    pub(super) alias: OperatorAlias,
    /// Further aliases.
    pub(super) aliases: Vec<OperatorAlias>,
    pub(super) spec: Option<KeySpec>,
    pub(super) usage: Option<KeyUsage>,
    pub(super) description: Option<Description>,
    pub(super) tags: BTreeMap<TagKey, TagValue>,
    pub(super) rotation: Option<Rotates>,
    /// In a gateway for development.
    pub(super) id: Option<KeyId>,
    /// Base64, in a gateway for development.
    pub(super) material: Option<SentSecret>,
}

/// The key of an entry.
enum SeedKey {
    Key(Arc<KeyRecord>),
    /// The id that it gets.
    None(KeyId),
}

impl SeedEntry for KeyEntry {
    const NAME: &'static str = "apply key";
    const DUTY: Duty = Duty::Keys;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = vec![("AliasName", self.alias.to_string())];
        parameters.extend(self.id.map(|id| ("KeyId", id.to_string())));
        parameters.extend(self.spec.map(|spec| ("KeySpec", spec.to_string())));
        parameters
    }

    async fn apply(&self, work: &Work<'_>) -> anyhow::Result<Vec<Difference>> {
        if self.id.is_some() || self.material.is_some() {
            work.require_development("a key with an id or material of the seed file")?;
        }
        let difference = Difference::of(format!("key {}", self.alias));
        let (record, mut difference) = match self.find(work).await? {
            SeedKey::Key(record) => (Some(record), difference),
            SeedKey::None(id) => {
                let mut difference = difference.create();
                difference.note(id.as_str());
                (self.create(id, work).await?, difference)
            }
        };
        let mut aliases = vec![&self.alias];
        aliases.extend(&self.aliases);
        let Some(record) = record else {
            difference.note(self.kind().0.as_str());
            if self.material.is_some() {
                difference.note("material");
            }
            self.name_it(None, &aliases, &mut difference, work).await?;
            return Ok(vec![difference]);
        };
        self.check(&record)?;
        if difference.is_change() {
            difference.note(record.spec.as_str());
        }
        self.import(&record, &mut difference, work).await?;
        self.name_it(Some(record.id), &aliases, &mut difference, work).await?;
        if matches!(record.state, KeyState::Disabled | KeyState::PendingDeletion) {
            difference.note(format!("in state {}, not changed", record.state));
        } else {
            self.change(&record, &mut difference, work).await?;
        }
        Ok(vec![difference])
    }
}

impl KeyEntry {
    /// Spec and usage of a new key.
    fn kind(&self) -> (KeySpec, Option<KeyUsage>) {
        let spec = self.spec.unwrap_or(KeySpec::Aes256);
        (spec, self.usage.or_else(|| spec.usages().first().copied()))
    }

    /// Finds the key by its alias, its id, or the id that follows from the alias: so a stop between a new key
    /// and its alias leaves no second key.
    async fn find(&self, work: &Work<'_>) -> anyhow::Result<SeedKey> {
        let store = work.store();
        let visible = |id| store.key(id).filter(|record| record.is_visible());
        if let Some(target) = store.alias_target(self.alias.alias()) {
            if let Some(id) = self.id.filter(|id| *id != target) {
                return Err(wrong(&format!("{} names the key {target}, and not {id}", self.alias)));
            }
            let absent = || CliError::NotFound(format!("the key {target} does not exist"));
            return Ok(SeedKey::Key(visible(target).ok_or_else(absent)?));
        }
        if let Some(id) = self.id {
            return match (visible(id), store.removed_at(id).await?) {
                (Some(record), _) => Ok(SeedKey::Key(record)),
                (None, None) => Ok(SeedKey::None(id)),
                (None, Some(_)) => Err(wrong(&format!("the key {id} was deleted"))),
            };
        }
        let instance = store.instance().await?.id;
        for number in 0..MAX_SUCCESSORS {
            let id = KeyId::derived(&format!("{instance} {} {number}", self.alias));
            let known = store.key(id);
            if known.is_none() && store.removed_at(id).await?.is_none() {
                return Ok(SeedKey::None(id));
            }
            let Some(record) = known else { continue };
            // Another gateway of the cluster makes it for the same file.
            if record.state == KeyState::Creating {
                return Err(wrong(&format!("the key {id} is being created")));
            }
            let aliases = store.aliases_of(id);
            let is_named = aliases.iter().any(|one| one.name == *self.alias.alias());
            let is_live = matches!(record.state, KeyState::Enabled | KeyState::PendingImport);
            if record.is_visible() && (is_named || is_live && aliases.is_empty()) {
                return Ok(SeedKey::Key(record));
            }
        }
        Err(wrong("too many keys of this alias were deleted"))
    }

    async fn create(&self, id: KeyId, work: &Work<'_>) -> anyhow::Result<Option<Arc<KeyRecord>>> {
        let (spec, usage) = self.kind();
        let tags = tags_as_json(self.tags.iter())?;
        let rotation = self.rotation.and_then(|rotation| rotation.0).map(|one| one.to_string());
        let mut parameters = vec![("KeySpec", spec.as_str()), ("Tags", &*tags)];
        parameters.extend(usage.map(|usage| ("KeyUsage", usage.as_str())));
        parameters.extend(self.description.as_ref().map(|text| ("Description", text.as_str())));
        if self.material.is_some() {
            parameters.push(("Origin", "EXTERNAL"));
        }
        if let Some(interval) = &rotation {
            parameters.push(("EnableAutomaticRotation", "true"));
            parameters.push(("RotationInterval", interval));
        }
        let made =
            work.call_with(&parameters, |operation: CreateKey| operation.with_id(id)).await?;
        Ok(made.and_then(|id| work.store().key(id)))
    }

    /// Refuses a key of another kind.
    fn check(&self, record: &KeyRecord) -> anyhow::Result<()> {
        let (spec, usage) = (self.spec.unwrap_or(record.spec), self.usage.unwrap_or(record.usage));
        if spec == record.spec && usage == record.usage {
            return Ok(());
        }
        Err(wrong(&format!(
            "{} is a key {} for {}, which cannot be changed to {spec} for {usage}",
            self.alias, record.spec, record.usage
        )))
    }

    async fn name_it(
        &self,
        key: Option<KeyId>,
        aliases: &[&OperatorAlias],
        difference: &mut Difference,
        work: &Work<'_>,
    ) -> anyhow::Result<()> {
        for alias in aliases.iter().map(|alias| alias.alias()) {
            match (work.store().alias_target(alias), key) {
                (Some(target), Some(key)) if target == key => {}
                (Some(target), _) => {
                    return Err(wrong(&format!(
                        "{alias} is an alias of the key {target}: change it with \
                         hsmgate alias update, or delete it"
                    )));
                }
                (None, key) => {
                    difference.change(alias.as_str());
                    if let Some(key) = key.filter(|_key| !work.is_plan()) {
                        work.store().create_alias(alias, key).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Description, tags and rotation. What the entry does not say stays as it is.
    async fn change(
        &self,
        record: &KeyRecord,
        difference: &mut Difference,
        work: &Work<'_>,
    ) -> anyhow::Result<()> {
        let id = ("KeyId", record.id.as_str());
        let differs = |text: &&Description| text.as_str() != record.description;
        if let Some(text) = self.description.as_ref().filter(differs) {
            difference.change("description");
            work.call::<UpdateKeyDescription>(&[id, ("Description", text.as_str())]).await?;
        }
        change_tags(id, &self.tags, &record.tags, difference, work).await?;
        let rotation = record.rotation.map(|Rotation { interval }| interval);
        if let Some(wanted) = self.rotation.filter(|wanted| wanted.0 != rotation) {
            difference.change(format!("rotation {wanted}"));
            let interval = wanted.0.map(|interval| interval.to_string());
            let is_on = if interval.is_some() { "true" } else { "false" };
            let mut parameters = vec![id, ("EnableAutomaticRotation", is_on)];
            parameters.extend(interval.as_deref().map(|text| ("RotationInterval", text)));
            work.call::<UpdateRotationPolicy>(&parameters).await?;
        }
        Ok(())
    }

    /// Imports the material of a key that has none yet.
    async fn import(
        &self,
        record: &KeyRecord,
        difference: &mut Difference,
        work: &Work<'_>,
    ) -> anyhow::Result<()> {
        let Some(material) = &self.material else { return Ok(()) };
        if record.state != KeyState::PendingImport {
            return Ok(());
        }
        difference.change("material");
        let material = material.value().expose_secret();
        let material = STANDARD.decode(material).map(Zeroizing::new);
        let material =
            material.map_err(|_malformed| CliError::usage("the material is not Base64"))?;
        let mut outcome = Ok(());
        for (name, algorithm) in import::OAEP {
            let parameters = [
                ("KeyId", record.id.as_str()),
                ("WrappingKeySpec", import::WRAPPING_KEY_SPEC),
                ("WrappingAlgorithm", name),
            ];
            match work.call::<GetParametersForImport>(&parameters).await {
                Ok(None) => return Ok(()),
                Ok(Some(answer)) => {
                    let answer: Value = serde_json::to_value(answer)?;
                    let public_key = STANDARD.decode(response::text(&answer, &["PublicKey"])?)?;
                    let wrapped = STANDARD.encode(import::wrap(&public_key, &material, algorithm)?);
                    let parameters = [
                        ("KeyId", record.id.as_str()),
                        ("EncryptedKeyMaterial", &*wrapped),
                        ("ImportToken", response::text(&answer, &["ImportToken"])?),
                        ("KeyMaterialExpireUnix", "0"),
                    ];
                    return work.call::<ImportKeyMaterial>(&parameters).await.map(drop);
                }
                // The token does not have the algorithm.
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }
}

fn wrong(what: &str) -> anyhow::Error {
    CliError::WrongState(what.to_owned()).into()
}
