//! A real older program beside the one of this build, at one database: an upgrade, a restart of the older one on the
//! newer tables, and the way back. It runs only if a variable names the older program (docs/develop/testing.md).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use hsmgate::cli::client::CallError;

use super::cluster::{Cluster, create_key, proxy_before, until_proxied};
use crate::support::calls::{code, until_code};
use crate::support::constant_load::ConstantLoad;
use crate::support::gateway::text;
use crate::support::installation::{AccessKey, Installation, Server};
use crate::support::postgresql;
use crate::support::process::{eventually, until};
use crate::support::proxy::haproxy;
use crate::support::scale::report;

/// Names the program of the version before, whose schema the newest migration is compatible with.
const OLDER_PROGRAM: &str = "HSMGATE_OLDER_PROGRAM";

const PLAINTEXT: &str = "SGVsbG8gd29ybGQ=";
/// SHA-256 of nothing.
const DIGEST: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
/// Of a second, in all.
const RATE: u32 = 100;

/// What gateways have made until now, which every gateway has to serve.
#[derive(Default)]
struct Made {
    keys: Vec<String>,
    ciphertexts: Vec<String>,
    /// Key, version and signature.
    signatures: Vec<[String; 3]>,
    calls: usize,
    /// The refusals of calls that were made again: the other gateway or SoftHSM2 did not see a new key yet.
    repeated: BTreeMap<String, usize>,
}

impl Made {
    async fn field(
        &mut self,
        server: &Server,
        admin: &AccessKey,
        action: &str,
        params: &[(&str, &str)],
        field: &str,
    ) -> String {
        let client = server.client(admin);
        let answer = eventually(async || {
            self.calls += 1;
            let answer = client.call(action, params).await;
            if let Err(CallError::Refused { code, .. }) = &answer {
                *self.repeated.entry(format!("{action} {code}")).or_default() += 1;
            }
            answer
        })
        .await;
        text(&answer[field]).to_owned()
    }

    /// One gateway makes keys and versions, and changes a state; the other one uses them at once.
    async fn add(&mut self, maker: &Server, other: &Server, admin: &AccessKey) {
        let key = create_key(maker, admin).await;
        let encryption = [("KeyId", key.as_str()), ("Plaintext", PLAINTEXT)];
        for gateway in [maker, other] {
            let made = self.field(gateway, admin, "Encrypt", &encryption, "CiphertextBlob").await;
            self.ciphertexts.push(made);
        }
        let version = [("KeyId", key.as_str())];
        maker.client(admin).call("CreateKeyVersion", &version).await.unwrap();
        for gateway in [other, maker] {
            let made = self.field(gateway, admin, "Encrypt", &encryption, "CiphertextBlob").await;
            self.ciphertexts.push(made);
        }
        for (action, outcome) in [("DisableKey", "Rejected.Disabled"), ("EnableKey", "")] {
            other.client(admin).call(action, &version).await.unwrap();
            until_code(&maker.client(admin), "Encrypt", &encryption, outcome).await;
        }
        self.keys.push(key);

        let spec = [("KeySpec", "EC_P256"), ("KeyUsage", "SIGN/VERIFY")];
        let created = maker.client(admin).call("CreateKey", &spec).await.unwrap();
        let key = text(&created["KeyMetadata"]["KeyId"]).to_owned();
        let listed = maker.client(admin).call("ListKeyVersions", &[("KeyId", &key)]).await.unwrap();
        let version = text(&listed["KeyVersions"]["KeyVersion"][0]["KeyVersionId"]).to_owned();
        let sign = [
            ("KeyId", key.as_str()),
            ("KeyVersionId", &version),
            ("Algorithm", "ECDSA_SHA_256"),
            ("Digest", DIGEST),
        ];
        let signature = self.field(other, admin, "AsymmetricSign", &sign, "Value").await;
        self.signatures.push([key, version, signature]);
    }

    /// A gateway serves everything that was made.
    async fn is_served_by(&mut self, server: &Server, admin: &AccessKey) {
        for blob in self.ciphertexts.clone() {
            let blob = [("CiphertextBlob", blob.as_str())];
            assert_eq!(self.field(server, admin, "Decrypt", &blob, "Plaintext").await, PLAINTEXT);
        }
        for [key, version, signature] in self.signatures.clone() {
            let verify = [
                ("KeyId", key.as_str()),
                ("KeyVersionId", &version),
                ("Algorithm", "ECDSA_SHA_256"),
                ("Digest", DIGEST),
                ("Value", &signature),
            ];
            let client = server.client(admin);
            let verified = client.call("AsymmetricVerify", &verify).await.unwrap();
            assert_eq!(verified["Value"], true, "{verified}");
        }
    }
}

/// The gateways `a` and `b`, each of the older program or of this build.
struct Gateways {
    cluster: Cluster<'static>,
    older: PathBuf,
}

impl Gateways {
    fn older(&mut self, name: &str) -> Server {
        self.cluster.installation.program.clone_from(&self.older);
        self.cluster.serve(name)
    }

    fn newer(&mut self, name: &str) -> Server {
        self.cluster.installation.program = env!("CARGO_BIN_EXE_hsmgate").into();
        self.cluster.serve(name)
    }

    fn schema(&self) -> String {
        self.cluster.database.execute("SELECT MAX(version) FROM _sqlx_migrations")
    }

    /// How many key versions there are, and of how many the database knows the answer.
    fn versions_and_answers(&self) -> (String, String) {
        let count = |table| self.cluster.database.execute(&format!("SELECT COUNT(*) FROM {table}"));
        (count("key_versions"), count("key_answers"))
    }
}

/// Stops a gateway in whose log nothing went wrong.
fn stop(server: Server) {
    let log = server.log();
    for wrong in ["damaged", " ERROR ", "store.changed_elsewhere"] {
        assert!(!log.contains(wrong), "{wrong}: {log}");
    }
    assert_eq!(server.stop(), Some(0));
}

fn prepared(older: &Path) -> Gateways {
    let mut installation = Installation::new();
    older.clone_into(&mut installation.program);
    let database = postgresql::server().create_database();
    let url = database.url();
    let cluster = Cluster::of(installation, database, &url, "");
    cluster.keep_addresses();
    Gateways { cluster, older: older.to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_older_program_serves_beside_this_one_and_takes_over_again() {
    let Some(older) = std::env::var_os(OLDER_PROGRAM) else {
        println!("not run: {OLDER_PROGRAM} names no older program");
        return;
    };
    let proxy_program = haproxy().unwrap();
    let mut gateways = prepared(Path::new(&older));
    let admin = gateways.cluster.admin.clone();
    let (a, b) = (gateways.older("a"), gateways.older("b"));
    let schema = gateways.schema();
    let key = create_key(&a, &admin).await;
    let alias = [("AliasName", "alias/a"), ("KeyId", key.as_str())];
    a.client(&admin).call("CreateAlias", &alias).await.unwrap();
    let encryption = [("KeyId", "alias/a"), ("Plaintext", PLAINTEXT)];
    until_code(&b.client(&admin), "Encrypt", &encryption, "").await;
    let proxy = proxy_before(&proxy_program, &gateways.cluster, [&a, &b]).await;
    let load = ConstantLoad::start(&proxy.address, &admin, RATE);
    until_proxied(&proxy, &a, &admin).await;
    until_proxied(&proxy, &b, &admin).await;
    let mut made = Made::default();
    let begin = Instant::now();
    let mut both_ways = async |when: &str, a: &Server, b: &Server| {
        made.add(a, b, &admin).await;
        made.add(b, a, &admin).await;
        made.is_served_by(a, &admin).await;
        made.is_served_by(b, &admin).await;
        until_proxied(&proxy, a, &admin).await;
        until_proxied(&proxy, b, &admin).await;
        report(&format!(
            "{when}: {} keys, {} ciphertexts, {} calls, {:?} after their first; repeated {:?}",
            made.keys.len() + made.signatures.len(),
            made.ciphertexts.len(),
            made.calls,
            begin.elapsed(),
            made.repeated
        ));
    };
    both_ways("both of the older program", &a, &b).await;

    stop(b);
    let b = gateways.newer("b");
    let newer = gateways.schema();
    report(&format!("schema {schema}, then {newer}: {:?}", gateways.versions_and_answers()));
    assert_ne!(newer, schema, "the migration is made while the older program serves");
    both_ways("a older, b newer", &a, &b).await;

    stop(a);
    let a = gateways.older("a");
    both_ways("a older, started on the newer tables", &a, &b).await;

    stop(a);
    let a = gateways.newer("a");
    both_ways("both of the newer program", &a, &b).await;
    // What the older program has made is compared from its first use on, and recorded by a job.
    until(|| {
        let (versions, answers) = gateways.versions_and_answers();
        versions == answers
    })
    .await;
    report(&format!("versions and known answers: {:?}", gateways.versions_and_answers()));

    stop(b);
    let b = gateways.older("b");
    both_ways("a newer, b put back to the older one", &a, &b).await;

    let seen = load.stop().await;
    report(&format!("load: {seen}"));
    assert_eq!(seen.failures, [""; 0], "{seen}");
    stop(a);
    stop(b);
    a_deletion_by_the_older_program_leaves_nothing_that_harms(&mut gateways, &admin).await;
}

/// The older program does not remove the answers of a key with the key.
async fn a_deletion_by_the_older_program_leaves_nothing_that_harms(
    gateways: &mut Gateways,
    admin: &AccessKey,
) {
    let a = gateways.older("a");
    let client = a.client(admin);
    let key = client.call("DescribeKey", &[("KeyId", "alias/a")]).await.unwrap();
    let key = text(&key["KeyMetadata"]["KeyId"]).to_owned();
    let id = ("KeyId", key.as_str());
    client.call("ScheduleKeyDeletion", &[id, ("PendingWindowInDays", "7")]).await.unwrap();
    stop(a);
    let over = "UPDATE keys SET delete_at = 1 WHERE delete_at IS NOT NULL";
    gateways.cluster.database.execute(over);
    gateways.cluster.command("a", &["store", "sign", "--reason", "a test"]);
    let a = gateways.older("a");
    until_code(&a.client(admin), "DescribeKey", &[id], "Forbidden.KeyNotFound").await;
    stop(a);
    let (versions, answers) = gateways.versions_and_answers();
    report(&format!("the older program has deleted a key: {versions} versions, {answers} answers"));
    let a = gateways.newer("a");
    assert_eq!(code(&a.client(admin), "DescribeKey", &[id]).await, "Forbidden.KeyNotFound");
    create_key(&a, admin).await;
    stop(a);
}
