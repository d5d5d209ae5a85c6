//! The maximum numbers of stored objects.

use std::fmt;

/// The maximum number of objects of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The setting.
    pub setting: &'static str,
    /// The maximum.
    pub most: u32,
}

impl Quota {
    /// Whether there may be one more than this number.
    pub fn has_room(self, present: usize) -> bool {
        u32::try_from(present).is_ok_and(|present| present < self.most)
    }

    /// The share of the quota that this number of objects uses: 1 is all of it.
    pub fn share(&self, present: usize) -> f64 {
        let present = u32::try_from(present).unwrap_or(u32::MAX);
        f64::from(present) / f64::from(self.most.max(1))
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.setting, self.most)
    }
}

/// Declares the quotas, with the section of their settings.
macro_rules! quotas {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// The maximum numbers of objects of a gateway. Operators on the command line may exceed
        /// them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Quotas {
            $($(#[$doc])* pub $name: Quota,)+
        }

        impl Quotas {
            /// Reads the number of each setting.
            pub fn read(mut number: impl FnMut(&'static str) -> Option<u32>) -> Option<Self> {
                Some(Self {
                    $($name: {
                        let setting = concat!("quotas.", stringify!($name));
                        Quota { setting, most: number(setting)? }
                    },)+
                })
            }
        }

        /// No limits.
        impl Default for Quotas {
            fn default() -> Self {
                Self {
                    $($name: Quota {
                        setting: concat!("quotas.", stringify!($name)),
                        most: u32::MAX,
                    },)+
                }
            }
        }
    };
}

quotas! {
    /// Keys, in any state.
    keys,
    /// Versions of one key.
    key_versions,
    /// Aliases.
    aliases,
    /// Import tokens, each with a key pair in the token for a day.
    import_tokens,
    /// Network rules.
    network_rules,
    /// Policies of access points.
    policies,
    /// Access points.
    access_points,
    /// Client keys of all access points.
    client_keys,
    /// Secrets, also those whose deletion is scheduled.
    secrets,
}
