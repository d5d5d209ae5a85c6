//! Access points: which policies apply to the applications of a client key.

use serde::{Deserialize, Serialize};

use super::AccessName;
use crate::model::text_form::api_enum;
use crate::model::{BoundedList, JsonText, Time};

/// An access point of applications (CreateApplicationAccessPoint).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessPoint {
    /// The name, unique among access points.
    pub name: AccessName,
    /// The policies that apply to its client keys.
    pub policies: PolicyNames,
    /// How an application authenticates.
    pub authentication_method: AuthenticationMethod,
    /// The description, set by the user.
    pub description: String,
    /// Creation time.
    pub created: Time,
}

/// The policies of an access point, at most three (parameter Policies). A policy that does not
/// exist allows nothing.
pub type PolicyNames = JsonText<BoundedList<AccessName, 3>>;

api_enum! {
    /// How an application authenticates (parameter AuthenticationMethod).
    AuthenticationMethod, "authentication method" {
        /// By the certificate of a client key. The only method.
        ClientKey = "ClientKey",
    }
}
