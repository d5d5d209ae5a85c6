//! hsmgate: a self-hosted, HSM-backed encryption gateway that speaks the Alibaba Cloud KMS API.
//!
//! The crate is one program. This page shows its modules and follows one request through them;
//! `docs/architecture.md` has the details and the decisions.
//!
//! ```text
//!     official SDKs, HTTP clients          KMS Instance SDKs
//!                │ RPC                           │ protobuf
//! ┌──────────────▼───────────────────────────────▼──────────┐
//! │ server    listener, TLS, HTTP/1.1, connection limits    │
//! │ api       bytes → action, parameters, claim             │
//! └──────────────┬───────────────────────────────▲──────────┘
//!                │ IncomingRequest               │ Recorded
//! ┌──────────────▼───────────────────────────────┴──────────┐
//! │ pipeline  admit → authenticate → execute                ├─▶ authn  claim → Caller
//! │                                                         ├─▶ audit  record on disk → Recorded
//! └──────────────┬───────────────────────────────▲──────────┘
//!                │ Operation, Context            │ Output
//! ┌──────────────▼───────────────────────────────┴──────────┐
//! │ ops       one file per operation                        ├─▶ authz  permission → AuthorizedKey
//! └──────────────┬───────────────────────────────▲──────────┘
//!                │ AuthorizedKey                 │ CiphertextBlob
//! ┌──────────────▼───────────────────────────────┴──────────┐
//! │ keyring   key → version → token object                  ├─▶ store  SQLite, catalogue in memory
//! └──────────────┬───────────────────────────────▲──────────┘
//!                │ KeyIdentity, plaintext        │ ciphertext
//! ┌──────────────▼───────────────────────────────┴──────────┐
//! │ token     PKCS#11: each thread owns one session         │
//! └──────────────┬──────────────────────────────────────────┘
//!      SoftHSM2 or an HSM
//!
//! jobs      destroys and rotates due keys, with keyring and audit
//! app       composes the modules, starts and stops them
//! cli       the commands
//! config, telemetry, model, error     settings; log and metrics; types; error codes
//! ```
//!
//! # One request, from the socket to the token and back
//!
//! A client calls Encrypt over RPC:
//!
//! 1. [`server::http::Listener`] accepts the connection and reads the head of the request. The
//!    application ([`api::app`]) selects the protocol by its headers. What is known at the socket becomes
//!    one [`RequestContext`](model::RequestContext).
//! 2. [`api::rpc`] reads the query and the form into [`Params`](model::Params), finds the action in
//!    its [table](api::rpc::table::TABLE), and describes the signature as a [`Claim`](authn::Claim).
//! 3. [`Pipeline::serve`](pipeline::Pipeline::serve) makes an
//!    [`IncomingRequest`](pipeline::IncomingRequest). It becomes [`Admitted`](pipeline::Admitted) if
//!    its source is not throttled, and [`Authenticated`](pipeline::Authenticated) if the
//!    [`Authenticator`](authn::Authenticator) verifies the claim, which gives a
//!    [`Caller`](authn::Caller).
//! 4. `Authenticated::execute` opens the [audit record](audit::OpenRecord) and runs the operation,
//!    here [`Encrypt`](ops::crypto::encrypt::Encrypt), with a [`Context`](ops::Context).
//! 5. The operation requests its key from the context. The [`Authorizer`](authz::Authorizer) finds
//!    the key in the catalogue of the [`Store`](store::Store), evaluates the policies, and returns
//!    an [`AuthorizedKey`](authz::AuthorizedKey) with this one permission.
//! 6. The [`Keyring`](keyring::Keyring) checks the state of the key, selects its version (a
//!    [`UsableVersion`](keyring::UsableVersion)) and queues the call to the
//!    [`Token`](token::Token). A thread with its own session, a [`Worker`](token::Worker), calls
//!    `C_EncryptInit` and `C_Encrypt` with the cached handle of the object.
//! 7. On the way back, the keyring returns a [`CiphertextBlob`](model::CiphertextBlob) and the
//!    operation returns its output. The audit record is written to disk, which makes the outcome
//!    [`Recorded`](audit::Recorded), and `api::rpc` encodes it as JSON or XML. No response can be
//!    made without it.
//!
//! An error of any step is an [`ApiError`](error::ApiError). The pipeline counts and records it
//! before the protocol encodes it.
//!
//! # The order of the modules
//!
//! A module uses only modules before it in this list; `tests/architecture.rs` enforces the order.
//!
//! [`model`] and [`error`], [`config`], [`telemetry`], then [`server`], [`store`] and [`token`],
//! which do not use each other, then [`authn`], [`authz`], [`audit`], [`keyring`], [`ops`], then
//! [`jobs`] and [`pipeline`], and [`api`], [`app`], [`cli`].

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod error;
pub mod model;

pub mod config;
pub mod telemetry;

pub mod server;
pub mod store;
pub mod token;

pub mod authn;
pub mod authz;

pub mod audit;

pub mod keyring;

pub mod ops;

pub mod jobs;
pub mod pipeline;

pub mod api;

pub mod app;

pub mod cli;
