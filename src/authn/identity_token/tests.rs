use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::*;
use crate::authn::LastJournal;
use crate::store::tests::open;

const NOW: i64 = 1_764_320_000;
const ACCOUNT: &str = "1234567890123456";
const PROVIDER: &str = "acs:ram::1234567890123456:oidc-provider/k8s";

/// A verifier with one provider, and the key of its issuer.
struct TestIssuer {
    verifier: IdentityVerifier,
    key: EcdsaKeyPair,
    _directory: tempfile::TempDir,
}

impl TestIssuer {
    async fn new(max_age_seconds: i64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("store.db").display());
        let store = open(&url).await.unwrap();
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = key.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|one| URL_SAFE_NO_PAD.encode(one));
        let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "x": x, "y": y}]});
        let provider = IdentityProvider {
            name: "k8s".parse().unwrap(),
            id: "1".to_owned(),
            issuer: "https://issuer".to_owned(),
            audiences: vec!["kms".to_owned(), "sts".to_owned()],
            algorithms: vec![TokenAlgorithm::Es256],
            keys: keys.to_string(),
            max_age_seconds,
            created: Time::from_unix(1),
        };
        store.insert_document(provider).await.unwrap();
        let replay = directory.path().join("replay");
        let replay =
            ReplayGuard::open(&replay, &LastJournal::Absent, Time::from_unix(NOW)).unwrap();
        let (account, none) = (ACCOUNT.parse().unwrap(), Arc::default());
        let verifier = IdentityVerifier::new(account, store, none, Arc::new(replay), None);
        Self { verifier, key, _directory: directory }
    }

    fn sign(&self, claims: &str) -> String {
        let [header, claims] =
            [r#"{"alg":"ES256","kid":"1"}"#, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let text = format!("{header}.{claims}");
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn verify(&self, claims: &Value) -> Result<FederatedIdentity, ErrorCode> {
        self.verify_token(&self.sign(&claims.to_string()))
    }

    fn verify_token(&self, token: &str) -> Result<FederatedIdentity, ErrorCode> {
        let claim = IdentityClaim::new(PROVIDER, token);
        let outcome = self.verifier.verify(&claim, Time::from_unix(NOW));
        outcome.map_err(|error| error.code())
    }
}

fn claims(changes: &Value) -> Value {
    let mut claims = json!({"iss": "https://issuer", "sub": "a", "aud": "kms",
        "iat": NOW, "exp": NOW + 600});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

#[tokio::test]
async fn the_times_of_a_token_are_checked_to_the_second() {
    const DAY: i64 = 24 * 3600;
    let issuer = TestIssuer::new(DAY).await;
    for (changes, is_accepted) in [
        (json!({}), true),
        (json!({"exp": NOW - 60}), true),
        (json!({"exp": NOW - 61}), false),
        (json!({"iat": NOW + 60}), true),
        (json!({"iat": NOW + 61}), false),
        (json!({"nbf": NOW + 60}), true),
        (json!({"nbf": NOW + 61}), false),
        (json!({"exp": NOW + DAY}), true),
        (json!({"exp": NOW + DAY + 1}), false),
        (json!({"iat": NOW - DAY - 60, "exp": NOW - 60}), true),
        (json!({"iat": NOW - DAY - 61, "exp": NOW - 61 + 1}), false),
        (json!({"exp": i64::MAX}), false),
    ] {
        let outcome = issuer.verify(&claims(&changes));
        assert_eq!(outcome.err(), (!is_accepted).then_some(ErrorCode::TokenExpired), "{changes}");
    }
    let strict = TestIssuer::new(300).await;
    let old = json!({"iat": NOW - 360});
    assert!(strict.verify(&claims(&old)).is_ok());
    let old = json!({"iat": NOW - 361});
    assert_eq!(strict.verify(&claims(&old)).unwrap_err(), ErrorCode::TokenExpired);
}

#[tokio::test]
async fn an_identity_has_only_the_audiences_that_its_provider_accepts() {
    let issuer = TestIssuer::new(3600).await;
    let identity = issuer.verify(&claims(&json!({"aud": ["x", "sts", "y", "kms"]}))).unwrap();
    assert_eq!(identity.values.audiences, ["sts".into(), "kms".into()]);
    assert_eq!(identity.values.issuer.as_deref(), Some("https://issuer"));
    assert_eq!(identity.values.subject.as_deref(), Some("a"));
    assert_eq!((identity.issued.unix(), identity.expires.unix()), (NOW, NOW + 600));
    let other = issuer.verify(&claims(&json!({"aud": ["x", "y"]})));
    assert_eq!(other.unwrap_err(), ErrorCode::TokenAudience);
    let many = vec!["kms"; MAX_AUDIENCES];
    assert!(issuer.verify(&claims(&json!({"aud": many}))).is_ok());
    let more = vec!["kms"; MAX_AUDIENCES + 1];
    let more = issuer.verify(&claims(&json!({"aud": more})));
    assert_eq!(more.unwrap_err(), ErrorCode::TokenInvalid);
}

#[tokio::test]
async fn a_token_is_trimmed_and_otherwise_taken_as_it_is() {
    let issuer = TestIssuer::new(3600).await;
    let token = issuer.sign(&claims(&json!({})).to_string());
    for accepted in [format!("{token}\n"), format!(" \t{token}\r\n")] {
        assert!(issuer.verify_token(&accepted).is_ok());
    }
    for (refused, code) in [
        (format!("{token}\u{a0}"), ErrorCode::TokenInvalid),
        (token.replacen('.', " .", 1), ErrorCode::TokenInvalid),
        (format!("{token}."), ErrorCode::TokenInvalid),
        (format!("{token}="), ErrorCode::TokenInvalid),
    ] {
        assert_eq!(issuer.verify_token(&refused).unwrap_err(), code, "{refused}");
    }
}

#[tokio::test]
async fn a_claim_that_is_repeated_at_any_name_is_refused() {
    let issuer = TestIssuer::new(3600).await;
    let text = claims(&json!({})).to_string();
    assert!(issuer.verify_token(&issuer.sign(&text)).is_ok());
    for first in [r#""sub":"b","#, r#""s\u0075b":"b","#, r#""x":1,"x":2,"#] {
        let repeated = text.replacen('{', &format!("{{{first}"), 1);
        let outcome = issuer.verify_token(&issuer.sign(&repeated));
        assert_eq!(outcome.unwrap_err(), ErrorCode::TokenInvalid, "{first}");
    }
}

#[test]
fn what_a_token_claims_only_selects_its_limit_of_failures() {
    let part = |subject: &str| {
        let claims = claims(&json!({"sub": subject})).to_string();
        format!("e30.{}.AAAA", URL_SAFE_NO_PAD.encode(claims))
    };
    let (a, b) = (part("a"), part("b"));
    let limit = |provider: &str, token: &str| IdentityClaim::new(provider, token).limited_by;
    let of_a = limit(PROVIDER, &a).unwrap();
    assert_eq!(limit(PROVIDER, &a), Some(of_a.clone()));
    assert_ne!(limit(PROVIDER, &b), Some(of_a.clone()));
    assert_ne!(limit("acs:ram::1234567890123456:oidc-provider/x", &a), Some(of_a));
    assert_eq!(limit(PROVIDER, "no token"), None);
    assert_eq!(limit(PROVIDER, &format!("{a}{}", "A".repeat(MAX_TOKEN_BYTES))), None);
    let shown = format!("{:?}", IdentityClaim::new(PROVIDER, &a));
    assert_eq!(shown, "IdentityClaim { .. }", "a token is in no message");
}
