//! The vocabulary of the service: identifiers, key records and request values.
//!
//! This module has no I/O. It parses input into types that cannot hold an invalid value, and knows
//! nothing of HTTP, SQL or PKCS#11.

pub mod access;
pub mod algorithm;
pub mod alias;
mod api;
mod approval;
pub mod arn;
pub mod blob;
pub mod bytes;
pub mod clock;
pub mod context;
pub mod data_key_pair;
pub mod id;
pub mod instance;
pub mod iv;
pub mod iv_budget;
pub mod json_text;
pub mod key;
mod key_answer;
pub mod key_ref;
pub mod last_use;
mod list;
pub mod material;
pub mod page;
pub mod params;
pub mod policy;
pub mod principal;
mod principal_details;
mod provider;
mod quota;
pub mod random;
mod request_context;
mod role;
pub mod rotation;
pub mod secret;
pub mod source;
pub mod spec;
pub mod tag;
pub mod text_form;
pub mod time;
pub mod verification_rate;

pub use access::{
    AccessControlRules, AccessName, AccessPoint, AccessPolicy, AccessResource, AccessResources,
    AddressRange, AuthenticationMethod, ClientKeyId, ClientKeyPassword, ClientKeyRecord,
    NetworkRule, NetworkRules, PermissionTemplate, PermissionTemplates, PolicyNames,
    SourceAddresses,
};
pub use alias::{Alias, NewAlias, OperatorAlias};
pub use api::Api;
pub use approval::{Approval, ApprovalId, ApprovalRules, ApprovalState, ApprovalSubject};
pub use arn::{AccountId, Region, RegionAccount};
pub use blob::{CiphertextBlob, CiphertextParam, TAG_BYTES};
pub use bytes::{Base64Bytes, Plaintext, Secret};
pub use context::EncryptionContext;
pub use data_key_pair::{DataKeyPairSpec, KeyFormat};
pub use id::{AccessKeyId, KeyId, KeyVersionId, RequestId, VersionRef};
pub use instance::{Instance, InstanceId};
pub use iv::{IV_BYTES, Iv, IvLength};
pub use iv_budget::{IvBudget, MAX_INVOCATIONS};
pub use json_text::JsonText;
pub use key::{
    KeyRecord, KeyState, KeyStorage, KeyVersion, MAX_KEY_POLICY_BYTES, Origin, ProtectionLevel,
};
pub use key_answer::{AnswerKind, KeyAnswer};
pub use key_ref::KeyRef;
pub use last_use::LastUse;
pub use list::BoundedList;
pub use material::{ImportId, ImportParameters, ImportToken, ImportedMaterial, WrappingAlgorithm};
pub use page::{Page, PageOf};
pub use params::{Element, FromParams, ParamError, Params, RequestField, read_with};
pub use principal::{PrincipalKind, PrincipalName};
pub use principal_details::{
    DEFAULT_MAX_SESSION_SECONDS, MAX_SESSION_SECONDS, MIN_SESSION_SECONDS, PrincipalDetails,
    PrincipalId,
};
pub use provider::{
    DEFAULT_MAX_TOKEN_AGE_SECONDS, IdentityProvider, ProviderArn, ProviderName, TokenAlgorithm,
};
pub use quota::{Quota, Quotas};
pub use request_context::RequestContext;
pub use role::{ExternalId, RoleArn, SessionName};
pub use rotation::{Rotation, RotationInterval};
pub use secret::{
    MAX_SECRET_BYTES, MAX_SECRET_VERSIONS, MAX_VERSION_STAGES, SecretBinding, SecretData,
    SecretDataType, SecretFault, SecretName, SecretRecord, SecretRef, SecretRowId, SecretType,
    SecretVersion, SecretVersionId, SelectedVersion, VersionStage, VersionStages,
};
pub use source::source_of;
pub use spec::{KeySpec, KeyUsage};
pub use tag::{MAX_TAGS, TagFault, TagKey, TagKeyList, TagList, TagValue};
pub use text_form::{FromParam, InvalidId};
pub use time::Time;
pub use verification_rate::VerificationRate;
