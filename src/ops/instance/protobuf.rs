//! The trait of an operation that is called with a protobuf message.

use prost::Message;
use zeroize::Zeroizing;

use super::messages::ProtobufMessage;
use crate::error::ApiError;
use crate::model::KeyVersionId;
use crate::ops::operation::Operation;

/// An operation whose request and response are messages.
pub trait ProtobufOperation: Operation<Output = Reply> {
    /// The message of its request.
    type Message: ProtobufMessage;

    /// Parses the request; `version` is the key version that its head names.
    ///
    /// # Errors
    /// Names the invalid field.
    fn read(message: Self::Message, version: Option<KeyVersionId>) -> Result<Self, ApiError>;
}

/// A response of this protocol.
pub struct Reply {
    /// The key version that was used, for the head.
    pub version: Option<KeyVersionId>,
    /// The message. It may contain a plaintext.
    pub body: Zeroizing<Vec<u8>>,
}

impl Reply {
    pub(super) fn new(version: impl Into<Option<KeyVersionId>>, message: &impl Message) -> Self {
        Self { version: version.into(), body: Zeroizing::new(message.encode_to_vec()) }
    }
}
