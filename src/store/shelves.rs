//! Documents, and the shelves that hold them in memory, one for each kind. It knows nothing of
//! SQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{AccessPoint, AccessPolicy, ClientKeyRecord, ImportParameters, NetworkRule};

/// Something that is kept whole under a name, the only one of its kind.
pub trait Document:
    Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The word that stands for its kind in the database.
    const KIND: &'static str;

    /// Its name.
    fn name(&self) -> String;

    /// The documents that it names: they must be there as long as it is.
    fn references(&self) -> Vec<Reference> {
        Vec::new()
    }

    /// Where its kind is held.
    fn shelf(shelves: &Shelves) -> &Shelf<Self>;

    /// Where its kind is held, to change it.
    fn shelf_mut(shelves: &mut Shelves) -> &mut Shelf<Self>;
}

/// The documents of one kind by rising name.
pub type Shelf<D> = BTreeMap<String, Arc<D>>;

/// A document that another one names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    pub(super) kind: &'static str,
    pub(super) name: String,
}

impl Reference {
    fn to<D: Document>(name: &impl ToString) -> Self {
        Self { kind: D::KIND, name: name.to_string() }
    }
}

/// Every document in memory.
#[derive(Debug, Default, PartialEq)]
pub struct Shelves {
    network_rules: Shelf<NetworkRule>,
    policies: Shelf<AccessPolicy>,
    access_points: Shelf<AccessPoint>,
    client_keys: Shelf<ClientKeyRecord>,
    import_parameters: Shelf<ImportParameters>,
}

/// Says where the documents of a kind are held.
macro_rules! held_in {
    ($shelf:ident) => {
        fn shelf(shelves: &Shelves) -> &Shelf<Self> {
            &shelves.$shelf
        }

        fn shelf_mut(shelves: &mut Shelves) -> &mut Shelf<Self> {
            &mut shelves.$shelf
        }
    };
}

impl Document for NetworkRule {
    const KIND: &'static str = "network-rule";
    held_in!(network_rules);

    fn name(&self) -> String {
        self.name.to_string()
    }
}

impl Document for AccessPolicy {
    const KIND: &'static str = "policy";
    held_in!(policies);

    fn name(&self) -> String {
        self.name.to_string()
    }

    fn references(&self) -> Vec<Reference> {
        self.rules.network_rules.iter().map(Reference::to::<NetworkRule>).collect()
    }
}

impl Document for AccessPoint {
    const KIND: &'static str = "access-point";
    held_in!(access_points);

    fn name(&self) -> String {
        self.name.to_string()
    }

    fn references(&self) -> Vec<Reference> {
        self.policies.iter().map(Reference::to::<AccessPolicy>).collect()
    }
}

impl Document for ClientKeyRecord {
    const KIND: &'static str = "client-key";
    held_in!(client_keys);

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn references(&self) -> Vec<Reference> {
        vec![Reference::to::<AccessPoint>(&self.access_point)]
    }
}

/// Neither its key nor its wrapping pair is a document: whoever removes a key leaves the
/// parameters to their date.
impl Document for ImportParameters {
    const KIND: &'static str = "import-parameters";
    held_in!(import_parameters);

    fn name(&self) -> String {
        self.id.to_string()
    }
}
