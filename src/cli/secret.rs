//! `hsmgate secret`: secrets, through the API. A value comes from a file or standard input, and never
//! from an argument, which other accounts of the host can read.

use std::io::{IsTerminal as _, stdout};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::connection::Connection;
use super::data::{pair, read_input, write_output};
use super::exit::CliError;
use super::rewrap::Rewrap;
use super::{key, output, response};
use crate::model::{
    MAX_SECRET_BYTES, SecretDataType, SecretRef, SecretVersionId, VersionStage, random,
};

commands! {
    pub(super) enum Secret {
        /// Create a secret with its first version
        Create(Create);
        /// Store a value as a new version
        Put(Put);
        /// Write a value to standard output or a file
        Get(Get);
        /// List all secrets
        List(List);
        /// List the versions of a secret with their labels
        Versions(Versions);
        /// Show the metadata of a secret
        Describe(Describe);
        /// Add tags to a secret, or replace their values
        Tag(Tag);
        /// Move a label to a version, or remove it from one
        MoveStage(MoveStage);
        /// Schedule the deletion of a secret, or delete it at once
        Delete(Delete);
        /// Cancel the deletion of a secret
        Restore(Restore);
        /// Encrypt data keys again by the primary version of their key, after its rotation
        Rewrap(Rewrap);
    }
}

/// A value to store.
#[derive(Debug, Args)]
struct NewValue {
    /// The file with the value, stored as it is; - is standard input
    #[arg(long = "in", value_name = "FILE", default_value = "-")]
    input: PathBuf,
    /// The version [default: a random UUID]
    #[arg(long, value_name = "ID", value_parser = parse::<SecretVersionId>)]
    version: Option<SecretVersionId>,
    /// What the value is: text or binary
    #[arg(long = "type", value_name = "TYPE", default_value = "text")]
    data_type: SecretDataType,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The name of the secret
    name: SecretName,
    /// The key that encrypts the data keys: its id, an alias or an ARN [default: one of the gateway]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// A description
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    value: NewValue,
    /// Print the response as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct Put {
    /// The name of the secret
    name: SecretName,
    /// A label of the version [default: ACSCurrent] (may be repeated)
    #[arg(long = "stage", value_name = "LABEL", value_parser = parse::<VersionStage>)]
    stages: Vec<VersionStage>,
    #[command(flatten)]
    value: NewValue,
    /// Print the response as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct Get {
    /// The name of the secret
    name: SecretName,
    /// The version by its label [default: ACSCurrent]
    #[arg(long, value_name = "LABEL", value_parser = parse::<VersionStage>)]
    stage: Option<VersionStage>,
    /// The version by its id
    #[arg(long, value_name = "ID", value_parser = parse::<SecretVersionId>, conflicts_with = "stage")]
    version: Option<SecretVersionId>,
    /// The file for the value, accessible only to its owner [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the value to a terminal
    #[arg(long)]
    show: bool,
    /// Print the whole response as JSON, with the value
    #[arg(long, conflicts_with = "out")]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct Versions {
    /// The name of the secret
    name: SecretName,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct Describe {
    /// The name of the secret
    name: SecretName,
    /// Print the metadata as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct Tag {
    /// The name of the secret
    name: SecretName,
    /// The tags
    #[arg(value_name = "NAME=VALUE", required = true, value_parser = pair)]
    tags: Vec<(String, String)>,
    /// Print the secret and its new tags as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct MoveStage {
    /// The name of the secret
    name: SecretName,
    /// The label
    #[arg(value_parser = parse::<VersionStage>)]
    stage: VersionStage,
    /// The version that gets the label
    #[arg(long, value_name = "ID", value_parser = parse::<SecretVersionId>, required_unless_present = "from")]
    to: Option<SecretVersionId>,
    /// The version that must have the label now, and loses it
    #[arg(long, value_name = "ID", value_parser = parse::<SecretVersionId>)]
    from: Option<SecretVersionId>,
    /// Print the response as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    /// The name of the secret
    name: SecretName,
    /// The days until the deletion, 7 to 30
    #[arg(long, value_name = "DAYS", default_value = "30", conflicts_with = "force")]
    days: u32,
    /// Delete the secret at once and for ever
    #[arg(long)]
    force: bool,
    /// Print the response as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The name of the secret
    name: SecretName,
    /// Print the response as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// The name or the ARN of a secret, checked before a request is sent.
#[derive(Debug, Clone)]
struct SecretName(String);

impl std::str::FromStr for SecretName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse::<SecretRef>(text).map(|_valid| Self(text.to_owned()))
    }
}

impl SecretName {
    fn param(&self) -> (&'static str, &str) {
        ("SecretName", &self.0)
    }
}

impl NewValue {
    /// The version, and the value as text.
    fn read(&self) -> anyhow::Result<(String, Zeroizing<String>)> {
        let bytes = read_input(&self.input, MAX_SECRET_BYTES)?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_source| CliError::usage("the value is not UTF-8 text: encode it first"))?;
        let version = self.version.as_ref().map(ToString::to_string);
        let version = version.unwrap_or_else(|| random::uuid().to_string());
        Ok((version, Zeroizing::new(text.to_owned())))
    }
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        let (version, value) = self.value.read()?;
        let mut params = vec![
            self.name.param(),
            ("VersionId", &version),
            ("SecretData", &value),
            ("SecretDataType", self.value.data_type.as_str()),
        ];
        params.extend(self.key.as_deref().map(|key| ("EncryptionKeyId", key)));
        params.extend(self.description.as_deref().map(|text| ("Description", text)));
        show(&self.connection.open()?.call("CreateSecret", &params)?, "VersionId", self.json)
    }
}

impl Put {
    fn run(self) -> anyhow::Result<()> {
        let (version, value) = self.value.read()?;
        let stages = (!self.stages.is_empty()).then(|| json!(self.stages).to_string());
        let mut params = vec![
            self.name.param(),
            ("VersionId", &version),
            ("SecretData", &value),
            ("SecretDataType", self.value.data_type.as_str()),
        ];
        params.extend(stages.as_deref().map(|stages| ("VersionStages", stages)));
        show(&self.connection.open()?.call("PutSecretValue", &params)?, "VersionId", self.json)
    }
}

impl Get {
    fn run(self) -> anyhow::Result<()> {
        if self.out.is_none() && !self.show && stdout().is_terminal() {
            let told = "standard output is a terminal: --show writes the value there, --out FILE to a file";
            return Err(CliError::usage(told).into());
        }
        let mut params = vec![self.name.param()];
        params.extend(self.stage.as_ref().map(|stage| ("VersionStage", stage.as_str())));
        params.extend(self.version.as_ref().map(|version| ("VersionId", version.as_str())));
        let answer = self.connection.open()?.call("GetSecretValue", &params)?;
        if self.json {
            return Ok(output::json(&answer)?);
        }
        write_output(self.out.as_deref(), response::text(&answer, &["SecretData"])?.as_bytes())
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let remote = self.connection.open()?;
        let secrets = key::all(&remote, "ListSecrets", &[], ["SecretList", "Secret"])?;
        let word = |secret: &Value, name: &str| {
            secret.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        Ok(output::list(&secrets, self.json, Clone::clone, |secret| {
            let deletion = match word(secret, "PlannedDeleteTime") {
                date if date.is_empty() => String::new(),
                date => format!("deletion at {date}"),
            };
            (word(secret, "SecretName"), deletion)
        })?)
    }
}

impl Versions {
    fn run(self) -> anyhow::Result<()> {
        let remote = self.connection.open()?;
        let params = [self.name.param(), ("IncludeDeprecated", "true")];
        let versions =
            key::all(&remote, "ListSecretVersionIds", &params, ["VersionIds", "VersionId"])?;
        Ok(output::list(&versions, self.json, Clone::clone, |version| {
            let id = version.get("VersionId").and_then(Value::as_str).unwrap_or_default();
            let stages = version.get("VersionStages").and_then(|list| list.get("VersionStage"));
            let stages = stages.and_then(Value::as_array).into_iter().flatten();
            let stages: Vec<_> = stages.filter_map(Value::as_str).collect();
            (id.to_owned(), stages.join(" "))
        })?)
    }
}

impl Describe {
    fn run(self) -> anyhow::Result<()> {
        let params = [self.name.param(), ("FetchTags", "true")];
        let answer = self.connection.open()?.call("DescribeSecret", &params)?;
        let mut metadata: Map<String, Value> =
            answer.as_object().cloned().context("the response is no object")?;
        metadata.remove("RequestId");
        if self.json {
            return Ok(output::json(&metadata)?);
        }
        let rows: Vec<_> =
            metadata.iter().map(|(name, value)| (name.as_str(), key::in_words(value))).collect();
        Ok(output::columns(&rows)?)
    }
}

impl Tag {
    fn run(self) -> anyhow::Result<()> {
        let tag = |(key, value): &(String, String)| json!({"TagKey": key, "TagValue": value});
        let tags = Value::Array(self.tags.iter().map(tag).collect());
        let params = [self.name.param(), ("Tags", &tags.to_string())];
        self.connection.open()?.call("TagResource", &params)?;
        // As DescribeSecret, for which the caller may have no permission.
        let object = json!({"SecretName": self.name.0, "Tags": {"Tag": tags}});
        Ok(output::change(&object, &format!("{} was tagged", self.name.0), self.json)?)
    }
}

impl MoveStage {
    fn run(self) -> anyhow::Result<()> {
        let mut params = vec![self.name.param(), ("VersionStage", self.stage.as_str())];
        params.extend(self.to.as_ref().map(|to| ("MoveToVersion", to.as_str())));
        params.extend(self.from.as_ref().map(|from| ("RemoveFromVersion", from.as_str())));
        let answer = self.connection.open()?.call("UpdateSecretVersionStage", &params)?;
        let words = match &self.to {
            Some(to) => format!("{} of {} is version {to} now", self.stage, self.name.0),
            None => format!("{} of {} was removed", self.stage, self.name.0),
        };
        Ok(output::change(&answer, &words, self.json)?)
    }
}

impl Delete {
    fn run(self) -> anyhow::Result<()> {
        let days = self.days.to_string();
        let how = if self.force {
            ("ForceDeleteWithoutRecovery", "true")
        } else {
            ("RecoveryWindowInDays", days.as_str())
        };
        let answer = self.connection.open()?.call("DeleteSecret", &[self.name.param(), how])?;
        show(&answer, "PlannedDeleteTime", self.json)
    }
}

impl Restore {
    fn run(self) -> anyhow::Result<()> {
        let answer = self.connection.open()?.call("RestoreSecret", &[self.name.param()])?;
        Ok(output::change(&answer, &format!("{} was restored", self.name.0), self.json)?)
    }
}

/// Prints one field of a response, or all of it as JSON.
fn show(answer: &Value, field: &str, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return Ok(output::json(answer)?);
    }
    Ok(output::line(response::text(answer, &[field])?)?)
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}
