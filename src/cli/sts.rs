//! `hsmgate sts assume`: temporary credentials for a user or a role.

use std::path::PathBuf;

use clap::Args;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::exit::CliError;
use super::operator::{Operator, OperatorCommand};
use super::output::Output;
use super::policy_arg;
use super::settings::ConfigAndReason;
use super::sts_token::TokenArgs;
use crate::app::Backend;
use crate::authn::{AssumeRoleRequest, Credentials};
use crate::config::Duty;
use crate::model::policy::Policy;
use crate::model::{
    MAX_SESSION_SECONDS, MIN_SESSION_SECONDS, PrincipalKind, PrincipalName, SessionName, clock,
};

commands! {
    pub(super) enum Sts {
        /// Create temporary credentials, and print them once
        Assume(AssumeArgs);
        /// Exchange a token of an identity provider for credentials, and print them for a library
        Token(TokenArgs);
    }
}

#[derive(Debug, Args)]
pub(super) struct AssumeArgs {
    #[command(flatten)]
    common: ConfigAndReason,
    #[command(flatten)]
    principal: PrincipalArg,
    /// The session name in audit records
    #[arg(long, default_value = "hsmgate", value_name = "NAME")]
    session_name: String,
    /// Validity in seconds
    #[arg(long, default_value_t = 3600, value_name = "SECONDS",
          value_parser = clap::value_parser!(i64).range(MIN_SESSION_SECONDS..=MAX_SESSION_SECONDS))]
    duration: i64,
    /// A policy document that restricts them
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print JSON as in the response of AssumeRole
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct PrincipalArg {
    /// The role whose permissions they have
    #[arg(long, value_name = "NAME")]
    role_name: Option<String>,
    /// The user whose permissions they have
    #[arg(long, value_name = "NAME")]
    user_name: Option<String>,
}

impl AssumeArgs {
    fn run(&self) -> anyhow::Result<()> {
        self.common.execute(&self.command()?)
    }

    fn command(&self) -> anyhow::Result<AssumeRole> {
        let principal = match (&self.principal.role_name, &self.principal.user_name) {
            (Some(role), _) => PrincipalName::role(role),
            (None, user) => PrincipalName::user(user.as_deref().unwrap_or_default()),
        };
        let principal = principal.map_err(|error| CliError::usage(error.to_string()))?;
        let name = self.session_name.parse::<SessionName>();
        let name = name.map_err(|error| CliError::usage(format!("--session-name: {error}")))?;
        let policy = self.policy.as_deref().map(policy_arg::text).transpose()?;
        if let (Some(text), Some(path)) = (&policy, &self.policy) {
            Policy::parse(text)
                .and_then(|policy| policy.check_cost())
                .map_err(|fault| CliError::usage(format!("{}: {fault}", path.display())))?;
        }
        Ok(AssumeRole { principal, name, seconds: self.duration, policy, json: self.json })
    }
}

/// Creates temporary credentials.
#[derive(Serialize, Deserialize)]
pub(super) struct AssumeRole {
    principal: PrincipalName,
    name: SessionName,
    seconds: i64,
    policy: Option<String>,
    json: bool,
}

impl OperatorCommand for AssumeRole {
    const NAME: &'static str = "sts assume";
    const DUTY: Option<Duty> = Some(Duty::Principals);
    type On = Backend;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![
            ("Principal", self.principal.to_string()),
            ("RoleSessionName", self.name.to_string()),
            ("DurationSeconds", self.seconds.to_string()),
        ]
    }

    async fn run(&self, on: &Backend, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let longest = match on.access_keys().principal(&self.principal) {
            Some(role) if self.principal.kind() == PrincipalKind::Role => {
                role.details.max_session()
            }
            _ => MAX_SESSION_SECONDS,
        };
        if !(MIN_SESSION_SECONDS..=longest).contains(&self.seconds) {
            let what = format!(
                "the validity must be {MIN_SESSION_SECONDS} to {longest} seconds: \
                 `hsmgate role update --max-session` sets the longest of a role"
            );
            return Err(CliError::usage(what).into());
        }
        let request = AssumeRoleRequest {
            principal: self.principal.clone(),
            name: self.name.to_string(),
            expires: clock::now().plus_seconds(self.seconds),
            policy: self.policy.clone(),
        };
        let credentials = on.access_keys().assume(request).await?;
        Ok(write(output, &credentials, self.json)?)
    }
}

fn write(output: &mut Output, credentials: &Credentials, as_json: bool) -> std::io::Result<()> {
    let secret = credentials.secret.expose_secret();
    let token = credentials.security_token.expose_secret();
    if as_json {
        return output.json(&json!({"Credentials": {
            "AccessKeyId": credentials.access_key_id,
            "AccessKeySecret": secret,
            "SecurityToken": token,
            "Expiration": credentials.expires,
        }}));
    }
    output.columns(&[
        ("AccessKeyId", credentials.access_key_id.to_string()),
        ("AccessKeySecret", secret.to_owned()),
        ("SecurityToken", token.to_owned()),
        ("Expiration", credentials.expires.to_string()),
    ]);
    Ok(())
}
