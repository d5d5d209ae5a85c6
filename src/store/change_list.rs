//! The list of the rows that each change of the catalogue wrote. The gateways of a cluster write it in the
//! transaction of the change, and read only these rows again.
//!
//! The list is not signed. What is read by it is used only if all digests then fit, and no revocation of a
//! document is in force: a revocation changes no digest.

use std::collections::BTreeSet;

use sqlx::Row as _;

use super::StoreError;
use super::connection::Connection;
use super::row_group::{ChangedGroups, RowGroup};
use super::tables::CATALOGUE_REVISION;

/// The name in a list of a change that does not name all of its rows.
const EVERYTHING: &str = "*";
/// The maximum number of rows of the list, and of groups, that are read. Of more, everything is read again.
pub(super) const MAX_READ: usize = 1000;
/// The number of revisions whose lists are kept.
const KEPT: i64 = 5000;
/// The number of revisions after which older lists are deleted.
const PRUNE_INTERVAL: i64 = 256;

/// What was changed since a revision.
#[derive(Debug)]
pub(super) struct ListedChanges {
    /// The revision of the database.
    pub(super) revision: i64,
    /// The groups whose rows were changed.
    pub(super) groups: BTreeSet<RowGroup>,
}

/// Writes the list of a change with this revision.
pub(super) async fn write(
    connection: &mut Connection,
    revision: i64,
    changed: &ChangedGroups,
) -> Result<(), StoreError> {
    let groups = match changed.listed() {
        Some(groups) => groups.map(|group| [group.name(), group.key()]).collect(),
        None => vec![[EVERYTHING, ""]],
    };
    let groups = serde_json::to_string(&groups)
        .map_err(|source| StoreError::Unavailable { source: source.into() })?;
    // A counter that was damaged counts again from the start, and may find lists of its earlier revisions.
    let insert = sqlx::query(
        "INSERT INTO catalogue_changes (revision, number, table_name, row_key) \
         SELECT $1, number, value ->> 0, value ->> 1 \
         FROM jsonb_array_elements(CAST($2 AS JSONB)) WITH ORDINALITY AS listed (value, number) \
         ON CONFLICT (revision, number) DO UPDATE \
         SET table_name = excluded.table_name, row_key = excluded.row_key",
    );
    connection.execute(insert.bind(revision).bind(groups)).await?;
    if revision % PRUNE_INTERVAL == 0 {
        let prune =
            sqlx::query("DELETE FROM catalogue_changes WHERE revision <= $1 OR revision > $2");
        connection.execute(prune.bind(revision - KEPT).bind(revision)).await?;
    }
    Ok(())
}

/// Reads what was changed after the revision `known`. `None` if the lists do not tell: one of them is
/// missing, was written by an older program, or does not name all rows, or a revocation of a document is in
/// force.
pub(super) async fn read(
    connection: &mut Connection,
    known: i64,
) -> Result<Option<ListedChanges>, StoreError> {
    let limit = i64::try_from(MAX_READ).unwrap_or(i64::MAX).saturating_add(1);
    let select = sqlx::query(
        "SELECT facts.value, changes.revision, changes.table_name, changes.row_key, \
         EXISTS (SELECT 1 FROM revocations \
         WHERE kind IN ('delete-client-key', 'delete-identity-provider')) \
         FROM facts LEFT JOIN (SELECT revision, table_name, row_key FROM catalogue_changes \
         WHERE revision > $2 ORDER BY revision LIMIT $3) AS changes ON TRUE \
         WHERE facts.name = $1",
    );
    let rows = connection.rows(select.bind(CATALOGUE_REVISION).bind(known).bind(limit)).await?;
    let (mut found, mut revisions) = (None, BTreeSet::new());
    let mut groups = BTreeSet::new();
    if rows.len() > MAX_READ {
        return Ok(None);
    }
    for row in rows {
        let Ok(revision) = row.try_get::<String, _>(0)?.parse::<i64>() else { return Ok(None) };
        if revision < 0 || row.try_get::<bool, _>(4)? {
            return Ok(None);
        }
        found = Some(revision);
        let Some(of_list) = row.try_get::<Option<i64>, _>(1)? else { continue };
        if of_list > revision {
            continue;
        }
        let (name, key): (&str, &str) = (row.try_get(2)?, row.try_get(3)?);
        let Some(group) = RowGroup::parse(name, key) else { return Ok(None) };
        revisions.insert(of_list);
        groups.insert(group);
    }
    let Some(revision) = found.filter(|revision| *revision >= known) else { return Ok(None) };
    let listed = i64::try_from(revisions.len()).ok();
    let is_whole = listed.is_some() && listed == revision.checked_sub(known);
    Ok(is_whole.then_some(ListedChanges { revision, groups }))
}
