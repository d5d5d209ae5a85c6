//! The labels of versions.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::name::MARKS;
use crate::model::text_form::{FromParam, InvalidId, is_ascii_name, text_type};

/// The maximum number of labels of all versions of one secret (PutSecretValue, parameter
/// VersionStages).
pub const MAX_VERSION_STAGES: usize = 8;

text_type! {
    /// A label of a version: 1 to 64 of the characters of a name. `ACSCurrent` and `ACSPrevious` have
    /// a meaning. Others may begin with `ACS` too: the vendor's Terraform provider uses `ACSNext`.
    ///
    /// ```
    /// use hsmgate::model::VersionStage;
    /// assert!("ACSNext".parse::<VersionStage>().is_ok());
    /// assert!("two words".parse::<VersionStage>().is_err());
    /// ```
    VersionStage, "version stage", |text| is_ascii_name(text, 64, MARKS)
}

impl VersionStage {
    /// `ACSCurrent`: the version that is read if none is named.
    pub fn current() -> Self {
        Self("ACSCurrent".into())
    }

    /// `ACSPrevious`: the version that was current before.
    pub fn previous() -> Self {
        Self("ACSPrevious".into())
    }

    /// Whether it is `ACSCurrent`.
    pub fn is_current(&self) -> bool {
        self.as_str() == "ACSCurrent"
    }

    /// Whether it is `ACSPrevious`.
    pub fn is_previous(&self) -> bool {
        self.as_str() == "ACSPrevious"
    }
}

/// The labels of a new version as sent (PutSecretValue, parameter VersionStages): a JSON array, or
/// an object with the array as `VersionStage`. A repeated label counts once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionStages(pub BTreeSet<VersionStage>);

/// Those of a version that becomes the current one.
impl Default for VersionStages {
    fn default() -> Self {
        Self([VersionStage::current()].into())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Wrapped {
    version_stage: BTreeSet<VersionStage>,
}

impl FromParam for VersionStages {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        let is_object = text.trim_start().starts_with('{');
        let stages: Result<BTreeSet<VersionStage>, _> = if is_object {
            serde_json::from_str(text).map(|Wrapped { version_stage }| version_stage)
        } else {
            serde_json::from_str(text)
        };
        let stages = stages.map_err(|_source| InvalidId("list of version stages"))?;
        Ok(if stages.is_empty() { Self::default() } else { Self(stages) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_list_are_read() {
        let stages = |text: &str| {
            let VersionStages(stages) = VersionStages::from_param(text).unwrap();
            stages.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        for text in
            [r#"["ACSCurrent","blue"]"#, r#" {"VersionStage": ["blue","ACSCurrent","blue"]}"#]
        {
            assert_eq!(stages(text), ["ACSCurrent", "blue"], "{text}");
        }
        for text in ["[]", r#"{"VersionStage":[]}"#] {
            assert_eq!(stages(text), ["ACSCurrent"], "{text}");
        }
        for text in ["", "ACSCurrent", r#"["two words"]"#, r#"[""]"#, r#"{"Stage":["a"]}"#, "[1]"] {
            assert!(VersionStages::from_param(text).is_err(), "{text}");
        }
    }
}
