//! The operations of the KMS instance protocol: binary data where the public API has Base64 text.
//!
//! A plain call always uses the initial version of a key, because its ciphertext does not name the
//! version; its `Advance` form uses the primary version and writes it into the ciphertext. The two
//! forms of an operation are in one file, and differ by their [`Layout`](layout::Layout).

mod checks;
mod fields;
pub mod layout;
pub mod messages;
pub(super) mod protobuf;

pub use protobuf::{ProtobufOperation, Reply};

use crate::ops::registry::operations;

operations! {
    InstanceVisitor:
    encrypt::{Encrypt, AdvanceEncrypt},
    decrypt::{Decrypt, AdvanceDecrypt},
    generate_data_key::{GenerateDataKey, AdvanceGenerateDataKey},
    generate_data_key_pair::{GenerateDataKeyPair, AdvanceGenerateDataKeyPair},
    generate_data_key_pair_without_plaintext::{
        GenerateDataKeyPairWithoutPlaintext, AdvanceGenerateDataKeyPairWithoutPlaintext
    },
    generate_random::GenerateRandom,
    sign::Sign,
    verify::Verify,
    get_public_key::GetPublicKey,
    get_secret_value::GetSecretValue,
}

/// What nearly every operation of this protocol names.
mod prelude {
    pub(super) use std::marker::PhantomData;
    pub(super) use std::mem;

    pub(super) use super::checks::*;
    pub(super) use super::fields;
    pub(super) use super::layout::{Layout, operation_pair};
    pub(super) use super::protobuf::{ProtobufOperation, Reply};
    pub(super) use crate::ops::prelude::*;
}
