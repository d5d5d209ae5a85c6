//! What the database says about the gateways of a cluster, for operators.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::tables::CATALOGUE_REVISION;
use super::{Store, StoreError, unsigned_metadata};

/// How long ago a gateway may have been seen that runs, in milliseconds.
const ALIVE_MILLIS: i64 = 10_000;

/// The gateways of a cluster, and what they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterStatus {
    /// Every gateway that has ever served under its name, by name.
    pub members: Vec<Member>,
    /// The gateway that runs the jobs. `None` while none does.
    pub jobs: Option<String>,
    /// The number of changes of the catalogue.
    pub revision: i64,
    /// Whether the database is a standby, which accepts no change.
    pub is_standby: bool,
    /// The host and the port of the server that says this.
    pub server: String,
}

/// A gateway of a cluster. Times are milliseconds since 1970, by the clock of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// The version of its program.
    pub program: String,
    /// When it started.
    pub started: i64,
    /// When it was last seen.
    pub seen: i64,
    /// Whether it was seen within ten seconds.
    pub is_alive: bool,
    /// How far its clock was ahead of that of the database, in milliseconds.
    pub clock_offset: i64,
    /// How many changes of the catalogue it had not read when it was last seen.
    pub lag: i64,
}

const MEMBERS: &str = "SELECT name, program, started, seen, own_clock, revision, \
    CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) \
    FROM cluster_members ORDER BY name";
const JOBS: &str = "SELECT holder FROM cluster_leases WHERE name = 'jobs' \
    AND expires > CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
const IS_STANDBY: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END";

impl Store {
    /// The gateways of the cluster. `None` if the store is a SQLite file, which has one gateway.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn cluster_status(&self) -> Result<Option<ClusterStatus>, StoreError> {
        if self.inner.database.server.is_none() {
            return Ok(None);
        }
        let mut connection = self.inner.connection().await?;
        let revision = unsigned_metadata::read_count(&mut connection, CATALOGUE_REVISION).await?.0;
        let rows = connection.rows(sqlx::query(MEMBERS)).await?;
        let members = rows.iter().map(|row| member(row, revision)).collect::<Result<_, _>>()?;
        let jobs = connection.row(sqlx::query(JOBS)).await?;
        let jobs = jobs.map(|row| row.try_get(0)).transpose()?;
        let is_standby: i32 = connection.value(sqlx::query(IS_STANDBY)).await?;
        let server = self.inner.database.pool.server().unwrap_or_default().to_owned();
        let is_standby = is_standby == 1;
        Ok(Some(ClusterStatus { members, jobs, revision, is_standby, server }))
    }
}

fn member(row: &AnyRow, revision: i64) -> Result<Member, sqlx::Error> {
    let (seen, own_clock): (i64, i64) = (row.try_get(3)?, row.try_get(4)?);
    let now: i64 = row.try_get(6)?;
    Ok(Member {
        name: row.try_get(0)?,
        program: row.try_get(1)?,
        started: row.try_get(2)?,
        seen,
        is_alive: now.saturating_sub(seen) <= ALIVE_MILLIS,
        clock_offset: own_clock.saturating_sub(seen),
        lag: revision.saturating_sub(row.try_get::<i64, _>(5)?),
    })
}

#[cfg(test)]
mod tests {
    use crate::store::JobLease;
    use crate::store::tests::{Bench, open, sample_key};

    #[tokio::test]
    async fn the_status_shows_who_is_gone_behind_or_has_another_clock() {
        let bench = Bench::new().await;
        if bench.is_on_file() {
            assert_eq!(bench.store.cluster_status().await.unwrap(), None);
            return;
        }
        for (name, live) in [("a", 1), ("b", 2)] {
            let member = open(&format!("{}&cluster_member={name}", bench.url)).await.unwrap();
            JobLease::new(member.clone()).renew().await.unwrap();
            assert_eq!(member.live_gateways().count().get(), live);
        }
        bench.tamper("UPDATE cluster_members SET seen = seen - 11000 WHERE name = 'a'").await;
        bench
            .tamper("UPDATE cluster_members SET own_clock = own_clock + 100000 WHERE name = 'b'")
            .await;
        bench.store.insert_key(sample_key()).await.unwrap();
        let status = bench.store.cluster_status().await.unwrap().unwrap();
        let [a, b] = status.members.as_slice() else { panic!("{status:?}") };
        assert_eq!((a.is_alive, b.is_alive, a.lag, b.lag), (false, true, 1, 1), "{status:?}");
        assert!((95_000..=105_000).contains(&b.clock_offset), "{status:?}");
        assert_eq!((status.jobs.as_deref(), status.is_standby), (Some("a"), false));
    }
}
