//! What `hsmgate network-rule`, `access-policy` and `access-point` have in common: documents of the API,
//! found by their names.

use anyhow::Context as _;
use clap::Args;
use serde_json::{Map, Value, json};

use super::client::CallError;
use super::connection::{Connection, Remote};
use super::exit::CliError;
use super::{confirm, key, output, response};
use crate::model::AccessName;

/// The code of the API for a document that does not exist.
pub(super) const RESOURCE_NOT_FOUND: &str = "Forbidden.ResourceNotFound";
/// The members that the API writes as JSON text.
const JSON_TEXTS: [&str; 5] =
    ["AccessControlRules", "Permissions", "Policies", "Resources", "SourcePrivateIp"];

/// A kind of document, with its names in the API.
#[derive(Debug)]
pub(super) struct AccessDocumentKind {
    /// In a sentence.
    words: &'static str,
    /// The end of the names of its operations.
    operation: &'static str,
    /// The operation that lists all, and the names around its rows.
    list: (&'static str, [&'static str; 2]),
    /// The columns of a table: the head, and the place in a document.
    columns: [(&'static str, &'static str); 3],
    /// The effect of a deletion.
    loss: &'static str,
    /// What depends on it, at the beginning of a sentence.
    dependents: &'static str,
    /// The kind of documents that may name it, and where they have the names.
    named_by: Option<(&'static Self, &'static str)>,
}

pub(super) static NETWORK_RULE: AccessDocumentKind = AccessDocumentKind {
    words: "network rule",
    operation: "NetworkRule",
    list: ("ListNetworkRules", ["NetworkRules", "NetworkRule"]),
    columns: [
        ("NETWORK RULE", "/Name"),
        ("SOURCES", "/SourcePrivateIp"),
        ("DESCRIPTION", "/Description"),
    ],
    loss: "allows no address",
    dependents: "Access policies that name it",
    named_by: Some((&ACCESS_POLICY, "/AccessControlRules/NetworkRules")),
};

pub(super) static ACCESS_POLICY: AccessDocumentKind = AccessDocumentKind {
    words: "access policy",
    operation: "Policy",
    list: ("ListPolicies", ["Policies", "Policy"]),
    columns: [
        ("ACCESS POLICY", "/Name"),
        ("RESOURCES", "/Resources"),
        ("NETWORK RULES", "/AccessControlRules/NetworkRules"),
    ],
    loss: "allows nothing",
    dependents: "Access points that name it",
    named_by: Some((&ACCESS_POINT, "/Policies")),
};

pub(super) static ACCESS_POINT: AccessDocumentKind = AccessDocumentKind {
    words: "access point",
    operation: "ApplicationAccessPoint",
    list: ("ListApplicationAccessPoints", ["ApplicationAccessPoints", "ApplicationAccessPoint"]),
    columns: [
        ("ACCESS POINT", "/Name"),
        ("POLICIES", "/Policies"),
        ("DESCRIPTION", "/Description"),
    ],
    loss: "lets no client key in",
    dependents: "Its client keys",
    named_by: None,
};

/// A document, and the format of the output.
#[derive(Debug, Args)]
pub(super) struct DocumentArgs {
    /// Its name
    pub(super) name: AccessName,
    /// Print the document as JSON
    #[arg(long)]
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

/// Shows what refers to the document, and asks for its name.
#[derive(Debug, Args)]
pub(super) struct Delete {
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    document: DocumentArgs,
}

impl DocumentArgs {
    pub(super) fn open(&self) -> anyhow::Result<Remote> {
        self.connection.open()
    }

    /// Shows the document.
    pub(super) fn run(self, kind: &AccessDocumentKind) -> anyhow::Result<()> {
        let document = kind.describe(&self.open()?, self.name.as_str())?;
        if self.json {
            return Ok(output::json(&document)?);
        }
        let rows: Vec<_> =
            document.iter().map(|(name, value)| (name.as_str(), in_words(value))).collect();
        Ok(output::columns(&rows)?)
    }

    /// Creates the document.
    pub(super) fn create(
        &self,
        kind: &AccessDocumentKind,
        remote: &Remote,
        params: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let name = self.name.as_str();
        let answer = kind.call(remote, "Create", name, params)?;
        let words = format!("the {} {name} was created", kind.words);
        Ok(output::change(&Value::Object(document(&answer, name)?), &words, self.json)?)
    }

    /// Changes what is in `params`.
    pub(super) fn update(
        &self,
        kind: &AccessDocumentKind,
        remote: &Remote,
        params: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let name = self.name.as_str();
        kind.call(remote, "Update", name, params)?;
        if self.json {
            return Ok(output::json(&kind.describe(remote, name)?)?);
        }
        Ok(output::line(&format!("the {} {name} was changed", kind.words))?)
    }
}

impl List {
    pub(super) fn run(self, kind: &AccessDocumentKind) -> anyhow::Result<()> {
        let documents = kind.all(&self.connection.open()?)?;
        if self.json {
            return Ok(output::json(&documents)?);
        }
        let rows: Vec<_> = documents
            .into_iter()
            .map(|document| {
                let document = Value::Object(document);
                kind.columns
                    .map(|(_, place)| document.pointer(place).map(in_words).unwrap_or_default())
            })
            .collect();
        Ok(output::table(kind.columns.map(|(head, _)| head), &rows)?)
    }
}

impl Delete {
    pub(super) fn run(self, kind: &AccessDocumentKind) -> anyhow::Result<()> {
        let remote = self.document.open()?;
        let name = self.document.name.as_str();
        if !self.yes {
            kind.describe(&remote, name)?;
            confirm::ask(&kind.consequences(&remote, name)?, name)?;
        }
        kind.call(&remote, "Delete", name, &[])?;
        let words = format!("the {} {name} was deleted", kind.words);
        Ok(output::change(&json!({"Name": name, "Deleted": true}), &words, self.document.json)?)
    }
}

impl AccessDocumentKind {
    fn call(
        &self,
        remote: &Remote,
        verb: &str,
        name: &str,
        params: &[(&str, &str)],
    ) -> Result<Value, CallError> {
        remote.call(&format!("{verb}{}", self.operation), &[&[("Name", name)], params].concat())
    }

    fn describe(&self, remote: &Remote, name: &str) -> anyhow::Result<Map<String, Value>> {
        match self.call(remote, "Describe", name, &[]) {
            Err(error) if is_not_found(&error) => Err(self.absent(name).into()),
            answer => document(&answer?, name),
        }
    }

    fn all(&self, remote: &Remote) -> anyhow::Result<Vec<Map<String, Value>>> {
        let (action, names) = self.list;
        let rows = key::all(remote, action, &[], names)?;
        rows.iter().map(|row| self.describe(remote, response::text(row, &["Name"])?)).collect()
    }

    /// The gateway accepts names of missing documents, but a command treats them as mistakes. Without the
    /// permission to check, it continues.
    ///
    /// # Errors
    /// When a document does not exist, or the gateway does not respond.
    pub(super) fn require(&self, remote: &Remote, names: &[AccessName]) -> anyhow::Result<()> {
        for name in names {
            match self.call(remote, "Describe", name.as_str(), &[]) {
                Err(error) if is_not_found(&error) => {
                    return Err(self.absent(name.as_str()).into());
                }
                Err(error @ (CallError::Unreachable(_) | CallError::Malformed)) => {
                    return Err(error.into());
                }
                Ok(_) | Err(CallError::Refused { .. }) => {}
            }
        }
        Ok(())
    }

    fn absent(&self, name: &str) -> CliError {
        CliError::NotFound(format!("the {} {name} does not exist", self.words))
    }

    /// What a deletion breaks.
    fn consequences(&self, remote: &Remote, name: &str) -> anyhow::Result<Vec<String>> {
        let names = match self.named_by {
            Some((kind, place)) => kind.naming(remote, place, name)?,
            None => client_keys(remote, name)?,
        };
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Ok(vec![
            format!("From its deletion on, the {} {name} {}.", self.words, self.loss),
            format!("{}: {names}", self.dependents),
        ])
    }

    /// The documents that have this name at a place.
    fn naming(&self, remote: &Remote, place: &str, name: &str) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for document in self.all(remote)? {
            let own = document.get("Name").map(in_words).unwrap_or_default();
            let names = Value::Object(document);
            let names = names.pointer(place).and_then(Value::as_array);
            if names.is_some_and(|names| names.iter().any(|one| one == name)) {
                found.push(own);
            }
        }
        Ok(found)
    }
}

fn is_not_found(error: &CallError) -> bool {
    matches!(error, CallError::Refused { code, .. } if code == RESOURCE_NOT_FOUND)
}

/// The client keys of an access point.
fn client_keys(remote: &Remote, access_point: &str) -> anyhow::Result<Vec<String>> {
    let answer = remote.call("ListClientKeys", &[("AapName", access_point)])?;
    let keys = answer.get("ClientKeys").and_then(Value::as_array).into_iter().flatten();
    keys.map(|one| Ok(response::text(one, &["ClientKeyId"])?.to_owned())).collect()
}

/// The document of a response, with its name and with lists in place of their JSON text.
fn document(answer: &Value, name: &str) -> anyhow::Result<Map<String, Value>> {
    let mut document = answer.as_object().cloned().context("the response is no object")?;
    document.remove("RequestId");
    document.insert("Name".to_owned(), name.into());
    for member in JSON_TEXTS {
        if let Some(value) = document.get_mut(member)
            && let Some(text) = value.as_str()
        {
            *value = serde_json::from_str(text)
                .with_context(|| format!("{member} of the response is not JSON"))?;
        }
    }
    Ok(document)
}

/// A value without brackets and quotes.
fn in_words(value: &Value) -> String {
    let join = |values: Vec<String>| values.join(" ");
    match value {
        Value::Array(values) => join(values.iter().map(in_words).collect()),
        Value::Object(members) => join(members.values().map(in_words).collect()),
        one => key::in_words(one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_in_texts_are_lists() {
        let answer = json!({"RequestId": "r", "Arn": "a", "SourcePrivateIp": "[\"10.0.0.0/8\", \"::1\"]",
            "Permissions": ["p"], "AccessControlRules": "{\"NetworkRules\":[\"office\"]}"});
        let document = document(&answer, "office").unwrap();
        let whole = json!({"Arn": "a", "Name": "office", "SourcePrivateIp": ["10.0.0.0/8", "::1"],
            "Permissions": ["p"], "AccessControlRules": {"NetworkRules": ["office"]}});
        assert_eq!(Value::Object(document), whole);
        assert_eq!(in_words(&whole["SourcePrivateIp"]), "10.0.0.0/8 ::1");
        assert_eq!(in_words(&whole["AccessControlRules"]), "office");
    }
}
