//! The trait of an operation, and the macros that declare its request and its response.

use serde::Serialize;

use super::Context;
use crate::audit::{Action, ActionEffect};
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{Api, ParamError};

/// The request of an operation, with the type of its response.
pub trait Call {
    /// The response.
    type Output: Send + 'static;
}

/// An operation of the service.
pub trait Operation: Call + Permission + Send + Sized + 'static {
    /// The API that it belongs to: that of its permission.
    const API: Api = Api::of_permission(Self::ACTION);
    /// The name in the protocol, for instance `Encrypt`: by default its permission without `kms:`.
    const NAME: &'static str = Self::ACTION.split_at("kms:".len()).1;
    /// The effect on the state of the gateway, which decides how it is recorded.
    const EFFECT: ActionEffect;
    /// The action, as recorded in the audit log.
    const RECORD: Action = Action { api: Self::API, name: Self::NAME, effect: Self::EFFECT };
    /// Whether it has the parameter DryRun, with which everything is checked and nothing changed.
    const DRY_RUN: bool = false;
    /// Further RAM actions that it needs.
    const EXTRA_PERMISSIONS: &'static [&'static str] = &[];
    /// The cost for the token, which decides its timeout.
    const COST_CLASS: CostClass = CostClass::Store;
    /// Whether the rate limits count it: they count operations that use a key for data, however
    /// long they take, and not those that change keys.
    const IS_LIMITED: bool = matches!(Self::COST_CLASS, CostClass::Cryptographic);
    /// The number of authorizations before its work; the call is charged with the last.
    const AUTHORIZATIONS: u8 = 1;

    /// The error for a parameter that is missing or invalid.
    fn parameter_error(error: ParamError) -> ApiError {
        error.into()
    }

    /// The operation whose response will be XML, which cannot carry every character.
    #[must_use]
    fn for_xml(self) -> Self {
        self
    }

    /// Executes the operation.
    ///
    /// # Errors
    /// Every error as the caller gets it.
    fn run(self, cx: &Context) -> impl Future<Output = Result<Self::Output, ApiError>> + Send;
}

/// The response of an operation without output: only the request id.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct EmptyResponse {}

/// A row of a list.
pub trait Row: Serialize {
    /// The name of the list, such as `Keys`.
    const LIST: &'static str;
    /// The name of a row, such as `Key`.
    const ROW: &'static str;
}

/// The cost of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CostClass {
    /// Store and memory only.
    Store,
    /// Uses a key in the token.
    Cryptographic,
    /// Generates a key or a key pair, which takes seconds for the largest.
    Generate,
}

/// Declares the request of an operation, with its permission, and the response.
///
/// ```ignore
/// operation! {
///     pub struct Encrypt: CanEncrypt -> Encrypted {
///         key: KeyRef = "KeyId",
///         page: Page = with(|params| Page::from_params(params, 10, 100)),
///     }
///
///     /// The response.
///     pub struct Encrypted { … }
/// }
/// ```
///
/// - A field is parsed from the named parameter, which is required unless the field is an `Option` or
///   `or(…)` gives a default. `with` takes a function of all parameters instead. If no field names
///   its source, the operation must implement [`FromParams`](crate::model::FromParams).
/// - The permission is `kms:` and the name of the operation, or the one in a leading
///   `permission: "kms:…";`. A leading `client_keys: "kms:…";` allows client keys whose access point
///   grants that permission.
/// - The traits after the colon are those of the permission (`CanEncrypt`, `CanManage`, …). The type
///   after the arrow is the response, by default [`EmptyResponse`].
/// - The structs that follow are declared as by [`response`].
macro_rules! operation {
    (
        $(permission: $action:literal;)?
        $(client_keys: $granted:literal;)?
        $(#[$doc:meta])*
        pub struct $Name:ident $(: $($good_for:ident),+)? $(-> $Output:ty)? {
            $(
                $(#[$meta:meta])*
                $field:ident: $type:ty = $($param:literal $(or($default:expr))?)? $(with($read:expr))?
            ),+
            $(,)?
        }
        $($response:tt)*
    ) => {
        $crate::ops::operation::operation! {
            $(permission: $action;)?
            $(client_keys: $granted;)?
            $(#[$doc])*
            pub struct $Name $(: $($good_for),+)? $(-> $Output)? {
                $($(#[$meta])* $field: $type,)+
            }
            $($response)*
        }

        impl $crate::model::FromParams for $Name {
            fn from_params(
                params: &$crate::model::Params<'_>,
            ) -> Result<Self, $crate::model::ParamError> {
                Ok(Self {
                    $($field: $($crate::ops::operation::operation!(@read params, $param $(, $default)?))?
                        $($crate::model::read_with(params, $read)?)?,)+
                })
            }
        }
    };
    (
        $(permission: $action:literal;)?
        $(client_keys: $granted:literal;)?
        $(#[$doc:meta])*
        pub struct $Name:ident $(: $($good_for:ident),+)? $(-> $Output:ty)? {}
        $($response:tt)*
    ) => {
        $crate::ops::operation::operation! {
            @declare [$($action)?] [$($granted)?] [$($doc)*] $Name [$($($good_for)+)?] [$($Output)?] {}
        }
        $crate::ops::operation::response! { $($response)* }

        impl $crate::model::FromParams for $Name {
            fn from_params(
                _params: &$crate::model::Params<'_>,
            ) -> Result<Self, $crate::model::ParamError> {
                Ok(Self {})
            }
        }
    };
    (
        $(permission: $action:literal;)?
        $(client_keys: $granted:literal;)?
        $(#[$doc:meta])*
        pub struct $Name:ident $(: $($good_for:ident),+)? $(-> $Output:ty)? { $($fields:tt)+ }
        $($response:tt)*
    ) => {
        $crate::ops::operation::operation! {
            @declare [$($action)?] [$($granted)?] [$($doc)*] $Name [$($($good_for)+)?] [$($Output)?] { $($fields)+ }
        }
        $crate::ops::operation::response! { $($response)* }
    };
    (
        @declare [$($action:literal)?] [$($granted:literal)?] [$($doc:meta)*] $Name:ident [$($good_for:ident)*]
        [$($Output:ty)?]
        { $($fields:tt)* }
    ) => {
        #[doc = concat!("The request of ", stringify!($Name), ".")]
        $(#[doc = ""] #[$doc])*
        pub struct $Name { $($fields)* }

        // A field may contain a message, a digest or an encryption context, so none is shown.
        impl std::fmt::Debug for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($Name)).finish_non_exhaustive()
            }
        }

        impl $crate::authz::Permission for $Name {
            const ACTION: &'static str =
                $crate::ops::operation::operation!(@or $($action)?, concat!("kms:", stringify!($Name)));
            const CLIENT_KEYS: Option<&'static str> =
                $crate::ops::operation::operation!(@some $($granted)?);
        }

        $(impl $crate::authz::$good_for for $Name {})*

        impl $crate::ops::operation::Call for $Name {
            type Output = $crate::ops::operation::operation!(@output $($Output)?);
        }
    };
    (@read $params:ident, $param:literal) => {
        $crate::model::RequestField::read($params, $param)?
    };
    (@read $params:ident, $param:literal, $default:expr) => {
        $params.optional($param)?.unwrap_or($default)
    };
    (@output $Output:ty) => { $Output };
    (@output) => { $crate::ops::operation::EmptyResponse };
    (@or $given:literal, $default:expr) => { $given };
    (@or , $default:expr) => { $default };
    (@some $given:literal) => { Some($given) };
    (@some) => { None };
}
pub(in crate::ops) use operation;

/// Declares response structs: serialized with the names of the API. `in List.Row` after the name of
/// a struct makes it a [`Row`] of a list with these names.
macro_rules! response {
    ($(
        $(#[$meta:meta])*
        $visibility:vis struct $Name:ident $(<$($generic:ident),+>)? $(in $List:ident.$Row:ident)? {
            $($fields:tt)*
        }
    )*) => {
        $(
            #[derive(Debug, serde::Serialize)]
            #[serde(rename_all = "PascalCase")]
            $(#[$meta])*
            $visibility struct $Name $(<$($generic),+>)? { $($fields)* }

            $(impl $crate::ops::operation::Row for $Name {
                const LIST: &'static str = stringify!($List);
                const ROW: &'static str = stringify!($Row);
            })?
        )*
    };
}
pub(in crate::ops) use response;
