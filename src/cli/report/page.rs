//! The report of a running gateway, for its admin listener.

use std::sync::Arc;

use super::signed::{self, ReportFormat};
use super::{EVENT, collect, html};
use crate::api::admin::ReportPage;
use crate::audit::{Actor, Recorder, SystemEvent};
use crate::cli::doctor;
use crate::config::Config;
use crate::model::{RequestId, clock};
use crate::store::Store;
use crate::token::Token;

/// Who is named in the audit: clients of the admin listener have no accounts.
const READER: &str = "a client of the admin listener";

/// The page, from the store and token that the gateway has open. Each creation is in the audit.
pub(in crate::cli) fn page(
    config: Config,
    store: Store,
    token: Token,
    recorder: Recorder,
) -> ReportPage {
    let config = Arc::new(config);
    ReportPage::new(html::content_security_policy(), move || {
        let (config, store, token) = (Arc::clone(&config), store.clone(), token.clone());
        let recorder = recorder.clone();
        Box::pin(async move { Ok(created(&config, &store, &token, &recorder).await?) })
    })
}

async fn created(
    config: &Config,
    store: &Store,
    token: &Token,
    recorder: &Recorder,
) -> anyhow::Result<String> {
    let format = ReportFormat::Html;
    recorder
        .record(&SystemEvent {
            id: RequestId::random().to_string(),
            name: EVENT.to_owned(),
            actor: Actor::Operator(READER.to_owned()),
            time: clock::now(),
            parameters: [("Format".to_owned(), format.as_str().to_owned())].into(),
            key: None,
        })
        .await?;
    let checks = doctor::examine_running(config, store, token).await;
    let document = collect::document(config, store, token).await?.with_checks(checks);
    signed::write(format, &document, store, token).await
}
