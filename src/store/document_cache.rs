//! Document types and their in-memory indexes, one for each kind. It has no SQL.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{
    AccessPoint, AccessPolicy, ClientKeyRecord, IdentityProvider, ImportParameters, NetworkRule,
    Quota, Quotas,
};

/// A value stored as JSON under a name that is unique in its kind.
pub trait Document:
    Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The kind in the database.
    const KIND: &'static str;

    /// Its name.
    fn name(&self) -> String;

    /// The documents that it references, whether or not they exist.
    fn references(&self) -> Vec<Reference> {
        Vec::new()
    }

    /// The quota of its kind, if the store limits it.
    fn quota(quotas: &Quotas) -> Option<Quota>;

    /// The index of its kind.
    fn index(document_cache: &DocumentCache) -> &DocumentIndex<Self>;

    /// The index of its kind, mutable.
    fn index_mut(document_cache: &mut DocumentCache) -> &mut DocumentIndex<Self>;
}

/// The documents of one kind, sorted by name.
pub type DocumentIndex<D> = BTreeMap<String, Arc<D>>;

/// A reference to a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Reference {
    kind: &'static str,
    name: String,
}

impl Reference {
    fn to<D: Document>(name: &impl ToString) -> Self {
        Self { kind: D::KIND, name: name.to_string() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// A reference to a document that does not exist. It grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DanglingReference {
    /// The missing document.
    pub missing: Reference,
    /// The document that references it.
    pub named_by: Reference,
}

impl fmt::Display for DanglingReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (named by {})", self.missing, self.named_by)
    }
}

/// All documents in memory.
#[derive(Debug, Default, PartialEq)]
pub struct DocumentCache {
    network_rules: DocumentIndex<NetworkRule>,
    policies: DocumentIndex<AccessPolicy>,
    access_points: DocumentIndex<AccessPoint>,
    client_keys: DocumentIndex<ClientKeyRecord>,
    import_parameters: DocumentIndex<ImportParameters>,
    identity_providers: DocumentIndex<IdentityProvider>,
}

impl DocumentCache {
    /// Every dangling reference.
    pub(super) fn dangling(&self) -> BTreeSet<DanglingReference> {
        let mut found = BTreeSet::new();
        self.find_dangling(self.policies.values(), &mut found);
        self.find_dangling(self.access_points.values(), &mut found);
        self.find_dangling(self.client_keys.values(), &mut found);
        found
    }

    /// The dangling references on the path from a client key through its access point and policies
    /// to their network rules.
    pub(super) fn dangling_references_of(
        &self,
        key: &Arc<ClientKeyRecord>,
    ) -> BTreeSet<DanglingReference> {
        let mut found = BTreeSet::new();
        self.find_dangling([key], &mut found);
        if let Some(point) = self.access_points.get(key.access_point.as_str()) {
            self.find_dangling([point], &mut found);
            let names = point.policies.iter();
            let policies = names.filter_map(|name| self.policies.get(name.as_str()));
            self.find_dangling(policies, &mut found);
        }
        found
    }

    fn find_dangling<'a, D: Document>(
        &self,
        documents: impl IntoIterator<Item = &'a Arc<D>>,
        found: &mut BTreeSet<DanglingReference>,
    ) {
        for document in documents {
            let missing = document.references().into_iter().filter(|one| !self.has(one));
            found.extend(missing.map(|missing| DanglingReference {
                missing,
                named_by: Reference { kind: D::KIND, name: document.name() },
            }));
        }
    }

    /// Adds documents, or replaces those with their names.
    pub(super) fn extend(&mut self, other: Self) {
        self.network_rules.extend(other.network_rules);
        self.policies.extend(other.policies);
        self.access_points.extend(other.access_points);
        self.client_keys.extend(other.client_keys);
        self.import_parameters.extend(other.import_parameters);
        self.identity_providers.extend(other.identity_providers);
    }

    /// Removes the document of this kind with this name.
    pub(super) fn remove(&mut self, kind: &str, name: &str) {
        match kind {
            NetworkRule::KIND => drop(self.network_rules.remove(name)),
            AccessPolicy::KIND => drop(self.policies.remove(name)),
            AccessPoint::KIND => drop(self.access_points.remove(name)),
            ClientKeyRecord::KIND => drop(self.client_keys.remove(name)),
            ImportParameters::KIND => drop(self.import_parameters.remove(name)),
            IdentityProvider::KIND => drop(self.identity_providers.remove(name)),
            _ => {}
        }
    }

    fn has(&self, reference: &Reference) -> bool {
        let Reference { kind, name } = reference;
        match *kind {
            NetworkRule::KIND => self.network_rules.contains_key(name),
            AccessPolicy::KIND => self.policies.contains_key(name),
            AccessPoint::KIND => self.access_points.contains_key(name),
            _ => false,
        }
    }
}

/// Implements what every kind of document needs: its kind in the database, its index, and the field
/// with its name.
macro_rules! document_kind {
    ($kind:literal, $index:ident, $name:ident $(, $quota:ident)?) => {
        const KIND: &'static str = $kind;

        fn quota(_quotas: &Quotas) -> Option<Quota> {
            document_kind!(@quota _quotas $($quota)?)
        }

        fn name(&self) -> String {
            self.$name.to_string()
        }

        fn index(document_cache: &DocumentCache) -> &DocumentIndex<Self> {
            &document_cache.$index
        }

        fn index_mut(document_cache: &mut DocumentCache) -> &mut DocumentIndex<Self> {
            &mut document_cache.$index
        }
    };
    (@quota $quotas:ident $quota:ident) => { Some($quotas.$quota) };
    (@quota $quotas:ident) => { None };
}

impl Document for NetworkRule {
    document_kind!("network-rule", network_rules, name, network_rules);
}

impl Document for AccessPolicy {
    document_kind!("policy", policies, name, policies);

    fn references(&self) -> Vec<Reference> {
        self.rules.network_rules.iter().map(Reference::to::<NetworkRule>).collect()
    }
}

impl Document for AccessPoint {
    document_kind!("access-point", access_points, name, access_points);

    fn references(&self) -> Vec<Reference> {
        self.policies.iter().map(Reference::to::<AccessPolicy>).collect()
    }
}

impl Document for ClientKeyRecord {
    document_kind!("client-key", client_keys, id, client_keys);

    fn references(&self) -> Vec<Reference> {
        vec![Reference::to::<AccessPoint>(&self.access_point)]
    }
}

impl Document for IdentityProvider {
    document_kind!("identity-provider", identity_providers, name);
}

/// Neither its key nor its wrapping key pair is a document. After the key is deleted, the
/// parameters stay until they expire. The keyring limits their number: new ones replace others.
impl Document for ImportParameters {
    document_kind!("import-parameters", import_parameters, id);
}
