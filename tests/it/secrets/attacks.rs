//! A writer of the database cannot make the gateway return another value than the newest one.

use sqlx::Connection as _;

use super::{create, put, value};
use crate::support::calls::refused;
use crate::support::gateway::{refusal, text};
use crate::support::installation::{AccessKey, Installation};

/// An installation with the secrets `a` (two versions) and `b`.
struct Scene {
    installation: Installation,
    server: crate::support::installation::Server,
    admin: AccessKey,
    client: hsmgate::cli::client::Client,
}

impl Scene {
    async fn open() -> Self {
        let (installation, admin) = Installation::prepared();
        let server = installation.serve();
        let client = server.client(&admin);
        for name in ["a", "b"] {
            let params = [("SecretName", name), ("VersionId", "v1"), ("SecretData", name)];
            client.call("CreateSecret", &params).await.unwrap();
        }
        installation.tamper("CREATE TABLE older AS SELECT * FROM secrets").await;
        installation.tamper("CREATE TABLE older_values AS SELECT * FROM secret_versions").await;
        let params = [("SecretName", "a"), ("VersionId", "v2"), ("SecretData", "newest")];
        client.call("PutSecretValue", &params).await.unwrap();
        Self { installation, server, admin, client }
    }

    async fn assert_refused(&self, what: &str) {
        for (action, more) in [
            ("GetSecretValue", vec![]),
            ("GetSecretValue", vec![("VersionId", "v1")]),
            ("PutSecretValue", vec![("VersionId", "v3"), ("SecretData", "x")]),
        ] {
            let params = [&[("SecretName", "a")][..], &more].concat();
            let outcome = refused(&self.client, action, &params).await;
            assert_eq!(outcome, refusal(409, "Rejected.Unavailable"), "{what}: {action}");
        }
    }

    fn restart(self) -> Self {
        let Self { installation, server, admin, .. } = self;
        server.stop();
        let server = installation.serve();
        let client = server.client(&admin);
        Self { installation, server, admin, client }
    }

    /// What doctor reports once the gateway has stopped.
    fn doctor(self) -> String {
        self.server.stop();
        let found = self.installation.configured(&["doctor", "--deep"]);
        let report = String::from_utf8(found.stdout).unwrap();
        assert_eq!(found.code, Some(7), "{report}");
        report
    }
}

#[tokio::test]
async fn changed_and_older_rows_are_refused_and_doctor_names_them() {
    for statements in [
        // The label moved back to the first version.
        &[
            "UPDATE secrets SET body = replace(replace(replace(body, 'ACSCurrent', 'x'), 'ACSPrevious', \
           'ACSCurrent'), 'x', 'ACSPrevious') WHERE name = 'a'",
        ][..],
        // The whole older row, with its right MAC.
        &[
            "DELETE FROM secrets WHERE name = 'a'",
            "INSERT INTO secrets SELECT * FROM older WHERE name = 'a'",
        ],
        // The row of another secret.
        &["DELETE FROM secrets WHERE name = 'a'", "UPDATE secrets SET name = 'a' WHERE name = 'b'"],
        &["DELETE FROM secrets WHERE name = 'a'"],
    ] {
        let scene = Scene::open().await;
        for statement in statements {
            scene.installation.tamper(statement).await;
        }
        scene.assert_refused(statements[0]).await;
        assert!(scene.server.has_logged("secret.damaged"), "{}", scene.server.log());
        // Nor does a new process use them. It does not know of a row that is missing, but that its part of
        // the database is incomplete: a client creates a secret that it does not find.
        let scene = scene.restart();
        scene.assert_refused(statements[0]).await;
        let create = [("SecretName", "a"), ("VersionId", "v1"), ("SecretData", "another")];
        let created = refused(&scene.client, "CreateSecret", &create).await;
        assert_eq!(created, refusal(409, "Rejected.Unavailable"), "{statements:?}");
        let report = scene.doctor();
        assert!(report.contains("secrets \"a\"") || report.contains("row_digests"), "{report}");
    }
}

#[tokio::test]
async fn values_cannot_be_exchanged() {
    for statements in [
        // Between two versions, and between two secrets.
        &[
            "UPDATE secret_versions SET encrypted_value = (SELECT encrypted_value FROM secret_versions \
           v WHERE v.version_id = 'v1' AND v.row_id = secret_versions.row_id) WHERE version_id = 'v2'",
        ][..],
        &[
            "UPDATE secret_versions SET encrypted_value = (SELECT encrypted_value FROM secret_versions \
           v, secrets s WHERE s.name = 'b' AND v.row_id = s.row_id) WHERE version_id = 'v2'",
        ],
        &["DELETE FROM secret_versions WHERE version_id = 'v2'"],
    ] {
        let scene = Scene::open().await;
        for statement in statements {
            scene.installation.tamper(statement).await;
        }
        let read = refused(&scene.client, "GetSecretValue", &[("SecretName", "a")]).await;
        assert_eq!(read, refusal(409, "Rejected.Unavailable"), "{statements:?}");
        let first = [("SecretName", "a"), ("VersionId", "v1")];
        let read = scene.client.call("GetSecretValue", &first).await.unwrap();
        assert_eq!(text(&read["SecretData"]), "a");
        let report = scene.doctor();
        assert!(report.contains("\"a\" version v2"), "{statements:?}: {report}");
    }
}

#[tokio::test]
async fn the_rows_of_a_deleted_secret_do_not_replace_its_successor() {
    let scene = Scene::open().await;
    let force = [("SecretName", "a"), ("ForceDeleteWithoutRecovery", "true")];
    scene.client.call("DeleteSecret", &force).await.unwrap();
    let again = [("SecretName", "a"), ("VersionId", "v1"), ("SecretData", "another")];
    scene.client.call("CreateSecret", &again).await.unwrap();
    scene.installation.tamper("DELETE FROM secrets WHERE name = 'a'").await;
    scene.installation.tamper("INSERT INTO secrets SELECT * FROM older WHERE name = 'a'").await;
    scene
        .installation
        .tamper("INSERT OR IGNORE INTO secret_versions SELECT * FROM older_values")
        .await;
    scene.assert_refused("a deleted secret").await;
}

/// The rows have right MACs, but by the key of another token.
#[tokio::test]
async fn the_rows_of_another_installation_are_refused() {
    let (scene, other) = (Scene::open().await, Scene::open().await);
    let mut database = scene.installation.database().await;
    let attach = sqlx::query("ATTACH DATABASE $1 AS other");
    let file = other.installation.path("hsmgate.db");
    attach.bind(file.to_str().unwrap()).execute(&mut database).await.unwrap();
    for sql in [
        "DELETE FROM secrets WHERE name = 'a'",
        "INSERT INTO secrets SELECT * FROM other.secrets WHERE name = 'a'",
        "INSERT INTO secret_versions SELECT * FROM other.secret_versions",
    ] {
        sqlx::query(sql).execute(&mut database).await.unwrap();
    }
    database.close().await.unwrap();
    scene.assert_refused("another installation").await;
    let report = scene.doctor();
    assert!(report.contains("secrets \"a\" is ignored"), "{report}");
}

#[tokio::test]
async fn two_secrets_with_equal_values_have_different_ciphertexts() {
    let gateway = crate::support::gateway::Gateway::start();
    create(&gateway, "a", "same").await;
    create(&gateway, "b", "same").await;
    put(&gateway, "a", "v2", "same").await;
    assert_eq!(value(&gateway, "a").await, "same");
    let dir = gateway.stop();
    let installation = Installation::of_development(dir);
    let mut database = installation.database().await;
    let distinct: i64 =
        sqlx::query_scalar("SELECT COUNT(DISTINCT encrypted_value) FROM secret_versions")
            .fetch_one(&mut database)
            .await
            .unwrap();
    assert_eq!(distinct, 3);
}
