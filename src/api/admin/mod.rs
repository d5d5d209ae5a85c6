//! The admin endpoints: liveness, readiness, metrics and the report.
//!
//! They are read-only, and no probe causes a call to the token; only the report does.

mod health;
mod report;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

pub use health::Health;
pub use report::{ReportCreation, ReportError, ReportPage};

use crate::audit::Recorder;
use crate::authn::{ConfiguredProviders, ReplayGuard};
use crate::server::tls::ServerCertificate;
use crate::store::Store;
use crate::telemetry::{Exposition, MetricsFormat};
use crate::token::Token;

/// The components that the admin endpoints observe.
pub struct MonitoredComponents {
    /// The token.
    pub token: Token,
    /// The store.
    pub store: Store,
    /// The audit recorder.
    pub audit: Recorder,
    /// The certificate; `None` over plain HTTP.
    pub certificate: Option<Arc<ServerCertificate>>,
    /// The used nonces.
    pub replay: Arc<ReplayGuard>,
    /// The identity providers of the configuration.
    pub identity_providers: Arc<ConfiguredProviders>,
    /// The metrics of all rooms.
    pub exposition: Exposition,
}

/// A router with `/livez`, `/readyz`, `/metrics` and, if there is one, `/report`.
pub fn router(health: Arc<Health>, report: Option<ReportPage>) -> Router {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(health);
    match report {
        Some(report) => router.route("/report", get(async move || report.answer().await)),
        None => router,
    }
}

async fn readyz(State(health): State<Arc<Health>>) -> Response {
    let readiness = health.readiness().await;
    let status =
        if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match serde_json::to_string(&readiness) {
        Ok(body) => answer(status, "application/json", body),
        Err(error) => internal_error(&error),
    }
}

async fn scrape(State(health): State<Arc<Health>>, headers: HeaderMap) -> Response {
    let components = health.components();
    components.token.observe();
    components.store.observe();
    components.audit.observe();
    components.identity_providers.observe();
    if let Some(certificate) = &components.certificate {
        certificate.observe();
    }
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = MetricsFormat::accepted_by(accept);
    match components.exposition.text(format) {
        Ok(text) => answer(StatusCode::OK, format.content_type(), text),
        Err(error) => internal_error(&error),
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response {
    (status, [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-store")], body).into_response()
}

fn internal_error(error: &dyn std::error::Error) -> Response {
    tracing::error!(
        event = "admin.response_failed",
        %error,
        "could not create a response of the admin listener"
    );
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
