//! Makes a golden state of the program that runs it (`tests/golden/README.md`).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsmgate::cli::client::Client;
use hsmgate::wire::instance::messages::{
    AdvanceGenerateDataKeyRequest, EncryptRequest, EncryptResponse, GenerateDataKeyRequest,
    GenerateDataKeyResponse,
};
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::client_key::ClientKey;
use crate::gateway::until;
use crate::golden::{
    self, CLIENT_KEY_PASSWORD, Call, Command, Expected, InstanceCall, NamedAccessKey, Role,
    StoredClientKey, golden_directory, outcome,
};
use crate::harness::text;
use crate::installation::{ACCOUNT, AccessKey, Installation, Server};
use crate::instance_client::Visitor;
use crate::material::wrap;

const CONTEXT: &str = r#"{"purpose":"golden","owner":"a*b~c+d"}"#;

/// Between two looks at what another process has changed: each leaves a record in the state.
const PAUSE: Duration = Duration::from_millis(200);

/// The program: that of this build unless the variable names another.
fn program() -> PathBuf {
    std::env::var_os("HSMGATE_GOLDEN_PROGRAM")
        .map_or_else(|| env!("CARGO_BIN_EXE_hsmgate").into(), PathBuf::from)
}

/// Makes a state and notes what it has to answer.
struct Maker {
    installation: Installation,
    server: Server,
    admin: Client,
    keys: Vec<NamedAccessKey>,
    calls: Vec<Call>,
    instance_calls: Vec<InstanceCall>,
}

impl Maker {
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
    async fn sealed(&mut self, key: &str, plaintext: &[u8], context: Option<&str>) -> String {
        let plaintext = STANDARD.encode(plaintext);
        let context = context.map(|context| ("EncryptionContext", context));
        let mut seal = vec![("KeyId", key), ("Plaintext", &plaintext)];
        seal.extend(context);
        let sealed = self.change("Encrypt", &seal).await;
        let blob = text(&sealed["CiphertextBlob"]).to_owned();
        let mut open = vec![("CiphertextBlob", blob.as_str())];
        open.extend(context);
        let opened = self.note("Decrypt", &open).await;
        assert_eq!(text(&opened["Plaintext"]), plaintext);
        if context.is_some() {
            self.note_refusal("admin", "Decrypt", &[("CiphertextBlob", &blob)]).await;
        }
        blob
    }

    async fn data_key(&mut self, key: &str) {
        let made = self.change("GenerateDataKey", &[("KeyId", key)]).await;
        let blob = text(&made["CiphertextBlob"]);
        let opened = self.note("Decrypt", &[("CiphertextBlob", blob)]).await;
        assert_eq!(opened["Plaintext"], made["Plaintext"]);
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
async fn symmetric(maker: &mut Maker) -> Vec<String> {
    let tags = r#"[{"TagKey":"team","TagValue":"orders"},{"TagKey":"env","TagValue":"golden"}]"#;
    let wide = maker.key(&[("Description", "an AES-256 key, 测试"), ("Tags", tags)]).await;
    for alias in ["alias/golden", "alias/second"] {
        maker.change("CreateAlias", &[("KeyId", &wide), ("AliasName", alias)]).await;
    }
    maker.sealed(&wide, b"without a context", None).await;
    maker.sealed(&wide, b"with a context", Some(CONTEXT)).await;
    maker.sealed("alias/golden", b"by its alias", Some(r#"{"a":"1"}"#)).await;
    maker.data_key(&wide).await;
    for (spec, plaintext) in [("Aliyun_AES_128", "of 128 bits"), ("Aliyun_AES_192", "of 192")] {
        let key = maker.key(&[("KeySpec", spec)]).await;
        maker.sealed(&key, plaintext.as_bytes(), None).await;
        maker.sealed(&key, plaintext.as_bytes(), Some(CONTEXT)).await;
    }
    let rotated =
        maker.key(&[("EnableAutomaticRotation", "true"), ("RotationInterval", "365d")]).await;
    for number in 1..=3 {
        maker.sealed(&rotated, format!("of version {number}").as_bytes(), None).await;
        if number < 3 {
            maker.change("CreateKeyVersion", &[("KeyId", &rotated)]).await;
        }
    }
    let root = json!({"Version": "1", "Statement": [{"Sid": "all", "Effect": "Allow",
        "Principal": {"RAM": [format!("acs:ram::{ACCOUNT}:*")]},
        "Action": ["kms:*"], "Resource": ["*"]},
        {"Effect": "Deny", "Principal": {"RAM": [format!("acs:ram::{ACCOUNT}:user/reader")]},
        "Action": ["kms:Decrypt"], "Resource": ["*"]}]});
    let guarded = maker.key(&[("Policy", &root.to_string())]).await;
    let protection =
        [("EnableDeletionProtection", "true"), ("DeletionProtectionDescription", "kept")];
    let arn = format!("acs:kms:cn-hangzhou:{ACCOUNT}:key/{guarded}");
    maker
        .change(
            "SetDeletionProtection",
            &[protection[0], protection[1], ("ProtectedResourceArn", &arn)],
        )
        .await;
    maker.sealed(&guarded, b"with a policy of its own", None).await;
    let mut refusing = Vec::new();
    for (change, window) in [("DisableKey", None), ("ScheduleKeyDeletion", Some("366"))] {
        let key = maker.key(&[]).await;
        let sealed = [("KeyId", key.as_str()), ("Plaintext", "SGVsbG8=")];
        let blob = maker.change("Encrypt", &sealed).await;
        let mut params = vec![("KeyId", key.as_str())];
        params.extend(window.map(|days| ("PendingWindowInDays", days)));
        maker.change(change, &params).await;
        let blob = [("CiphertextBlob", text(&blob["CiphertextBlob"]))];
        maker.note_refusal("admin", "Decrypt", &blob).await;
        maker.note_refusal("admin", "Encrypt", &sealed).await;
        refusing.push(key);
    }
    vec![wide, rotated, guarded, refusing.remove(0), refusing.remove(0)]
}

/// Imported material, and a key that still waits for it.
async fn imported(maker: &mut Maker) {
    let external = [("Origin", "EXTERNAL")];
    let key = maker.key(&external).await;
    let wanted = |key| {
        [("KeyId", key), ("WrappingKeySpec", "RSA_2048"), ("WrappingAlgorithm", "RSAES_OAEP_SHA_1")]
    };
    let given = maker.change("GetParametersForImport", &wanted(&key)).await;
    let material = wrap(&given, &[0x42; 32]);
    let import = [
        ("KeyId", key.as_str()),
        ("ImportToken", text(&given["ImportToken"])),
        ("EncryptedKeyMaterial", &material),
        ("KeyMaterialExpireUnix", "0"),
    ];
    maker.change("ImportKeyMaterial", &import).await;
    maker.sealed(&key, b"with imported material", Some(CONTEXT)).await;
    let waiting = maker.key(&external).await;
    maker.change("GetParametersForImport", &wanted(&waiting)).await;
    maker.note_refusal("admin", "Encrypt", &[("KeyId", &waiting), ("Plaintext", "SGVsbG8=")]).await;
}

/// A ciphertext, signatures and a MAC.
async fn asymmetric(maker: &mut Maker) {
    let opens = maker.key(&[("KeySpec", "RSA_2048"), ("KeyUsage", "ENCRYPT/DECRYPT")]).await;
    let version = maker.version(&opens).await;
    let algorithm = ("Algorithm", "RSAES_OAEP_SHA_1");
    let of = [("KeyId", opens.as_str()), ("KeyVersionId", version.as_str()), algorithm];
    let seal = [of[0], of[1], of[2], ("Plaintext", "SGVsbG8=")];
    let sealed = maker.change("AsymmetricEncrypt", &seal).await;
    let blob = ("CiphertextBlob", text(&sealed["CiphertextBlob"]));
    let opened = maker.note("AsymmetricDecrypt", &[of[0], of[1], of[2], blob]).await;
    assert_eq!(opened["Plaintext"], "SGVsbG8=");
    let digest = STANDARD.encode([0x5a; 32]);
    for (spec, algorithm) in [
        ("RSA_3072", "RSA_PSS_SHA_256"),
        ("RSA_2048", "RSA_PKCS1_SHA_256"),
        ("EC_P256", "ECDSA_SHA_256"),
        ("EC_P256K", "ECDSA_SHA_256"),
    ] {
        let key = maker.key(&[("KeySpec", spec), ("KeyUsage", "SIGN/VERIFY")]).await;
        let version = maker.version(&key).await;
        let of = [("KeyId", key.as_str()), ("KeyVersionId", version.as_str())];
        let sign = [of[0], of[1], ("Algorithm", algorithm), ("Digest", digest.as_str())];
        let signed = maker.change("AsymmetricSign", &sign).await;
        let value = ("Value", text(&signed["Value"]));
        let verified =
            maker.note("AsymmetricVerify", &[sign[0], sign[1], sign[2], sign[3], value]).await;
        assert_eq!(verified["Value"], true);
        maker.note("GetPublicKey", &of).await;
    }
    let usage = ("KeyUsage", "GENERATE/VERIFY_MAC");
    let mac = maker.key(&[("KeySpec", "HMAC_SHA_256"), usage]).await;
    let of = [("KeyId", &*mac), ("Algorithm", "HMAC_SHA_256"), ("Message", "SGVsbG8=")];
    let made = maker.note("GenerateMac", &of).await;
    let verify = [of[0], of[1], of[2], ("Mac", text(&made["Mac"]))];
    assert_eq!(maker.note("VerifyMac", &verify).await["Value"], true);
}

/// Users and a role, and what they may do.
async fn principals(maker: &mut Maker, wide: &str, guarded: &str) -> Role {
    let reading = maker.policy(&allow(&["kms:Describe*", "kms:Decrypt"], "acs:kms:*:*:key/*"));
    maker.user("reader", &reading).await;
    maker.user("retired", "AliyunKMSFullAccess").await;
    let retired = maker.keys.last().unwrap().id.clone();
    maker.installation.configured(&["access-key", "disable", &retired]).done();
    let key = maker.keys.last().unwrap();
    let client = maker.server.client(&AccessKey { id: key.id.clone(), secret: key.secret.clone() });
    while client.call("ListKeys", &[]).await.is_ok() {
        tokio::time::sleep(PAUSE).await;
    }
    maker.note_refusal("retired", "ListKeys", &[]).await;
    maker.note_refusal("reader", "Encrypt", &[("KeyId", wide), ("Plaintext", "SGVsbG8=")]).await;
    maker.note_by("reader", "DescribeKey", &[("KeyId", wide)]).await;
    for (key, is_denied) in [(wide, false), (guarded, true)] {
        let sealed = [("KeyId", key), ("Plaintext", "SGVsbG8=")];
        let sealed = maker.change("Encrypt", &sealed).await;
        let blob = [("CiphertextBlob", text(&sealed["CiphertextBlob"]))];
        let outcome = maker.note_by("reader", "Decrypt", &blob).await;
        assert_eq!(matches!(outcome, golden::Outcome::Refusal { .. }), is_denied, "{outcome:?}");
    }
    let describing = maker.policy(&allow(&["kms:DescribeKey"], "*"));
    maker.installation.configured(&["role", "create", "auditor", "--policy", &describing]).done();
    fs::remove_file(maker.installation.path("policy.json")).unwrap();
    Role { name: "auditor".to_owned(), key_id: wide.to_owned() }
}

/// An access point with a client key, and ciphertexts of the instance protocol.
async fn instance(maker: &mut Maker, keys: [&str; 2]) -> StoredClientKey {
    let rule = [("Name", "local"), ("Type", "Private"), ("SourcePrivateIp", r#"["127.0.0.1"]"#)];
    maker.change("CreateNetworkRule", &rule).await;
    let policy = [
        ("Name", "golden"),
        ("Permissions", r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#),
        ("Resources", r#"["key/*"]"#),
        ("AccessControlRules", r#"{"NetworkRules":["local"]}"#),
    ];
    maker.change("CreatePolicy", &policy).await;
    let point = [("Name", "golden"), ("Policies", r#"["golden"]"#)];
    maker.change("CreateApplicationAccessPoint", &point).await;
    let made = [
        ("AapName", "golden"),
        ("Password", CLIENT_KEY_PASSWORD),
        ("NotBefore", "2020-01-01T00:00:00Z"),
        ("NotAfter", "2099-01-01T00:00:00Z"),
    ];
    let made = maker.change("CreateClientKey", &made).await;
    let container = text(&made["PrivateKeyData"]).to_owned();
    let id = text(&made["ClientKeyId"]).to_owned();
    let client_key = ClientKey::open_with(&id, &container, CLIENT_KEY_PASSWORD);
    let visitor = Visitor { endpoint: maker.server.endpoint.clone(), client_key };
    for (key_id, aad) in keys.iter().flat_map(|key| [(*key, &b""[..]), (key, b"bound data")]) {
        for (seal, open) in [("Encrypt", "Decrypt"), ("AdvanceEncrypt", "AdvanceDecrypt")] {
            let plaintext = format!("by {seal} of the instance protocol").into_bytes();
            let mut request = EncryptRequest::default();
            request.key_id = key_id.to_owned();
            request.plaintext.clone_from(&plaintext);
            request.aad = aad.to_vec();
            let (sealed, version): (EncryptResponse, _) = visitor.call(seal, &request).await;
            let call = instance_call(open, &sealed.key_id, version);
            maker.instance_calls.push(InstanceCall {
                ciphertext: STANDARD.encode(&sealed.ciphertext_blob),
                iv: STANDARD.encode(&sealed.iv),
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
    let (made, version) = visitor.call("GenerateDataKey", &request).await;
    maker.instance_calls.push(data_key_call("Decrypt", &made, version));
    let request = AdvanceGenerateDataKeyRequest {
        key_id: keys[0].to_owned(),
        number_of_bytes: 32,
        ..AdvanceGenerateDataKeyRequest::default()
    };
    let (made, version) = visitor.call("AdvanceGenerateDataKey", &request).await;
    maker.instance_calls.push(data_key_call("AdvanceDecrypt", &made, version));
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
async fn note_lists(maker: &mut Maker, decorated: [&str; 2]) {
    let page = ("PageSize", "100");
    let listed = maker.note("ListKeys", &[page]).await;
    for key in listed["Keys"]["Key"].as_array().unwrap() {
        let id = ("KeyId", text(&key["KeyId"]));
        maker.note("DescribeKey", &[id]).await;
        maker.note("ListKeyVersions", &[id]).await;
    }
    for key in decorated {
        for action in ["ListResourceTags", "ListAliasesByKeyId", "GetKeyPolicy"] {
            maker.note(action, &[("KeyId", key)]).await;
        }
    }
    maker.note("ListAliases", &[page]).await;
    maker.note("DescribeNetworkRule", &[("Name", "local")]).await;
    maker.note("DescribePolicy", &[("Name", "golden")]).await;
    maker.note("DescribeApplicationAccessPoint", &[("Name", "golden")]).await;
    maker.note("ListClientKeys", &[("AapName", "golden")]).await;
}

/// What the command line tells of the state.
fn commands(maker: &Maker) -> Vec<Command> {
    let lists: [&[&str]; 3] = [
        &["user", "list", "--json"],
        &["role", "list", "--json"],
        &["access-key", "list", "--json"],
    ];
    let noted = lists.iter().map(|arguments| Command {
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        output: maker.command(arguments),
    });
    noted.collect()
}

/// Rotates the audit file, so that the state has two.
async fn rotate_audit(maker: &Maker) {
    let file = maker.installation.audit_file();
    fs::rename(&file, file.with_file_name("audit.jsonl.1")).unwrap();
    maker.server.signal("HUP");
    until(|| fs::metadata(&file).is_ok_and(|file| file.len() > 0)).await;
}

#[tokio::test]
#[ignore = "makes a golden state: tests/golden/README.md"]
async fn make_a_golden_state() {
    let mut maker = Maker::start();
    let keys = symmetric(&mut maker).await;
    imported(&mut maker).await;
    rotate_audit(&maker).await;
    asymmetric(&mut maker).await;
    let role = principals(&mut maker, &keys[0], &keys[2]).await;
    let client_key = instance(&mut maker, [&keys[0], &keys[1]]).await;
    note_lists(&mut maker, [&keys[0], &keys[2]]).await;
    let commands = commands(&maker);
    let Maker { installation, server, keys, calls, instance_calls, .. } = maker;
    assert_eq!(server.stop(), Some(0));
    assert!(!installation.path("hsmgate.db-wal").exists(), "an orderly stop leaves no WAL");

    let mut database = installation.database().await;
    let newest = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations");
    let schema: i64 = newest.fetch_one(&mut database).await.unwrap();
    database.close().await.unwrap();
    for suffix in ["-wal", "-shm"] {
        assert!(!installation.path(&format!("hsmgate.db{suffix}")).exists(), "{suffix} is left");
    }
    let program = crate::installation::run(installation.command(&["--version"]), b"").done();
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
