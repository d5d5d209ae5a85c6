//! The migrations of the database, and which databases this program works with.
//!
//! A migration whose description begins with "compatible" (`0023_compatible_NAME.sql`) leaves tables that the
//! programs of the version before work with. It is applied while they use the database, and they accept the
//! database afterwards: gateways of both versions serve during an upgrade. Any other migration needs the
//! database for itself, and earlier programs refuse it then.

use sqlx::migrate::{Migration, Migrator};
use sqlx::{AnyConnection, Row as _};

use super::StoreError;
use super::connection::{Connection, Pool};

static SQLITE: Migrator = sqlx::migrate!("src/store/migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("src/store/migrations/postgres");

/// The first word of the description of a migration that earlier programs work with.
const COMPATIBLE: &str = "compatible";

/// The migrations that a database has, for [`AppliedMigrations::new`]: versions and descriptions.
pub(super) const SELECT_APPLIED: &str =
    "SELECT version, description FROM _sqlx_migrations ORDER BY version";

/// The schema of a database, compared with this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// A schema that this program works with: its own, or one that a newer program made from it with
    /// compatible migrations.
    Current,
    /// The schema of an older program. The next start migrates it.
    Older,
    /// The schema of a newer program. This program refuses it.
    Newer,
}

/// The migrations that were applied to a database.
pub(super) struct AppliedMigrations(Vec<(i64, String)>);

impl AppliedMigrations {
    /// From the rows of [`SELECT_APPLIED`].
    pub(super) fn new(rows: Vec<(i64, String)>) -> Self {
        Self(rows)
    }

    async fn read(pool: &Pool) -> Result<Self, StoreError> {
        let rows = Connection::acquire(pool).await?.rows(sqlx::query(SELECT_APPLIED)).await?;
        let applied = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
        Ok(Self(applied.collect::<Result<_, sqlx::Error>>()?))
    }

    /// The schema that they make.
    pub(super) fn schema(&self) -> Schema {
        let is_known = |version: &i64| SQLITE.iter().any(|known| known.version == *version);
        let mut unknown = self.0.iter().filter(|(version, _description)| !is_known(version));
        if unknown.any(|(_version, description)| !is_compatible(description)) {
            Schema::Newer
        } else if self.pending().next().is_some() {
            Schema::Older
        } else {
            Schema::Current
        }
    }

    /// Whether they are those of this program, and no others.
    fn are_own(&self) -> bool {
        self.0.iter().map(|(version, _description)| *version).eq(known_versions())
    }

    fn pending(&self) -> impl Iterator<Item = &'static Migration> {
        let is_applied = |version| self.0.iter().any(|(applied, _)| *applied == version);
        SQLITE.iter().filter(move |known| !is_applied(known.version))
    }

    fn need_only_user(&self) -> bool {
        self.pending().any(|pending| !is_compatible(&pending.description))
    }
}

/// Whether programs without the migration of this description work with its tables.
fn is_compatible(description: &str) -> bool {
    description.split(' ').next() == Some(COMPATIBLE)
}

/// Whether no other process may use an existing database while it is migrated.
///
/// # Errors
/// When it has the tables of a newer program, or cannot be read.
pub(super) async fn needs_only_user(pool: &Pool) -> Result<bool, StoreError> {
    let applied = AppliedMigrations::read(pool).await?;
    require_usable(applied.schema())?;
    Ok(applied.need_only_user())
}

/// Applies the migrations that a SQLite database lacks, after [`needs_only_user`].
///
/// # Errors
/// When it cannot be changed.
pub(super) async fn migrate_file(pool: &Pool) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await?;
    migrate(&SQLITE, &mut connection).await
}

/// Applies the migrations that a PostgreSQL database lacks, after [`needs_only_user`]. The connection must keep
/// its session: the driver takes a lock in it.
///
/// # Errors
/// When it cannot be changed.
pub(super) async fn migrate_server(connection: &mut AnyConnection) -> Result<(), StoreError> {
    migrate(&POSTGRES, connection).await
}

async fn migrate(known: &Migrator, connection: &mut AnyConnection) -> Result<(), StoreError> {
    let mut migrator = Migrator::with_migrations(known.iter().cloned().collect());
    // Those of a newer program that are compatible.
    migrator.set_ignore_missing(true);
    // `run` takes a connection by a trait whose future cannot be sent to other threads.
    Ok(migrator.run_direct(None, connection, false).await?)
}

/// Fails for the tables of a newer program.
///
/// # Errors
/// [`StoreError::Migration`].
pub(super) fn require_usable(schema: Schema) -> Result<(), StoreError> {
    if schema != Schema::Newer {
        return Ok(());
    }
    let source = "its tables are those of a newer version of hsmgate: use that version, or restore a backup with \
                  `hsmgate restore`";
    Err(StoreError::Migration { source: source.into() })
}

/// Fails if a database has any other schema than that of this program.
///
/// # Errors
/// [`StoreError::Migration`], and when it cannot be read.
pub(super) async fn require_own(pool: &Pool) -> Result<(), StoreError> {
    if AppliedMigrations::read(pool).await?.are_own() {
        return Ok(());
    }
    let source = "it has the tables of another version of hsmgate: start the gateway of this version \
                  on it once, or copy it with that version";
    Err(StoreError::Migration { source: source.into() })
}

/// Whether an existing database needs migrations.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn is_older(pool: &Pool) -> Result<bool, StoreError> {
    Ok(AppliedMigrations::read(pool).await?.pending().next().is_some())
}

/// The migrations that this program knows, in order.
fn known_versions() -> impl Iterator<Item = i64> {
    SQLITE.iter().map(|migration| migration.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(further: &[(i64, &str)]) -> AppliedMigrations {
        let known = SQLITE.iter().map(|known| (known.version, known.description.to_string()));
        let further = further.iter().map(|(version, text)| (*version, (*text).to_owned()));
        AppliedMigrations(known.chain(further).collect())
    }

    #[test]
    fn both_migration_folders_have_the_same_files() {
        let list = |migrator: &'static Migrator| -> Vec<_> {
            migrator.iter().map(|one| (one.version, one.description.as_ref())).collect()
        };
        assert_eq!(list(&SQLITE), list(&POSTGRES));
    }

    #[test]
    fn both_migration_folders_differ_only_in_the_type_of_bytes() {
        for (sqlite, postgres) in SQLITE.iter().zip(POSTGRES.iter()) {
            assert_eq!(sqlite.sql.as_str().replace("BLOB", "BYTEA"), postgres.sql.as_str());
        }
    }

    #[test]
    fn a_newer_schema_is_usable_if_all_its_migrations_are_compatible() {
        assert_eq!(applied(&[]).schema(), Schema::Current);
        assert_eq!(applied(&[(9998, "compatible notes")]).schema(), Schema::Current);
        for further in [
            &[(9998, "notes")][..],
            &[(9998, "compatibles")],
            &[(9998, "compatible notes"), (9999, "other notes")],
        ] {
            assert_eq!(applied(further).schema(), Schema::Newer, "{further:?}");
        }
        assert!(!applied(&[(9998, "compatible notes")]).are_own());
    }

    #[test]
    fn a_migration_that_is_not_compatible_needs_the_database_for_itself() {
        let lacking = |migration: &Migration| {
            let mut applied = applied(&[(9998, "compatible notes")]);
            applied.0.retain(|(version, _description)| *version != migration.version);
            (applied.schema(), applied.need_only_user())
        };
        for known in SQLITE.iter() {
            let needs = !known.description.starts_with("compatible ");
            assert_eq!(lacking(known), (Schema::Older, needs), "{}", known.description);
        }
        assert!(!applied(&[]).need_only_user());
    }
}
