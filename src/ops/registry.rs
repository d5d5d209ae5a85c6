//! The operations, one line each in the `mod.rs` of its family.

use serde::Serialize;

use super::Operation;
use super::instance::protobuf::ProtobufOperation;
use crate::model::FromParams;

/// Visits the operations of the public API, for instance to build the action table.
pub trait PublicVisitor {
    /// Visits one operation.
    fn visit<O>(&mut self)
    where
        O: Operation + FromParams,
        O::Output: Serialize + Sync;
}

/// Visits the operations of the KMS instance protocol.
pub trait InstanceVisitor {
    /// Visits one operation.
    fn visit<O: ProtobufOperation>(&mut self);
}

/// Registers the operations of a family: declares the module of each, and defines the function
/// `visit` of the family, which passes them to a visitor of their protocol in this order.
///
/// ```ignore
/// operations! {
///     PublicVisitor:
///     create_alias::CreateAlias,
///     delete_alias::DeleteAlias,
/// }
/// ```
///
/// `cargo fmt` does not see modules that a macro declares: `make test` formats them by name.
macro_rules! operations {
    ($visitor:ident: $($module:ident::$operation:tt),+ $(,)?) => {
        $(pub mod $module;)+

        /// Visits the operations of this family.
        pub(crate) fn visit(visitor: &mut impl $crate::ops::registry::$visitor) {
            $($crate::ops::registry::operations!(@visit visitor, $module, $operation);)+
        }
    };
    (@visit $visitor:ident, $module:ident, {$($operation:ident),+}) => {
        $($visitor.visit::<$module::$operation>();)+
    };
    (@visit $visitor:ident, $module:ident, $operation:ident) => {
        $visitor.visit::<$module::$operation>();
    };
}
pub(in crate::ops) use operations;
