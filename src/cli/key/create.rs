//! `hsmgate key create`.

use std::str::FromStr;

use anyhow::Context;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::Value;

use crate::cli::client::CallError;
use crate::cli::connection::{Connection, Remote};
use crate::cli::exit::CliError;
use crate::cli::{alias, output, response};
use crate::model::text_form::InvalidId;
use crate::model::{Alias, KeySpec, KeyUsage, Origin};

#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// A description of the key
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// An alias for the key, with or without alias/ in front
    #[arg(long, value_name = "NAME", value_parser = alias::parse::<Alias>)]
    alias: Option<Alias>,
    /// If the alias exists, create nothing, and show its key
    #[arg(long, requires = "alias")]
    if_absent: bool,
    /// Its key spec [default: Aliyun_AES_256]
    #[arg(long, value_parser = one_of(KeySpec::ALL, KeySpec::as_str))]
    spec: Option<KeySpec>,
    /// Its key usage [default: the spec's first usage]
    #[arg(long, value_parser = one_of(KeyUsage::ALL, KeyUsage::as_str))]
    usage: Option<KeyUsage>,
    /// Where its material is from: EXTERNAL waits for `hsmgate key import` [default: Aliyun_KMS]
    #[arg(long, value_parser = one_of(Origin::ALL, Origin::as_str))]
    origin: Option<Origin>,
    /// Print the key's metadata as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Takes one of these values, which help and errors list.
fn one_of<T>(all: &'static [T], text: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = InvalidId> + Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.iter().map(|value| text(*value)))
        .try_map(|value| value.parse::<T>())
}

impl Create {
    pub(in crate::cli) fn run(self) -> anyhow::Result<()> {
        let given = [
            ("Description", self.description.as_deref()),
            ("KeySpec", self.spec.map(KeySpec::as_str)),
            ("KeyUsage", self.usage.map(KeyUsage::as_str)),
            ("Origin", self.origin.map(Origin::as_str)),
        ];
        let params: Vec<(&str, &str)> =
            given.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
        let remote = self.connection.open()?;
        if let Some(alias) = &self.alias
            && let Some(key) = key_of(&remote, alias)?
        {
            return self.show_existing(alias, &key);
        }
        let answer = remote.call("CreateKey", &params)?;
        let key_id = response::text(&answer, &["KeyMetadata", "KeyId"])?;
        if let Some(alias) = &self.alias {
            remote
                .call("CreateAlias", &[("AliasName", alias.as_str()), ("KeyId", key_id)])
                .with_context(|| format!("key {key_id} was created, but not {alias}"))?;
        }
        self.show(&answer)
    }

    fn show_existing(&self, alias: &Alias, key: &Value) -> anyhow::Result<()> {
        if self.if_absent {
            return self.show(key);
        }
        let key_id = response::text(key, &["KeyMetadata", "KeyId"])?;
        let what = format!("{alias} exists already, for {key_id}: no key was created");
        Err(CliError::WrongState(what).into())
    }

    fn show(&self, answer: &Value) -> anyhow::Result<()> {
        if self.json {
            output::json(&answer.get("KeyMetadata"))?;
        } else {
            output::line(response::text(answer, &["KeyMetadata", "KeyId"])?)?;
        }
        Ok(())
    }
}

/// The key of an alias, so that no key is created whose alias cannot be. Without the permission to ask,
/// none is known.
fn key_of(remote: &Remote, alias: &Alias) -> Result<Option<Value>, CallError> {
    match remote.call("DescribeKey", &[("KeyId", alias.as_str())]) {
        Ok(key) => Ok(Some(key)),
        Err(CallError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
