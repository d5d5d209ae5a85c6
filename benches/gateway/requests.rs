//! Requests, signed before the clock runs: signing is the client's work.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsmgate::cli::client::{DateAndNonce, Target, signed_request};
use hsmgate::model::Time;
use http::{HeaderMap, Request};

/// Signed beyond what is expected: a window that is short of requests ends early.
const SPARE: f64 = 1.3;

/// Who signs, and for which key.
pub(crate) struct Signer {
    target: Target,
    key_id: String,
}

impl Signer {
    pub(crate) fn new(target: Target, key_id: String) -> Self {
        Self { target, key_id }
    }

    /// Encrypt of a plaintext of `bytes` bytes.
    pub(crate) fn encrypt(&self, bytes: usize) -> Call {
        let plaintext = plaintext(bytes).to_string();
        let params = vec![("KeyId", self.key_id.clone()), ("Plaintext", plaintext)];
        Call { action: "Encrypt", params }
    }

    fn sign(&self, call: &Call) -> anyhow::Result<Vec<u8>> {
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let stamp = DateAndNonce { date: Time::now(), nonce: &nonce };
        let params: Vec<_> =
            call.params.iter().map(|(name, value)| (*name, value.as_str())).collect();
        written(&signed_request(&self.target, call.action, &params, stamp)?, b"")
    }
}

/// A call that is made again and again.
pub(crate) struct Call {
    pub(crate) action: &'static str,
    pub(crate) params: Vec<(&'static str, String)>,
}

/// Requests as they are sent, each with a nonce of its own.
#[derive(Clone)]
pub(crate) struct Requests(pub(crate) Arc<Vec<Vec<u8>>>);

impl Requests {
    /// Signs a call often enough for a window with so many a second.
    pub(crate) fn signed(
        signer: &Signer,
        call: &Call,
        rate: f64,
        length: Duration,
    ) -> anyhow::Result<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive number"
        )]
        let count = (rate * length.as_secs_f64() * SPARE) as usize + 1;
        let requests: anyhow::Result<_> = (0..count).map(|_index| signer.sign(call)).collect();
        Ok(Self(Arc::new(requests?)))
    }
}

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
