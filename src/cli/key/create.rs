//! `hsmgate key create`.

use std::str::FromStr;

use anyhow::Context;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::cli::connection::Connection;
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
        let answer = remote.call("CreateKey", &params)?;
        let key_id = response::text(&answer, &["KeyMetadata", "KeyId"])?;
        if let Some(alias) = &self.alias {
            remote
                .call("CreateAlias", &[("AliasName", alias.as_str()), ("KeyId", key_id)])
                .with_context(|| format!("key {key_id} was created, but not {alias}"))?;
        }
        if self.json {
            output::json(&answer.get("KeyMetadata"))?;
        } else {
            output::line(key_id)?;
        }
        Ok(())
    }
}
