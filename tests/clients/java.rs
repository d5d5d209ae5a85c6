//! The clients in Java: each a module of the Maven build in `tests/clients/java`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::client::{self, Language};
use crate::gateways::{Gateways, build_folder};

/// The oldest Java that compiles all of them.
const OLDEST_JAVA: u32 = 17;

/// How many steps the clients have, at least.
const WANTED_STEPS: usize = 622;

/// A client: its folder and the artifact that it drives, whose version its `pom.xml` pins.
struct JavaClient {
    folder: &'static str,
    artifact: &'static str,
}

const CLIENTS: &[JavaClient] = &[
    JavaClient { folder: "kms20160120", artifact: "kms20160120" },
    JavaClient { folder: "async", artifact: "alibabacloud-kms20160120" },
    JavaClient { folder: "core", artifact: "aliyun-java-sdk-core" },
    JavaClient { folder: "instance-0.2", artifact: "alibabacloud-dkms-gcs-sdk" },
    JavaClient { folder: "instance-0.5", artifact: "alibabacloud-dkms-gcs-sdk" },
    JavaClient { folder: "nacos", artifact: "nacos-client-mse-extension" },
    JavaClient { folder: "secretsmanager", artifact: "alibabacloud-secretsmanager-client" },
];

#[test]
fn the_clients_in_java_pass_every_step() {
    let mut java = Language::new("java", WANTED_STEPS);
    if let Some(reason) = reason_to_skip() {
        return java.skip(&reason);
    }
    let gateways = Gateways::start();
    match compile() {
        Ok(()) => {
            for client in CLIENTS.iter().filter(|client| client::is_chosen(client.folder)) {
                java.run(client.folder, &client.version(), &mut client.program(), &gateways);
            }
        }
        Err(reason) => java.fail(reason),
    }
    java.finish(gateways);
}

/// Why the clients cannot be run here, if they cannot.
pub(crate) fn reason_to_skip() -> Option<String> {
    if run(Command::new("mvn").arg("--version")).is_none() {
        return Some("there is no Maven".to_owned());
    }
    let Some(version) = run(Command::new("javac").arg("-version")) else {
        return Some("there is no compiler for Java".to_owned());
    };
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let major = version.split(' ').nth(1).and_then(|number| number.split('.').next());
    match major.and_then(|major| major.parse::<u32>().ok()) {
        Some(major) if major >= OLDEST_JAVA => None,
        _ => Some(format!("they need Java {OLDEST_JAVA}, this is {version}")),
    }
}

/// What a program has written, if it is there and ends well.
fn run(command: &mut Command) -> Option<Output> {
    command.output().ok().filter(|output| output.status.success())
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/java")
}

/// Compiles all of them into `target/clients/java`, with a file beside each that holds its class path.
fn compile() -> Result<(), String> {
    let mut maven = Command::new("mvn");
    maven.args(["--quiet", "--batch-mode", "process-classes"]).current_dir(source());
    let built = maven.output().map_err(|error| format!("mvn: {error}"))?;
    if built.status.success() {
        return Ok(());
    }
    Err(format!("mvn process-classes: {}", String::from_utf8_lossy(&built.stdout)))
}

impl JavaClient {
    /// Its JVM, small enough for several beside each other.
    fn program(&self) -> Command {
        let built = build_folder("java").join(self.folder);
        let class_path = fs::read_to_string(built.join("classpath")).expect("Maven has written it");
        let mut java = Command::new("java");
        java.args(["-Xmx256m", "-XX:+UseSerialGC", "-cp"])
            .arg(format!("{}:{class_path}", built.join("classes").display()))
            .arg("hsmgate.Main");
        java
    }

    /// What `pom.xml` pins.
    fn version(&self) -> String {
        let pom = fs::read_to_string(source().join(self.folder).join("pom.xml"));
        let pom = pom.expect("pom.xml is text");
        let artifact = format!("<artifactId>{}</artifactId>", self.artifact);
        let dependencies = pom.split("<dependencies>").last().unwrap_or_default();
        let version = dependencies.split(&artifact).nth(1).and_then(|rest| {
            let (_before, version) = rest.split_once("<version>")?;
            Some(version.split_once("</version>")?.0.to_owned())
        });
        version.unwrap_or_else(|| panic!("pom.xml does not pin {}", self.artifact))
    }
}
