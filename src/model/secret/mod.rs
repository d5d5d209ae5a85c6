//! Secrets: their names, their versions with labels, and the values that a version can have.

mod binding;
mod name;
mod record;
mod stage;
mod value;

pub use binding::SecretBinding;
pub use name::{SecretName, SecretRef, SecretRowId, SecretVersionId};
pub use record::{MAX_SECRET_VERSIONS, SecretFault, SecretRecord, SecretVersion, SelectedVersion};
pub use stage::{MAX_VERSION_STAGES, VersionStage, VersionStages};
pub use value::{MAX_SECRET_BYTES, SecretData, SecretDataType, SecretType};
