//! Tests of the writer thread, with files and without a gateway.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use tempfile::TempDir;

use super::super::metadata::StoredHead;
use super::super::metrics::AuditMetrics;
use super::super::record::UsedResources;
use super::super::record::tests::{region_account, request};
use super::super::recorder::{Inner, Recorder};
use super::super::refusal_counts::RefusalCounts;
use super::super::verify::{Expectation, Report, Verifier};
use super::*;
use crate::config::{ForwardSettings, ForwardTarget};
use crate::error::ApiError;
use crate::model::{KeyId, KeyVersionId};

fn settings(directory: &Path) -> AuditSettings {
    AuditSettings {
        file: directory.join("audit.jsonl"),
        journal_bytes: 64 * 1024,
        timeout: Duration::from_secs(10),
        required: true,
        checkpoint_records: 1000,
        checkpoint_interval: Duration::from_mins(1),
        forward: ForwardSettings { directory: directory.to_owned(), ..ForwardSettings::default() },
    }
}

fn start(settings: &AuditSettings, trust: &TrustedState) -> Result<Started, AuditError> {
    open(settings.clone(), trust)?.start()
}

fn recorder(settings: &AuditSettings, known: Option<StoredHead>) -> Recorder {
    let trust =
        TrustedState { known, is_damaged: false, keys: Vec::new(), is_older_accepted: false };
    let Started { commands, status, .. } = start(settings, &trust).unwrap();
    let (timeout, required) = (settings.timeout, settings.required);
    Recorder::new(Inner {
        commands,
        status,
        timeout,
        required,
        region_account: region_account(),
        refusal_counts: RefusalCounts::default(),
        metrics: AuditMetrics::default(),
    })
}

async fn done(recorder: &Recorder, action: &'static str) -> Result<u8, ApiError> {
    let record = recorder.open(request(action));
    record.of(async { Ok(1) }, Default::default).await.into_result()
}

async fn close(recorder: &Recorder) -> Head {
    let (done, closed) = oneshot::channel();
    recorder.inner().unwrap().commands.send(Command::Close(done)).unwrap();
    closed.await.unwrap()
}

fn verified(file: &Path) -> Report {
    Verifier::new(None, Expectation::default()).files(&[file.to_owned()]).unwrap()
}

#[tokio::test]
async fn all_records_are_forwarded() {
    let directory = TempDir::new().unwrap();
    let mut settings = settings(directory.path());
    let forwarder = directory.path().join("second.jsonl");
    settings.forward.records = Some(ForwardTarget::Path(forwarder.clone()));
    let recorder = recorder(&settings, None);
    for action in ["Encrypt", "CreateKey", "Decrypt"] {
        done(&recorder, action).await.unwrap();
    }
    let head = close(&recorder).await;
    assert_eq!(head.sequence, 6, "open, four records of three operations, close");
    drop(recorder);
    while fs::read(&forwarder).unwrap_or_default() != fs::read(&settings.file).unwrap() {
        tokio::task::yield_now().await;
    }
    assert_eq!(verified(&forwarder).faults, []);
}

#[tokio::test]
async fn syslog_gets_one_message_per_line_and_delays_nothing() {
    let directory = TempDir::new().unwrap();
    let mut settings = settings(directory.path());
    let path = directory.path().join("log");
    let socket = UnixDatagram::bind(&path).unwrap();
    settings.forward.records = Some(ForwardTarget::Path(path));
    let recorder = recorder(&settings, None);
    // Nothing reads yet, and more is sent than a socket buffers.
    for _ in 0..600 {
        done(&recorder, "Encrypt").await.unwrap();
    }
    let mut message = [0; 4096];
    let length = socket.recv(&mut message).unwrap();
    let text = std::str::from_utf8(&message[..length]).unwrap();
    assert!(text.starts_with("<134>hsmgate: {\"sequence\":1,\"record\":\"open\","), "{text}");
    assert!(text.ends_with("\"}"));
}

#[tokio::test]
async fn a_request_that_ends_early_leaves_a_record() {
    let directory = TempDir::new().unwrap();
    let settings = settings(directory.path());
    let recorder = recorder(&settings, None);
    drop(recorder.open(request("Decrypt")));
    let head = close(&recorder).await;
    assert_eq!(head.sequence, 3);
    let text = fs::read_to_string(&settings.file).unwrap();
    assert!(text.contains("The request ended before its outcome was known."));
}

#[tokio::test]
async fn a_request_that_ends_early_names_the_key_that_it_has_used() {
    let directory = TempDir::new().unwrap();
    let settings = settings(directory.path());
    let recorder = recorder(&settings, None);
    let (key, version) = (KeyId::random(), KeyVersionId::random());
    let used_resources =
        || UsedResources { key: Some(key), version: Some(version), ..UsedResources::default() };
    let operation = std::future::pending::<Result<u8, ApiError>>();
    let request = recorder.open(request("Decrypt")).of(operation, used_resources);
    assert!(tokio::time::timeout(Duration::from_millis(1), request).await.is_err());
    close(&recorder).await;
    let text = fs::read_to_string(&settings.file).unwrap();
    assert!(text.contains(&format!("\"resourceName\":\"{key}\"")), "{text}");
    assert!(text.contains(&format!("\"KeyVersionId\":\"{version}\"")), "{text}");
}

#[tokio::test]
async fn a_record_cut_by_a_crash_is_removed_and_reported() {
    let directory = TempDir::new().unwrap();
    let settings = settings(directory.path());
    let first = recorder(&settings, None);
    done(&first, "Encrypt").await.unwrap();
    close(&first).await;
    drop(first);
    let whole = fs::read(&settings.file).unwrap();
    fs::write(&settings.file, [&*whole, b"{\"sequence\":4,\"rec"].concat()).unwrap();
    let forwarder = loop {
        // The first thread releases the file when it ends.
        match start(&settings, &TrustedState::default()) {
            Ok(_) => break fs::read_to_string(&settings.file).unwrap(),
            Err(AuditError::InUse(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
    };
    assert!(forwarder.contains("\"tornBytes\":18"));
    assert_eq!(verified(&settings.file).faults, []);
}

#[test]
fn a_foreign_file_is_not_written() {
    let directory = TempDir::new().unwrap();
    let settings = settings(directory.path());
    fs::write(&settings.file, "a letter\n").unwrap();
    assert!(matches!(start(&settings, &TrustedState::default()), Err(AuditError::Foreign(_))));
    assert_eq!(fs::read_to_string(&settings.file).unwrap(), "a letter\n");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_refuses_and_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let mut settings = settings(directory.path());
    let writing = recorder(&settings, None);
    let in_use = start(&settings, &TrustedState::default()).map(drop);
    assert!(matches!(in_use, Err(AuditError::InUse(_))));
    close(&writing).await;
    // The thread has ended: nothing is recorded any more.
    let mut is_run = false;
    let change = writing.open(request("CreateKey"));
    let run = async {
        is_run = true;
        Ok(())
    };
    let outcome = change.of(run, Default::default).await;
    assert_eq!(outcome.error().map(ApiError::code), Some(crate::error::ErrorCode::Unavailable));
    assert!(!is_run, "a change without its intent is not made");
    settings.file = "/dev/full".into();
    assert!(start(&settings, &TrustedState::default()).is_err());
}
