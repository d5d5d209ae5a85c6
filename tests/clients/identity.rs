//! The credential libraries of Go and Java with a token of an identity provider: the default chain with the
//! command `hsmgate sts token` (Go) and under the names of the cloud, one line of code with the gateway as
//! endpoint of STS, and three renewals. They use TLS: the libraries call STS with https only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::Language;
use crate::gateways::build_folder;
use crate::support::installation::run;
use crate::support::workload::{ShortSessions, Way, Workload, may_have_a_network};

/// How long before its end Go and Java renew a session, in seconds.
const GO_RENEWS_EARLY: i64 = 180;
const JAVA_RENEWS_EARLY: i64 = 900;

fn source(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(language).join("identity")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_credentials_of_go_encrypt_with_a_token_in_place_of_an_access_key() {
    if let Some(reason) = crate::go::reason_to_skip() {
        return Language::new("go", 0).skip(&reason);
    }
    let program = build_folder("go").join("identity/identity");
    let mut build = Command::new("go");
    build.args(["build", "-mod=readonly", "-o"]).arg(&program).arg(".");
    build.current_dir(source("go")).env("GOTOOLCHAIN", "local");
    run(build, b"").done();
    let workload = Workload::start(Way::Tls).await;
    workload.configure_command();
    for way in ["default", "oidc"] {
        let mut client = workload.program(&program);
        client.arg(way);
        workload.run(client);
    }
    let workload = Workload::start(Way::Http).await;
    let mut client = workload.program(&program);
    client.arg("oidc");
    ShortSessions::start(&workload, GO_RENEWS_EARLY).await.run(&workload, client);
    if !may_have_a_network() {
        println!("skipped: no network namespace may be made here");
        return;
    }
    let workload = Workload::start(Way::CloudNames).await;
    for region in [None, Some("cn-hangzhou")] {
        let mut client = workload.program(&program);
        workload.set_variables(&mut client, region);
        client.arg("default");
        workload.run(client);
    }
}

/// A JVM with the program, which trusts this CA: it has a store of its own for those.
fn java(workload: &Workload, ca: &Path, way: &str) -> Command {
    let trusted = workload.home.path().join("trusted.p12");
    let mut import = Command::new("keytool");
    import.args(["-importcert", "-noprompt", "-alias", "ca", "-storetype", "PKCS12"]);
    import.args(["-storepass", "changeit", "-keystore"]).arg(&trusted).arg("-file").arg(ca);
    if !trusted.exists() {
        run(import, b"").done();
    }
    let folder = build_folder("java").join("identity");
    let class_path = fs::read_to_string(folder.join("classpath")).expect("Maven has written it");
    let mut client = workload.program("java");
    client
        .args(["-Xmx256m", "-XX:+UseSerialGC"])
        .arg(format!("-Djavax.net.ssl.trustStore={}", trusted.display()))
        .arg("-Djavax.net.ssl.trustStorePassword=changeit")
        .arg("-cp")
        .arg(format!("{}:{class_path}", folder.join("classes").display()))
        .args(["hsmgate.Main", way]);
    client
}

/// The newest credentials of Java that Maven has know no command: mode `External` came with 1.0.4.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_credentials_of_java_encrypt_with_a_token_in_place_of_an_access_key() {
    if let Some(reason) = crate::java::reason_to_skip() {
        return Language::new("java", 0).skip(&reason);
    }
    let mut build = Command::new("mvn");
    build.args(["--quiet", "--batch-mode", "process-classes"]).current_dir(source("java"));
    run(build, b"").done();
    let workload = Workload::start(Way::Tls).await;
    workload.run(java(&workload, &workload.ca(), "oidc"));
    let workload = Workload::start(Way::Http).await;
    let sessions = ShortSessions::start(&workload, JAVA_RENEWS_EARLY).await;
    sessions.run(&workload, java(&workload, sessions.ca(), "oidc"));
    if !may_have_a_network() {
        println!("skipped: no network namespace may be made here");
        return;
    }
    let workload = Workload::start(Way::CloudNames).await;
    for region in [None, Some("cn-hangzhou")] {
        let mut client = java(&workload, &workload.ca(), "default");
        workload.set_variables(&mut client, region);
        workload.run(client);
    }
}
