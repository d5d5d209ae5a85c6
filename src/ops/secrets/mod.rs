//! Secrets: generic ones, whose values their owners change.

mod context;
mod error;
mod expected_data_key;
mod filters;
mod guesses;
mod parameters;
mod read;
mod response;

pub use guesses::WrongValues;
pub(in crate::ops) use parameters::Selection;
pub(in crate::ops) use read::read_value;
pub(in crate::ops) use response::GENERIC;
pub use response::{NamedSecret, SecretTag, SecretValue};

use crate::ops::registry::operations;

operations! {
    PublicVisitor:
    create_secret::CreateSecret,
    describe_secret::DescribeSecret,
    list_secrets::ListSecrets,
    get_secret_value::GetSecretValue,
    batch_get_secret_value::BatchGetSecretValue,
    put_secret_value::PutSecretValue,
    list_secret_version_ids::ListSecretVersionIds,
    update_secret::UpdateSecret,
    update_secret_version_stage::UpdateSecretVersionStage,
    delete_secret::DeleteSecret,
    restore_secret::RestoreSecret,
    get_random_password::GetRandomPassword,
    set_secret_policy::SetSecretPolicy,
    get_secret_policy::GetSecretPolicy,
    update_secret_rotation_policy::UpdateSecretRotationPolicy,
    rotate_secret::RotateSecret,
}
