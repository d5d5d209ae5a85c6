//! The clients in Go: each a module of its own in `tests/clients/go`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::client::{self, Language};
use crate::gateways::{Gateways, build_folder};

/// The oldest Go that compiles all of them, as 1.N.
const OLDEST_GO: u32 = 23;

/// How many steps the clients have, at least. A case that an SDK has no classes for is left out, so that a
/// mistake there would lose steps without a sound.
const WANTED_STEPS: usize = 484;

/// A client: its folder and the module that it drives, whose version its `go.mod` pins.
struct GoClient {
    folder: &'static str,
    module: &'static str,
    /// A package of this module whose tests it runs: the name of their program, and the package.
    tests: Option<(&'static str, &'static str)>,
    /// A package of `examples/go` that it runs.
    example: Option<&'static str>,
}

const CLIENTS: &[GoClient] = &[
    GoClient::new("kms20160120", "github.com/alibabacloud-go/kms-20160120/v3")
        .with_example("encrypt"),
    GoClient::new("alibaba-cloud-sdk-go", "github.com/aliyun/alibaba-cloud-sdk-go"),
    GoClient::new("alibaba-cloud-sdk-go-2020", "github.com/aliyun/alibaba-cloud-sdk-go"),
    GoClient::new("dkms", "github.com/aliyun/alibabacloud-dkms-gcs-go-sdk"),
    GoClient::new("oss", "github.com/aliyun/alibabacloud-oss-go-sdk-v2").with_example("oss"),
    GoClient::new("nacos", "github.com/nacos-group/nacos-sdk-go/v2"),
    GoClient::new("secretsmanager", "github.com/aliyun/aliyun-secretsmanager-client-go"),
    GoClient::new(
        "go-kms-wrapping",
        "github.com/hashicorp/go-kms-wrapping/wrappers/alicloudkms/v2",
    )
    .with_tests("alicloudkms", "github.com/hashicorp/go-kms-wrapping/wrappers/alicloudkms/v2"),
];

/// The name of the program of an example, beside the client that runs it.
const EXAMPLE: &str = "example";

#[test]
fn the_clients_in_go_pass_every_step() {
    let mut go = Language::new("go", WANTED_STEPS);
    if let Some(reason) = reason_to_skip() {
        return go.skip(&reason);
    }
    let gateways = Gateways::start();
    for client in CLIENTS.iter().filter(|client| client::is_chosen(client.folder)) {
        match client.build() {
            Ok(program) => {
                let version = client.version();
                go.run(client.folder, &version, &mut Command::new(program), &gateways);
            }
            Err(reason) => go.fail(format!("go/{}: {reason}", client.folder)),
        }
    }
    go.finish(gateways);
}

/// Why the clients cannot be run here, if they cannot.
pub(crate) fn reason_to_skip() -> Option<String> {
    let Ok(version) = go_command(Path::new("."), &["env", "GOVERSION"]) else {
        return Some("there is no go".to_owned());
    };
    let version = String::from_utf8_lossy(&version.stdout);
    let minor = version.trim().strip_prefix("go1.").and_then(|rest| {
        let digits = rest.split(|character: char| !character.is_ascii_digit()).next()?;
        digits.parse::<u32>().ok()
    });
    match minor {
        Some(minor) if minor >= OLDEST_GO => None,
        _ => Some(format!("they need Go 1.{OLDEST_GO}, this is {}", version.trim())),
    }
}

impl GoClient {
    const fn new(folder: &'static str, module: &'static str) -> Self {
        Self { folder, module, tests: None, example: None }
    }

    const fn with_tests(self, name: &'static str, package: &'static str) -> Self {
        Self { tests: Some((name, package)), ..self }
    }

    const fn with_example(self, package: &'static str) -> Self {
        Self { example: Some(package), ..self }
    }

    fn source(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/go").join(self.folder)
    }

    /// Builds the program, and the tests and the example that it runs, side by side.
    fn build(&self) -> Result<PathBuf, String> {
        let folder = build_folder("go").join(self.folder);
        let program = folder.join(self.folder);
        go(&self.source(), "build", &program, ".")?;
        if let Some((name, package)) = self.tests {
            go(&self.source(), "test", &folder.join(format!("{name}.test")), package)?;
        }
        if let Some(package) = self.example {
            let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/go");
            go(&examples, "build", &folder.join(EXAMPLE), &format!("./{package}"))?;
        }
        Ok(program)
    }

    /// What `go.mod` pins.
    fn version(&self) -> String {
        let pins = fs::read_to_string(self.source().join("go.mod")).expect("go.mod is text");
        let version = pins.lines().find_map(|line| {
            let mut words = line.trim().trim_start_matches("require ").split(' ');
            (words.next() == Some(self.module)).then(|| words.next())?
        });
        let version = version.unwrap_or_else(|| panic!("go.mod does not pin {}", self.module));
        version.trim_end_matches("+incompatible").trim_start_matches('v').to_owned()
    }
}

/// Builds a package of the module in a folder.
fn go(source: &Path, command: &str, program: &Path, package: &str) -> Result<(), String> {
    let program = program.to_str().ok_or("the path of the checkout is no text")?;
    let only_compile: &[&str] = if command == "test" { &["-c"] } else { &[] };
    let output = ["-mod=readonly", "-o", program, package];
    let arguments = [&[command], only_compile, &output].concat();
    let built = go_command(source, &arguments).map_err(|error| error.to_string())?;
    if built.status.success() {
        return Ok(());
    }
    Err(format!("go {command} {package}: {}", String::from_utf8_lossy(&built.stderr)))
}

/// Go of this machine: it fetches no other one.
fn go_command(folder: &Path, arguments: &[&str]) -> std::io::Result<Output> {
    let mut go = Command::new("go");
    go.args(arguments).current_dir(folder).env("GOTOOLCHAIN", "local").output()
}
