//! A model of a key: the published table of states, as far as kills, faults and clusters are tested with it.

use serde_json::{Value, json};

use super::gateway::text;

pub(crate) const PLAINTEXT: &str = "SGVsbG8=";
/// Base64 of 32 bytes.
const DIGEST: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// The access point that client keys belong to.
pub(crate) const ACCESS_POINT: &str = "any";

/// An action and its parameters.
pub(crate) type Request = (&'static str, Vec<(&'static str, String)>);

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Cipher,
    /// An EC pair that signs.
    Signing,
    /// An RSA pair that decrypts.
    Decryption,
    /// A cipher of imported material.
    External,
}

/// What a key is to its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum State {
    Enabled,
    Disabled,
    PendingDeletion,
    PendingImport,
    /// Destroyed.
    Gone,
}

/// What is told of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct KeyFacts {
    pub(crate) state: State,
    pub(crate) versions: usize,
    /// Not known of one that was made without an answer.
    pub(crate) primary: Option<String>,
    pub(crate) has_material: bool,
    /// As DescribeKey tells it; empty of a key that does not rotate.
    pub(crate) rotation: String,
    pub(crate) description: String,
}

/// What is done to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    AddVersion,
    /// So many days between two versions.
    Rotation(u16),
    Description(String),
    Enable,
    Disable,
    Schedule,
    Cancel,
    /// GetParametersForImport.
    Parameters,
    Import {
        token: String,
        wrapped: String,
    },
    DeleteMaterial,
}

/// What is asked of a key: a change, a fact, or the use of it.
#[derive(Debug, Clone)]
pub(crate) enum KeyRequest {
    To(Change),
    Describe,
    Versions,
    Encrypt,
    /// A ciphertext of the key.
    Decrypt(String),
}

/// What a client wants.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    CreateKey(Kind),
    To { key: String, change: Change },
    CreateAlias { name: String, key: String },
    UpdateAlias { name: String, key: String },
    DeleteAlias { name: String },
    CreateClientKey,
    DeleteClientKey { id: String },
}

/// What a key has made, and must be able to make use of as long as it is enabled.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    pub(crate) version: String,
    pub(crate) made: String,
}

impl Kind {
    /// What CreateKey is told.
    pub(crate) fn params(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Cipher => &[],
            Self::Signing => &[("KeySpec", "EC_P256"), ("KeyUsage", "SIGN/VERIFY")],
            Self::Decryption => &[("KeySpec", "RSA_2048"), ("KeyUsage", "ENCRYPT/DECRYPT")],
            Self::External => &[("Origin", "EXTERNAL")],
        }
    }

    /// The kind of a key that DescribeKey has shown.
    pub(crate) fn of(metadata: &Value) -> Self {
        match (text(&metadata["KeySpec"]), text(&metadata["Origin"])) {
            (_, "EXTERNAL") => Self::External,
            ("EC_P256", _) => Self::Signing,
            ("RSA_2048", _) => Self::Decryption,
            _ => Self::Cipher,
        }
    }

    const fn is_pair(self) -> bool {
        matches!(self, Self::Signing | Self::Decryption)
    }

    /// What makes a proof, and the member of the answer that is one.
    pub(crate) fn proving(self, key: &str, version: &str) -> (Request, &'static str) {
        match self {
            Self::Cipher | Self::External => {
                let params = vec![("KeyId", key.to_owned()), ("Plaintext", PLAINTEXT.to_owned())];
                (("Encrypt", params), "CiphertextBlob")
            }
            Self::Signing => {
                let more = ("Digest", DIGEST.to_owned());
                (("AsymmetricSign", self.pair_params(key, version, more)), "Value")
            }
            Self::Decryption => {
                let more = ("Plaintext", PLAINTEXT.to_owned());
                (("AsymmetricEncrypt", self.pair_params(key, version, more)), "CiphertextBlob")
            }
        }
    }

    /// What makes use of a proof, and the member of the answer that must have this value.
    pub(crate) fn using(self, key: &str, proof: &Proof) -> (Request, &'static str, Value) {
        let made = proof.made.clone();
        match self {
            Self::Cipher | Self::External => {
                (("Decrypt", vec![("CiphertextBlob", made)]), "Plaintext", json!(PLAINTEXT))
            }
            Self::Signing => {
                let mut params = self.pair_params(key, &proof.version, ("Value", made));
                params.push(("Digest", DIGEST.to_owned()));
                (("AsymmetricVerify", params), "Value", json!(true))
            }
            Self::Decryption => {
                let params = self.pair_params(key, &proof.version, ("CiphertextBlob", made));
                (("AsymmetricDecrypt", params), "Plaintext", json!(PLAINTEXT))
            }
        }
    }

    fn pair_params(
        self,
        key: &str,
        version: &str,
        more: (&'static str, String),
    ) -> Vec<(&'static str, String)> {
        let algorithm = if self == Self::Signing { "ECDSA_SHA_256" } else { "RSAES_OAEP_SHA_256" };
        let own = [("KeyId", key), ("KeyVersionId", version), ("Algorithm", algorithm)];
        let mut params: Vec<_> = own.map(|(name, value)| (name, value.to_owned())).into();
        params.push(more);
        params
    }
}

impl State {
    pub(crate) fn of(metadata: &Value) -> Self {
        match text(&metadata["KeyState"]) {
            "Enabled" => Self::Enabled,
            "Disabled" => Self::Disabled,
            "PendingDeletion" => Self::PendingDeletion,
            "PendingImport" => Self::PendingImport,
            other => panic!("a key is {other}"),
        }
    }

    /// How a key refuses to work.
    pub(crate) const fn refusal(self) -> &'static str {
        match self {
            Self::Enabled => "none",
            Self::Disabled => "Rejected.Disabled",
            Self::PendingDeletion => "Rejected.PendingDeletion",
            Self::PendingImport => "Rejected.PendingImport",
            Self::Gone => "Forbidden.KeyNotFound",
        }
    }
}

impl KeyFacts {
    /// Of a new key.
    pub(crate) fn new(kind: Kind) -> Self {
        let is_empty = kind == Kind::External;
        Self {
            state: if is_empty { State::PendingImport } else { State::Enabled },
            versions: usize::from(!is_empty),
            primary: None,
            has_material: !is_empty,
            rotation: String::new(),
            description: String::new(),
        }
    }

    /// Of a key that is destroyed.
    pub(crate) fn gone() -> Self {
        Self {
            state: State::Gone,
            versions: 0,
            primary: None,
            has_material: false,
            rotation: String::new(),
            description: String::new(),
        }
    }

    /// What a change makes of the key; none when it is refused.
    pub(crate) fn after(&self, kind: Kind, change: &Change) -> Option<Self> {
        use State::{Disabled, Enabled, Gone, PendingDeletion, PendingImport};
        let mut after = self.clone();
        match (change, self.state) {
            (_, Gone) => return None,
            (Change::AddVersion, Enabled) if kind != Kind::External => {
                after.versions += 1;
                after.primary = None;
            }
            (Change::Rotation(days), Enabled) if kind == Kind::Cipher => {
                after.rotation = format!("{}s", u32::from(*days) * 86_400);
            }
            (Change::Description(text), Enabled | Disabled | PendingImport) => {
                after.description.clone_from(text);
            }
            (Change::Enable, Enabled | Disabled) => after.state = Enabled,
            (Change::Disable, Enabled | Disabled) => after.state = Disabled,
            (Change::Schedule, Enabled | Disabled | PendingImport) => {
                after.state = PendingDeletion;
            }
            (Change::Cancel, PendingDeletion) => {
                after.state = if self.has_material { Enabled } else { PendingImport };
            }
            (Change::Parameters, _) | (Change::Import { .. }, Enabled | Disabled)
                if kind == Kind::External => {}
            (Change::Import { .. }, PendingImport) if kind == Kind::External => {
                after.state = Enabled;
                after.versions = 1;
                after.has_material = true;
                after.primary = None;
            }
            (Change::DeleteMaterial, _) if kind == Kind::External => {
                after.has_material = false;
                if self.state != PendingDeletion {
                    after.state = PendingImport;
                }
            }
            _ => return None,
        }
        if kind.is_pair() {
            after.primary = None;
        }
        Some(after)
    }

    /// With the primary version that is seen; none if it is known to be another.
    pub(crate) fn with_primary(&self, seen: &str) -> Option<Self> {
        let is_so = self.primary.as_deref().is_none_or(|known| known == seen);
        is_so.then(|| Self { primary: Some(seen.to_owned()), ..self.clone() })
    }

    /// Whether a key with these facts may be seen so.
    pub(crate) fn shows(&self, seen: &Self) -> bool {
        let is_primary = self.primary.is_none() || self.primary == seen.primary;
        let visible = |facts: &Self| (facts.state, facts.versions);
        let texts = |facts: &Self| (facts.rotation.clone(), facts.description.clone());
        is_primary && visible(self) == visible(seen) && texts(self) == texts(seen)
    }
}

impl KeyRequest {
    pub(crate) fn request(&self, key: &str) -> Request {
        let of_key = || vec![("KeyId", key.to_owned())];
        match self {
            Self::To(change) => change.request(key),
            Self::Describe => ("DescribeKey", of_key()),
            Self::Versions => ("ListKeyVersions", of_key()),
            Self::Encrypt => {
                ("Encrypt", [of_key(), vec![("Plaintext", PLAINTEXT.to_owned())]].concat())
            }
            Self::Decrypt(blob) => ("Decrypt", vec![("CiphertextBlob", blob.clone())]),
        }
    }

    /// The change that it is, if it is one.
    pub(crate) const fn change(&self) -> Option<&Change> {
        if let Self::To(change) = self { Some(change) } else { None }
    }
}

impl Operation {
    pub(crate) fn to(key: &str, change: Change) -> Self {
        Self::To { key: key.to_owned(), change }
    }

    pub(crate) fn request(&self) -> Request {
        match self {
            Self::CreateKey(kind) => {
                let params = kind.params().iter();
                ("CreateKey", params.map(|(name, value)| (*name, (*value).to_owned())).collect())
            }
            Self::To { key, change } => change.request(key),
            Self::CreateAlias { name, key } => ("CreateAlias", alias(name, Some(key))),
            Self::UpdateAlias { name, key } => ("UpdateAlias", alias(name, Some(key))),
            Self::DeleteAlias { name } => ("DeleteAlias", alias(name, None)),
            Self::CreateClientKey => {
                let params = [("AapName", ACCESS_POINT), ("Password", "opens-it-1")];
                ("CreateClientKey", params.map(|(name, value)| (name, value.to_owned())).into())
            }
            Self::DeleteClientKey { id } => ("DeleteClientKey", vec![("ClientKeyId", id.clone())]),
        }
    }
}

impl Change {
    fn request(&self, key: &str) -> Request {
        let (action, more): (_, Vec<(&'static str, String)>) = match self {
            Self::AddVersion => ("CreateKeyVersion", vec![]),
            Self::Rotation(days) => {
                let interval = ("RotationInterval", format!("{days}d"));
                let is_on = ("EnableAutomaticRotation", "true".to_owned());
                ("UpdateRotationPolicy", vec![is_on, interval])
            }
            Self::Description(text) => {
                ("UpdateKeyDescription", vec![("Description", text.clone())])
            }
            Self::Enable => ("EnableKey", vec![]),
            Self::Disable => ("DisableKey", vec![]),
            Self::Schedule => {
                ("ScheduleKeyDeletion", vec![("PendingWindowInDays", "7".to_owned())])
            }
            Self::Cancel => ("CancelKeyDeletion", vec![]),
            Self::Parameters => {
                let wanted =
                    [("WrappingKeySpec", "RSA_2048"), ("WrappingAlgorithm", "RSAES_OAEP_SHA_1")];
                let wanted = wanted.map(|(name, value)| (name, value.to_owned()));
                ("GetParametersForImport", wanted.into())
            }
            Self::Import { token, wrapped } => {
                let material = ("EncryptedKeyMaterial", wrapped.clone());
                let expires = ("KeyMaterialExpireUnix", "0".to_owned());
                ("ImportKeyMaterial", vec![("ImportToken", token.clone()), material, expires])
            }
            Self::DeleteMaterial => ("DeleteKeyMaterial", vec![]),
        };
        (action, [vec![("KeyId", key.to_owned())], more].concat())
    }
}

fn alias(name: &str, key: Option<&String>) -> Vec<(&'static str, String)> {
    let mut params = vec![("AliasName", name.to_owned())];
    params.extend(key.map(|key| ("KeyId", key.clone())));
    params
}
