//! The record of a secret, and the rules of its versions and labels.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    MAX_VERSION_STAGES, SecretDataType, SecretName, SecretRowId, SecretVersionId, VersionStage,
};
use crate::model::{Base64Bytes, InstanceId, KeyId, TagKey, TagValue, Time};

/// The maximum number of versions of a secret (PutSecretValue).
pub const MAX_SECRET_VERSIONS: usize = 10;

/// The stored record of a secret, without its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// The name.
    pub name: SecretName,
    /// The random id of the row.
    pub row: SecretRowId,
    /// The key that encrypts the data keys.
    pub key: KeyId,
    /// Whether the creator named the key. Otherwise it is a key of the gateway.
    pub names_key: bool,
    /// The instance named at creation, if any.
    pub instance: Option<InstanceId>,
    /// The description.
    pub description: String,
    /// The tags.
    pub tags: BTreeMap<TagKey, TagValue>,
    /// The policy as written by its owner, if it has one.
    pub policy: Option<String>,
    /// Creation time.
    pub created: Time,
    /// The time of the last change of a version, a label, the description or the policy.
    pub updated: Time,
    /// When it will be deleted, if its deletion is scheduled.
    pub delete_at: Option<Time>,
    /// The versions, oldest first.
    pub versions: Vec<SecretVersion>,
}

/// A version of a secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretVersion {
    /// The id.
    pub id: SecretVersionId,
    /// Creation time.
    pub created: Time,
    /// What its value is.
    pub data_type: SecretDataType,
    /// Its labels. Without one it is deprecated.
    pub stages: BTreeSet<VersionStage>,
    /// The data key of the value, as a ciphertext blob of the key of the secret.
    pub wrapped_key: Base64Bytes,
}

/// Why a change of versions or labels is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretFault {
    /// The secret would have more labels than the maximum.
    #[error("a secret has at most {MAX_VERSION_STAGES} labels")]
    TooManyStages,
    /// One version would be both the current and the previous one.
    #[error("a version cannot be both the current and the previous one")]
    CurrentAndPrevious,
    /// The label is not on the version that it should be removed from.
    #[error("the version does not have the label")]
    NotOnVersion,
    /// The label cannot be removed, only moved.
    #[error("ACSCurrent and ACSPrevious can only be moved to another version")]
    NotRemovable,
    /// The version does not exist.
    #[error("the version does not exist")]
    NoSuchVersion,
}

/// The version that a caller names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelectedVersion {
    /// By its id.
    Id(SecretVersionId),
    /// By its label.
    Stage(VersionStage),
}

impl SecretRecord {
    /// The version with this id.
    pub fn version(&self, id: &SecretVersionId) -> Option<&SecretVersion> {
        self.versions.iter().find(|version| version.id == *id)
    }

    /// The version that a caller names.
    pub fn selected(&self, selected: &SelectedVersion) -> Option<&SecretVersion> {
        match selected {
            SelectedVersion::Id(id) => self.version(id),
            SelectedVersion::Stage(stage) => self.bearer(stage),
        }
    }

    /// The version that has a label.
    fn bearer(&self, stage: &VersionStage) -> Option<&SecretVersion> {
        self.versions.iter().find(|version| version.stages.contains(stage))
    }

    /// Adds a version, whose labels are taken from the versions that had them. The former current
    /// version becomes the previous one. Beyond the maximum, the oldest version without a label is
    /// dropped.
    ///
    /// # Errors
    /// When the labels are not possible; the record is then to be discarded.
    pub fn add_version(&mut self, version: SecretVersion) -> Result<(), SecretFault> {
        let stages = version.stages.clone();
        if stages.iter().any(VersionStage::is_current)
            && stages.iter().any(VersionStage::is_previous)
        {
            return Err(SecretFault::CurrentAndPrevious);
        }
        let id = version.id.clone();
        self.versions.push(SecretVersion { stages: BTreeSet::new(), ..version });
        for stage in &stages {
            self.put_stage(stage, &id);
        }
        self.check_stages()?;
        while self.versions.len() > MAX_SECRET_VERSIONS {
            // Fewer labels than versions are possible, so there is always one.
            let Some(at) = self.versions.iter().position(|version| version.stages.is_empty())
            else {
                break;
            };
            self.versions.remove(at);
        }
        Ok(())
    }

    /// Moves a label to a version, or removes it from one, or both: then the label must be on that
    /// version now.
    ///
    /// # Errors
    /// When a version does not exist, or the label cannot be moved so; the record is then to be
    /// discarded.
    pub fn move_stage(
        &mut self,
        stage: &VersionStage,
        to: Option<&SecretVersionId>,
        from: Option<&SecretVersionId>,
    ) -> Result<(), SecretFault> {
        if let Some(from) = from {
            let version = self.version(from).ok_or(SecretFault::NoSuchVersion)?;
            if to.is_none() && (stage.is_current() || stage.is_previous()) {
                return Err(SecretFault::NotRemovable);
            }
            if !version.stages.contains(stage) {
                return Err(SecretFault::NotOnVersion);
            }
        }
        let Some(to) = to else {
            self.take_stage(stage);
            return Ok(());
        };
        let target = self.version(to).ok_or(SecretFault::NoSuchVersion)?;
        if stage.is_previous() && target.stages.contains(&VersionStage::current()) {
            return Err(SecretFault::CurrentAndPrevious);
        }
        self.put_stage(stage, to);
        self.check_stages()
    }

    /// Puts a label on a version, and takes it from the version that had it.
    fn put_stage(&mut self, stage: &VersionStage, to: &SecretVersionId) {
        let former = self.bearer(stage).map(|version| version.id.clone());
        if former.as_ref() == Some(to) {
            return;
        }
        self.take_stage(stage);
        if stage.is_current() {
            let previous = VersionStage::previous();
            self.take_stage(&previous);
            if let Some(former) = former {
                self.insert_stage(previous, &former);
            }
        }
        self.insert_stage(stage.clone(), to);
    }

    fn insert_stage(&mut self, stage: VersionStage, to: &SecretVersionId) {
        if let Some(version) = self.versions.iter_mut().find(|version| version.id == *to) {
            version.stages.insert(stage);
        }
    }

    fn take_stage(&mut self, stage: &VersionStage) {
        for version in &mut self.versions {
            version.stages.remove(stage);
        }
    }

    fn check_stages(&self) -> Result<(), SecretFault> {
        let count: usize = self.versions.iter().map(|version| version.stages.len()).sum();
        if count > MAX_VERSION_STAGES { Err(SecretFault::TooManyStages) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock;

    fn id(text: &str) -> SecretVersionId {
        text.parse().unwrap()
    }

    fn stage(text: &str) -> VersionStage {
        text.parse().unwrap()
    }

    fn version(name: &str, stages: &[&str]) -> SecretVersion {
        SecretVersion {
            id: id(name),
            created: clock::now(),
            data_type: SecretDataType::Text,
            stages: stages.iter().map(|text| stage(text)).collect(),
            wrapped_key: Base64Bytes(vec![1]),
        }
    }

    fn secret() -> SecretRecord {
        let now = clock::now();
        SecretRecord {
            name: "db".parse().unwrap(),
            row: SecretRowId::random(),
            key: KeyId::random(),
            names_key: false,
            instance: None,
            description: String::new(),
            tags: BTreeMap::new(),
            policy: None,
            created: now,
            updated: now,
            delete_at: None,
            versions: vec![version("1", &["ACSCurrent"])],
        }
    }

    /// The versions with their labels, such as `1 ACSPrevious` and `2 ACSCurrent blue`.
    fn shown(secret: &SecretRecord) -> Vec<String> {
        let show = |version: &SecretVersion| {
            let stages = version.stages.iter().map(VersionStage::as_str);
            [version.id.as_str()].into_iter().chain(stages).collect::<Vec<_>>().join(" ")
        };
        secret.versions.iter().map(show).collect()
    }

    #[test]
    fn a_put_moves_the_current_and_the_previous_label() {
        let mut secret = secret();
        secret.add_version(version("2", &["ACSCurrent"])).unwrap();
        assert_eq!(shown(&secret), ["1 ACSPrevious", "2 ACSCurrent"]);
        secret.add_version(version("3", &["ACSCurrent", "blue"])).unwrap();
        assert_eq!(shown(&secret), ["1", "2 ACSPrevious", "3 ACSCurrent blue"]);
        secret.add_version(version("4", &["blue"])).unwrap();
        assert_eq!(shown(&secret), ["1", "2 ACSPrevious", "3 ACSCurrent", "4 blue"]);
        let both = version("5", &["ACSCurrent", "ACSPrevious"]);
        assert_eq!(secret.clone().add_version(both), Err(SecretFault::CurrentAndPrevious));
        secret.add_version(version("5", &["ACSPrevious"])).unwrap();
        assert_eq!(shown(&secret), ["1", "2", "3 ACSCurrent", "4 blue", "5 ACSPrevious"]);
    }

    #[test]
    fn eleven_puts_with_eight_labels_drop_the_oldest_version_without_one() {
        let mut secret = secret();
        for number in 2..=7 {
            let name = number.to_string();
            secret.add_version(version(&name, &[&format!("label-{number}")])).unwrap();
        }
        secret.add_version(version("8", &["ACSCurrent"])).unwrap();
        let too_many = secret.clone().add_version(version("9", &["label-9"]));
        assert_eq!(too_many, Err(SecretFault::TooManyStages));
        // Takes the label of 2 and 3, which have none then.
        secret.add_version(version("9", &["label-2"])).unwrap();
        secret.add_version(version("10", &["label-3"])).unwrap();
        secret.add_version(version("11", &["label-4"])).unwrap();
        assert_eq!(
            shown(&secret),
            [
                "1 ACSPrevious",
                "3",
                "4",
                "5 label-5",
                "6 label-6",
                "7 label-7",
                "8 ACSCurrent",
                "9 label-2",
                "10 label-3",
                "11 label-4",
            ]
        );
    }

    #[test]
    fn a_label_is_moved_as_the_table_says() {
        let mut secret = secret();
        secret.add_version(version("2", &["ACSCurrent", "blue"])).unwrap();
        secret.add_version(version("3", &["green"])).unwrap();
        let moved = |label: &str, to: Option<&str>, from: Option<&str>| {
            let mut secret = secret.clone();
            let (to, from) = (to.map(id), from.map(id));
            secret.move_stage(&stage(label), to.as_ref(), from.as_ref())?;
            Ok::<_, SecretFault>(shown(&secret).join(", "))
        };
        for (label, to, from, expected) in [
            // Back to the former version.
            ("ACSCurrent", Some("1"), None, Ok("1 ACSCurrent, 2 ACSPrevious blue, 3 green")),
            ("ACSCurrent", Some("3"), None, Ok("1, 2 ACSPrevious blue, 3 ACSCurrent green")),
            ("ACSCurrent", Some("3"), Some("2"), Ok("1, 2 ACSPrevious blue, 3 ACSCurrent green")),
            ("ACSCurrent", Some("3"), Some("1"), Err(SecretFault::NotOnVersion)),
            ("ACSCurrent", Some("2"), None, Ok("1 ACSPrevious, 2 ACSCurrent blue, 3 green")),
            ("ACSCurrent", Some("2"), Some("2"), Ok("1 ACSPrevious, 2 ACSCurrent blue, 3 green")),
            ("ACSCurrent", None, Some("2"), Err(SecretFault::NotRemovable)),
            ("ACSPrevious", None, Some("1"), Err(SecretFault::NotRemovable)),
            ("ACSPrevious", Some("3"), None, Ok("1, 2 ACSCurrent blue, 3 ACSPrevious green")),
            ("ACSPrevious", Some("2"), None, Err(SecretFault::CurrentAndPrevious)),
            ("blue", None, Some("2"), Ok("1 ACSPrevious, 2 ACSCurrent, 3 green")),
            ("blue", None, Some("3"), Err(SecretFault::NotOnVersion)),
            ("blue", Some("3"), None, Ok("1 ACSPrevious, 2 ACSCurrent, 3 blue green")),
            ("red", Some("1"), None, Ok("1 ACSPrevious red, 2 ACSCurrent blue, 3 green")),
            ("red", Some("9"), None, Err(SecretFault::NoSuchVersion)),
            ("red", Some("1"), Some("9"), Err(SecretFault::NoSuchVersion)),
        ] {
            let outcome = moved(label, to, from);
            assert_eq!(outcome.as_deref(), expected.as_ref().copied(), "{label} {to:?} {from:?}");
        }
    }

    #[test]
    fn a_version_is_selected_by_id_or_by_label() {
        let mut secret = secret();
        secret.add_version(version("2", &["ACSCurrent"])).unwrap();
        let found = |selected| secret.selected(&selected).map(|version| version.id.as_str());
        assert_eq!(found(SelectedVersion::Stage(VersionStage::current())), Some("2"));
        assert_eq!(found(SelectedVersion::Stage(VersionStage::previous())), Some("1"));
        assert_eq!(found(SelectedVersion::Stage(stage("blue"))), None);
        assert_eq!(found(SelectedVersion::Id(id("1"))), Some("1"));
        assert_eq!(found(SelectedVersion::Id(id("3"))), None);
    }
}
