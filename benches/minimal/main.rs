//! The least program that answers Encrypt, Decrypt and GenerateDataKey with a key in a PKCS#11 token.
//!
//! The gateway is measured against it. It holds no code of the gateway: axum, one token thread behind
//! a bounded channel, a session copy of one key, JSON in and out. No signature, audit, log, recovery.
//! Its answers have the headers and the size of the gateway's.
//!
//! `minimal MODULE KEY_ID PLAINTEXT` makes a token (`SOFTHSM2_CONF` names an empty directory), serves on
//! a loopback port and prints its address and the ciphertext blob of PLAINTEXT. The header
//! `x-acs-action` names the operation, as in a signed request.

use std::io::Write as _;
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::serve::ListenerExt as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crossbeam_channel::Sender;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::{AuthPin, Ulong};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use uuid::Uuid;

/// The allocator of the gateway.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const QUEUE: usize = 1024;
/// Of the text of a UUID.
const VERSION_BYTES: usize = 36;
/// The headers of every answer.
const HEADERS: [(HeaderName, &str); 3] = [
    (header::CONTENT_TYPE, "application/json;charset=utf-8"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
];
const IV_BYTES: usize = 12;

/// What the token thread is asked for. Plaintexts are Base64 text, and are encrypted as such.
enum Call {
    Encrypt(String),
    Decrypt(Vec<u8>),
    GenerateDataKey,
}

/// A plaintext and a ciphertext blob, as the call has them.
type Output = (Option<String>, Option<Vec<u8>>);

/// A call, and where its result goes.
type Job = (Call, oneshot::Sender<anyhow::Result<Output>>);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RequestBody {
    plaintext: Option<String>,
    ciphertext_blob: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ResponseBody<'a> {
    request_id: &'a str,
    key_id: &'a str,
    key_version_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_blob: Option<String>,
}

struct Service {
    key_id: String,
    version: String,
    jobs: Sender<Job>,
}

/// The key, in the session of the token thread.
struct Key {
    session: Session,
    copy: ObjectHandle,
    version: String,
}

impl Key {
    fn make(module: &str, version: String) -> anyhow::Result<Self> {
        let pkcs11 = Pkcs11::new(module)?;
        pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
        let slot = pkcs11.get_slots_with_token()?.into_iter().next().context("no slot is free")?;
        let (so_pin, pin) = (AuthPin::from("91528471"), AuthPin::from("482915"));
        pkcs11.init_token(slot, &so_pin, "minimal")?;
        let session = pkcs11.open_rw_session(slot)?;
        session.login(UserType::So, Some(&so_pin))?;
        session.init_pin(&pin)?;
        session.logout()?;
        session.login(UserType::User, Some(&pin))?;
        let template = [
            Attribute::Token(true),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::ValueLen(Ulong::new(32)),
        ];
        let key = session.generate_key(&Mechanism::AesKeyGen, &template)?;
        let copy = session.copy_object(key, &[Attribute::Token(false)])?;
        Ok(Self { session, copy, version })
    }

    fn run(&self, call: Call) -> anyhow::Result<Output> {
        match call {
            Call::Encrypt(text) => Ok((None, Some(self.encrypt(&text)?))),
            Call::Decrypt(blob) => Ok((Some(self.decrypt(blob)?), None)),
            Call::GenerateDataKey => {
                let mut data_key = [0; 32];
                self.session.generate_random_slice(&mut data_key)?;
                let text = STANDARD.encode(data_key);
                let blob = self.encrypt(&text)?;
                Ok((Some(text), Some(blob)))
            }
        }
    }

    fn encrypt(&self, text: &str) -> anyhow::Result<Vec<u8>> {
        let mut iv = [0; IV_BYTES];
        getrandom(&mut iv, GetRandomFlags::empty())?;
        let mut blob = [self.version.as_bytes(), &iv].concat();
        let mechanism = Mechanism::AesGcm(GcmParams::new(&mut iv, &[], Ulong::new(128))?);
        blob.extend(self.session.encrypt(&mechanism, self.copy, text.as_bytes())?);
        Ok(blob)
    }

    fn decrypt(&self, mut blob: Vec<u8>) -> anyhow::Result<String> {
        let (version, rest) = blob.split_at_mut_checked(VERSION_BYTES).context("no version")?;
        anyhow::ensure!(version == self.version.as_bytes(), "another key");
        let (iv, ciphertext) = rest.split_at_mut_checked(IV_BYTES).context("no IV")?;
        let mechanism = Mechanism::AesGcm(GcmParams::new(iv, &[], Ulong::new(128))?);
        Ok(String::from_utf8(self.session.decrypt(&mechanism, self.copy, ciphertext)?)?)
    }
}

async fn handle(
    State(service): State<Arc<Service>>,
    head: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, (StatusCode, String)> {
    let request_id = Uuid::new_v4().to_string();
    let body = service.answer(&request_id, &head, &body).await;
    let body = body.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok((HEADERS, [("x-acs-request-id", request_id)], body))
}

impl Service {
    async fn answer(
        &self,
        request_id: &str,
        head: &HeaderMap,
        body: &[u8],
    ) -> anyhow::Result<Vec<u8>> {
        let body: RequestBody = serde_json::from_slice(body)?;
        let call = match head.get("x-acs-action").map(HeaderValue::as_bytes) {
            Some(b"Encrypt") => Call::Encrypt(body.plaintext.context("no Plaintext")?),
            Some(b"Decrypt") => {
                Call::Decrypt(STANDARD.decode(body.ciphertext_blob.context("no CiphertextBlob")?)?)
            }
            Some(b"GenerateDataKey") => Call::GenerateDataKey,
            _ => anyhow::bail!("no such operation"),
        };
        let (reply, output) = oneshot::channel();
        anyhow::ensure!(self.jobs.try_send((call, reply)).is_ok(), "the queue is full");
        let (plaintext, ciphertext_blob) = output.await??;
        Ok(serde_json::to_vec(&ResponseBody {
            request_id,
            key_id: &self.key_id,
            key_version_id: &self.version,
            plaintext,
            ciphertext_blob: ciphertext_blob.map(|blob| STANDARD.encode(blob)),
        })?)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("minimal MODULE KEY_ID PLAINTEXT");
    let (module, key_id, plaintext) = (next()?, next()?, next()?);
    let version = Uuid::new_v4().to_string();
    let key = Key::make(&module, version.clone())?;
    let blob = STANDARD.encode(key.encrypt(&plaintext)?);
    let (jobs, queue) = crossbeam_channel::bounded::<Job>(QUEUE);
    thread::Builder::new().name("token".to_owned()).spawn(move || {
        for (call, reply) in queue {
            // A caller that has gone needs no reply.
            drop(reply.send(key.run(call)));
        }
    })?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{} {blob}", listener.local_addr()?)?;
    // An answer is one small write: it does not wait for the acknowledgment of another.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let router = Router::new().fallback(handle);
    let service = Service { key_id, version, jobs };
    Ok(axum::serve(listener, router.with_state(Arc::new(service))).await?)
}
