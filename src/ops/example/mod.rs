//! The family of the guide `docs/develop/adding-an-operation.md`, built in tests only.

use super::registry::operations;

operations! {
    PublicVisitor:
    count_key_versions::CountKeyVersions,
}
