//! `hsmgate sts token`: exchanges a token of an identity provider for a session, for programs whose
//! credential library runs a command (mode `External`).

use std::error::Error as _;
use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::runtime;

use super::client::{CallError, Client};
use super::exit::CliError;
use super::output;
use super::policy_arg;
use crate::model::{Api, SessionName};

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// The gateway
    #[arg(
        long,
        env = "HSMGATE_ENDPOINT",
        value_name = "URL",
        default_value = "http://127.0.0.1:8200"
    )]
    endpoint: String,
    /// A PEM file with the CA of the gateway's certificate [default: the CAs that the system trusts]
    #[arg(long, env = "HSMGATE_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The role to assume
    #[arg(long, env = "ALIBABA_CLOUD_ROLE_ARN", value_name = "ARN")]
    role_arn: String,
    /// The identity provider of the token
    #[arg(long, env = "ALIBABA_CLOUD_OIDC_PROVIDER_ARN", value_name = "ARN")]
    oidc_provider_arn: String,
    /// The file with the token, read at each call
    #[arg(long, env = "ALIBABA_CLOUD_OIDC_TOKEN_FILE", value_name = "FILE")]
    oidc_token_file: PathBuf,
    /// The session name in audit records
    #[arg(
        long,
        env = "ALIBABA_CLOUD_ROLE_SESSION_NAME",
        value_name = "NAME",
        default_value = "hsmgate"
    )]
    role_session_name: SessionName,
    /// Validity in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    duration: u32,
    /// A policy document that restricts the session
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print JSON as in the response of AssumeRoleWithOIDC; without it, JSON as the libraries read it
    #[arg(long)]
    json: bool,
}

impl TokenArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let token = std::fs::read_to_string(&self.oidc_token_file).map_err(|error| {
            CliError::usage(format!("{}: {error}", self.oidc_token_file.display()))
        })?;
        let policy = self.policy.as_deref().map(policy_arg::text).transpose()?;
        let duration = self.duration.to_string();
        let mut params = vec![
            ("RoleArn", self.role_arn.as_str()),
            ("OIDCProviderArn", &self.oidc_provider_arn),
            ("OIDCToken", token.trim()),
            ("RoleSessionName", self.role_session_name.as_str()),
            ("DurationSeconds", &duration),
        ];
        params.extend(policy.as_deref().map(|text| ("Policy", text)));
        let client = self.client()?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(client.call_unsigned("AssumeRoleWithOIDC", &params))?;
        if self.json {
            let credentials = answer.get("Credentials").ok_or(CallError::Malformed)?;
            return Ok(output::json(&json!({"Credentials": credentials}))?);
        }
        let credentials = credentials(&answer).ok_or(CallError::Malformed)?;
        Ok(output::line(&credentials.to_string())?)
    }

    fn client(&self) -> anyhow::Result<Client> {
        // The caller has no AccessKey; the request is not signed.
        let (id, secret) = ("none", SecretString::default());
        let client = Client::trusting(self.ca_file.as_deref(), &self.endpoint, id, secret);
        let client = client.map_err(|error| {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            CliError::usage(format!("endpoint {:?}: {error}{cause}", self.endpoint))
        })?;
        Ok(client.with_api(Api::Sts))
    }
}

/// The credentials of an answer, as the libraries read them from a command.
fn credentials(answer: &Value) -> Option<Value> {
    let part = |name: &str| answer.get("Credentials")?.get(name)?.as_str();
    Some(json!({
        "mode": "StsToken",
        "access_key_id": part("AccessKeyId")?,
        "access_key_secret": part("AccessKeySecret")?,
        "sts_token": part("SecurityToken")?,
        "expiration": part("Expiration")?,
    }))
}
