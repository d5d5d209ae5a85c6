//! The published table of key states and operations, with each of its cells.

use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsmgate::cli::client::CallError;

use crate::support::gateway::{Gateway, text};

/// A Base64 text of 32 bytes: a plaintext, a message and a digest.
const BYTES: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// An RSA public key in DER, whose private half nobody has.
const RECIPIENT: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA74osVRmUnVF9RO8hJAIzdCgJjPdlIeNstrBg\
    8i70TNGipXX0CPw94Dgyw+emFAf2K1E2LTurXvM4/iwYAqmGAmvIKAiTygq6Yj2rTbnwKAbyxsDmvZgh\
    rjkQYWd7P3+ITYEN4D50iVIF/hUSpiOtOMiQGwx9JwzZ7f66/+h/sSDsMIoUaDIlX902srYc49AP/p/n\
    CoxI4ejsqHUweW0gmbkq3/vkDDESn5P+EFm45j8C8ahv23xQC/Qt+92QCc7do8BnTGeo4zafneka6euq\
    HtE0dL0sPzINC/hhnDdaPALPtrHOT91hhZW2sFSoeWK/vCIx4FLPnjPw+iZKW2ONYwIDAQAB";

const OK: &str = "ok";
const DISABLED: &str = "Rejected.Disabled";
const DELETION: &str = "Rejected.PendingDeletion";
const IMPORT: &str = "Rejected.PendingImport";
const MODIFIED: &str = "Rejected.StateModifiedFailed";
const UNAVAILABLE: &str = "Rejected.Unavailable";

const STATES: [&str; 5] =
    ["Enabled", "Disabled", "PendingDeletion", "PendingImport", "Unavailable"];
/// What is no state of a key in a row that leaves it out.
const NONE: &str = "";

/// What a key must be for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Made here, but of origin EXTERNAL and empty in state PendingImport.
    Cipher,
    /// Of origin EXTERNAL, with material in all states but PendingImport.
    External,
    /// Signs.
    Signing,
    /// A key pair that decrypts.
    Encryption,
    Mac,
}

/// The rows of the published table, which has four states. The fifth, `Unavailable`, stands in the
/// tables of errors only: a key in it can be looked at, and its material be taken out. Operations
/// on a version leave PendingImport out, where there is none.
const TABLE: &[(Kind, &[&str], [&str; 5])] = &[
    (
        Kind::Cipher,
        &[
            "Encrypt",
            "GenerateDataKey",
            "GenerateDataKeyWithoutPlaintext",
            "GenerateAndExportDataKey",
            "CreateKeyVersion",
            "UpdateRotationPolicy",
        ],
        [OK, DISABLED, DELETION, IMPORT, UNAVAILABLE],
    ),
    (
        Kind::Cipher,
        &["Decrypt", "ReEncrypt", "ExportDataKey"],
        [OK, DISABLED, DELETION, NONE, UNAVAILABLE],
    ),
    (
        Kind::Signing,
        &["AsymmetricSign", "AsymmetricVerify"],
        [OK, DISABLED, DELETION, NONE, UNAVAILABLE],
    ),
    (
        Kind::Encryption,
        &["AsymmetricEncrypt", "AsymmetricDecrypt"],
        [OK, DISABLED, DELETION, NONE, UNAVAILABLE],
    ),
    (Kind::Mac, &["GenerateMac", "VerifyMac"], [OK, DISABLED, DELETION, NONE, UNAVAILABLE]),
    (Kind::Signing, &["GetPublicKey"], [OK, OK, DELETION, NONE, UNAVAILABLE]),
    (
        Kind::Cipher,
        &[
            "DescribeKey",
            "ListKeys",
            "ListAliases",
            "ListAliasesByKeyId",
            "DeleteAlias",
            "ListResourceTags",
            "ListKeyVersions",
        ],
        [OK, OK, OK, OK, OK],
    ),
    (Kind::Cipher, &["DescribeKeyVersion"], [OK, OK, OK, NONE, OK]),
    (
        Kind::Cipher,
        &["UpdateKeyDescription", "TagResource", "UntagResource", "UpdateAlias"],
        [OK, OK, DELETION, OK, UNAVAILABLE],
    ),
    (Kind::Cipher, &["EnableKey", "DisableKey"], [OK, OK, MODIFIED, MODIFIED, UNAVAILABLE]),
    (Kind::Cipher, &["ScheduleKeyDeletion"], [OK, OK, MODIFIED, OK, UNAVAILABLE]),
    (Kind::Cipher, &["CancelKeyDeletion"], [MODIFIED, MODIFIED, OK, MODIFIED, UNAVAILABLE]),
    (Kind::Cipher, &["CreateAlias"], [OK, OK, MODIFIED, OK, UNAVAILABLE]),
    (Kind::External, &["GetParametersForImport", "DeleteKeyMaterial"], [OK, OK, OK, OK, OK]),
    (Kind::External, &["ImportKeyMaterial"], [OK, OK, MODIFIED, OK, UNAVAILABLE]),
];

#[tokio::test]
async fn every_cell_is_as_published() {
    let mut gateway = Gateway::start();
    let mut cells = Vec::new();
    for (kind, actions, row) in TABLE {
        for (state, cell) in STATES.iter().zip(row).filter(|(_, cell)| **cell != NONE) {
            for action in *actions {
                cells.push((*action, *state, *cell, Subject::make(&gateway, *kind, state).await));
            }
        }
    }
    let lose = "UPDATE keys SET state = 'Unavailable' WHERE description = 'Unavailable'";
    gateway = gateway.restart_with(lose).await;
    for (action, state, cell, subject) in &cells {
        assert_eq!(text(&gateway.describe(&subject.key).await["KeyState"]), *state);
        assert_eq!(subject.verdict(&gateway, action).await, *cell, "{action} in {state}");
    }
}

#[tokio::test]
async fn a_key_that_is_being_created_or_destroyed_is_unknown() {
    let gateway = Gateway::start();
    let subject = Subject::make(&gateway, Kind::Cipher, "Enabled").await;
    let gateway = gateway
        .restart_with("UPDATE keys SET state = 'Creating' WHERE description = 'Enabled'")
        .await;
    let lists = ["ListKeys", "ListAliases"];
    for (kind, actions, _row) in TABLE {
        for action in actions.iter().filter(|action| !lists.contains(action)) {
            if *kind == Kind::Cipher {
                let verdict = subject.verdict(&gateway, action).await;
                assert_eq!(verdict, "Forbidden.KeyNotFound", "{action}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_has_the_state_of_its_last_operation() {
    let gateway = Gateway::start();
    for (kind, state, action, becomes) in [
        (Kind::Cipher, "Disabled", "EnableKey", "Enabled"),
        (Kind::Cipher, "Enabled", "DisableKey", "Disabled"),
        (Kind::Cipher, "Enabled", "ScheduleKeyDeletion", "PendingDeletion"),
        (Kind::Cipher, "Disabled", "ScheduleKeyDeletion", "PendingDeletion"),
        (Kind::Cipher, "PendingImport", "ScheduleKeyDeletion", "PendingDeletion"),
        (Kind::Cipher, "PendingDeletion", "CancelKeyDeletion", "Enabled"),
        (Kind::External, "PendingDeletion", "CancelKeyDeletion", "Enabled"),
        (Kind::External, "PendingImport", "ImportKeyMaterial", "Enabled"),
        (Kind::External, "Enabled", "ImportKeyMaterial", "Enabled"),
        (Kind::External, "Disabled", "ImportKeyMaterial", "Disabled"),
        (Kind::External, "Enabled", "DeleteKeyMaterial", "PendingImport"),
        (Kind::External, "Disabled", "DeleteKeyMaterial", "PendingImport"),
        (Kind::External, "PendingImport", "DeleteKeyMaterial", "PendingImport"),
        (Kind::External, "PendingDeletion", "DeleteKeyMaterial", "PendingDeletion"),
    ] {
        let subject = Subject::make(&gateway, kind, state).await;
        assert_eq!(subject.verdict(&gateway, action).await, OK, "{action} in {state}");
        let described = gateway.describe(&subject.key).await;
        assert_eq!(text(&described["KeyState"]), becomes, "{action} in {state}");
    }
    let subject = Subject::make(&gateway, Kind::External, "PendingDeletion").await;
    for action in ["DeleteKeyMaterial", "CancelKeyDeletion"] {
        assert_eq!(subject.verdict(&gateway, action).await, OK);
    }
    let described = gateway.describe(&subject.key).await;
    assert_eq!(text(&described["KeyState"]), "PendingImport", "there is nothing to enable");
}

/// A key that was brought to a state, and everything that an operation may need with it.
struct Subject {
    key: String,
    alias: String,
    params: Vec<(&'static str, String)>,
}

impl Subject {
    /// A key in a state; `Unavailable` is only marked, as no call leads there.
    async fn make(gateway: &Gateway, kind: Kind, state: &str) -> Self {
        let kind_params = match kind {
            Kind::Cipher if state != "PendingImport" => vec![],
            Kind::Cipher | Kind::External => vec![("Origin", "EXTERNAL")],
            Kind::Signing => vec![("KeySpec", "EC_P256")],
            Kind::Encryption => vec![("KeySpec", "RSA_2048"), ("KeyUsage", "ENCRYPT/DECRYPT")],
            Kind::Mac => vec![("KeySpec", "HMAC_SHA_256")],
        };
        let params = [kind_params, vec![("Description", state)]].concat();
        let key = gateway.create_key_with(&params).await;
        let mut subject = Self { alias: format!("alias/{key}"), key, params: Vec::new() };
        let alias = subject.alias.clone();
        subject.call(gateway, "CreateAlias", &[("AliasName", &alias)]).await;
        subject.prepare(gateway, kind, state).await;
        match state {
            "Disabled" => drop(subject.call(gateway, "DisableKey", &[]).await),
            "PendingDeletion" => drop(subject.call(gateway, "ScheduleKeyDeletion", &[]).await),
            _ => {}
        }
        subject
    }

    /// Makes what the operations on a key of this kind begin with: a ciphertext, a signature.
    async fn prepare(&mut self, gateway: &Gateway, kind: Kind, state: &str) {
        let is_empty = state == "PendingImport";
        match kind {
            Kind::External => {
                self.wrap_material(gateway).await;
                if !is_empty {
                    self.call(gateway, "ImportKeyMaterial", &[]).await;
                }
            }
            Kind::Cipher if is_empty => self.name_recipient(),
            Kind::Cipher => {
                let encrypted = self.call(gateway, "GenerateDataKey", &[]).await;
                self.params.push(("CiphertextBlob", text(&encrypted["CiphertextBlob"]).to_owned()));
                self.params.push(("KeyVersionId", text(&encrypted["KeyVersionId"]).to_owned()));
                self.name_recipient();
            }
            Kind::Signing => {
                self.params.push(("Algorithm", "ECDSA_SHA_256".to_owned()));
                self.begin_with(gateway, "AsymmetricSign", "Value", "Value").await;
            }
            Kind::Encryption => {
                self.params.push(("Algorithm", "RSAES_OAEP_SHA_256".to_owned()));
                let (answer, param) = ("CiphertextBlob", "CiphertextBlob");
                self.begin_with(gateway, "AsymmetricEncrypt", answer, param).await;
            }
            Kind::Mac => {
                self.params.push(("Algorithm", "HMAC_SHA_256".to_owned()));
                self.begin_with(gateway, "GenerateMac", "Mac", "Mac").await;
            }
        }
    }

    /// Calls `action` and keeps the field `answer` of what it gives as the parameter `param`.
    async fn begin_with(
        &mut self,
        gateway: &Gateway,
        action: &str,
        answer: &str,
        param: &'static str,
    ) {
        let versions = self.call(gateway, "ListKeyVersions", &[]).await;
        let version = text(&versions["KeyVersions"]["KeyVersion"][0]["KeyVersionId"]).to_owned();
        self.params.push(("KeyVersionId", version));
        let made = self.call(gateway, action, &[]).await;
        self.params.push((param, text(&made[answer]).to_owned()));
    }

    /// Wraps material as its owner does.
    async fn wrap_material(&mut self, gateway: &Gateway) {
        self.params.push(("WrappingKeySpec", "RSA_2048".to_owned()));
        self.params.push(("WrappingAlgorithm", "RSAES_OAEP_SHA_1".to_owned()));
        let given = self.call(gateway, "GetParametersForImport", &[]).await;
        let public = STANDARD.decode(text(&given["PublicKey"])).unwrap();
        let public = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&public).unwrap());
        let public = public.unwrap();
        let mut wrapped = vec![0; public.ciphertext_size()];
        public.encrypt(&OAEP_SHA1_MGF1SHA1, &[7; 32], &mut wrapped, None).unwrap();
        self.params.push(("ImportToken", text(&given["ImportToken"]).to_owned()));
        self.params.push(("EncryptedKeyMaterial", STANDARD.encode(wrapped)));
    }

    /// A public key of somebody to export a data key to.
    fn name_recipient(&mut self) {
        self.params.push(("PublicKeyBlob", RECIPIENT.to_owned()));
        self.params.push(("WrappingKeySpec", "RSA_2048".to_owned()));
        self.params.push(("WrappingAlgorithm", "RSAES_OAEP_SHA_256".to_owned()));
    }

    /// What comes of an operation on the key: `ok`, or the code of its refusal.
    async fn verdict(&self, gateway: &Gateway, action: &str) -> String {
        let another = format!("{}-2", self.alias);
        let alias = match action {
            "CreateAlias" => &another,
            "UpdateAlias" => &gateway.dev.alias,
            _ => &self.alias,
        };
        match self.try_call(gateway, action, &[("AliasName", alias)]).await {
            Ok(_) => OK.to_owned(),
            Err(CallError::Refused { code, status, .. }) => {
                assert!(status == 409 || code.ends_with("NotFound"), "{action}: {status} {code}");
                code
            }
            Err(error) => panic!("{action}: {error}"),
        }
    }

    async fn call(
        &self,
        gateway: &Gateway,
        action: &str,
        more: &[(&str, &str)],
    ) -> serde_json::Value {
        match self.try_call(gateway, action, more).await {
            Ok(answer) => answer,
            Err(error) => panic!("{action} failed: {error:?}\n{}", gateway.log()),
        }
    }

    /// Calls with everything that there is: what an operation does not know is passed over.
    async fn try_call(
        &self,
        gateway: &Gateway,
        action: &str,
        more: &[(&str, &str)],
    ) -> Result<serde_json::Value, CallError> {
        let mut params = vec![
            ("PendingWindowInDays", "7"),
            ("Plaintext", BYTES),
            ("Message", BYTES),
            ("Digest", BYTES),
            ("EnableAutomaticRotation", "false"),
            ("Description", "x"),
            ("Tags", r#"[{"TagKey":"a","TagValue":"b"}]"#),
            ("TagKeys", "a"),
            ("DestinationKeyId", gateway.dev.key_id.as_str()),
        ];
        params.extend(self.params.iter().map(|(name, value)| (*name, value.as_str())));
        params.extend(more);
        // These find their key by the ciphertext.
        if !matches!(action, "Decrypt" | "ReEncrypt" | "ExportDataKey") {
            params.push(("KeyId", &self.key));
        }
        gateway.client.call(action, &params).await
    }
}
