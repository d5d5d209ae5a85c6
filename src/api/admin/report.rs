//! `/report`: the page of `hsmgate report`. The command line provides it, because it knows the checks.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use tokio::sync::Mutex;

use crate::model::clock;

/// How long a page is returned again. Its creation reads the audit file and the attributes of every object of
/// the token.
const CACHE_TTL: Duration = Duration::from_secs(30);

/// Why a page cannot be made.
pub type ReportError = Box<dyn Error + Send + Sync>;

/// The creation of a page.
pub type ReportCreation = Pin<Box<dyn Future<Output = Result<String, ReportError>> + Send>>;

/// The page about the gateway: one is made at a time, and is returned again for 30 seconds.
#[derive(Clone)]
pub struct ReportPage(Arc<Shared>);

struct Shared {
    /// The sources that the page may use: only what it contains.
    policy: String,
    create: Box<dyn Fn() -> ReportCreation + Send + Sync>,
    /// Held during the creation.
    last: Arc<Mutex<Option<(Instant, String)>>>,
}

impl ReportPage {
    /// A page with the Content-Security-Policy `policy`.
    pub fn new(
        policy: String,
        create: impl Fn() -> ReportCreation + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared { policy, create: Box::new(create), last: Arc::default() }))
    }

    /// The page, at most 30 seconds old. The creation continues when a client does not wait for it: the next
    /// one receives its result.
    async fn page(&self) -> Result<String, ReportError> {
        let mut last = Arc::clone(&self.0.last).lock_owned().await;
        match &*last {
            Some((at, page)) if clock::since(*at) < CACHE_TTL => return Ok(page.clone()),
            _ => *last = None,
        }
        let created = (self.0.create)();
        let creation = tokio::spawn(async move {
            let page = created.await?;
            *last = Some((clock::monotonic(), page.clone()));
            Ok(page)
        });
        creation.await?
    }

    pub(super) async fn answer(&self) -> Response {
        match self.page().await {
            Ok(page) => {
                let headers = [
                    (CONTENT_TYPE, "text/html; charset=utf-8"),
                    (CACHE_CONTROL, "no-store"),
                    (CONTENT_SECURITY_POLICY, self.0.policy.as_str()),
                    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
                    (REFERRER_POLICY, "no-referrer"),
                ];
                (StatusCode::OK, headers, page).into_response()
            }
            Err(error) => {
                tracing::error!(
                    event = "report.failed",
                    error = &*error as &dyn Error,
                    "could not make the report of the admin listener"
                );
                let told = "the report cannot be made: see the log (report.failed)\n";
                let headers = [(CONTENT_TYPE, "text/plain"), (CACHE_CONTROL, "no-store")];
                (StatusCode::SERVICE_UNAVAILABLE, headers, told).into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn clients_that_come_together_or_leave_cause_one_creation() {
        let (created, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (count, gate) = (Arc::clone(&created), Arc::clone(&go));
        let page = ReportPage::new(String::new(), move || {
            let (count, gate) = (Arc::clone(&count), Arc::clone(&gate));
            Box::pin(async move {
                let number = count.fetch_add(1, Ordering::Relaxed);
                gate.acquire().await?.forget();
                Ok(format!("page {number}"))
            })
        });
        let left = tokio::time::timeout(Duration::from_secs(1), page.page()).await;
        assert!(left.is_err() && created.load(Ordering::Relaxed) == 1, "the first one left");
        go.add_permits(1);
        let both = async { tokio::join!(page.page(), page.page()) };
        let both = tokio::time::timeout(Duration::from_secs(1), both).await.unwrap();
        assert_eq!((both.0.unwrap(), both.1.unwrap()), ("page 0".into(), "page 0".into()));
        go.close();
        assert_eq!(page.page().await.unwrap(), "page 0");
        *page.0.last.lock().await = None;
        assert!(page.page().await.is_err(), "a failure is not kept");
        assert_eq!(created.load(Ordering::Relaxed), 2);
    }
}
