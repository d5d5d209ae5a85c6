//! `hsmgate network-rule create|list|describe|update|delete`.

use clap::Args;
use serde_json::json;

use super::access_document::{Delete, DocumentArgs, List, NETWORK_RULE};
use crate::model::AddressRange;

commands! {
    pub(super) enum NetworkRule {
        /// Create a network rule: addresses from which client keys may be used
        Create(Create);
        /// List all network rules
        List(List) with &NETWORK_RULE;
        /// Show a network rule
        Describe(DocumentArgs) with &NETWORK_RULE;
        /// Change a network rule, at once for all access policies that name it
        Update(Update);
        /// Delete a network rule; an access policy that names only it allows no address then
        Delete(Delete) with &NETWORK_RULE;
    }
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// An address or a CIDR range, such as 10.0.0.0/8 (may be repeated)
    #[arg(long = "source", value_name = "ADDRESS", required = true)]
    sources: Vec<AddressRange>,
    /// A description
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    document: DocumentArgs,
}

#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = ["sources", "description"])]
pub(super) struct Update {
    /// An address or a CIDR range (may be repeated); they replace those that it has
    #[arg(long = "source", value_name = "ADDRESS")]
    sources: Vec<AddressRange>,
    /// Another description
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    document: DocumentArgs,
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        let sources = json!(self.sources).to_string();
        let mut params = vec![("Type", "Private"), ("SourcePrivateIp", sources.as_str())];
        params.extend(self.description.as_deref().map(|text| ("Description", text)));
        self.document.create(&NETWORK_RULE, &self.document.open()?, &params)
    }
}

impl Update {
    fn run(self) -> anyhow::Result<()> {
        let sources = (!self.sources.is_empty()).then(|| json!(self.sources).to_string());
        let mut params = Vec::new();
        params.extend(sources.as_deref().map(|sources| ("SourcePrivateIp", sources)));
        params.extend(self.description.as_deref().map(|text| ("Description", text)));
        self.document.update(&NETWORK_RULE, &self.document.open()?, &params)
    }
}
