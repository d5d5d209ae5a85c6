//! The same call for both programs, in the same number of bytes.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderValue, Request, Uri};
use serde_json::{Map, Value};

use crate::requests::{Call, Requests, encrypt_with};
use crate::servers::{Gateway, Server};
use crate::support::signed_calls::{self, ParamLocation, Signing, SigningVariant};
use crate::{PLAINTEXT_BYTES, requests};

/// The User-Agent of the gateway's request. That of the minimal program is as much shorter as JSON
/// is longer than a query.
const AGENT_BYTES: usize = 128;
const ACTION: &str = "x-acs-action";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Encrypt,
    Decrypt,
    GenerateDataKey,
}

impl Operation {
    pub(crate) const ALL: [Self; 3] = [Self::Encrypt, Self::Decrypt, Self::GenerateDataKey];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "Encrypt",
            Self::Decrypt => "Decrypt",
            Self::GenerateDataKey => "GenerateDataKey",
        }
    }
}

/// How a call of the gateway is signed and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// ACS3-HMAC-SHA256, with the parameters in the query.
    Acs3,
    /// RPC 1.0 with HMAC-SHA1, with everything in the query.
    Rpc1,
    /// That of KMS instances, with an RSA signature of a message. It has no nonce.
    Instance,
}

/// An operation in a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) operation: Operation,
    pub(crate) protocol: Protocol,
    /// Of the plaintext of Encrypt.
    pub(crate) bytes: usize,
}

impl Case {
    pub(crate) fn of(operation: Operation) -> Self {
        Self { operation, protocol: Protocol::Acs3, bytes: PLAINTEXT_BYTES }
    }

    /// Signed requests for a gateway.
    pub(crate) fn signed(self, gateway: &Gateway, count: usize) -> anyhow::Result<Requests> {
        let write = |key_id| with_agent(self.request(gateway, key_id)?, AGENT_BYTES);
        let requests: Vec<_> = match self.protocol {
            Protocol::Instance => vec![write(&gateway.signer.key_id)?; count],
            Protocol::Acs3 | Protocol::Rpc1 => {
                let keys = gateway.keys.iter().cycle().take(count);
                keys.map(|key_id| write(key_id)).collect::<Result<_, _>>()?
            }
        };
        Ok(Requests(Arc::new(requests)))
    }

    /// Requests for the minimal program: the head of a signed request to this gateway, and the parameters
    /// as JSON in the body, in as many bytes.
    pub(crate) fn bare(
        self,
        gateway: &Gateway,
        minimal: &Server,
        count: usize,
    ) -> anyhow::Result<Requests> {
        let key_id = &gateway.signer.key_id;
        let call = self.call(key_id, &minimal.blob);
        let request = self.request(gateway, key_id)?;
        let wanted = with_agent(request.clone(), AGENT_BYTES)?.len();
        let bare = bare(request, &call)?;
        let length = with_agent(bare.clone(), AGENT_BYTES)?.len();
        let bytes = AGENT_BYTES.saturating_add(wanted).saturating_sub(length);
        let request = with_agent(bare, bytes)?;
        anyhow::ensure!(request.len() == wanted, "bytes differ");
        Ok(Requests(Arc::new(vec![request; count])))
    }

    /// What is asked for, with this key or ciphertext blob.
    fn call(self, key_id: &str, blob: &str) -> Call {
        let params = match self.operation {
            Operation::Encrypt => return encrypt_with(key_id, self.bytes),
            Operation::Decrypt => vec![("CiphertextBlob", blob.to_owned())],
            Operation::GenerateDataKey => vec![("KeyId", key_id.to_owned())],
        };
        Call { action: self.operation.name(), params }
    }

    /// A signed request. No protocol signs the User-Agent.
    fn request(self, gateway: &Gateway, key_id: &str) -> anyhow::Result<Request<Bytes>> {
        let call = self.call(key_id, &gateway.server.blob);
        match self.protocol {
            Protocol::Acs3 => Ok(gateway.signer.sign(&call)?.map(|_empty| Bytes::new())),
            Protocol::Rpc1 => rpc1(gateway, &call),
            Protocol::Instance => {
                let caller = gateway.caller.as_ref().context("no client key")?;
                Ok(caller.encrypt(self.bytes))
            }
        }
    }
}

fn rpc1(gateway: &Gateway, call: &Call) -> anyhow::Result<Request<Bytes>> {
    let variant = SigningVariant(Signing::Rpc1, ParamLocation::PostQuery);
    let (id, secret) = &gateway.access_key;
    let params: Vec<_> = call.params.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let address = gateway.server.address.to_string();
    let signed =
        signed_calls::Call::to(&address, (id, secret), variant, call.action, &params).signed();
    let mut request = Request::builder().method(signed.method).uri(format!("/?{}", signed.query));
    for (name, value) in signed.headers {
        request = request.header(name, value);
    }
    Ok(request.body(Bytes::new())?)
}

fn bare(mut request: Request<Bytes>, call: &Call) -> anyhow::Result<Request<Bytes>> {
    *request.uri_mut() = Uri::from_static("/");
    request.headers_mut().insert(ACTION, HeaderValue::from_static(call.action));
    let params = call.params.iter();
    let body: Map<String, Value> =
        params.map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    *request.body_mut() = serde_json::to_vec(&body)?.into();
    Ok(request)
}

/// A request as it is sent, with a User-Agent of so many bytes.
fn with_agent(mut request: Request<Bytes>, bytes: usize) -> anyhow::Result<Vec<u8>> {
    request.headers_mut().insert(USER_AGENT, HeaderValue::try_from("a".repeat(bytes))?);
    requests::written(&request, request.body())
}
