//! The APIs of the public port. A request names the one that it calls by its version.

/// An API with its own version and operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// KMS API 2016-01-20.
    Kms,
    /// STS API 2015-04-01.
    Sts,
}

impl Api {
    /// Every API.
    pub const ALL: [Self; 2] = [Self::Kms, Self::Sts];

    /// The API with this version.
    pub fn of_version(version: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.version() == version)
    }

    /// The API of a permission such as `sts:AssumeRole`.
    pub const fn of_permission(permission: &str) -> Self {
        match permission.as_bytes() {
            [b's', b't', b's', b':', ..] => Self::Sts,
            _ => Self::Kms,
        }
    }

    /// The version that its requests name.
    pub const fn version(self) -> &'static str {
        match self {
            Self::Kms => "2016-01-20",
            Self::Sts => "2015-04-01",
        }
    }

    /// The name of the product, as clients sign it and records show it.
    pub const fn product(self) -> &'static str {
        match self {
            Self::Kms => "Kms",
            Self::Sts => "Sts",
        }
    }
}
