//! The Helm chart, rendered and linted by Helm. `make helm` builds Helm; without it, a line says so and the
//! test passes. No cluster runs the chart.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::output_of;

const CHART: &str = "packaging/helm/hsmgate";

/// What an installation has to say.
const NEEDED: &[&str] = &[
    "account=1234567890123456",
    "token.module=/opt/hsm/libhsm.so",
    "token.label=orders",
    "token.pinSecret.name=hsm-pin",
    "tls.secret=hsmgate-tls",
];

/// Values beside those that are needed.
fn helm(arguments: &[&str], values: &[&str]) -> Option<Command> {
    let Some(program) = std::env::var_os("HSMGATE_HELM") else {
        println!("skipped: HSMGATE_HELM does not name a Helm: make helm builds one");
        return None;
    };
    let mut command = Command::new(program);
    command.args(arguments);
    for value in NEEDED.iter().chain(values) {
        // A text of digits stays a text.
        let option = if value.starts_with("account=") { "--set-string" } else { "--set" };
        command.args([option, value]);
    }
    Some(command)
}

fn rendered(values: &[&str]) -> Option<String> {
    Some(output_of(&mut helm(&["template", "kms", CHART], values)?))
}

/// The file of the ConfigMap.
fn configuration(rendered: &str) -> String {
    let (_before, rest) = rendered.split_once("  hsmgate.toml: |\n").unwrap();
    let lines = rest
        .lines()
        .map_while(|line| if line.is_empty() { Some("") } else { line.strip_prefix("    ") });
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// What the gateway reads from that file, by name of the setting.
fn settings(rendered: &str) -> serde_json::Value {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("hsmgate.toml");
    fs::write(&file, configuration(rendered)).unwrap();
    let hsmgate = |arguments: &[&str], file: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hsmgate"));
        output_of(command.args(arguments).arg("--config").arg(file))
    };
    hsmgate(&["config", "check"], &file);
    let printed = hsmgate(&["config", "print", "--json"], &file);
    let settings: Vec<serde_json::Value> = serde_json::from_str(&printed).unwrap();
    let pair =
        |one: &serde_json::Value| (one["name"].as_str().unwrap().to_owned(), one["value"].clone());
    settings.iter().map(pair).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn the_chart_is_linted_and_its_configuration_is_valid() {
    let Some(mut lint) = helm(&["lint", "--strict", CHART], &[]) else { return };
    output_of(&mut lint);
    let version = concat!("ersion: ", env!("CARGO_PKG_VERSION"), "\n");
    let about = fs::read_to_string(format!("{CHART}/Chart.yaml")).unwrap();
    assert_eq!(about.matches(version).count(), 2, "{about}");

    let text = rendered(&["settings.limits.connections=4096", "settings.log.format=text"]).unwrap();
    let found = settings(&text);
    for (name, value) in [
        ("token.module", "\"/opt/hsm/libhsm.so\""),
        ("token.pin_file", "\"/run/hsmgate/pin\""),
        ("tls.certificate", "\"/run/hsmgate/tls.crt\""),
        ("store.url", "\"sqlite:///var/lib/hsmgate/state/hsmgate.db\""),
        ("limits.connections", "4096"),
        ("log.format", "\"text\""),
        ("listen.allow_insecure_http", "false"),
    ] {
        assert_eq!(found[name], value, "{name}");
    }
    for line in [
        "kind: PodDisruptionBudget",
        "maxUnavailable: 1",
        "runAsNonRoot: true",
        "readOnlyRootFilesystem: true",
        "drop: [ALL]",
        "httpGet: {path: /readyz, port: admin}",
        "httpGet: {path: /livez, port: admin}",
        "secretName: hsm-pin",
        concat!("image: \"hsmgate:", env!("CARGO_PKG_VERSION"), "\""),
    ] {
        assert!(text.lines().any(|shown| shown.trim() == line), "{line}\n{text}");
    }
    assert!(!text.contains("HSMGATE_CLUSTER__NAME"), "a gateway alone has no name");
}

#[test]
fn gateways_of_a_cluster_have_the_names_of_their_pods() {
    let url = "database.url=postgres://hsmgate@db.example:5432/hsmgate";
    let password = "database.passwordSecret.name=database";
    let ca = "database.caSecret.name=database-ca";
    let Some(text) = rendered(&["replicas=3", url, password, ca]) else { return };
    let found = settings(&text);
    let file = "?sslrootcert=/etc/hsmgate/database-ca.pem";
    assert!(found["store.url"].as_str().unwrap().contains(file), "{}", found["store.url"]);
    assert!(text.contains("mountPath: /etc/hsmgate/database-ca.pem, subPath: value"), "{text}");
    assert_eq!(found["store.password_file"], "\"/run/hsmgate/database-password\"");
    assert!(text.contains("- name: HSMGATE_CLUSTER__NAME\n"), "{text}");
    assert!(text.contains("secretName: database\n"), "{text}");
}

#[test]
fn values_that_cannot_work_are_refused_by_the_schema() {
    for (wrong, word) in [
        ("replicas=2", "url"),
        ("token.module=libhsm.so", "module"),
        ("token.pinSecret.name=", "pinSecret"),
        ("token.serial=16b40f6b9ae3e8ef", "token"),
        ("database.url=postgres://hsmgate:secret@127.0.0.1/hsmgate", "url"),
        ("database.url=postgres://db.example/hsmgate", "url"),
        ("tls.secret=", "tls"),
        ("acount=1", "acount"),
    ] {
        let Some(mut template) = helm(&["template", "kms", CHART], &[wrong]) else { return };
        let output = template.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(word), "{wrong}: {told}");
        assert!(told.contains("values don't meet the specifications of the schema"), "{told}");
    }
}
