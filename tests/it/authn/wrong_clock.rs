//! A wall clock that is wrong for some time: no request is accepted twice.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use hsmgate::model::clock;
use serde_json::Value;
use tempfile::TempDir;

use crate::keys::clock_jumps::{HOLD, jumps_on_record};
use crate::support::admin_client::{get, metric};
use crate::support::gateway::{Gateway, text};
use crate::support::process::until;
use crate::support::signed_calls::{Call, ParamLocation, Signing, SigningVariant};
use crate::support::softhsm::scratch;

const VARIANT: SigningVariant = SigningVariant(Signing::Acs3, ParamLocation::PostQuery);
const HOUR: i64 = 3600;
const DAYS: i64 = 2 * 24 * HOUR;

/// The wall clock of a gateway.
pub(crate) struct Clock(TempDir);

impl Clock {
    pub(crate) fn new() -> Self {
        let clock = Self(TempDir::new_in(scratch()).unwrap());
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/authn/clock.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(clock.library()).arg(source);
        assert!(compiler.status().unwrap().success());
        clock.move_by(0);
        clock
    }

    pub(crate) fn library(&self) -> PathBuf {
        self.0.path().join("clock.so")
    }

    pub(crate) fn offset_file(&self) -> PathBuf {
        self.0.path().join("offset")
    }

    /// Shows a time that is so many seconds off.
    pub(crate) fn move_by(&self, seconds: i64) {
        let draft = self.0.path().join("draft");
        fs::write(&draft, seconds.to_string()).unwrap();
        fs::rename(draft, self.offset_file()).unwrap();
    }

    fn gateway_in(&self, directory: TempDir, address: &str) -> Gateway {
        let (library, file) = (self.library(), self.offset_file());
        let variables: [(&str, &OsStr); 2] =
            [("LD_PRELOAD", library.as_ref()), ("CLOCK_OFFSET_FILE", file.as_ref())];
        Gateway::start_process(directory, address, &[], &variables)
    }
}

/// A request that is dated so many seconds off, and its answer.
async fn call(gateway: &Gateway, offset: i64) -> (Call, (u16, String)) {
    let date = clock::now().plus_seconds(offset).to_string();
    let call = Call::new(gateway, VARIANT, "DescribeKey", &[("KeyId", "alias/demo")]).at(&date);
    let call = call.signed();
    let answer = answer(gateway, &call).await;
    (call, answer)
}

async fn answer(gateway: &Gateway, call: &Call) -> (u16, String) {
    let answer = call.clone().send(gateway).await;
    (answer.status, answer.json()["Code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_and_back_accepts_no_request_twice() {
    let clock = Clock::new();
    let gateway = clock.gateway_in(TempDir::new_in(scratch()).unwrap(), "127.0.0.1:0");
    let (first, answered) = call(&gateway, 0).await;
    assert_eq!(answered.0, 200);
    clock.move_by(HOUR);
    assert_eq!(call(&gateway, HOUR).await.1.0, 200);
    assert_eq!(answer(&gateway, &first).await, (400, "InvalidTimeStamp.Expired".to_owned()));
    clock.move_by(0);
    assert_eq!(answer(&gateway, &first).await, (400, "SignatureNonceUsed".to_owned()));
    assert_eq!(call(&gateway, 0).await.1.0, 200, "a good request is answered at once");

    // A start while the clock is ahead drops what seems to be too old.
    let address = gateway.address().to_owned();
    clock.move_by(HOUR);
    let gateway = clock.gateway_in(gateway.kill(), &address);
    clock.move_by(0);
    assert_eq!(answer(&gateway, &first).await, (400, "InvalidTimeStamp.Expired".to_owned()));
}

#[tokio::test]
async fn a_clock_that_was_ahead_at_a_start_which_trusts_nothing_older_locks_nobody_out() {
    let clock = Clock::new();
    let gateway = clock.gateway_in(TempDir::new_in(scratch()).unwrap(), "127.0.0.1:0");
    let address = gateway.address().to_owned();
    let (first, answered) = call(&gateway, 0).await;
    assert_eq!(answered.0, 200);
    let directory = gateway.stop();
    // As after a start of the machine, before its clock was set by the network.
    fs::remove_dir_all(directory.path().join("state/replay")).unwrap();
    clock.move_by(8 * HOUR);
    let gateway = clock.gateway_in(directory, &address);
    assert_eq!(call(&gateway, 8 * HOUR).await.1.0, 200);
    clock.move_by(0);
    let (status, told) = get(&gateway.dev.admin, "/readyz").await;
    assert!(status == 503 && told.contains("the clock is behind"), "{status} {told}");

    let gateway = clock.gateway_in(gateway.kill(), &address);
    assert_eq!(call(&gateway, 1).await.1.0, 200);
    let expired = (400, "InvalidTimeStamp.Expired".to_owned());
    assert_eq!(answer(&gateway, &first).await, expired, "it is older than the start");
    let (status, told) = get(&gateway.dev.admin, "/readyz").await;
    assert_eq!(status, 200, "{told}");
}

impl Gateway {
    /// The answer to a call whose date is so many seconds off.
    async fn dated(&self, offset: i64, action: &str, params: &[(&str, &str)]) -> Value {
        let date = clock::now().plus_seconds(offset).to_string();
        let call = Call::new(self, VARIANT, action, params).at(&date).signed();
        let answer = call.send(self).await;
        assert_eq!(answer.status, 200, "{action}: {}", answer.body);
        answer.json()
    }
}

#[tokio::test]
async fn a_running_clock_that_jumps_by_days_destroys_nothing_early_and_accepts_no_request_twice() {
    let clock = Clock::new();
    let gateway = clock.gateway_in(TempDir::new_in(scratch()).unwrap(), "127.0.0.1:0");
    let doomed = gateway.create_key().await;
    let plaintext = [("KeyId", doomed.as_str()), ("Plaintext", "c3RpbGwgaGVyZQ==")];
    let encrypted = gateway.call("Encrypt", &plaintext).await;
    let data_key = gateway.call("GenerateDataKey", &[("KeyId", "alias/demo")]).await;
    let window = [("KeyId", doomed.as_str()), ("PendingWindowInDays", "7")];
    gateway.call("ScheduleKeyDeletion", &window).await;

    // Six of the seven days pass.
    let gateway = gateway
        .restart_with(
            "UPDATE keys SET delete_at = delete_at - 6 * 86400 \
                                        WHERE delete_at > 0",
        )
        .await;
    let gateway = clock.gateway_in(gateway.stop(), "127.0.0.1:0");
    let objects = gateway.token_objects();
    let (first, answered) = call(&gateway, 0).await;
    assert_eq!(answered.0, 200);
    let waits = async |offset: i64| {
        let params = [("KeyId", doomed.as_str())];
        let key = gateway.dated(offset, "DescribeKey", &params).await;
        assert_eq!(text(&key["KeyMetadata"]["KeyState"]), "PendingDeletion", "{offset}");
        assert_eq!(gateway.token_objects(), objects, "{offset}");
        let blob = [("CiphertextBlob", text(&data_key["CiphertextBlob"]))];
        let decrypted = gateway.dated(offset, "Decrypt", &blob).await;
        assert_eq!(decrypted["Plaintext"], data_key["Plaintext"], "{offset}");
    };

    // By the clock the key is due, until the clock is right again and for a day of running time.
    clock.move_by(DAYS);
    until(|| jumps_on_record(&gateway).len() == 1).await;
    assert!(metric(&gateway, HOLD).await.unwrap() > 86_000.0);
    waits(DAYS).await;
    assert_eq!(answer(&gateway, &first).await.1, "InvalidTimeStamp.Expired");
    let (ahead, answered) = call(&gateway, DAYS).await;
    assert_eq!(answered.0, 200);
    assert_eq!(answer(&gateway, &ahead).await.1, "SignatureNonceUsed");

    clock.move_by(-DAYS);
    until(|| jumps_on_record(&gateway).len() == 2).await;
    waits(-DAYS).await;
    for known in [&first, &ahead] {
        assert_eq!(answer(&gateway, known).await.0, 400);
    }

    clock.move_by(0);
    assert_eq!(answer(&gateway, &first).await.1, "SignatureNonceUsed");
    assert_eq!(answer(&gateway, &ahead).await.0, 400);
    waits(0).await;
    gateway.call("CancelKeyDeletion", &[("KeyId", &doomed)]).await;
    gateway.call("EnableKey", &[("KeyId", &doomed)]).await;
    let blob = [("CiphertextBlob", text(&encrypted["CiphertextBlob"]))];
    assert_eq!(text(&gateway.call("Decrypt", &blob).await["Plaintext"]), "c3RpbGwgaGVyZQ==");
}
