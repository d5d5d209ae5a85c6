//! Encrypt in the protocol of KMS instances.

use std::net::SocketAddr;

use bytes::Bytes;
use hsmgate::api::instance::messages::EncryptRequest;
use hsmgate::cli::client::Client;
use http::Request;
use prost::Message as _;

use crate::client_key::{ClientKey, PASSWORD, now};
use crate::requests::plaintext;

/// Of access point and policy.
const NAME: &str = "bench";

/// Who signs, and for which key.
pub(crate) struct Caller {
    client_key: ClientKey,
    endpoint: String,
    key_id: String,
}

impl Caller {
    /// With a client key that may use every key.
    pub(crate) async fn prepare(
        client: &Client,
        address: SocketAddr,
        key_id: &str,
    ) -> anyhow::Result<Self> {
        let policy = [
            ("Name", NAME),
            ("Permissions", r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#),
            ("Resources", r#"["key/*"]"#),
        ];
        client.call("CreatePolicy", &policy).await?;
        let point = [("Name", NAME), ("Policies", r#"["bench"]"#)];
        client.call("CreateApplicationAccessPoint", &point).await?;
        let wanted = [("AapName", NAME), ("Password", PASSWORD)];
        let client_key = ClientKey::open(&client.call("CreateClientKey", &wanted).await?);
        Ok(Self { client_key, endpoint: format!("http://{address}"), key_id: key_id.to_owned() })
    }

    /// Encrypt of what the public API is given. The protocol has no nonce, so one request may be sent
    /// again and again; its signature is checked each time.
    pub(crate) fn encrypt(&self, bytes: usize) -> Request<Bytes> {
        let message = EncryptRequest {
            key_id: self.key_id.clone(),
            plaintext: plaintext(bytes).as_bytes().to_vec(),
            algorithm: String::new(),
            aad: Vec::new(),
            iv: Vec::new(),
            padding_mode: String::new(),
        };
        let body = message.encode_to_vec();
        self.client_key.signed(&self.endpoint, "Encrypt", body, &now(), &[])
    }
}
