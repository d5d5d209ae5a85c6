//! Creates a golden state with the current program (`tests/golden/README.md`).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsmgate::api::instance::messages::{
    AdvanceGenerateDataKeyRequest, EncryptRequest, EncryptResponse, GenerateDataKeyRequest,
    GenerateDataKeyResponse,
};
use hsmgate::cli::client::Client;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::store::golden::{
    self, CLIENT_KEY_PASSWORD, Call, Command, Expected, InstanceCall, NamedAccessKey, Role,
    StoredClientKey, golden_directory, outcome,
};
use crate::support::client_key::ClientKey;
use crate::support::gateway::text;
use crate::support::installation::{ACCOUNT, AccessKey, Installation, Server};
use crate::support::instance_client::InstanceClient;
use crate::support::key_material::wrap;
use crate::support::process::until;

const CONTEXT: &str = r#"{"purpose":"golden","owner":"a*b~c+d"}"#;

/// Between two looks at what another process has changed: each leaves a record in the state.
const PAUSE: Duration = Duration::from_millis(200);

/// The program: that of this build unless the variable names another.
fn program() -> PathBuf {
    std::env::var_os("HSMGATE_GOLDEN_PROGRAM")
        .map_or_else(|| env!("CARGO_BIN_EXE_hsmgate").into(), PathBuf::from)
}

/// Makes a state and notes what it has to answer.
struct StateBuilder {
    installation: Installation,
    server: Server,
    admin: Client,
    keys: Vec<NamedAccessKey>,
    calls: Vec<Call>,
    instance_calls: Vec<InstanceCall>,
}

impl StateBuilder {
    fn start() -> Self {
        let mut installation = Installation::new();
        installation.program = program();
        // Several checkpoints, and no journal of many mebibytes.
        installation.configure(|text| {
            text.push_str("[audit]\ncheckpoint_records = 20\njournal_mib = 0\n");
        });
        let so_pin = installation.path("so-pin");
        let init = ["init", "--so-pin-file", so_pin.to_str().unwrap(), "--json"];
        let key = AccessKey::of(&installation.configured(&init).json());
        let server = installation.serve();
        let admin = server.client(&key);
        let keys =
            vec![NamedAccessKey { name: "admin".to_owned(), id: key.id, secret: key.secret }];
        Self { installation, server, admin, keys, calls: Vec::new(), instance_calls: Vec::new() }
    }

    /// A change by the administrator.
    async fn change(&self, action: &str, params: &[(&str, &str)]) -> Value {
        match self.admin.call(action, params).await {
            Ok(answer) => answer,
            Err(error) => panic!("{action} {params:?}: {error:?}"),
        }
    }

    async fn key(&self, params: &[(&str, &str)]) -> String {
        let made = self.change("CreateKey", params).await;
        text(&made["KeyMetadata"]["KeyId"]).to_owned()
    }

    async fn version(&self, key: &str) -> String {
        let versions = self.change("ListKeyVersions", &[("KeyId", key)]).await;
        text(&versions["KeyVersions"]["KeyVersion"][0]["KeyVersionId"]).to_owned()
    }

    /// Notes a call with the outcome that it has now.
    async fn note_by(
        &mut self,
        by: &str,
        action: &str,
        params: &[(&str, &str)],
    ) -> golden::Outcome {
        let key = self.keys.iter().find(|key| key.name == by).unwrap();
        let user = AccessKey { id: key.id.clone(), secret: key.secret.clone() };
        let outcome = outcome(&self.server.client(&user), action, params).await;
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let again = match &outcome {
            golden::Outcome::Answer(answer) => golden::Outcome::Answer(answer.clone()),
            golden::Outcome::Refusal { status, code } => {
                golden::Outcome::Refusal { status: *status, code: code.clone() }
            }
        };
        self.calls.push(Call {
            by: by.to_owned(),
            action: action.to_owned(),
            params: params.iter().map(owned).collect(),
            outcome: again,
        });
        outcome
    }

    /// Notes a call that must be answered.
    async fn note(&mut self, action: &str, params: &[(&str, &str)]) -> Value {
        match self.note_by("admin", action, params).await {
            golden::Outcome::Answer(answer) => answer,
            refusal @ golden::Outcome::Refusal { .. } => panic!("{action} {params:?}: {refusal:?}"),
        }
    }

    async fn note_refusal(&mut self, by: &str, action: &str, params: &[(&str, &str)]) {
        let outcome = self.note_by(by, action, params).await;
        assert!(matches!(outcome, golden::Outcome::Refusal { .. }), "{action} {params:?}");
    }

    /// Encrypts, and notes the decryption. The key may be named by an alias.
    async fn encrypt(&mut self, key: &str, plaintext: &[u8], context: Option<&str>) -> String {
        let plaintext = STANDARD.encode(plaintext);
        let context = context.map(|context| ("EncryptionContext", context));
        let mut encrypt = vec![("KeyId", key), ("Plaintext", &plaintext)];
        encrypt.extend(context);
        let encrypted = self.change("Encrypt", &encrypt).await;
        let blob = text(&encrypted["CiphertextBlob"]).to_owned();
        let mut open = vec![("CiphertextBlob", blob.as_str())];
        open.extend(context);
        let decrypted = self.note("Decrypt", &open).await;
        assert_eq!(text(&decrypted["Plaintext"]), plaintext);
        if context.is_some() {
            self.note_refusal("admin", "Decrypt", &[("CiphertextBlob", &blob)]).await;
        }
        blob
    }

    async fn data_key(&mut self, key: &str) {
        let made = self.change("GenerateDataKey", &[("KeyId", key)]).await;
        let blob = text(&made["CiphertextBlob"]);
        let decrypted = self.note("Decrypt", &[("CiphertextBlob", blob)]).await;
        assert_eq!(decrypted["Plaintext"], made["Plaintext"]);
    }

    fn command(&self, arguments: &[&str]) -> Value {
        self.installation.configured(arguments).json()
    }

    fn policy(&self, document: &Value) -> String {
        let path = self.installation.path("policy.json");
        fs::write(&path, document.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// An AccessKey of a new user with a policy.
    async fn user(&mut self, name: &str, policy: &str) {
        let create = ["access-key", "create", "--user", name, "--policy", policy, "--json"];
        let key = AccessKey::of(&self.command(&create));
        let client = self.server.client(&key);
        while client.call("DescribeRegions", &[]).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        self.keys.push(NamedAccessKey { name: name.to_owned(), id: key.id, secret: key.secret });
    }
}

fn allow(actions: &[&str], resource: &str) -> Value {
    json!({"Version": "1", "Statement":
        [{"Effect": "Allow", "Action": actions, "Resource": resource}]})
}

/// Symmetric keys: versions, aliases, tags, policies, states.
async fn symmetric(builder: &mut StateBuilder) -> Vec<String> {
    let tags = r#"[{"TagKey":"team","TagValue":"orders"},{"TagKey":"env","TagValue":"golden"}]"#;
    let wide = builder.key(&[("Description", "an AES-256 key, 测试"), ("Tags", tags)]).await;
    for alias in ["alias/golden", "alias/second"] {
        builder.change("CreateAlias", &[("KeyId", &wide), ("AliasName", alias)]).await;
    }
    builder.encrypt(&wide, b"without a context", None).await;
    builder.encrypt(&wide, b"with a context", Some(CONTEXT)).await;
    builder.encrypt("alias/golden", b"by its alias", Some(r#"{"a":"1"}"#)).await;
    builder.data_key(&wide).await;
    for (spec, plaintext) in [("Aliyun_AES_128", "of 128 bits"), ("Aliyun_AES_192", "of 192")] {
        let key = builder.key(&[("KeySpec", spec)]).await;
        builder.encrypt(&key, plaintext.as_bytes(), None).await;
        builder.encrypt(&key, plaintext.as_bytes(), Some(CONTEXT)).await;
    }
    let rotated =
        builder.key(&[("EnableAutomaticRotation", "true"), ("RotationInterval", "365d")]).await;
    for number in 1..=3 {
        builder.encrypt(&rotated, format!("of version {number}").as_bytes(), None).await;
        if number < 3 {
            builder.change("CreateKeyVersion", &[("KeyId", &rotated)]).await;
        }
    }
    let root = json!({"Version": "1", "Statement": [{"Sid": "all", "Effect": "Allow",
        "Principal": {"RAM": [format!("acs:ram::{ACCOUNT}:*")]},
        "Action": ["kms:*"], "Resource": ["*"]},
        {"Effect": "Deny", "Principal": {"RAM": [format!("acs:ram::{ACCOUNT}:user/reader")]},
        "Action": ["kms:Decrypt"], "Resource": ["*"]}]});
    let guarded = builder.key(&[("Policy", &root.to_string())]).await;
    let protection =
        [("EnableDeletionProtection", "true"), ("DeletionProtectionDescription", "kept")];
    let arn = format!("acs:kms:cn-hangzhou:{ACCOUNT}:key/{guarded}");
    builder
        .change(
            "SetDeletionProtection",
            &[protection[0], protection[1], ("ProtectedResourceArn", &arn)],
        )
        .await;
    builder.encrypt(&guarded, b"with a policy of its own", None).await;
    let mut refusing = Vec::new();
    for (change, window) in [("DisableKey", None), ("ScheduleKeyDeletion", Some("366"))] {
        let key = builder.key(&[]).await;
        let encrypted = [("KeyId", key.as_str()), ("Plaintext", "SGVsbG8=")];
        let blob = builder.change("Encrypt", &encrypted).await;
        let mut params = vec![("KeyId", key.as_str())];
        params.extend(window.map(|days| ("PendingWindowInDays", days)));
        builder.change(change, &params).await;
        let blob = [("CiphertextBlob", text(&blob["CiphertextBlob"]))];
        builder.note_refusal("admin", "Decrypt", &blob).await;
        builder.note_refusal("admin", "Encrypt", &encrypted).await;
        refusing.push(key);
    }
    vec![wide, rotated, guarded, refusing.remove(0), refusing.remove(0)]
}

/// Imported material, and a key that still waits for it.
async fn imported(builder: &mut StateBuilder) {
    let external = [("Origin", "EXTERNAL")];
    let key = builder.key(&external).await;
    let wanted = |key| {
        [("KeyId", key), ("WrappingKeySpec", "RSA_2048"), ("WrappingAlgorithm", "RSAES_OAEP_SHA_1")]
    };
    let given = builder.change("GetParametersForImport", &wanted(&key)).await;
    let material = wrap(&given, &[0x42; 32]);
    let import = [
        ("KeyId", key.as_str()),
        ("ImportToken", text(&given["ImportToken"])),
        ("EncryptedKeyMaterial", &material),
        ("KeyMaterialExpireUnix", "0"),
    ];
    builder.change("ImportKeyMaterial", &import).await;
    builder.encrypt(&key, b"with imported material", Some(CONTEXT)).await;
    let waiting = builder.key(&external).await;
    builder.change("GetParametersForImport", &wanted(&waiting)).await;
    builder
        .note_refusal("admin", "Encrypt", &[("KeyId", &waiting), ("Plaintext", "SGVsbG8=")])
        .await;
}

/// A ciphertext, signatures and a MAC.
async fn asymmetric(builder: &mut StateBuilder) {
    let opens = builder.key(&[("KeySpec", "RSA_2048"), ("KeyUsage", "ENCRYPT/DECRYPT")]).await;
    let version = builder.version(&opens).await;
    let algorithm = ("Algorithm", "RSAES_OAEP_SHA_1");
    let of = [("KeyId", opens.as_str()), ("KeyVersionId", version.as_str()), algorithm];
    let encrypt = [of[0], of[1], of[2], ("Plaintext", "SGVsbG8=")];
    let encrypted = builder.change("AsymmetricEncrypt", &encrypt).await;
    let blob = ("CiphertextBlob", text(&encrypted["CiphertextBlob"]));
    let decrypted = builder.note("AsymmetricDecrypt", &[of[0], of[1], of[2], blob]).await;
    assert_eq!(decrypted["Plaintext"], "SGVsbG8=");
    let digest = STANDARD.encode([0x5a; 32]);
    for (spec, algorithm) in [
        ("RSA_3072", "RSA_PSS_SHA_256"),
        ("RSA_2048", "RSA_PKCS1_SHA_256"),
        ("EC_P256", "ECDSA_SHA_256"),
        ("EC_P256K", "ECDSA_SHA_256"),
    ] {
        let key = builder.key(&[("KeySpec", spec), ("KeyUsage", "SIGN/VERIFY")]).await;
        let version = builder.version(&key).await;
        let of = [("KeyId", key.as_str()), ("KeyVersionId", version.as_str())];
        let sign = [of[0], of[1], ("Algorithm", algorithm), ("Digest", digest.as_str())];
        let signed = builder.change("AsymmetricSign", &sign).await;
        let value = ("Value", text(&signed["Value"]));
        let verified =
            builder.note("AsymmetricVerify", &[sign[0], sign[1], sign[2], sign[3], value]).await;
        assert_eq!(verified["Value"], true);
        builder.note("GetPublicKey", &of).await;
    }
    let usage = ("KeyUsage", "GENERATE/VERIFY_MAC");
    let mac = builder.key(&[("KeySpec", "HMAC_SHA_256"), usage]).await;
    let of = [("KeyId", &*mac), ("Algorithm", "HMAC_SHA_256"), ("Message", "SGVsbG8=")];
    let made = builder.note("GenerateMac", &of).await;
    let verify = [of[0], of[1], of[2], ("Mac", text(&made["Mac"]))];
    assert_eq!(builder.note("VerifyMac", &verify).await["Value"], true);
}

/// Users and a role, and what they may do.
async fn principals(builder: &mut StateBuilder, wide: &str, guarded: &str) -> Role {
    let reading = builder.policy(&allow(&["kms:Describe*", "kms:Decrypt"], "acs:kms:*:*:key/*"));
    builder.user("reader", &reading).await;
    builder.user("retired", "AliyunKMSFullAccess").await;
    let retired = builder.keys.last().unwrap().id.clone();
    builder.installation.configured(&["access-key", "disable", &retired]).done();
    let key = builder.keys.last().unwrap();
    let client =
        builder.server.client(&AccessKey { id: key.id.clone(), secret: key.secret.clone() });
    while client.call("ListKeys", &[]).await.is_ok() {
        tokio::time::sleep(PAUSE).await;
    }
    builder.note_refusal("retired", "ListKeys", &[]).await;
    builder.note_refusal("reader", "Encrypt", &[("KeyId", wide), ("Plaintext", "SGVsbG8=")]).await;
    builder.note_by("reader", "DescribeKey", &[("KeyId", wide)]).await;
    for (key, is_denied) in [(wide, false), (guarded, true)] {
        let encrypted = [("KeyId", key), ("Plaintext", "SGVsbG8=")];
        let encrypted = builder.change("Encrypt", &encrypted).await;
        let blob = [("CiphertextBlob", text(&encrypted["CiphertextBlob"]))];
        let outcome = builder.note_by("reader", "Decrypt", &blob).await;
        assert_eq!(matches!(outcome, golden::Outcome::Refusal { .. }), is_denied, "{outcome:?}");
    }
    let describing = builder.policy(&allow(&["kms:DescribeKey"], "*"));
    builder.installation.configured(&["role", "create", "auditor", "--policy", &describing]).done();
    fs::remove_file(builder.installation.path("policy.json")).unwrap();
    Role { name: "auditor".to_owned(), key_id: wide.to_owned() }
}

/// Secrets under a key of the account and under the key of the gateway, one of them to be deleted.
async fn secrets(builder: &mut StateBuilder, key: &str) {
    let tags = ("Tags", r#"[{"TagKey":"team","TagValue":"orders"}]"#);
    for (name, more) in [
        ("db/orders", vec![("EncryptionKeyId", key), ("SecretDataType", "binary"), tags]),
        ("plain", vec![("Description", "a secret, 测试")]),
        ("leaving", vec![]),
    ] {
        let named = ("SecretName", name);
        let first = [named, ("VersionId", "v1"), ("SecretData", "first\u{0}\r\n")];
        builder.change("CreateSecret", &[&first[..], &more].concat()).await;
        let second = [named, ("VersionId", "v2"), ("SecretData", "second 🔑")];
        let stages = ("VersionStages", r#"["ACSCurrent","blue"]"#);
        builder.change("PutSecretValue", &[&second[..], &[stages]].concat()).await;
        if name == "leaving" {
            builder.change("DeleteSecret", &[named]).await;
            builder.note_refusal("admin", "GetSecretValue", &[named]).await;
            continue;
        }
        for version in [vec![], vec![("VersionStage", "blue")], vec![("VersionId", "v1")]] {
            builder.note("GetSecretValue", &[&[named], &version[..]].concat()).await;
        }
        builder.note("DescribeSecret", &[named, ("FetchTags", "true")]).await;
        builder.note("ListSecretVersionIds", &[named]).await;
        builder.note("GetSecretPolicy", &[named]).await;
    }
}

/// An access point with a client key, and ciphertexts of the instance protocol.
async fn instance(builder: &mut StateBuilder, keys: [&str; 2]) -> StoredClientKey {
    let rule = [("Name", "local"), ("Type", "Private"), ("SourcePrivateIp", r#"["127.0.0.1"]"#)];
    builder.change("CreateNetworkRule", &rule).await;
    let policy = [
        ("Name", "golden"),
        ("Permissions", r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#),
        ("Resources", r#"["key/*"]"#),
        ("AccessControlRules", r#"{"NetworkRules":["local"]}"#),
    ];
    builder.change("CreatePolicy", &policy).await;
    let point = [("Name", "golden"), ("Policies", r#"["golden"]"#)];
    builder.change("CreateApplicationAccessPoint", &point).await;
    let made = [
        ("AapName", "golden"),
        ("Password", CLIENT_KEY_PASSWORD),
        ("NotBefore", "2020-01-01T00:00:00Z"),
        ("NotAfter", "2099-01-01T00:00:00Z"),
    ];
    let made = builder.change("CreateClientKey", &made).await;
    let container = text(&made["PrivateKeyData"]).to_owned();
    let id = text(&made["ClientKeyId"]).to_owned();
    let client_key = ClientKey::open_with(&id, &container, CLIENT_KEY_PASSWORD);
    let instance_client = InstanceClient { endpoint: builder.server.endpoint.clone(), client_key };
    for (key_id, aad) in keys.iter().flat_map(|key| [(*key, &b""[..]), (key, b"bound data")]) {
        for (encrypt, open) in [("Encrypt", "Decrypt"), ("AdvanceEncrypt", "AdvanceDecrypt")] {
            let plaintext = format!("by {encrypt} of the instance protocol").into_bytes();
            let mut request = EncryptRequest::default();
            request.key_id = key_id.to_owned();
            request.plaintext.clone_from(&plaintext);
            request.aad = aad.to_vec();
            let (encrypted, version): (EncryptResponse, _) =
                instance_client.call(encrypt, &request).await;
            let call = instance_call(open, &encrypted.key_id, version);
            builder.instance_calls.push(InstanceCall {
                ciphertext: STANDARD.encode(&encrypted.ciphertext_blob),
                iv: STANDARD.encode(&encrypted.iv),
                aad: STANDARD.encode(aad),
                plaintext: STANDARD.encode(plaintext),
                ..call
            });
        }
    }
    let request = GenerateDataKeyRequest {
        key_id: keys[0].to_owned(),
        number_of_bytes: 32,
        ..GenerateDataKeyRequest::default()
    };
    let (made, version) = instance_client.call("GenerateDataKey", &request).await;
    builder.instance_calls.push(data_key_call("Decrypt", &made, version));
    let request = AdvanceGenerateDataKeyRequest {
        key_id: keys[0].to_owned(),
        number_of_bytes: 32,
        ..AdvanceGenerateDataKeyRequest::default()
    };
    let (made, version) = instance_client.call("AdvanceGenerateDataKey", &request).await;
    builder.instance_calls.push(data_key_call("AdvanceDecrypt", &made, version));
    StoredClientKey { id, container }
}

fn instance_call(operation: &str, key_id: &str, version: Option<String>) -> InstanceCall {
    InstanceCall {
        operation: operation.to_owned(),
        key_id: key_id.to_owned(),
        version,
        ciphertext: String::new(),
        iv: String::new(),
        aad: String::new(),
        plaintext: String::new(),
    }
}

fn data_key_call(
    operation: &str,
    made: &GenerateDataKeyResponse,
    version: Option<String>,
) -> InstanceCall {
    InstanceCall {
        ciphertext: STANDARD.encode(&made.ciphertext_blob),
        iv: STANDARD.encode(&made.iv),
        plaintext: STANDARD.encode(&made.plaintext),
        ..instance_call(operation, &made.key_id, version)
    }
}

/// What the state tells of itself, and of two keys that have more than others.
async fn note_lists(builder: &mut StateBuilder, decorated: [&str; 2]) {
    let page = ("PageSize", "100");
    let listed = builder.note("ListKeys", &[page]).await;
    for key in listed["Keys"]["Key"].as_array().unwrap() {
        let id = ("KeyId", text(&key["KeyId"]));
        builder.note("DescribeKey", &[id]).await;
        builder.note("ListKeyVersions", &[id]).await;
    }
    for key in decorated {
        for action in ["ListResourceTags", "ListAliasesByKeyId", "GetKeyPolicy"] {
            builder.note(action, &[("KeyId", key)]).await;
        }
    }
    builder.note("ListAliases", &[page]).await;
    builder.note("ListSecrets", &[page]).await;
    builder.note("DescribeNetworkRule", &[("Name", "local")]).await;
    builder.note("DescribePolicy", &[("Name", "golden")]).await;
    builder.note("DescribeApplicationAccessPoint", &[("Name", "golden")]).await;
    builder.note("ListClientKeys", &[("AapName", "golden")]).await;
}

/// What the command line tells of the state.
fn commands(builder: &StateBuilder) -> Vec<Command> {
    let lists: [&[&str]; 3] = [
        &["user", "list", "--json"],
        &["role", "list", "--json"],
        &["access-key", "list", "--json"],
    ];
    let noted = lists.iter().map(|arguments| Command {
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        output: builder.command(arguments),
    });
    noted.collect()
}

/// Rotates the audit file, so that the state has two.
async fn rotate_audit(builder: &StateBuilder) {
    let file = builder.installation.audit_file();
    fs::rename(&file, file.with_file_name("audit.jsonl.1")).unwrap();
    builder.server.signal("HUP");
    until(|| fs::metadata(&file).is_ok_and(|file| file.len() > 0)).await;
}

#[tokio::test]
#[ignore = "makes a golden state: tests/golden/README.md"]
async fn make_a_golden_state() {
    let mut builder = StateBuilder::start();
    let keys = symmetric(&mut builder).await;
    imported(&mut builder).await;
    rotate_audit(&builder).await;
    asymmetric(&mut builder).await;
    let role = principals(&mut builder, &keys[0], &keys[2]).await;
    let client_key = instance(&mut builder, [&keys[0], &keys[1]]).await;
    secrets(&mut builder, &keys[0]).await;
    note_lists(&mut builder, [&keys[0], &keys[2]]).await;
    let commands = commands(&builder);
    let StateBuilder { installation, server, keys, calls, instance_calls, .. } = builder;
    assert_eq!(server.stop(), Some(0));
    assert!(!installation.path("hsmgate.db-wal").exists(), "an orderly stop leaves no WAL");

    let mut database = installation.database().await;
    let newest = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations");
    let schema: i64 = newest.fetch_one(&mut database).await.unwrap();
    database.close().await.unwrap();
    for suffix in ["-wal", "-shm"] {
        assert!(!installation.path(&format!("hsmgate.db{suffix}")).exists(), "{suffix} is left");
    }
    let program = crate::support::installation::run(installation.command(&["-V"]), b"").done();
    let program = program.trim().to_owned();
    // Of this build: that of another program has to be set right by hand.
    let (audit_format, journal_format) = (hsmgate::audit::FORMAT, hsmgate::authn::replay::FORMAT);
    let version = program.trim_start_matches("hsmgate ");
    let name = format!("{version}-schema-{schema}-audit-{audit_format}-journal-{journal_format}");
    let state = golden_directory().join(name);
    assert!(!state.exists(), "{} is there already", state.display());
    let expected = Expected {
        program,
        schema,
        audit_format,
        journal_format,
        access_keys: keys,
        client_key,
        calls,
        instance_calls,
        commands,
        role,
    };
    golden::keep(&installation, &state, &expected);
    println!("made {}", state.display());
}
