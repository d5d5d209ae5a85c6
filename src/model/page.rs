//! Pagination of lists.

use super::params::{ParamError, Params};
use super::text_form::{FromParam, InvalidId};

/// The requested page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Counted from 1.
    pub number: u32,
    /// Rows per page.
    pub size: u32,
}

/// One page of a list, and the total number of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageOf<T> {
    /// The rows of this page.
    pub rows: Vec<T>,
    /// The rows of all pages.
    pub total: usize,
}

impl Page {
    /// Reads `PageNumber` (default 1) and `PageSize` (default `default_size`, at most `max_size`).
    ///
    /// # Errors
    /// When one of them is not a number or out of range.
    pub fn from_params(
        params: &Params<'_>,
        default_size: u32,
        max_size: u32,
    ) -> Result<Self, ParamError> {
        let number: u32 = params.optional("PageNumber")?.unwrap_or(1);
        let size: u32 = params.optional("PageSize")?.unwrap_or(default_size);
        if number == 0 {
            return Err(ParamError::invalid("PageNumber"));
        }
        if size > max_size {
            return Err(ParamError::invalid("PageSize"));
        }
        Ok(Self { number, size })
    }

    /// The positions of the rows of this page in a list of this length. Empty after the last page.
    pub fn range(self, length: usize) -> std::ops::Range<usize> {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let start = self.skipped().min(length);
        start..start.saturating_add(size).min(length)
    }

    /// The number of rows on the pages before this one.
    fn skipped(self) -> usize {
        let before = usize::try_from(self.number.saturating_sub(1)).unwrap_or(usize::MAX);
        before.saturating_mul(usize::try_from(self.size).unwrap_or(usize::MAX))
    }

    /// Selects the rows of this page. A page after the last is empty.
    pub fn slice<T>(self, rows: impl IntoIterator<Item = T>) -> PageOf<T> {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let skipped = self.skipped();
        let mut total = 0;
        let mut page = Vec::new();
        for row in rows {
            if total >= skipped && page.len() < size {
                page.push(row);
            }
            total += 1;
        }
        PageOf { rows: page, total }
    }
}

impl FromParam for u32 {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        text.parse().map_err(|_source| InvalidId("number"))
    }
}

impl FromParam for i64 {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        text.parse().map_err(|_source| InvalidId("number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_divide_a_list_without_gap_or_overlap() {
        let all: Vec<u32> = (0..25).collect();
        let mut seen = Vec::new();
        for number in 1..=4 {
            let page = Page { number, size: 10 }.slice(all.clone());
            assert_eq!(page.total, 25);
            assert_eq!(page.rows, all[Page { number, size: 10 }.range(25)]);
            seen.extend(page.rows);
        }
        assert_eq!(seen, all);
        let last = Page { number: u32::MAX, size: u32::MAX };
        assert_eq!((last.slice(all).rows, last.range(25)), (Vec::<u32>::new(), 25..25));
    }
}
