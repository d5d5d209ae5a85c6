//! What a value is bound to.

use super::{SecretDataType, SecretName, SecretRowId, SecretVersionId};
use crate::model::{InstanceId, KeyId, RegionAccount};

/// The purpose of the binding, and the version of its form.
const PURPOSE: &str = "hsmgate secret 1";

/// What a value and its data key belong to: neither can be decrypted as that of another secret,
/// version, installation or key. Labels, description, tags and policy are not part of it.
#[derive(Debug, Clone, Copy)]
pub struct SecretBinding<'a> {
    /// The instance that the store is.
    pub instance: &'a InstanceId,
    /// The region and account.
    pub region_account: &'a RegionAccount,
    /// The name of the secret.
    pub name: &'a SecretName,
    /// The row of the secret.
    pub row: SecretRowId,
    /// The version.
    pub version: &'a SecretVersionId,
    /// What the value is.
    pub data_type: SecretDataType,
    /// The key that encrypts the data key.
    pub key: KeyId,
}

impl SecretBinding<'_> {
    /// The associated data: each field with its length before it, so that no two bindings have the
    /// same bytes.
    pub fn associated_data(&self) -> Vec<u8> {
        let row = self.row.to_string();
        let fields = [
            PURPOSE,
            self.instance.as_str(),
            self.region_account.region.as_str(),
            self.region_account.account.as_str(),
            self.name.as_str(),
            self.version.as_str(),
            self.data_type.as_str(),
            &row,
            self.key.as_str(),
        ];
        let mut bytes = Vec::new();
        for field in fields {
            // No field is longer than a name.
            let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(field.as_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_changes_the_associated_data() {
        let (instance, other_instance) = (InstanceId::random(), InstanceId::random());
        let region_account = RegionAccount {
            region: "cn-hangzhou".parse().unwrap(),
            account: "1234567890123456".parse().unwrap(),
        };
        let other_region = RegionAccount { region: "a".parse().unwrap(), ..region_account.clone() };
        let other_account = RegionAccount {
            account: "1234567890123457".parse().unwrap(),
            ..region_account.clone()
        };
        let names = ["a", "ab"].map(|text| text.parse::<SecretName>().unwrap());
        let versions = ["bc", "c"].map(|text| text.parse::<SecretVersionId>().unwrap());
        let one = SecretBinding {
            instance: &instance,
            region_account: &region_account,
            name: &names[0],
            row: SecretRowId::random(),
            version: &versions[0],
            data_type: SecretDataType::Text,
            key: KeyId::random(),
        };
        let others = [
            SecretBinding { instance: &other_instance, ..one },
            SecretBinding { region_account: &other_region, ..one },
            SecretBinding { region_account: &other_account, ..one },
            // The same text if the fields were joined.
            SecretBinding { name: &names[1], version: &versions[1], ..one },
            SecretBinding { row: SecretRowId::random(), ..one },
            SecretBinding { data_type: SecretDataType::Binary, ..one },
            SecretBinding { key: KeyId::random(), ..one },
        ];
        for other in others {
            assert_ne!(one.associated_data(), other.associated_data(), "{other:?}");
        }
        assert_eq!(one.associated_data(), one.associated_data());
    }
}
