//! Lists that are sorted, so that a page is found by its position: a page costs the same whatever its
//! number and the length of the list. A change moves the entries after it, which takes some µs for ten
//! thousand of them.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::model::{Page, PageOf};

/// A record with a sort key, which no two records of a list share.
pub(super) trait Sorted {
    type SortKey;

    fn sort_key(&self) -> Self::SortKey;

    /// The position of this record compared with that of a sort key.
    fn order(&self, key: &Self::SortKey) -> Ordering;
}

/// A sorted list.
#[derive(Debug)]
pub(super) struct SortedList<T>(Vec<Arc<T>>);

impl<T> Default for SortedList<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Clone for SortedList<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Sorted> SortedList<T> {
    fn position(&self, key: &T::SortKey) -> Result<usize, usize> {
        self.0.binary_search_by(|one| one.order(key))
    }

    /// Inserts a record, or replaces the one with its sort key.
    pub(super) fn put(&mut self, record: Arc<T>) {
        match self.position(&record.sort_key()) {
            Ok(at) => {
                if let Some(one) = self.0.get_mut(at) {
                    *one = record;
                }
            }
            Err(at) => self.0.insert(at, record),
        }
    }

    /// Removes the record with this sort key.
    pub(super) fn remove(&mut self, key: &T::SortKey) -> Option<Arc<T>> {
        self.position(key).ok().map(|at| self.0.remove(at))
    }

    /// All records, in order.
    pub(super) fn as_slice(&self) -> &[Arc<T>] {
        &self.0
    }

    /// The records of a page.
    pub(super) fn page(&self, page: Page) -> PageOf<Arc<T>> {
        let rows = self.0.get(page.range(self.0.len())).unwrap_or_default();
        PageOf { rows: rows.to_vec(), total: self.0.len() }
    }
}
