//! Lists of keys and aliases for callers.

use std::sync::Arc;

use super::{AliasRecord, Store};
use crate::model::{KeyRecord, Page, PageOf};

impl Store {
    /// A page of the keys that callers see, sorted by creation time and then id. It costs the same
    /// whatever its number and the number of keys.
    pub fn key_page(&self, page: Page) -> PageOf<Arc<KeyRecord>> {
        self.inner.catalogue.read().visible_keys().page(page)
    }

    /// Calls `visit` with the keys that callers see, as they are now, in the order of their pages.
    pub fn visit_visible_keys<T>(&self, visit: impl FnOnce(&[Arc<KeyRecord>]) -> T) -> T {
        // Not under the lock: a change that waits for it would delay every other reader.
        let keys = Arc::clone(self.inner.catalogue.read().visible_keys());
        visit(keys.as_slice())
    }

    /// The number of keys in any state.
    pub fn key_count(&self) -> usize {
        self.inner.catalogue.read().keys().len()
    }

    /// A page of the aliases, sorted by name. It costs the same whatever its number and the number of
    /// aliases.
    pub fn alias_page(&self, page: Page) -> PageOf<Arc<AliasRecord>> {
        self.inner.catalogue.read().aliases().page(page)
    }

    /// The number of aliases.
    pub fn alias_count(&self) -> usize {
        self.inner.catalogue.read().aliases().as_slice().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyId, KeyState, Time};
    use crate::store::tests::{Bench, sample_key};

    fn page(number: u32) -> Page {
        Page { number, size: 2 }
    }

    fn key(seconds: i64) -> KeyRecord {
        KeyRecord { created: Time::from_unix(seconds), ..sample_key() }
    }

    #[tokio::test]
    async fn pages_of_keys_follow_every_change_and_leave_out_hidden_keys() {
        let Bench { store, .. } = &Bench::new().await;
        let mut ids: Vec<KeyId> = Vec::new();
        for seconds in [50, 10, 40, 20, 30] {
            ids.push(store.insert_key(key(seconds)).await.unwrap().id);
        }
        let listed = |number| -> Vec<KeyId> {
            store.key_page(page(number)).rows.iter().map(|record| record.id).collect()
        };
        assert_eq!(
            [listed(1), listed(2), listed(3), listed(4)].concat(),
            [ids[1], ids[3], ids[4], ids[2], ids[0]]
        );
        let set_state = async |id, state| {
            let change = |record: &mut KeyRecord| {
                record.state = state;
                Ok::<_, crate::store::StoreError>(())
            };
            store.change_key(id, change).await.unwrap();
        };
        set_state(ids[3], KeyState::Deleting).await;
        let (shown, total) = (listed(1), store.key_page(page(1)).total);
        assert_eq!((shown, total), (vec![ids[1], ids[4]], 4));
        assert_eq!((store.keys().len(), store.key_count()), (5, 5));
        set_state(ids[3], KeyState::Enabled).await;
        assert_eq!(listed(1), [ids[1], ids[3]]);
        store.remove_key(ids[1]).await.unwrap();
        assert_eq!(listed(1), [ids[3], ids[4]]);
        store.visit_visible_keys(|keys| assert_eq!(keys, store.keys()));
    }

    #[tokio::test]
    async fn pages_of_aliases_follow_every_change() {
        let Bench { store, .. } = &Bench::new().await;
        let id = store.insert_key(sample_key()).await.unwrap().id;
        for name in ["alias/c", "alias/a", "alias/b"] {
            store.create_alias(&name.parse().unwrap(), id).await.unwrap();
        }
        let listed = |number| -> Vec<String> {
            let page = store.alias_page(page(number));
            page.rows.iter().map(|record| record.name.to_string()).collect()
        };
        assert_eq!([listed(1), listed(2)].concat(), ["alias/a", "alias/b", "alias/c"]);
        let gone = "alias/a".parse().unwrap();
        store.delete_alias(&gone, |_key| Ok::<_, crate::store::StoreError>(())).await.unwrap();
        assert_eq!((listed(1), store.alias_count()), (vec!["alias/b".into(), "alias/c".into()], 2));
    }
}
