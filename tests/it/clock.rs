//! A wall clock that is wrong for a while accepts no request twice.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use hsmgate::model::Time;
use tempfile::TempDir;

use crate::admin_client::get;
use crate::gateway::{self, scratch};
use crate::harness::Gateway;
use crate::signed::{Call, Place, Signing, Way};

const WAY: Way = Way(Signing::Acs3, Place::PostQuery);
const HOUR: i64 = 3600;

/// The wall clock of a gateway.
struct Clock(TempDir);

impl Clock {
    fn new() -> Self {
        let clock = Self(TempDir::new_in(scratch()).unwrap());
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/clock.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(clock.library()).arg(source);
        assert!(compiler.status().unwrap().success());
        clock.move_by(0);
        clock
    }

    fn library(&self) -> PathBuf {
        self.0.path().join("clock.so")
    }

    fn offset_file(&self) -> PathBuf {
        self.0.path().join("offset")
    }

    /// Shows a time that is so many seconds off.
    fn move_by(&self, seconds: i64) {
        let draft = self.0.path().join("draft");
        fs::write(&draft, seconds.to_string()).unwrap();
        fs::rename(draft, self.offset_file()).unwrap();
    }

    fn gateway_in(&self, directory: TempDir, address: &str) -> Gateway {
        let (library, file) = (self.library(), self.offset_file());
        let variables: [(&str, &OsStr); 2] =
            [("LD_PRELOAD", library.as_ref()), ("CLOCK_OFFSET_FILE", file.as_ref())];
        Gateway::of(gateway::Gateway::start_process(directory, address, &[], &variables))
    }
}

/// A request that is dated so many seconds off, and its answer.
async fn call(gateway: &Gateway, offset: i64) -> (Call, (u16, String)) {
    let date = Time::now().plus_seconds(offset).to_string();
    let call = Call::new(gateway, WAY, "DescribeKey", &[("KeyId", "alias/demo")]).at(&date);
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
    let gateway = clock.gateway_in(gateway.process.kill(), &address);
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
    let directory = gateway.process.stop();
    // As after a start of the machine, before its clock was set by the network.
    fs::remove_dir_all(directory.path().join("state/replay")).unwrap();
    clock.move_by(8 * HOUR);
    let gateway = clock.gateway_in(directory, &address);
    assert_eq!(call(&gateway, 8 * HOUR).await.1.0, 200);
    clock.move_by(0);
    let (status, told) = get(&gateway.dev.admin, "/readyz").await;
    assert!(status == 503 && told.contains("the clock is behind"), "{status} {told}");

    let gateway = clock.gateway_in(gateway.process.kill(), &address);
    assert_eq!(call(&gateway, 1).await.1.0, 200);
    let expired = (400, "InvalidTimeStamp.Expired".to_owned());
    assert_eq!(answer(&gateway, &first).await, expired, "it is older than the start");
    let (status, told) = get(&gateway.dev.admin, "/readyz").await;
    assert_eq!(status, 200, "{told}");
}
