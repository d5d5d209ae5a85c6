//! Access points: who comes in by which policies.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use super::AccessName;
use crate::model::id::InvalidId;
use crate::model::spec::api_enum;
use crate::model::{BoundedList, JsonText, Time};

/// A door for applications (CreateApplicationAccessPoint).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessPoint {
    /// Its name, the only one of its kind.
    pub name: AccessName,
    /// The policies that hold for whoever comes in.
    pub policies: PolicyNames,
    /// How an application shows who it is.
    pub authentication_method: AuthenticationMethod,
    /// The owner's text.
    pub description: String,
    /// When it was made.
    pub created: Time,
}

/// The policies of an access point, at most three (parameter Policies). One that is not there allows
/// nothing.
pub type PolicyNames = JsonText<BoundedList<AccessName, 3>>;

api_enum! {
    /// How an application shows who it is (parameter AuthenticationMethod).
    AuthenticationMethod, "authentication method" {
        /// With the certificate of a client key, the only method.
        ClientKey = "ClientKey",
    }
}
