//! SQL for documents: one table for all kinds. A document may reference one that does not exist.

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::any::AnyRow;

use super::document_cache::{DanglingReference, Document, DocumentCache};
use super::scope_reading::{ScopeCheck, TableRows};
use super::tables::DOCUMENTS;
use super::value::Value;
use super::write::Write;
use super::{DamagedRow, Store, StoreError};
use crate::model::{
    AccessPoint, AccessPolicy, ClientKeyRecord, IdentityProvider, ImportParameters, NetworkRule,
    Time,
};

impl Store {
    /// The document of this kind with this name.
    pub fn document<D: Document>(&self, name: &str) -> Option<Arc<D>> {
        D::index(&self.inner.catalogue.read().documents).get(name).map(Arc::clone)
    }

    /// Every document of this kind, sorted by name.
    pub fn documents<D: Document>(&self) -> Vec<Arc<D>> {
        D::index(&self.inner.catalogue.read().documents).values().map(Arc::clone).collect()
    }

    /// Every dangling reference in the access documents.
    pub fn dangling_references(&self) -> BTreeSet<DanglingReference> {
        self.inner.catalogue.read().documents.dangling()
    }

    /// The subset of [`Store::dangling_references`] that restricts a client key below what its
    /// access point allows.
    pub fn dangling_references_of(
        &self,
        key: &Arc<ClientKeyRecord>,
    ) -> BTreeSet<DanglingReference> {
        self.inner.catalogue.read().documents.dangling_references_of(key)
    }

    /// The import parameters that have expired.
    pub fn expired_imports(&self, now: Time) -> Vec<Arc<ImportParameters>> {
        let mut parameters = self.documents::<ImportParameters>();
        parameters.retain(|parameters| parameters.expires <= now);
        parameters
    }

    /// Adds a document.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the kind already has this name.
    pub async fn insert_document<D: Document>(&self, document: D) -> Result<Arc<D>, StoreError> {
        self.insert_document_if(document, |_document| Ok(())).await
    }

    /// Adds a document, if `decide` agrees. No other document changes between the decision and the
    /// change.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the kind already has this name; [`StoreError::QuotaReached`]; what
    /// `decide` returns.
    pub async fn insert_document_if<D, E, F>(&self, document: D, decide: F) -> Result<Arc<D>, E>
    where
        D: Document,
        E: From<StoreError>,
        F: FnOnce(&D) -> Result<(), E>,
    {
        let name = document.name();
        let mut write = self.write().await?;
        if let Some(quota) = D::quota(&write.quotas()) {
            let count = sqlx::query("SELECT COUNT(*) FROM documents WHERE kind = $1");
            write.require_room(quota, count.bind(D::KIND)).await?;
        }
        decide(&document)?;
        let [name, kind] = row_key::<D>(&name);
        write.insert_row(&DOCUMENTS, vec![name, kind, body(&document)?.into()]).await?;
        Ok(commit(write, document).await?)
    }

    /// Passes a document to `change` and stores the result. Writes nothing if `change` fails or
    /// changes nothing.
    ///
    /// The document is read from disk and locked against all other writers until the change is
    /// committed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the document does not exist; [`StoreError::Exists`] when
    /// `change` renames it (a name is permanent); what `change` returns.
    pub async fn change_document<D, E, F>(&self, name: &str, change: F) -> Result<Arc<D>, E>
    where
        D: Document,
        E: From<StoreError>,
        F: FnOnce(&mut D) -> Result<(), E>,
    {
        let mut write = self.write().await?;
        let before: D = write.lock_document(name).await?;
        let mut after = before.clone();
        change(&mut after)?;
        if after == before {
            return Ok(Arc::new(before));
        }
        if after.name() != name {
            return Err(StoreError::Exists.into());
        }
        let changes = vec![("body", body(&after)?.into())];
        write.change_row(&DOCUMENTS, &row_key::<D>(name), changes).await?;
        Ok(commit(write, after).await?)
    }

    /// Deletes a document, even if it cannot be read or another document references it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the document does not exist.
    pub async fn remove_document<D: Document>(&self, name: &str) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        if !write.delete_document::<D>(name).await? {
            return Err(StoreError::NotFound);
        }
        let name = name.to_owned();
        write
            .commit(move |catalogue| drop(D::index_mut(&mut catalogue.documents).remove(&name)))
            .await
    }
}

impl Write {
    /// Deletes a document. Returns whether it existed.
    pub(super) async fn delete_document<D: Document>(
        &mut self,
        name: &str,
    ) -> Result<bool, StoreError> {
        let condition = "name = $1 AND kind = $2";
        Ok(self.delete_rows(&DOCUMENTS, condition, row_key::<D>(name).into()).await? > 0)
    }
}

/// Reads every document that may be used, and returns the rows that may not.
pub(super) fn load(
    rows: TableRows,
    check: &ScopeCheck,
) -> Result<(DocumentCache, Vec<DamagedRow>), StoreError> {
    let mut documents = DocumentCache::default();
    let read = rows.read(check, |row| put_row(&mut documents, row))?;
    Ok((documents, read.damaged))
}

/// The key of a document's row.
fn row_key<D: Document>(name: &str) -> [Value; 2] {
    [name.into(), D::KIND.into()]
}

fn put_row(documents: &mut DocumentCache, row: &AnyRow) -> Result<(), StoreError> {
    let fields = DOCUMENTS.fields(row);
    match fields.get::<&str>("kind")? {
        NetworkRule::KIND => put::<NetworkRule>(documents, read_named(row)?),
        AccessPolicy::KIND => put::<AccessPolicy>(documents, read_named(row)?),
        AccessPoint::KIND => put::<AccessPoint>(documents, read_named(row)?),
        ClientKeyRecord::KIND => put::<ClientKeyRecord>(documents, read_named(row)?),
        ImportParameters::KIND => put::<ImportParameters>(documents, read_named(row)?),
        IdentityProvider::KIND => put::<IdentityProvider>(documents, read_named(row)?),
        _ => return Err(fields.corrupt("kind", "unknown kind")),
    }
    Ok(())
}

/// Reads a document and checks its name: under another name it would replace another document.
fn read_named<D: Document>(row: &AnyRow) -> Result<Arc<D>, StoreError> {
    let fields = DOCUMENTS.fields(row);
    let document: D = fields.json("body")?;
    if document.name() == fields.get::<String>("name")? {
        Ok(Arc::new(document))
    } else {
        Err(fields.corrupt("body", "its name differs from the name of the row"))
    }
}

fn put<D: Document>(documents: &mut DocumentCache, document: Arc<D>) {
    D::index_mut(documents).insert(document.name(), document);
}

/// Commits a document, and puts it into memory.
async fn commit<D: Document>(write: Write, document: D) -> Result<Arc<D>, StoreError> {
    let document = Arc::new(document);
    let remembered = Arc::clone(&document);
    write.commit(move |catalogue| put(&mut catalogue.documents, remembered)).await?;
    Ok(document)
}

impl Write {
    /// Reads a document and locks its row, as for a key.
    async fn lock_document<D: Document>(&mut self, name: &str) -> Result<D, StoreError> {
        let row = self.lock_row(&DOCUMENTS, &row_key::<D>(name)).await?;
        let (row, _stored) = row.ok_or(StoreError::NotFound)?;
        DOCUMENTS.fields(&row).json("body")
    }
}

fn body<D: Document>(document: &D) -> Result<String, StoreError> {
    DOCUMENTS.to_json(&document.name(), "body", document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        AuthenticationMethod, ClientKeyId, FromParam, ImportId, KeyId, KeyVersionId,
        WrappingAlgorithm,
    };
    use crate::store::tests::{Bench, open};

    const NOON: i64 = 1_700_000_000;

    fn rule(name: &str) -> NetworkRule {
        NetworkRule {
            name: name.parse().unwrap(),
            source_private_ip: FromParam::from_param(r#"["10.0.0.0/8","::1"]"#).unwrap(),
            description: "it's \"quoted\"; 🔑".to_owned(),
            created: Time::from_unix(NOON),
        }
    }

    fn policy(name: &str, rules: &[&str]) -> AccessPolicy {
        AccessPolicy {
            name: name.parse().unwrap(),
            permissions: FromParam::from_param(
                r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#,
            )
            .unwrap(),
            resources: FromParam::from_param(r#"["key/*","secret/db"]"#).unwrap(),
            rules: FromParam::from_param(&rules_text(rules)).unwrap(),
            kms_instance: "kst-1".to_owned(),
            description: String::new(),
            created: Time::from_unix(NOON),
        }
    }

    fn point(name: &str, policies: &[&str]) -> AccessPoint {
        AccessPoint {
            name: name.parse().unwrap(),
            policies: FromParam::from_param(&serde_json::to_string(policies).unwrap()).unwrap(),
            authentication_method: AuthenticationMethod::ClientKey,
            description: String::new(),
            created: Time::from_unix(NOON),
        }
    }

    fn client_key(access_point: &str) -> ClientKeyRecord {
        ClientKeyRecord {
            id: ClientKeyId::random(),
            access_point: access_point.parse().unwrap(),
            certificate_pem: "-----BEGIN CERTIFICATE-----\n".to_owned(),
            public_key: crate::model::Base64Bytes(vec![0x30, 0, 255]),
            not_before: Time::from_unix(NOON),
            not_after: Time::from_unix(NOON + 1),
            created: Time::from_unix(NOON),
            is_active: true,
            last_used: None,
        }
    }

    fn import(expires: i64) -> ImportParameters {
        ImportParameters {
            id: ImportId::random(),
            key: KeyId::random(),
            wrapping: KeyVersionId::random(),
            algorithm: WrappingAlgorithm::RsaesOaepSha256,
            expires: Time::from_unix(expires),
            refusals: 0,
        }
    }

    fn rules_text(names: &[&str]) -> String {
        format!("{{ \"NetworkRules\": {} }}", serde_json::to_string(names).unwrap())
    }

    /// The dangling references as text.
    fn dangling(store: &Store) -> Vec<String> {
        store.dangling_references().iter().map(ToString::to_string).collect()
    }

    /// A rule, a policy, an access point and a client key, each referenced by the next.
    async fn chain(bench: &Bench) -> Arc<ClientKeyRecord> {
        bench.store.insert_document(rule("rule")).await.unwrap();
        bench.store.insert_document(policy("policy", &["rule"])).await.unwrap();
        bench.store.insert_document(point("point", &["policy"])).await.unwrap();
        bench.store.insert_document(client_key("point")).await.unwrap()
    }

    #[tokio::test]
    async fn every_kind_is_read_after_reopening() {
        let bench = Bench::new().await;
        let key = chain(&bench).await;
        let import = bench.store.insert_document(import(NOON)).await.unwrap();
        let again = open(&bench.url).await.unwrap();
        assert_eq!(again.document("rule").as_deref(), Some(&rule("rule")));
        assert_eq!(again.document("policy").as_deref(), Some(&policy("policy", &["rule"])));
        assert_eq!(again.document("point").as_deref(), Some(&point("point", &["policy"])));
        assert_eq!(again.document(&key.id.to_string()), Some(key));
        assert_eq!(again.document(&import.id.to_string()), Some(import));
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test]
    async fn a_name_is_unique_only_in_its_kind() {
        let bench = Bench::new().await;
        bench.store.insert_document(rule("b")).await.unwrap();
        let again = NetworkRule { description: String::new(), ..rule("b") };
        let error = bench.store.insert_document(again).await.unwrap_err();
        assert!(matches!(error, StoreError::Exists), "{error:?}");
        bench.store.insert_document(policy("b", &[])).await.unwrap();
        bench.store.insert_document(rule("B")).await.unwrap();
        let listed = bench.store.documents::<NetworkRule>();
        assert_eq!(listed, [Arc::new(rule("B")), Arc::new(rule("b"))]);
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test]
    async fn a_referenced_document_can_be_deleted_and_the_reference_dangles_until_it_exists_again()
    {
        let bench = Bench::new().await;
        let key = chain(&bench).await;
        let store = &bench.store;
        assert_eq!(dangling(store), Vec::<String>::new());
        store.remove_document::<NetworkRule>("rule").await.unwrap();
        assert_eq!(dangling(store), ["network-rule rule (named by policy policy)"]);
        assert_eq!(store.dangling_references_of(&key), store.dangling_references());
        store.remove_document::<AccessPolicy>("policy").await.unwrap();
        assert_eq!(dangling(store), ["policy policy (named by access-point point)"]);
        store.remove_document::<AccessPoint>("point").await.unwrap();
        let named_by_key = format!("access-point point (named by client-key {})", key.id);
        assert_eq!(dangling(store), [named_by_key]);
        assert_eq!(store.dangling_references_of(&key), store.dangling_references());
        bench.assert_disk_is_memory().await;
        store.insert_document(point("point", &["policy"])).await.unwrap();
        store.insert_document(policy("policy", &[])).await.unwrap();
        assert_eq!(dangling(store), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_document_may_reference_missing_documents_more_than_once() {
        let bench = Bench::new().await;
        let store = &bench.store;
        store.insert_document(policy("policy", &["rule", "rule", "other"])).await.unwrap();
        store.insert_document(point("point", &["none", "policy", "none"])).await.unwrap();
        let key = store.insert_document(client_key("point")).await.unwrap();
        let elsewhere = store.insert_document(client_key("elsewhere")).await.unwrap();
        let missing = [
            format!("access-point elsewhere (named by client-key {})", elsewhere.id),
            "network-rule other (named by policy policy)".to_owned(),
            "network-rule rule (named by policy policy)".to_owned(),
            "policy none (named by access-point point)".to_owned(),
        ];
        assert_eq!(dangling(store), missing);
        let behind =
            |key| store.dangling_references_of(key).iter().map(ToString::to_string).collect();
        let behind: [Vec<String>; 2] = [&key, &elsewhere].map(behind);
        assert_eq!(behind, [missing[1..].to_vec(), missing[..1].to_vec()]);
        let again = open(&bench.url).await.unwrap();
        assert_eq!(
            again.document("policy").as_deref(),
            Some(&policy("policy", &["rule", "rule", "other"]))
        );
        assert_eq!(dangling(&again), missing);
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test]
    async fn a_policy_stored_without_its_text_is_read() {
        let bench = Bench::new().await;
        bench.store.insert_document(policy("policy", &["rule"])).await.unwrap();
        bench
            .change(
                r#"UPDATE documents SET body = '{"name":"policy",
                   "permissions":["RbacPermission/Template/CryptoServiceKeyUser"],
                   "resources":["key/*","secret/db"],"rules":{"NetworkRules":["rule"]},
                   "kms_instance":"kst-1","description":"","created":"2023-11-14T22:13:20Z"}'"#,
            )
            .await;
        let again = open(&bench.url).await.unwrap();
        assert_eq!(again.damaged_rows(), []);
        let read = again.document::<AccessPolicy>("policy").unwrap();
        assert_eq!(read.rules.text(), r#"{"NetworkRules":["rule"]}"#);
        assert_eq!(read.resources, policy("policy", &[]).resources);
    }

    #[tokio::test]
    async fn a_refused_change_or_a_rename_changes_nothing() {
        let bench = Bench::new().await;
        bench.store.insert_document(rule("a")).await.unwrap();
        let refused = bench.store.change_document("a", |rule: &mut NetworkRule| {
            rule.description.clear();
            Err(StoreError::Url("represents any refusal"))
        });
        assert!(matches!(refused.await, Err(StoreError::Url(_))));
        let renamed = bench.store.change_document("a", |rule: &mut NetworkRule| {
            rule.name = "b".parse().unwrap();
            Ok::<_, StoreError>(())
        });
        assert!(matches!(renamed.await, Err(StoreError::Exists)));
        assert_eq!(bench.store.documents::<NetworkRule>(), [Arc::new(rule("a"))]);
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test]
    async fn an_unknown_document_is_neither_changed_nor_deleted() {
        let Bench { store, .. } = &Bench::new().await;
        store.insert_document(policy("a", &[])).await.unwrap();
        let change = store.change_document("a", |_: &mut NetworkRule| Ok::<_, StoreError>(()));
        assert!(matches!(change.await, Err(StoreError::NotFound)));
        let remove = store.remove_document::<NetworkRule>("a").await;
        assert!(matches!(remove, Err(StoreError::NotFound)));
        assert_eq!(store.document::<NetworkRule>("a"), None);
    }

    #[tokio::test]
    async fn import_parameters_expire_at_their_date() {
        let Bench { store, .. } = &Bench::new().await;
        let due = store.insert_document(import(NOON)).await.unwrap();
        store.insert_document(import(NOON + 1)).await.unwrap();
        assert_eq!(store.expired_imports(Time::from_unix(NOON)), [due]);
    }

    #[tokio::test]
    async fn an_unreadable_document_is_reported() {
        let bench = Bench::new().await;
        bench.store.insert_document(rule("a")).await.unwrap();
        bench.store.insert_document(rule("b")).await.unwrap();
        for (sql, why) in [
            ("UPDATE documents SET body = '{}' WHERE name = 'a'", "column body: "),
            (
                "UPDATE documents SET body = replace(body, '\"a\"', '\"b\"') WHERE name = 'a'",
                "column body: ",
            ),
            (
                "UPDATE documents SET body = CAST(x'ff' AS TEXT) WHERE name = 'a'",
                "it contains text",
            ),
            ("UPDATE documents SET kind = 'rule' WHERE name = 'a'", "column kind: "),
        ] {
            if !bench.change(sql).await {
                continue;
            }
            let again = open(&bench.url).await.unwrap();
            let [damaged] = &*again.damaged_rows() else { panic!("{sql}") };
            assert_eq!((damaged.table, damaged.row.as_str()), ("documents", "a"), "{sql}");
            assert!(damaged.why.starts_with(why), "{sql}: {}", damaged.why);
            assert_eq!(again.documents::<NetworkRule>(), [Arc::new(rule("b"))], "{sql}");
            if sql.contains("kind =") {
                continue;
            }
            again.remove_document::<NetworkRule>("a").await.unwrap();
            bench.store.refresh().await.unwrap();
            bench.store.insert_document(rule("a")).await.unwrap();
        }
    }
}
