//! Users with their AccessKeys, and roles.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::entry::{Difference, SeedEntry, Work};
use super::values::SentSecret;
use crate::authn::{attach_policy, change_principal_details, create_principal};
use crate::cli::exit::CliError;
use crate::cli::policy_arg;
use crate::cli::role::trust_policy;
use crate::config::Duty;
use crate::model::policy::{AttachedPolicy, TrustPolicy};
use crate::model::{AccessKeyId, PrincipalName};
use crate::store::{AccessKeyRow, MAX_ACTIVE_KEYS, Principal};

/// A user or a role.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::cli) struct PrincipalEntry {
    pub(super) name: PrincipalName,
    pub(super) policies: Vec<AttachedPolicy>,
    /// Who may assume a role.
    pub(super) trust: Option<TrustPolicy>,
    /// The longest validity of the sessions of a role in seconds.
    pub(super) max_session_seconds: Option<i64>,
    /// The AccessKeys of a user.
    pub(super) access_keys: Vec<AccessKeyEntry>,
}

/// An AccessKey.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::cli) struct AccessKeyEntry {
    pub(super) id: AccessKeyId,
    pub(super) secret: SentSecret,
}

impl SeedEntry for PrincipalEntry {
    const NAME: &'static str = "apply principal";
    const DUTY: Duty = Duty::Principals;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let policies: Vec<_> = self.policies.iter().map(AttachedPolicy::name).collect();
        let ids: Vec<_> = self.access_keys.iter().map(|key| key.id.as_str()).collect();
        let mut parameters =
            vec![("Principal", self.name.to_string()), ("Policies", policies.join(","))];
        if let Some(trust) = &self.trust {
            parameters.push(("TrustPolicy", trust.text().to_owned()));
        }
        if let Some(seconds) = self.max_session_seconds {
            parameters.push(("MaxSessionDuration", seconds.to_string()));
        }
        if !ids.is_empty() {
            parameters.push(("UserAccessKeyId", ids.join(",")));
        }
        parameters
    }

    async fn apply(&self, work: &Work<'_>) -> anyhow::Result<Vec<Difference>> {
        self.policies.iter().try_for_each(policy_arg::check)?;
        if let Some(trust) = &self.trust {
            trust_policy(trust.text())?;
        }
        let stored = work.store().principals().await?;
        let stored = stored.into_iter().find(|one| one.name == self.name);
        let mut differences = vec![self.principal(stored.as_ref(), work).await?];
        differences.extend(self.access_keys(work).await?);
        Ok(differences)
    }
}

impl PrincipalEntry {
    async fn principal(
        &self,
        stored: Option<&Principal>,
        work: &Work<'_>,
    ) -> anyhow::Result<Difference> {
        let store = work.store();
        let mut difference = Difference::of(self.name.to_string().replacen('/', " ", 1));
        if stored.is_none() {
            difference = difference.create();
            self.policies.iter().for_each(|policy| difference.note(policy.name()));
            if !work.is_plan() {
                create_principal(store, &self.name, self.policies.clone()).await?;
            }
        }
        for policy in &self.policies {
            if stored.is_some_and(|stored| !stored.policies.contains(policy)) {
                difference.change(format!("policy {}", policy.name()));
                if !work.is_plan() {
                    attach_policy(store, &self.name, policy.clone()).await?;
                }
            }
        }
        let details = stored.map(|stored| &stored.details);
        let trust = self.trust.as_ref().filter(|wanted| {
            let now = details.and_then(|details| details.trust.as_ref());
            now.map(TrustPolicy::text) != Some(wanted.text())
        });
        let seconds = self.max_session_seconds.filter(|wanted| {
            details.and_then(|details| details.max_session_seconds) != Some(*wanted)
        });
        if trust.is_some() {
            difference.change("trust policy");
        }
        if let Some(seconds) = seconds {
            difference.change(format!("sessions of {seconds} s"));
        }
        if (trust.is_some() || seconds.is_some()) && !work.is_plan() {
            let change = change_principal_details(store, &self.name, |details| {
                details.trust = trust.cloned().or_else(|| details.trust.clone());
                details.max_session_seconds = seconds.or(details.max_session_seconds);
            });
            change.await?;
        }
        Ok(difference)
    }

    async fn access_keys(&self, work: &Work<'_>) -> anyhow::Result<Vec<Difference>> {
        if self.access_keys.is_empty() {
            return Ok(Vec::new());
        }
        let keys = work.backend().access_keys();
        keys.refresh().await?;
        let rows = work.store().access_keys().await?;
        let is_active = |row: &&AccessKeyRow| {
            row.principal == self.name && row.is_active && row.session.is_none()
        };
        let mut active = i64::try_from(rows.iter().filter(is_active).count())?;
        let mut differences = Vec::new();
        for entry in &self.access_keys {
            work.check_secret(&entry.secret)?;
            let mut difference = Difference::of(format!("AccessKey {}", entry.id));
            if let Some(row) = rows.iter().find(|row| row.id == entry.id) {
                self.check_access_key(entry, &row.principal, work)?;
                if !row.is_active {
                    difference.note("disabled, not changed");
                }
            } else {
                active += 1;
                if active > MAX_ACTIVE_KEYS {
                    let what = format!(
                        "{} would have more than two active AccessKeys, the maximum",
                        self.name
                    );
                    return Err(CliError::WrongState(what).into());
                }
                difference = difference.create();
                if !work.is_plan() {
                    let secret = entry.secret.value().clone();
                    keys.ensure(entry.id.clone(), &self.name, secret).await?;
                }
            }
            differences.push(difference);
        }
        Ok(differences)
    }

    /// Refuses an AccessKey of another owner or with another secret.
    fn check_access_key(
        &self,
        entry: &AccessKeyEntry,
        owner: &PrincipalName,
        work: &Work<'_>,
    ) -> anyhow::Result<()> {
        let wrong = |what: String| Err(CliError::WrongState(what).into());
        if *owner != self.name {
            return wrong(format!("the AccessKey {} exists and belongs to {owner}", entry.id));
        }
        let Some(key) = work.backend().access_keys().find(entry.id.as_str()) else {
            return wrong(format!("the AccessKey {} cannot be read", entry.id));
        };
        let [stored, wanted] = [&key.secret, entry.secret.value()].map(ExposeSecret::expose_secret);
        if verify_slices_are_equal(stored.as_bytes(), wanted.as_bytes()).is_err() {
            return wrong(format!(
                "the AccessKey {} exists with another secret: delete it, or take another id",
                entry.id
            ));
        }
        Ok(())
    }
}
