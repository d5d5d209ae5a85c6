//! The rules and the dashboard, with the real Prometheus and a real gateway.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::output_of;

/// The first scrape is awaited for so long.
const LIMIT: Duration = Duration::from_mins(1);

/// A process that ends with its test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A gateway for development, and the address of its admin listener.
fn gateway(directory: &TempDir) -> (Started, String) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_hsmgate"))
        .args(["dev", "--quiet", "--json", "--tls", "--listen", "127.0.0.1:0", "--dir"])
        .arg(directory.path().join("gateway"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let served: Value = serde_json::from_str(&line).unwrap();
    let admin = served["admin"].as_str().unwrap().trim_start_matches("http://").to_owned();
    (Started(process), admin)
}

/// The body of the response to a GET.
fn get(address: &str, path: &str, accept: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).ok()?;
    response.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

#[test]
fn promtool_finds_nothing_in_rules_and_metrics() {
    let rules = "packaging/prometheus/hsmgate.rules.yml";
    output_of(Command::new("promtool").args(["check", "rules", rules]));
    output_of(
        Command::new("promtool")
            .args(["test", "rules", "hsmgate.rules.test.yml"])
            .current_dir("packaging/prometheus"),
    );
    let directory = TempDir::new_in("/dev/shm").unwrap();
    let (_gateway, admin) = gateway(&directory);
    let file = directory.path().join("metrics");
    fs::write(&file, get(&admin, "/metrics", "*/*").unwrap()).unwrap();
    output_of(
        Command::new("promtool").args(["check", "metrics"]).stdin(fs::File::open(file).unwrap()),
    );
}

/// The expressions of the dashboard, with the variables that Grafana replaces.
fn expressions() -> Vec<String> {
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string("packaging/grafana/hsmgate.json").unwrap())
            .unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets
        .map(|target| {
            let text = target["expr"].as_str().unwrap();
            text.replace("$instance", ".*").replace("$__rate_interval", "1m")
        })
        .collect()
}

/// The body of a query as the server encodes it.
fn query(server: &str, expression: &str) -> Option<Value> {
    let encoded: String =
        expression.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let body = get(server, &format!("/api/v1/query?query={encoded}"), "application/json")?;
    // The response may be in chunks; the object is one line.
    let object = body.lines().find(|line| line.starts_with('{'))?;
    serde_json::from_str(object).ok()
}

#[test]
fn prometheus_reads_the_gateway_and_understands_the_dashboard() {
    let directory = TempDir::new_in("/dev/shm").unwrap();
    let (_gateway, admin) = gateway(&directory);
    let rules = fs::canonicalize("packaging/prometheus/hsmgate.rules.yml").unwrap();
    let config = directory.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
         rule_files: [{}]\n\
         scrape_configs: [{{job_name: hsmgate, static_configs: [{{targets: [\"{admin}\"]}}]}}]\n",
        rules.display()
    );
    fs::write(&config, text).unwrap();
    // A port that was free a moment ago.
    let server =
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let _prometheus = Started(
        Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("tsdb").display()))
            .arg(format!("--web.listen-address={server}"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let start = Instant::now();
    let is_up = |answer: &Value| answer["data"]["result"][0]["value"][1] == "1";
    while !query(&server, "up{job=\"hsmgate\"}").is_some_and(|answer| is_up(&answer)) {
        assert!(start.elapsed() < LIMIT, "Prometheus does not reach {admin}");
        std::thread::sleep(Duration::from_millis(50));
    }
    for expression in expressions() {
        let answer = query(&server, &expression).unwrap();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
    }
    let ready = query(&server, "hsmgate_token_ready").unwrap();
    assert!(is_up(&ready), "{ready}");
    let keys = query(&server, "hsmgate_keys{state=\"Enabled\",spec=\"Aliyun_AES_256\"}").unwrap();
    assert!(is_up(&keys), "{keys}");
    let firing = query(&server, "ALERTS{alertstate=\"firing\"}").unwrap();
    assert_eq!(firing["data"]["result"], serde_json::json!([]), "a new gateway causes no alert");
}
