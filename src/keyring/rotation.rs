//! Automatic rotation: creates the next version of a key when it is due.

use super::{Keyring, KeyringError};
use crate::model::{KeyId, KeyRecord, KeyState, KeyVersion, Time};
use crate::token::Budget;

impl Keyring {
    /// The keys whose rotation is due by its date.
    pub fn due_for_rotation(&self, now: Time) -> Vec<KeyId> {
        self.keys_where(|record| is_due(record, now))
    }

    /// The keys whose primary version this gateway has used so often that they need another one.
    pub fn due_for_rotation_by_use(&self) -> Vec<KeyId> {
        self.keys_where(|record| self.needs_rotation(record))
    }

    /// Creates a new primary version of a key whose rotation is due.
    ///
    /// The rotation is due by the date of the newest version, and by its number of encryptions, so
    /// that one rotation makes up for missed ones, and none is repeated: the row is written under
    /// the row lock before the token generates the object.
    ///
    /// # Errors
    /// When store or token fail; the key is then due again.
    pub async fn rotate(&self, key: KeyId, now: Time) -> Result<(), KeyringError> {
        let pending =
            self.insert_pending_version(key, now, |record| Ok(self.is_due(record, now))).await?;
        let Some(pending) = pending else { return Ok(()) };
        let budget = Budget::new(self.timeouts.generate);
        let id = pending.version.id;
        self.generate_and_activate(pending, &budget).await?;
        tracing::info!(
            event = "key.rotated",
            key_id = %key,
            key_version_id = %id,
            "rotated a key that was due"
        );
        Ok(())
    }

    fn is_due(&self, record: &KeyRecord, now: Time) -> bool {
        is_due(record, now) || self.needs_rotation(record)
    }

    /// Whether the primary version has reached the number of encryptions for a rotation, or cannot
    /// encrypt because the token makes IVs of another length now.
    fn needs_rotation(&self, record: &KeyRecord) -> bool {
        let iv_length = self.new_iv_length(record.spec);
        let needs_rotation = |primary: &KeyVersion| {
            self.invocations.needs_rotation(primary.id) || primary.iv_length != iv_length
        };
        may_rotate(record) && record.primary_version().is_some_and(needs_rotation)
    }
}

/// No rotation while a key is not enabled, or while a version is being generated, by this or
/// another gateway: it may be the due one. An incomplete version is soon removed.
fn may_rotate(record: &KeyRecord) -> bool {
    record.state == KeyState::Enabled
        && record.can_rotate()
        && record.versions.iter().all(|version| version.is_live)
}

fn is_due(record: &KeyRecord, now: Time) -> bool {
    may_rotate(record) && record.next_rotation().is_some_and(|due| due <= now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock;
    use crate::model::{KeySpec, KeyUsage, Origin, ProtectionLevel, Rotation};

    const WEEK: i64 = 7 * 86_400;

    fn key(now: Time) -> KeyRecord {
        let mut version = KeyVersion::initial(now.plus_seconds(-WEEK));
        version.is_live = true;
        let (spec, usage) = (KeySpec::Aes256, KeyUsage::EncryptDecrypt);
        KeyRecord {
            state: KeyState::Enabled,
            rotation: Some(Rotation { interval: "7d".parse().unwrap() }),
            primary: Some(version.id),
            versions: vec![version],
            ..KeyRecord::new(spec, usage, Origin::AliyunKms, ProtectionLevel::Hsm, now)
        }
    }

    #[test]
    fn a_key_is_due_from_the_published_second_on() {
        let now = clock::now();
        let key = key(now);
        assert_eq!(key.next_rotation(), Some(now));
        assert!(is_due(&key, now));
        assert!(!is_due(&key, now.plus_seconds(-1)));
    }

    #[test]
    fn a_disabled_key_or_one_being_rotated_is_not_due() {
        let now = clock::now();
        for state in KeyState::ALL {
            let in_state = KeyRecord { state: *state, ..key(now) };
            assert_eq!(is_due(&in_state, now), *state == KeyState::Enabled, "{state}");
        }
        assert!(!is_due(&KeyRecord { rotation: None, ..key(now) }, now));
        let mut busy = key(now);
        busy.versions.push(KeyVersion { number: 2, ..KeyVersion::initial(now) });
        assert!(!is_due(&busy, now));
    }
}
