//! An issuer of identity tokens, and a gateway with a role that its subjects may assume.

use std::fs;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hsmgate::api::rpc::percent;
use hsmgate::cli::client::Client;
use hsmgate::model::clock;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::gateway::text;
use super::installation::{ACCOUNT, AccessKey, Installation, Server};
use super::raw_http::{self, Connection, RawResponse};

pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";
pub(crate) const AUDIENCE: &str = "sts.aliyuncs.com";
pub(crate) const SUBJECT: &str = "system:serviceaccount:shop:api";
pub(crate) const ROLE: &str = "acs:ram::1234567890123456:role/shop";
pub(crate) const PROVIDER: &str = "acs:ram::1234567890123456:oidc-provider/k8s";

/// An issuer with an RSA key `rsa-1` and an EC key `ec-1`.
pub(crate) struct Issuer {
    pub(crate) rsa: RsaKeyPair,
    pub(crate) ec: EcdsaKeyPair,
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    pub(crate) fn new() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        }
    }

    /// Modulus and exponent of the RSA key.
    pub(crate) fn rsa_components(&self) -> (Vec<u8>, Vec<u8>) {
        // SEQUENCE { INTEGER modulus, with a leading zero; INTEGER exponent } (RFC 8017).
        let der = self.rsa.public_key().as_ref();
        (der[9..265].to_vec(), der[der.len() - 3..].to_vec())
    }

    /// The public RSA key as SubjectPublicKeyInfo.
    pub(crate) fn rsa_spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.rsa.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }

    /// The key set.
    pub(crate) fn key_set(&self) -> Value {
        let (modulus, exponent) = self.rsa_components();
        let point = self.ec.public_key().as_ref();
        json!({"keys": [
            {"kty": "RSA", "kid": "rsa-1", "use": "sig", "n": encode(modulus), "e": encode(exponent)},
            {"kty": "EC", "kid": "ec-1", "crv": "P-256", "alg": "ES256",
             "x": encode(&point[1..33]), "y": encode(&point[33..])}]})
    }

    /// Claims of a token that is valid for ten minutes.
    pub(crate) fn claims() -> Value {
        let now = clock::now().unix();
        json!({"iss": ISSUER, "sub": SUBJECT, "aud": [AUDIENCE], "iat": now, "nbf": now,
               "exp": now + 600})
    }

    /// A token with these claims, signed with the RSA key.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.signed(&json!({"alg": "RS256", "kid": "rsa-1"}).to_string(), &claims.to_string())
    }

    /// A token of this header and these claims, signed with the RSA key.
    pub(crate) fn signed(&self, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", encode(header), encode(claims));
        format!("{text}.{}", encode(self.rsa_signature(&text)))
    }

    pub(crate) fn rsa_signature(&self, text: &str) -> Vec<u8> {
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        let random = SystemRandom::new();
        self.rsa.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).unwrap();
        signature
    }

    /// A token signed with the EC key.
    pub(crate) fn ec_token(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "kid": "ec-1"}).to_string();
        let text = format!("{}.{}", encode(header), encode(claims.to_string()));
        let signature = self.ec.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", encode(signature))
    }
}

/// A gateway with the role `shop`, which may encrypt and which the subject [`SUBJECT`] may assume.
pub(crate) struct Federation {
    pub(crate) installation: Installation,
    pub(crate) server: Server,
    pub(crate) issuer: Issuer,
    pub(crate) key: String,
}

impl Federation {
    /// `limits` are lines of the configuration.
    pub(crate) async fn open(limits: &str) -> Self {
        let (installation, admin) = Installation::prepared();
        installation.configure(|text| {
            text.push_str("[limits]\n");
            text.push_str(limits);
        });
        let server = installation.serve();
        let created = server.client(&admin).call("CreateKey", &[]).await.unwrap();
        let key = text(&created["KeyMetadata"]["KeyId"]).to_owned();
        let federation = Self { installation, server, issuer: Issuer::new(), key };
        let run = |arguments: &[&str]| federation.installation.configured(arguments).done();
        run(&["role", "create", "shop", "--policy", "AliyunKMSCryptoUserAccess"]);
        federation.trust("shop", SUBJECT);
        federation.create_provider("k8s", ISSUER);
        federation
    }

    pub(crate) fn create_provider(&self, name: &str, issuer: &str) {
        let keys = self.file("jwks.json", &self.issuer.key_set());
        let create = ["identity-provider", "create", name, "--issuer", issuer, "--jwks", &keys];
        let audience = ["--audience", "other", "--audience", AUDIENCE];
        self.installation.configured(&[&create[..], &audience].concat()).done();
    }

    pub(crate) fn file(&self, name: &str, content: &Value) -> String {
        let path = self.installation.path(name);
        fs::write(&path, content.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Lets a subject of the provider `k8s` assume a role.
    pub(crate) fn trust(&self, role: &str, subject: &str) {
        let trust = json!({"Version": "1", "Statement": [{"Effect": "Allow",
            "Action": "sts:AssumeRole", "Principal": {"Federated": [PROVIDER]},
            "Condition": {"StringEquals": {"oidc:sub": subject, "oidc:aud": AUDIENCE}}}]});
        let trust = self.file("trust.json", &trust);
        self.installation.configured(&["role", "update", role, "--trust", &trust]).done();
    }

    /// The answer to AssumeRoleWithOIDC with this token, as the Go and Node libraries send it.
    pub(crate) async fn exchange(&self, token: &str) -> RawResponse {
        self.exchange_with(&[("OIDCToken", token)]).await
    }

    /// The answer of any gateway.
    pub(crate) async fn exchange_at(address: &str, token: &str) -> RawResponse {
        raw_http::exchange(address, Self::request(&[("OIDCToken", token)]).as_bytes()).await
    }

    /// The same with these parameters in addition to those that are required, or in their place.
    pub(crate) async fn exchange_with(&self, more: &[(&str, &str)]) -> RawResponse {
        raw_http::exchange(self.server.address(), Self::request(more).as_bytes()).await
    }

    /// The answer to a client with another address of this machine.
    pub(crate) async fn exchange_from(&self, source: &str, token: &str) -> RawResponse {
        let mut connection = Connection::open_from(source, self.server.address()).await;
        connection.send(Self::request(&[("OIDCToken", token)]).as_bytes()).await;
        connection.answer().await.unwrap()
    }

    fn request(more: &[(&str, &str)]) -> String {
        let query = "Action=AssumeRoleWithOIDC&Format=JSON&Version=2015-04-01\
                     &Timestamp=2026-11-28T10%3A00%3A00Z&SignatureNonce=n";
        let usual =
            [("RoleArn", ROLE), ("OIDCProviderArn", PROVIDER), ("RoleSessionName", "api-1")];
        let usual = usual.iter().filter(|(name, _)| more.iter().all(|(other, _)| other != name));
        let mut body = String::new();
        percent::encode_pairs_into(&mut body, usual.chain(more).copied());
        let head = format!(
            "POST /?{query} HTTP/1.1\r\nhost: {ACCOUNT}\r\ncontent-length: {}\r\n\
             content-type: application/x-www-form-urlencoded\r\n\r\n",
            body.len()
        );
        format!("{head}{body}")
    }

    /// A client with the credentials of an answer.
    pub(crate) fn client(&self, answer: &Value) -> Client {
        let part = |name: &str| text(&answer["Credentials"][name]).to_owned();
        let key = AccessKey { id: part("AccessKeyId"), secret: part("AccessKeySecret") };
        let token = SecretString::from(part("SecurityToken"));
        self.server.client(&key).with_security_token(token)
    }
}
