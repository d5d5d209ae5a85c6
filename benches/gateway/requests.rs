//! Requests, signed before the clock runs: signing is the client's work.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hsmgate::cli::client::{DateAndNonce, Target, signed_in_query};
use hsmgate::model::clock;
use http::{HeaderMap, Request};
use http_body_util::Full;

/// Who signs, and for which key.
pub(crate) struct Signer {
    target: Target,
    pub(crate) key_id: String,
}

impl Signer {
    pub(crate) fn new(target: Target, key_id: String) -> Self {
        Self { target, key_id }
    }

    /// Encrypt of a plaintext of `bytes` bytes.
    pub(crate) fn encrypt(&self, bytes: usize) -> Call {
        encrypt_with(&self.key_id, bytes)
    }

    /// A call as it is sent, with a nonce of its own.
    pub(crate) fn sign(&self, call: &Call) -> anyhow::Result<Request<Full<Bytes>>> {
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let stamp = DateAndNonce { date: clock::now(), nonce: &nonce };
        let params: Vec<_> =
            call.params.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Ok(signed_in_query(&self.target, call.action, &params, stamp)?)
    }
}

/// Encrypt of a plaintext of `bytes` bytes with a key.
pub(crate) fn encrypt_with(key_id: &str, bytes: usize) -> Call {
    let plaintext = plaintext(bytes).to_string();
    Call { action: "Encrypt", params: vec![("KeyId", key_id.to_owned()), ("Plaintext", plaintext)] }
}

/// A call that is made again and again.
pub(crate) struct Call {
    pub(crate) action: &'static str,
    pub(crate) params: Vec<(&'static str, String)>,
}

/// Requests as they are sent, each with a nonce of its own.
#[derive(Clone)]
pub(crate) struct Requests(pub(crate) Arc<Vec<Vec<u8>>>);

/// Base64 text of `bytes` bytes of every value.
pub(crate) fn plaintext(bytes: usize) -> Arc<str> {
    let data: Vec<u8> = (0..=u8::MAX).rev().cycle().take(bytes).collect();
    STANDARD.encode(data).into()
}

/// A request as it is sent.
pub(crate) fn written<B>(request: &Request<B>, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let target = request.uri().path_and_query().context("a request without a path")?;
    let mut head = format!("{} {target} HTTP/1.1\r\n", request.method());
    append(&mut head, request.headers())?;
    write!(head, "content-length: {}\r\n\r\n", body.len())?;
    Ok([head.as_bytes(), body].concat())
}

fn append(head: &mut String, headers: &HeaderMap) -> anyhow::Result<()> {
    for (name, value) in headers {
        write!(head, "{name}: {}\r\n", value.to_str()?)?;
    }
    Ok(())
}
