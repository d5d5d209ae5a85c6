//! Gives keys their next version when it is due.

use super::{Keyring, KeyringError};
use crate::model::{KeyId, KeyRecord, KeyState, Time};
use crate::token::Budget;

impl Keyring {
    /// The keys whose rotation is due.
    pub fn due_for_rotation(&self, now: Time) -> Vec<KeyId> {
        let mut due = self.store.keys();
        due.retain(|record| self.is_due(record, now));
        due.iter().map(|record| record.id).collect()
    }

    /// Makes a new primary version of a key whose rotation is due.
    ///
    /// What is due is told by the date of the newest version, and by how often it has encrypted, so
    /// that a rotation that was missed is made up for by one, and none is made twice: its row is
    /// written under the store's lock before the token makes the object.
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
        tracing::info!(key_id = %key, key_version_id = %id, "rotated a key that was due");
        Ok(())
    }

    fn is_due(&self, record: &KeyRecord, now: Time) -> bool {
        is_due(record, now) || self.needs_rotation(record)
    }

    /// Whether the version that encrypts has done so as often as it should.
    fn needs_rotation(&self, record: &KeyRecord) -> bool {
        let needs_rotation = |primary| self.invocations.needs_rotation(primary);
        may_rotate(record) && record.primary.is_some_and(needs_rotation)
    }
}

/// Rotation rests while a key is not enabled, and waits for a version that is being made, here or by
/// another gateway: it may be the one that is due. What is left behind is soon taken back.
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
    use crate::model::{KeySpec, KeyUsage, KeyVersion, Origin, ProtectionLevel, Rotation};

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
    fn a_key_is_due_from_the_second_on_that_was_told() {
        let now = clock::now();
        let key = key(now);
        assert_eq!(key.next_rotation(), Some(now));
        assert!(is_due(&key, now));
        assert!(!is_due(&key, now.plus_seconds(-1)));
    }

    #[test]
    fn a_key_that_rests_or_is_being_rotated_is_not_due() {
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
