//! The two forms of an operation: the plain call and its `Advance` form.

use super::messages::{
    AdvanceGenerateDataKeyPairRequest, AdvanceGenerateDataKeyRequest, GenerateDataKeyPairRequest,
    GenerateDataKeyRequest, ProtobufMessage,
};
use crate::keyring::VersionSelector;
use crate::model::{CiphertextBlob, KeyVersionId};

/// The layout of ciphertexts, and the key version that is used unless the caller names one.
pub trait Layout: 'static {
    /// Whether it is the layout of the `Advance` calls.
    const IS_ADVANCE: bool;
    /// The request of a data key.
    type DataKeyRequest: ProtobufMessage + Into<GenerateDataKeyRequest>;
    /// The request of a data key pair.
    type DataKeyPairRequest: ProtobufMessage + Into<GenerateDataKeyPairRequest>;

    /// The version that encrypts.
    fn version(named: Option<KeyVersionId>) -> VersionSelector {
        if Self::IS_ADVANCE {
            VersionSelector::named_or_primary(named)
        } else {
            VersionSelector::named_or_initial(named)
        }
    }

    /// The ciphertext in this layout.
    fn ciphertext(blob: CiphertextBlob) -> Vec<u8> {
        if Self::IS_ADVANCE { blob.to_framed() } else { blob.ciphertext }
    }

    /// The field of a response that names the version.
    fn version_field(version: KeyVersionId) -> String {
        if Self::IS_ADVANCE { version.to_string() } else { String::new() }
    }
}

/// The plain ciphertext of the initial version.
#[derive(Debug)]
pub enum Plain {}

/// The ciphertext of the primary version, with a frame that names it.
#[derive(Debug)]
pub enum Advance {}

impl Layout for Plain {
    const IS_ADVANCE: bool = false;
    type DataKeyRequest = GenerateDataKeyRequest;
    type DataKeyPairRequest = GenerateDataKeyPairRequest;
}

impl Layout for Advance {
    const IS_ADVANCE: bool = true;
    type DataKeyRequest = AdvanceGenerateDataKeyRequest;
    type DataKeyPairRequest = AdvanceGenerateDataKeyPairRequest;
}

/// Declares the request of an operation with both forms, with their permissions: a struct that is
/// generic over the [`Layout`], and the names of the two forms.
macro_rules! operation_pair {
    (
        $Plain:ident, $Advance:ident:
        pub struct $Name:ident<L>: $($good_for:ident),+ {
            $($field:ident: $type:ty),+ $(,)?
        }
    ) => {
        #[doc = concat!("The request of ", stringify!($Plain), " and ", stringify!($Advance), ".")]
        pub struct $Name<L> {
            $($field: $type,)+
            layout: std::marker::PhantomData<fn() -> L>,
        }

        #[doc = concat!("The request of ", stringify!($Plain), ".")]
        pub type $Plain = $Name<$crate::ops::instance::layout::Plain>;

        #[doc = concat!("The request of ", stringify!($Advance), ".")]
        pub type $Advance = $Name<$crate::ops::instance::layout::Advance>;

        impl<L: $crate::ops::instance::layout::Layout> $crate::authz::Permission for $Name<L> {
            const ACTION: &'static str = if L::IS_ADVANCE {
                concat!("kms:", stringify!($Advance))
            } else {
                concat!("kms:", stringify!($Plain))
            };
            const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
        }

        $(impl<L: $crate::ops::instance::layout::Layout> $crate::authz::$good_for for $Name<L> {})+

        impl<L: 'static> $crate::ops::operation::Call for $Name<L> {
            type Output = $crate::ops::instance::Reply;
        }
    };
}
pub(super) use operation_pair;
