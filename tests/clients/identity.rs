//! The credential libraries of Go and Java with a token of an identity provider: the default chain of Go
//! with the command `hsmgate sts token`, and in both one line of code with the gateway as endpoint of STS.
//! They use TLS: the libraries call STS with https only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::client::Language;
use crate::gateways::build_folder;
use crate::support::identity::{Federation, Issuer, PROVIDER, ROLE};
use crate::support::installation::{Installation, Server, run};
use crate::support::softhsm::scratch;

/// A gateway over TLS that accepts the token in a file.
struct TestGateway {
    installation: Installation,
    server: Server,
    key: String,
    home: TempDir,
}

impl TestGateway {
    async fn start() -> Self {
        let Federation { installation, server, issuer, key } = Federation::open("").await;
        assert_eq!(server.stop(), Some(0));
        let tls = installation.path("tls");
        let out = tls.to_str().expect("a path is text");
        run(installation.command(&["tls", "self-signed", "--out", out]), b"").done();
        installation.configure(|text| {
            text.push_str("[tls]\n");
            let files = format!("certificate = \"{out}/server.pem\"\nkey = \"{out}/server.key\"\n");
            text.push_str(&files);
        });
        let server = installation.serve();
        let home = tempfile::tempdir_in(scratch()).expect("a temporary directory");
        let token = issuer.token(&Issuer::claims());
        fs::write(home.path().join("token"), format!("{token}\n")).expect("the token is written");
        Self { installation, server, key, home }
    }

    fn ca(&self) -> PathBuf {
        self.installation.path("tls/ca.pem")
    }

    /// Writes the configuration of the libraries that names the command.
    fn configure_command(&self) {
        let command = format!(
            "{} sts token --endpoint https://{} --ca-file {} --role-arn {ROLE} \
             --oidc-provider-arn {PROVIDER} --oidc-token-file {}",
            env!("CARGO_BIN_EXE_hsmgate"),
            self.server.address(),
            self.ca().display(),
            self.home.path().join("token").display()
        );
        let profile = json!({"name": "default", "mode": "External", "process_command": command,
                             "region_id": "cn-hangzhou"});
        let config = json!({"current": "default", "profiles": [profile]});
        fs::create_dir_all(self.home.path().join(".aliyun")).expect("a directory");
        let path = self.home.path().join(".aliyun/config.json");
        fs::write(path, config.to_string()).expect("the configuration is written");
    }

    /// Runs a client, which must say that it passed.
    fn run(&self, mut client: Command) {
        client
            .env("HOME", self.home.path())
            .env("NO_PROXY", "127.0.0.1")
            .env("SSL_CERT_FILE", self.ca())
            .env("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
            .env("ROLE_ARN", ROLE)
            .env("PROVIDER_ARN", PROVIDER)
            .env("TOKEN_FILE", self.home.path().join("token"));
        let shown = format!("{client:?}");
        let ran = run(client, b"");
        assert_eq!(ran.code, Some(0), "{shown}: {ran:?}\n{}", self.server.log());
        assert_eq!(ran.done().trim(), "passed", "{shown}");
    }
}

fn source(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(language).join("identity")
}

#[tokio::test]
async fn the_credentials_of_go_encrypt_with_a_token_in_place_of_an_access_key() {
    if let Some(reason) = crate::go::reason_to_skip() {
        return Language::new("go", 0).skip(&reason);
    }
    let program = build_folder("go").join("identity/identity");
    let mut build = Command::new("go");
    build.args(["build", "-mod=readonly", "-o"]).arg(&program).arg(".");
    build.current_dir(source("go")).env("GOTOOLCHAIN", "local");
    run(build, b"").done();
    let gateway = TestGateway::start().await;
    gateway.configure_command();
    for way in ["default", "oidc"] {
        let mut client = Command::new(&program);
        client.args([gateway.server.address(), &gateway.key, way]);
        gateway.run(client);
    }
}

/// The newest credentials of Java that Maven has know no command: mode `External` came with 1.0.4.
#[tokio::test]
async fn the_credentials_of_java_encrypt_with_a_token_in_place_of_an_access_key() {
    if let Some(reason) = crate::java::reason_to_skip() {
        return Language::new("java", 0).skip(&reason);
    }
    let mut build = Command::new("mvn");
    build.args(["--quiet", "--batch-mode", "process-classes"]).current_dir(source("java"));
    run(build, b"").done();
    let gateway = TestGateway::start().await;
    // A JVM trusts the CAs of its own store.
    let trusted = gateway.home.path().join("trusted.p12");
    let mut import = Command::new("keytool");
    import.args(["-importcert", "-noprompt", "-alias", "ca", "-storetype", "PKCS12"]);
    import.args(["-storepass", "changeit", "-keystore"]).arg(&trusted);
    import.arg("-file").arg(gateway.ca());
    run(import, b"").done();
    let folder = build_folder("java").join("identity");
    let class_path = fs::read_to_string(folder.join("classpath")).expect("Maven has written it");
    let mut client = Command::new("java");
    client
        .args(["-Xmx256m", "-XX:+UseSerialGC"])
        .arg(format!("-Djavax.net.ssl.trustStore={}", trusted.display()))
        .arg("-Djavax.net.ssl.trustStorePassword=changeit")
        .arg("-cp")
        .arg(format!("{}:{class_path}", folder.join("classes").display()))
        .arg("hsmgate.Main")
        .args([gateway.server.address(), &gateway.key])
        .arg(gateway.ca());
    gateway.run(client);
}
