//! `hsmgate access-point create|list|describe|update|delete`.

use clap::Args;
use serde_json::json;

use super::access_document::{ACCESS_POINT, ACCESS_POLICY, Delete, DocumentArgs, List};
use crate::model::AccessName;

commands! {
    pub(super) enum AccessPoint {
        /// Create an access point, whose policies say what its client keys may do
        Create(Create);
        /// List all access points
        List(List) with &ACCESS_POINT;
        /// Show an access point
        Describe(DocumentArgs) with &ACCESS_POINT;
        /// Change an access point, at once for all its client keys
        Update(Update);
        /// Delete an access point; its client keys are then refused
        Delete(Delete) with &ACCESS_POINT;
    }
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// An access policy (up to three)
    #[arg(long = "policy", value_name = "NAME", required = true)]
    policies: Vec<AccessName>,
    /// A description
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    document: DocumentArgs,
}

#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = ["policies", "description"])]
pub(super) struct Update {
    /// An access policy (up to three); they replace those that it has
    #[arg(long = "policy", value_name = "NAME")]
    policies: Vec<AccessName>,
    /// Another description
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    document: DocumentArgs,
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        let remote = self.document.open()?;
        ACCESS_POLICY.require(&remote, &self.policies)?;
        let policies = json!(self.policies).to_string();
        let mut params = vec![("Policies", policies.as_str())];
        params.extend(self.description.as_deref().map(|text| ("Description", text)));
        self.document.create(&ACCESS_POINT, &remote, &params)
    }
}

impl Update {
    fn run(self) -> anyhow::Result<()> {
        let remote = self.document.open()?;
        ACCESS_POLICY.require(&remote, &self.policies)?;
        let policies = (!self.policies.is_empty()).then(|| json!(self.policies).to_string());
        let mut params = Vec::new();
        params.extend(policies.as_deref().map(|policies| ("Policies", policies)));
        params.extend(self.description.as_deref().map(|text| ("Description", text)));
        self.document.update(&ACCESS_POINT, &remote, &params)
    }
}
