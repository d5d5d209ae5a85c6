//! A program with a token of an identity provider and without an AccessKey: its gateway, its token, and
//! the ways in which the credential libraries reach STS.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use hsmgate::model::{Time, clock};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::identity::{Federation, Issuer, PROVIDER, ROLE};
use super::installation::{Installation, Server, run};
use super::raw_http;
use super::softhsm::scratch;
use super::tls_server::acceptor;

/// The names of the cloud under which a gateway of a test answers.
const NAMES: [&str; 3] =
    ["sts.aliyuncs.com", "sts-vpc.cn-hangzhou.aliyuncs.com", "kms.cn-hangzhou.aliyuncs.com"];
/// Runs a program in a network and with mounts of its own.
pub(crate) const NAMESPACES: [&str; 4] = ["unshare", "--map-root-user", "--net", "--mount"];
/// In new namespaces: the loopback interface, and a file of names in place of the machine's.
const PREPARE: &str = "PATH=$PATH:/usr/sbin:/sbin; ip link set lo up; \
                       mount --bind \"$0\" /etc/hosts; exec \"$@\"";
/// How long a session is used before the library renews it, in seconds.
const USE_SECONDS: i64 = 2;

/// How programs reach the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Http,
    Tls,
    /// Over TLS on port 443 under the names of the cloud, in a network of its own.
    CloudNames,
}

/// A gateway that accepts the token in a file, and the home directory of a program.
pub(crate) struct Workload {
    pub(crate) installation: Installation,
    pub(crate) server: Server,
    pub(crate) home: TempDir,
    issuer: Arc<Issuer>,
    key: String,
    way: Way,
}

/// Whether a process may have a network of its own here.
pub(crate) fn may_have_a_network() -> bool {
    let tried = Command::new(NAMESPACES[0]).args(&NAMESPACES[1..]).arg("true").output();
    tried.is_ok_and(|tried| tried.status.success())
}

impl Workload {
    pub(crate) async fn start(way: Way) -> Self {
        let Federation { installation, mut server, issuer, key } = Federation::open("").await;
        if way != Way::Http {
            assert_eq!(server.stop(), Some(0));
            server = serve(&installation, way);
        }
        let home = TempDir::new_in(scratch()).unwrap();
        let token = issuer.token(&Issuer::claims());
        fs::write(home.path().join("token"), format!("{token}\n")).unwrap();
        Self { installation, server, home, issuer: Arc::new(issuer), key, way }
    }

    /// The CA of the gateway's certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.installation.path("tls/ca.pem")
    }

    /// The gateway, as a program names it.
    pub(crate) fn endpoint(&self) -> &str {
        if self.way == Way::CloudNames { NAMES[2] } else { self.server.address() }
    }

    fn token_file(&self) -> PathBuf {
        self.home.path().join("token")
    }

    /// Writes the configuration of the libraries that names the command.
    pub(crate) fn configure_command(&self) {
        let (scheme, ca) = match self.way {
            Way::Http => ("http", String::new()),
            _ => ("https", format!("--ca-file {}", self.ca().display())),
        };
        let command = format!(
            "{} sts token --endpoint {scheme}://{} {ca} --role-arn {ROLE} \
             --oidc-provider-arn {PROVIDER} --oidc-token-file {}",
            env!("CARGO_BIN_EXE_hsmgate"),
            self.endpoint(),
            self.token_file().display()
        );
        let profile = json!({"name": "default", "mode": "External", "process_command": command,
                             "region_id": "cn-hangzhou"});
        let config = json!({"current": "default", "profiles": [profile]});
        fs::create_dir_all(self.home.path().join(".aliyun")).unwrap();
        fs::write(self.home.path().join(".aliyun/config.json"), config.to_string()).unwrap();
    }

    /// A program of this workload, with what it has to know: the gateway, the key, and the CA.
    pub(crate) fn program(&self, program: impl AsRef<Path>) -> Command {
        let program = program.as_ref();
        // Python alone takes an address of STS with a scheme.
        let sts = match self.way {
            Way::Http => format!("http://{}", self.endpoint()),
            _ => self.endpoint().to_owned(),
        };
        let mut command = match self.way {
            Way::CloudNames => {
                let mut command = Command::new("nsenter");
                command.args(["--user", "--net", "--mount", "--preserve-credentials", "--target"]);
                command.arg(self.server.process_id().to_string()).arg(program);
                command
            }
            _ => Command::new(program),
        };
        for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command
            .env("HOME", self.home.path())
            .env("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
            .env("ENDPOINT", self.endpoint())
            .env("STS_ENDPOINT", sts)
            .env("SCHEME", if self.way == Way::Http { "http" } else { "https" })
            .env("KEY", &self.key)
            .env("ROLE_ARN", ROLE)
            .env("PROVIDER_ARN", PROVIDER)
            .env("TOKEN_FILE", self.token_file());
        if self.way != Way::Http {
            trust(&mut command, &self.ca());
        }
        command
    }

    /// Gives a program the variables of the default chains. With `region` they name an STS of a region,
    /// as the webhook of the vendor sets them.
    pub(crate) fn set_variables(&self, command: &mut Command, region: Option<&str>) {
        command
            .env("ALIBABA_CLOUD_ROLE_ARN", ROLE)
            .env("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", PROVIDER)
            .env("ALIBABA_CLOUD_OIDC_TOKEN_FILE", self.token_file());
        if let Some(region) = region {
            command.env("ALIBABA_CLOUD_STS_REGION", region);
            command.env("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED", "true");
        }
    }

    /// Runs a program, which must say that it passed.
    pub(crate) fn run(&self, command: Command) {
        let shown = format!("{command:?}");
        let ran = run(command, b"");
        assert_eq!(ran.code, Some(0), "{shown}: {ran:?}\n{}", self.server.log());
        assert_eq!(ran.done().trim(), "passed", "{shown}");
    }
}

/// The CAs that Python, Go and Node trust.
fn trust(command: &mut Command, ca: &Path) {
    command.env("SSL_CERT_FILE", ca).env("NODE_EXTRA_CA_CERTS", ca).env("CA_FILE", ca);
}

fn serve(installation: &Installation, way: Way) -> Server {
    let tls = installation.path("tls");
    let out = tls.to_str().unwrap();
    let mut make = vec!["tls", "self-signed", "--out", out];
    make.extend(NAMES.iter().flat_map(|name| ["--name", name]));
    make.extend(["--name", "127.0.0.1"]);
    run(installation.command(&make), b"").done();
    installation.configure(|text| {
        let files = format!("certificate = \"{out}/server.pem\"\nkey = \"{out}/server.key\"\n");
        text.push_str("[tls]\n");
        text.push_str(&files);
        if way == Way::CloudNames {
            *text = text.replacen("127.0.0.1:0", "127.0.0.1:443", 1);
        }
    });
    if way == Way::Tls {
        return installation.serve();
    }
    let hosts = installation.path("hosts");
    fs::write(&hosts, format!("127.0.0.1 localhost {}\n", NAMES.join(" "))).unwrap();
    let hosts = hosts.to_str().unwrap();
    installation.serve_under(&[&NAMESPACES[..], &["sh", "-ec", PREPARE, hosts]].concat(), &[])
}

/// An address of STS before a gateway. The sessions in its answers seem to end so soon that a library
/// renews them after two seconds; the gateway keeps them for the hour that was requested. With each
/// answer the token in the file is replaced.
pub(crate) struct ShortSessions {
    address: String,
    ca: PathBuf,
    tokens: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl ShortSessions {
    /// `early` is the number of seconds before the end at which the library renews.
    pub(crate) async fn start(workload: &Workload, early: i64) -> Self {
        assert_eq!(workload.way, Way::Http);
        let directory = workload.installation.path("sts");
        let acceptor = acceptor(&workload.installation, &directory);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (gateway, file) = (workload.server.address().to_owned(), workload.token_file());
        let issuer = Arc::clone(&workload.issuer);
        let tokens = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&tokens);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (stream, _peer) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let request = read_request(&mut stream).await;
                let answer = raw_http::exchange(&gateway, &request).await;
                let mut body: Value = serde_json::from_str(&answer.body).unwrap();
                let ends = Time::from_unix(clock::now().unix() + early + USE_SECONDS);
                body["Credentials"]["Expiration"] = ends.to_string().into();
                seen.lock().push(fs::read_to_string(&file).unwrap());
                let mut claims = Issuer::claims();
                claims["jti"] = seen.lock().len().into();
                replace(&file, &issuer.token(&claims));
                let body = body.to_string();
                let head = format!(
                    "HTTP/1.1 {} -\r\ncontent-type: application/json;charset=utf-8\r\n\
                     content-length: {}\r\nconnection: close\r\n\r\n{body}",
                    answer.status,
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { address, ca: directory.join("ca.pem"), tokens, _task: task }
    }

    /// Its CA.
    pub(crate) fn ca(&self) -> &Path {
        &self.ca
    }

    /// Runs a program that encrypts until it has seen three renewals.
    pub(crate) fn run(&self, workload: &Workload, mut command: Command) {
        trust(&mut command, &self.ca);
        command.env("STS_ENDPOINT", &self.address).env("RENEWALS", "3");
        workload.run(command);
        let tokens = self.tokens.lock();
        let mut distinct = tokens.clone();
        distinct.sort();
        distinct.dedup();
        assert!(tokens.len() >= 4, "{} exchanges", tokens.len());
        assert_eq!(distinct.len(), tokens.len(), "each exchange has the token that is in the file");
    }
}

/// Replaces a file as kubelet does, at once.
fn replace(file: &Path, token: &str) {
    let next = file.with_extension("next");
    fs::write(&next, format!("{token}\n")).unwrap();
    fs::rename(&next, file).unwrap();
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length:").nth(1);
            let length = length.and_then(|rest| rest.lines().next()?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0_usize) {
                return request;
            }
        }
        if stream.read_buf(&mut request).await.unwrap() == 0 {
            return request;
        }
    }
}
