//! Watches what ends, is not used any more, or fills up: client keys, imported material, the certificate,
//! AccessKeys, quotas, IV budgets, and the age of the last backup. Sets the metrics of these, and logs once
//! when a threshold is crossed. Nothing is computed while a request is served.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::crossings::{
    Crossings, EXPIRY_THRESHOLDS, SECONDS_PER_DAY, expiry_threshold, quota_threshold,
};
use super::metrics::{DaysLabels, JobMetrics, QuotaLabels};
use super::{Job, JobError};
use crate::model::{ClientKeyRecord, IvBudget, KeyRecord, Quota, Time, clock};
use crate::store::{AccessKeyRow, QuotaUse, Store, StoreError};
use crate::telemetry::{Family, Gauge, NoLabels, gauge_value};

/// An active AccessKey that was not used for so long is reported.
const UNUSED_DAYS: i64 = 90;
/// The days before the end of the certificate at which it is reported. Its renewal is due then, whatever its
/// validity.
const CERTIFICATE_DAYS: i64 = 14;
/// A database that was not copied for so long is reported.
const BACKUP_DAYS: i64 = 7;
/// Versions that have used less than this part of their budget are not read.
const LEAST_PART_OF_BUDGET: u64 = 100;
/// The label and the name of the IV budget beside the quotas.
const IV_BUDGET: &str = "iv_budget";

/// What has crossed a threshold. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits(Arc<Mutex<Kinds>>);

#[derive(Debug, Default)]
struct Kinds {
    client_keys: Crossings,
    material: Crossings,
    certificate: Crossings,
    access_keys: Crossings,
    quotas: Crossings,
    iv_budgets: Crossings,
    backup: Crossings,
}

/// Checks what is in memory, and the age of the last backup.
pub(super) async fn check(job: Job) -> Result<(), JobError> {
    let (context, now) = (&job.context, clock::now());
    {
        let mut kinds = job.limits.0.lock();
        let metrics = &context.metrics;
        check_client_keys(&context.store.documents(), metrics, &mut kinds.client_keys, now);
        check_material(&context.store.keys(), metrics, &mut kinds.material, now);
        check_quotas(&context.store.quota_uses(), metrics, &mut kinds.quotas);
        if let Some(certificate) = &context.certificate {
            check_certificate(certificate.not_after(), &mut kinds.certificate, now);
        }
    }
    context.keyring.check_token_calls();
    context.store.check_latency();
    let since = context.store.without_backup_since().await?;
    check_backup(since, &context.metrics, &mut job.limits.0.lock().backup, now);
    Ok(())
}

/// Checks what is in the database alone: last uses of AccessKeys, and encryptions of key versions.
pub(super) async fn check_uses(job: Job) -> Result<(), JobError> {
    let (context, now) = (&job.context, clock::now());
    let keys = context.store.access_keys().await?;
    check_access_keys(&keys, &context.metrics, &mut job.limits.0.lock().access_keys, now);
    let budget = context.keyring.iv_budget();
    let used = used_budgets(&context.store, budget).await?;
    check_iv_budgets(&used, budget, &context.metrics, &mut job.limits.0.lock().iv_budgets);
    Ok(())
}

/// Sets a metric to the number of subjects by threshold.
fn count(counts: &Family<DaysLabels, Gauge>, crossed: &HashMap<String, usize>) {
    for (threshold, days) in EXPIRY_THRESHOLDS.into_iter().enumerate() {
        let count = crossed.values().filter(|crossed| **crossed == threshold).count();
        counts.get_or_create(&DaysLabels { days }).set(gauge_value(count));
    }
}

fn days_left(end: Time, now: Time) -> i64 {
    end.unix().saturating_sub(now.unix()).div_euclid(SECONDS_PER_DAY)
}

/// Client keys that are deactivated do not count.
fn check_client_keys(
    keys: &[Arc<ClientKeyRecord>],
    metrics: &JobMetrics,
    crossings: &mut Crossings,
    now: Time,
) {
    let crossed = keys.iter().filter(|key| key.is_active).filter_map(|key| {
        Some((key.id.to_string(), expiry_threshold(key.not_before, key.not_after, now)?))
    });
    let crossed: HashMap<_, _> = crossed.collect();
    count(&metrics.client_keys_expiring, &crossed);
    let further = crossings.update(crossed);
    for key in keys.iter().filter(|key| further.contains(&key.id.to_string())) {
        tracing::warn!(
            event = "client_key.expires",
            client_key_id = %key.id,
            access_point = %key.access_point,
            not_after = %key.not_after,
            days_left = days_left(key.not_after, now),
            "a client key ends soon or has ended; create another one and delete it"
        );
    }
}

/// The time of an import is not known; it cannot be before the creation of the key.
fn check_material(
    keys: &[Arc<KeyRecord>],
    metrics: &JobMetrics,
    crossings: &mut Crossings,
    now: Time,
) {
    let end_of = |key: &KeyRecord| {
        let material = key.material.as_ref().filter(|material| material.is_present)?;
        material.expires
    };
    let crossed = keys.iter().filter_map(|key| {
        Some((key.id.to_string(), expiry_threshold(key.created, end_of(key)?, now)?))
    });
    let crossed: HashMap<_, _> = crossed.collect();
    count(&metrics.material_expiring, &crossed);
    let further = crossings.update(crossed);
    for key in keys.iter().filter(|key| further.contains(&key.id.to_string())) {
        let Some(expires) = end_of(key) else { continue };
        tracing::warn!(
            event = "key.material_expires",
            key_id = %key.id,
            %expires,
            days_left = days_left(expires, now),
            "the imported material of a key will be destroyed soon; import it again with a later date"
        );
    }
}

/// The metric is that of the server, `hsmgate_certificate_left_seconds`.
fn check_certificate(not_after: Time, crossings: &mut Crossings, now: Time) {
    let left = days_left(not_after, now);
    let threshold = match left {
        ..0 => Some(1),
        0..CERTIFICATE_DAYS => Some(0),
        _ => None,
    };
    let crossed = threshold.map(|threshold| (not_after.to_string(), threshold));
    if !crossings.update(crossed.into_iter().collect()).is_empty() {
        tracing::warn!(
            event = "certificate.expires",
            %not_after,
            days_left = left,
            "the TLS certificate expires soon or has expired; write the new one to the same files"
        );
    }
}

/// Inactive AccessKeys and temporary credentials do not count.
fn check_access_keys(
    keys: &[AccessKeyRow],
    metrics: &JobMetrics,
    crossings: &mut Crossings,
    now: Time,
) {
    let last = |key: &AccessKeyRow| key.last_used.map_or(key.created, |used| used.max(key.created));
    let is_unused = |key: &&AccessKeyRow| {
        key.is_active && key.session.is_none() && -days_left(last(key), now) >= UNUSED_DAYS
    };
    let unused: Vec<_> = keys.iter().filter(is_unused).collect();
    metrics.access_keys_unused.set(gauge_value(unused.len()));
    let further = crossings.update(unused.iter().map(|key| (key.id.to_string(), 0)).collect());
    for key in unused.into_iter().filter(|key| further.contains(&key.id.to_string())) {
        tracing::warn!(
            event = "access_key.unused",
            access_key_id = %key.id,
            principal = %key.principal,
            last_used = key.last_used.map(tracing::field::display),
            "an active AccessKey was not used for 90 days; disable it, and delete it later"
        );
    }
}

fn set_share(metrics: &JobMetrics, quota: &'static str, share: f64) {
    metrics.quota_used.get_or_create(&QuotaLabels { quota }).set(share);
}

/// The name of a quota without the section of its setting.
fn name(quota: Quota) -> &'static str {
    quota.setting.trim_start_matches("quotas.")
}

fn check_quotas(uses: &[QuotaUse], metrics: &JobMetrics, crossings: &mut Crossings) {
    let mut crossed = HashMap::new();
    for QuotaUse { quota, used } in uses {
        let share = quota.share(*used);
        set_share(metrics, name(*quota), share);
        crossed.extend(quota_threshold(share).map(|at| (name(*quota).to_owned(), at)));
    }
    let further = crossings.update(crossed);
    for QuotaUse { quota, used } in uses {
        if further.iter().any(|name_of_further| name_of_further == name(*quota)) {
            tracing::warn!(
                event = "quota.nearly_used",
                setting = quota.setting,
                used,
                most = quota.most,
                "a quota is nearly used; delete what is not needed, or raise it"
            );
        }
    }
}

/// The encryptions of the primary versions that have used a part of their budget, by the id of the version.
async fn used_budgets(store: &Store, budget: IvBudget) -> Result<HashMap<String, u64>, StoreError> {
    let mut used = store.version_invocations(budget.refuse_at / LEAST_PART_OF_BUDGET).await?;
    let is_primary = |id: &String| {
        let version = id.parse().ok()?;
        Some(store.key_of_version(version)?.primary == Some(version))
    };
    used.retain(|id, _total| is_primary(id).unwrap_or_default());
    Ok(used)
}

fn check_iv_budgets(
    used: &HashMap<String, u64>,
    budget: IvBudget,
    metrics: &JobMetrics,
    crossings: &mut Crossings,
) {
    // No budget exceeds 2^32, so both numbers are exact.
    let number = |total: u64| u32::try_from(total).map_or(f64::from(u32::MAX), f64::from);
    let share = |total: u64| number(total) / number(budget.refuse_at.max(1));
    set_share(metrics, IV_BUDGET, used.values().map(|total| share(*total)).fold(0.0, f64::max));
    let crossed =
        used.iter().filter_map(|(id, total)| Some((id.clone(), quota_threshold(share(*total))?)));
    for id in crossings.update(crossed.collect()) {
        tracing::warn!(
            event = "iv_budget.nearly_used",
            key_version_id = id,
            total = used.get(&id),
            refuse_at = budget.refuse_at,
            "the primary version of a key has used most of its encryptions; rotate the key"
        );
    }
}

fn check_backup(since: Option<Time>, metrics: &JobMetrics, crossings: &mut Crossings, now: Time) {
    metrics.backup_age.clear();
    let mut crossed = HashMap::new();
    if let Some(since) = since {
        let age = now.unix().saturating_sub(since.unix());
        metrics.backup_age.get_or_create(&NoLabels {}).set(age);
        if age >= BACKUP_DAYS * SECONDS_PER_DAY {
            crossed.insert(since.to_string(), 0);
        }
    }
    for since in crossings.update(crossed) {
        tracing::warn!(
            event = "backup.outdated",
            since,
            "the database was not copied by hsmgate backup for a week"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ClientKeyId, ImportedMaterial, KeySpec, KeyUsage, Origin, ProtectionLevel};
    use crate::telemetry::{MetricsFormat, Registry};

    const DAY: i64 = SECONDS_PER_DAY;

    fn now() -> Time {
        Time::from_unix(1_700_000_000)
    }

    fn in_days(days: i64) -> Time {
        now().plus_seconds(days * DAY)
    }

    /// Metrics, and whether their text has a line.
    fn metrics() -> (JobMetrics, impl Fn(&str) -> bool) {
        let mut registry = Registry::default();
        let metrics = JobMetrics::new(&mut registry);
        let has = move |line: &str| {
            let text = registry.text(MetricsFormat::Prometheus).unwrap();
            text.lines().any(|shown| shown == line)
        };
        (metrics, has)
    }

    fn client_key(end: i64, is_active: bool) -> Arc<ClientKeyRecord> {
        Arc::new(ClientKeyRecord {
            id: ClientKeyId::random(),
            access_point: "orders".parse().unwrap(),
            certificate_pem: String::new(),
            public_key: crate::model::Base64Bytes(Vec::new()),
            not_before: in_days(-1000),
            not_after: in_days(end),
            created: in_days(-1000),
            is_active,
            last_used: None,
        })
    }

    #[test]
    fn active_client_keys_count_by_the_last_threshold_that_they_crossed() {
        let (metrics, has) = metrics();
        let mut crossings = Crossings::default();
        let keys = [(200, true), (100, true), (5, true), (6, true), (-1, true), (5, false)]
            .map(|(end, is_active)| client_key(end, is_active));
        check_client_keys(&keys, &metrics, &mut crossings, now());
        for (days, count) in [("180", 1), ("90", 0), ("30", 0), ("7", 2), ("0", 1)] {
            let line = format!("hsmgate_client_keys_expiring{{days=\"{days}\"}} {count}");
            assert!(has(&line), "{line}");
        }
        check_client_keys(&[], &metrics, &mut crossings, now());
        assert!(has("hsmgate_client_keys_expiring{days=\"7\"} 0"));
    }

    #[test]
    fn material_counts_while_the_token_has_it_and_it_expires() {
        let (metrics, has) = metrics();
        let key = |end: Option<i64>, is_present| {
            let (spec, usage) = (KeySpec::Aes256, KeyUsage::EncryptDecrypt);
            let mut key =
                KeyRecord::new(spec, usage, Origin::External, ProtectionLevel::Hsm, in_days(-1000));
            let expires = end.map(in_days);
            key.material = Some(ImportedMaterial { check_value: Vec::new(), expires, is_present });
            Arc::new(key)
        };
        let keys = [key(Some(20), true), key(Some(20), false), key(None, true)];
        check_material(&keys, &metrics, &mut Crossings::default(), now());
        assert!(has("hsmgate_imported_material_expiring{days=\"30\"} 1"));
        assert!(has("hsmgate_imported_material_expiring{days=\"0\"} 0"));
    }

    #[test]
    fn access_keys_count_after_90_days_without_a_use() {
        let (metrics, has) = metrics();
        let key = |id: &str, created: i64, last_used: Option<i64>| AccessKeyRow {
            id: id.parse().unwrap(),
            principal: "user/alice".parse().unwrap(),
            encrypted_secret: Vec::new(),
            created: in_days(created),
            is_active: id != "LTAI-inactive",
            last_used: last_used.map(in_days),
            session: None,
        };
        let keys = [
            key("LTAI-never", -90, None),
            key("LTAI-new", -89, None),
            key("LTAI-long-ago", -900, Some(-90)),
            key("LTAI-recent", -900, Some(-89)),
            key("LTAI-inactive", -900, None),
        ];
        let mut crossings = Crossings::default();
        check_access_keys(&keys, &metrics, &mut crossings, now());
        assert!(has("hsmgate_access_keys_unused 2"));
        check_access_keys(&keys, &metrics, &mut crossings, in_days(1));
        assert!(has("hsmgate_access_keys_unused 4"));
    }

    #[test]
    fn the_share_of_a_quota_stands_under_the_name_of_its_setting() {
        let (metrics, has) = metrics();
        let quota = Quota { setting: "quotas.client_keys", most: 4 };
        let uses = [QuotaUse { quota, used: 3 }];
        check_quotas(&uses, &metrics, &mut Crossings::default());
        assert!(has("hsmgate_quota_used_ratio{quota=\"client_keys\"} 0.75"));
        let budget = IvBudget { refuse_at: 400, ..IvBudget::default() };
        let totals = [("one".to_owned(), 100), ("two".to_owned(), 300)].into();
        check_iv_budgets(&totals, budget, &metrics, &mut Crossings::default());
        assert!(has("hsmgate_quota_used_ratio{quota=\"iv_budget\"} 0.75"));
    }

    #[test]
    fn the_age_of_a_backup_is_absent_while_there_is_nothing_to_copy() {
        let (metrics, has) = metrics();
        let mut crossings = Crossings::default();
        check_backup(Some(in_days(-7)), &metrics, &mut crossings, now());
        assert!(has("hsmgate_backup_age_seconds 604800"));
        check_backup(None, &metrics, &mut crossings, now());
        assert!(!has("hsmgate_backup_age_seconds 604800"));
    }

    #[test]
    fn crossings_are_logged_once() {
        let (metrics, _has) = metrics();
        let mut kinds = Kinds::default();
        let keys = [client_key(5, true)];
        let mut check = |now| {
            check_client_keys(&keys, &metrics, &mut kinds.client_keys, now);
            check_certificate(in_days(14), &mut kinds.certificate, now);
            check_backup(Some(in_days(-7)), &metrics, &mut kinds.backup, now);
        };
        let logged = crate::telemetry::tests::events(|| {
            check(now());
            check(now().plus_seconds(60));
            check(in_days(15));
            check(in_days(15));
        });
        let first = ["client_key.expires", "backup.outdated", "certificate.expires"];
        let later = ["client_key.expires", "certificate.expires"];
        assert_eq!(logged, [&first[..], &later].concat());
    }
}
