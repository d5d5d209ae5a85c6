//! Tests of the sample and the faulty configurations in `tests/config/`, through the public API.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::settings::WhenAbsent;
use super::*;

const SAMPLE: &str = include_str!("../../docs/hsmgate.sample.toml");

const SHORTEST: &str = r#"
[service]
account = "1234567890123456"
[token]
module = "/usr/lib/softhsm/libsofthsm2.so"
serial = "16b40f6b9ae3e8ef"
pin_credential = "hsm-pin"
[store]
url = "sqlite:///var/lib/hsmgate/hsmgate.db"
state_directory = "/var/lib/hsmgate"
"#;

fn fixtures() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn every_faulty_configuration_gives_exactly_its_faults() {
    let fixtures = fixtures();
    assert!(fixtures.len() >= 10);
    for path in fixtures {
        let text = std::fs::read_to_string(&path).unwrap();
        let words = std::fs::read_to_string(path.with_extension("txt")).unwrap();
        let faults = Config::parse(&text).expect_err(&path.display().to_string());
        assert_eq!(faults.to_string(), words.trim_end(), "{}", path.display());
    }
}

#[test]
fn the_sample_is_valid_and_names_every_setting_with_its_default() {
    Config::parse(SAMPLE).unwrap();
    let mut section = "";
    let mut shown = HashMap::new();
    for line in SAMPLE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if let Some((name, value)) = line.trim_start_matches('#').split_once(" = ") {
            shown.insert(format!("{section}.{name}"), value.trim_matches('"'));
        }
    }
    for setting in SETTINGS {
        let shown = shown.get(setting.name).copied();
        match setting.default {
            WhenAbsent::Value(default) => assert_eq!(shown, Some(default), "{}", setting.name),
            _ => assert!(shown.is_some(), "{}", setting.name),
        }
    }
}

#[test]
fn settings_that_are_not_set_have_their_defaults() {
    let config = Config::parse(SHORTEST).unwrap();
    assert_eq!(config.listen, "127.0.0.1:8200".parse().unwrap());
    assert_eq!(config.region_account.arn("key"), "acs:kms:cn-hangzhou:1234567890123456:key");
    assert_eq!(config.token.first.name, TokenName::Serial("16b40f6b9ae3e8ef".to_owned()));
    assert_eq!(config.token.first.pin, PinSource::Credential("hsm-pin".to_owned()));
    assert_eq!(config.token.first.workers, None);
    assert_eq!(config.token.first.queue_size.get(), 1024);
    assert_eq!(config.token.first.max_queue_wait, Duration::from_millis(50));
    assert_eq!(config.keyring.timeouts.call, Duration::from_secs(5));
    assert_eq!(config.keyring.timeouts.generate, Duration::from_secs(30));
    assert_eq!(config.limits.calls_per_second, 0);
    assert_eq!(config.limits.calls_per_second_per_principal, 0);
    assert_eq!(config.limits.connections_per_source, None);
    assert_eq!(config.limits.shared_sources, []);
    assert_eq!(config.limits.request_timeout, Duration::from_secs(15));
    assert_eq!(config.limits.header_timeout, Duration::from_secs(10));
    assert_eq!(config.limits.connections, 1024);
    assert!(!config.compatibility.non_base64_plaintext);
    assert!(config.keyring.verify_data_keys);
    assert_eq!(config.keyring.verify_encryptions, VerificationRate::Off);
    assert_eq!(config.keyring.iv_budget, IvBudget::default());
    let audit = AuditSettings {
        file: "/var/lib/hsmgate/audit.jsonl".into(),
        journal_bytes: 16 * 1024 * 1024,
        required: true,
        timeout: Duration::from_secs(1),
        checkpoint_records: 10_000,
        checkpoint_interval: Duration::from_mins(1),
        forward: ForwardSettings {
            directory: "/var/lib/hsmgate".into(),
            ..ForwardSettings::default()
        },
    };
    assert_eq!(config.audit, audit);
    assert_eq!(config.log, Log { format: LogFormat::Text, filter: "info".to_owned() });
}

/// [`SHORTEST`] with two tokens, each with these settings after its name.
fn two_tokens(first: &str, second: &str) -> String {
    let (before, rest) = SHORTEST.split_once("[token]").unwrap();
    let (_token, after) = rest.split_once("[store]").unwrap();
    format!("{before}[[token]]\n{first}\n[[token]]\n{second}\n[store]{after}")
}

const TOKEN_A: &str = "name = \"a\"\nmodule = \"/a.so\"\nlabel = \"x\"\npin_file = \"/pin\"";
const TOKEN_B: &str = "name = \"b\"\nmodule = \"/b.so\"\nserial = \"7\"\npin_credential = \"p\"";

#[test]
fn each_of_several_tokens_has_its_own_settings() {
    let text = two_tokens(
        &format!("{TOKEN_A}\nreplication_timeout_ms = 700"),
        &format!("{TOKEN_B}\nworkers = 3\nrequired = false"),
    );
    let config = Config::parse(&text).unwrap();
    assert_eq!(config.token.replication, Duration::from_millis(700));
    let [a, b] = [&config.token.first, &config.token.others[0]];
    assert_eq!([&a.group_name, &b.group_name], [&Some("a".to_owned()), &Some("b".to_owned())]);
    assert_eq!([a.module.as_path(), b.module.as_path()], ["/a.so", "/b.so"].map(Path::new));
    assert_eq!([a.is_required, b.is_required], [true, false]);
    assert_eq!(a.name, TokenName::Label("x".to_owned()));
    assert_eq!(b.name, TokenName::Serial("7".to_owned()));
    assert_eq!((a.workers, b.workers.map(NonZeroUsize::get)), (None, Some(3)));
    let variables = [("HSMGATE_TOKEN__TIMEOUT_MS", "9")];
    let config = in_environment(&text, &variables).unwrap();
    assert_eq!(config.keyring.timeouts.call, Duration::from_millis(9));
}

#[test]
fn the_faults_of_several_tokens_are_told_with_their_lines() {
    let second = format!("{TOKEN_B}\ntimeout_ms = 7").replace("/b.so", "/a.so");
    let both = two_tokens(TOKEN_A, &second).replace("name = \"b\"", "name = \"a\"");
    let unnamed = two_tokens(TOKEN_A, "module = \"/b.so\"\nlabel = 7\nlables = \"x\"");
    let optional = format!("{TOKEN_A}\nrequired = false");
    let optional = two_tokens(&optional, &format!("{TOKEN_B}\nrequired = false"));
    for (text, faults) in [
        (
            &both,
            &[
                "token.timeout_ms: belongs in the first",
                "token.name: is that of several",
                "token.module: is that of several",
            ] as &[&str],
        ),
        (
            &unnamed,
            &[
                "token.name: missing",
                "token.label: must be",
                "token.pin_file: missing",
                "token.lables: unknown",
            ],
        ),
        (&optional, &["token.required: must be true for one"]),
    ] {
        let told = Config::parse(text).unwrap_err().to_string();
        for fault in faults {
            assert!(told.contains(fault), "{fault}\n{told}");
        }
        assert_eq!(told.lines().count(), faults.len(), "{told}");
    }
    let variables = [("HSMGATE_TOKEN__MODULE", "/c.so")];
    let told = in_environment(&two_tokens(TOKEN_A, TOKEN_B), &variables).unwrap_err();
    assert!(told.to_string().contains("several [[token]]"), "{told}");
}

#[test]
fn a_list_has_any_number_of_items() {
    let ranges = "[limits]\nshared_sources = [\"192.0.2.7\", \"10.0.0.0/8\"]\n";
    let config = Config::parse(&format!("{ranges}{SHORTEST}")).unwrap();
    assert_eq!(config.limits.shared_sources.len(), 2);
    for wrong in ["[\"10.0.0.0/33\"]", "[7]", "\"10.0.0.0/8\""] {
        let faults = Config::parse(&format!("[limits]\nshared_sources = {wrong}\n{SHORTEST}"));
        let faults = faults.unwrap_err().to_string();
        assert!(faults.contains("limits.shared_sources: must be a list of IP"), "{faults}");
    }
}

#[test]
fn insecure_http_is_allowed_by_a_setting() {
    let listen = "[listen]\naddress = \"0.0.0.0:80\"\nallow_insecure_http = true\n";
    let config = Config::parse(&format!("{listen}{SHORTEST}")).unwrap();
    assert_eq!(config.listen, "0.0.0.0:80".parse().unwrap());
}

#[test]
fn faults_name_the_file() {
    let path = fixtures().remove(0);
    let error = Config::load(&path).unwrap_err();
    assert!(error.to_string().starts_with(&format!("{}:", path.display())), "{error}");
    let missing = Config::load(Path::new("/nonexistent/hsmgate.toml")).unwrap_err();
    assert_eq!(missing.to_string(), "cannot read /nonexistent/hsmgate.toml");
}

fn in_environment(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigFaults> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), Some((*value).to_owned()));
    let variables = variables.iter().map(owned);
    Config::parse_with(text, &Environment::of(variables))
}

#[test]
fn a_variable_replaces_the_setting_of_the_file_and_its_alternative() {
    let variables = [
        ("HSMGATE_LISTEN__ADDRESS", "127.0.0.1:9"),
        ("HSMGATE_TOKEN__LABEL", "other"),
        ("HSMGATE_LIMITS__CONNECTIONS", "7"),
        ("HSMGATE_LIMITS__SHARED_SOURCES", "192.0.2.7, 10.0.0.0/8"),
        ("HSMGATE_CRYPTO__VERIFY_DATA_KEYS", "false"),
        ("HSMGATE_LOG__FORMAT", "json"),
        // Not of a setting.
        ("HSMGATE_LOG", "debug"),
        ("HSMGATE_ENDPOINT", "x"),
        ("HSMGATE_ADMIN_SERVICE_HOST", "10.0.0.1"),
        ("HOME", "/root"),
    ];
    let config = in_environment(SHORTEST, &variables).unwrap();
    assert_eq!(config.listen, "127.0.0.1:9".parse().unwrap());
    assert_eq!(config.token.first.name, TokenName::Label("other".to_owned()));
    assert_eq!(config.limits.connections, 7);
    assert_eq!(config.limits.shared_sources.len(), 2);
    assert!(!config.keyring.verify_data_keys);
    assert_eq!(config.log.format, LogFormat::Json);
    // Also one with a fault, and one that is missing.
    let faulty = SHORTEST.replace("account = \"1234567890123456\"", "region = \"x y\"");
    let right = [
        ("HSMGATE_SERVICE__ACCOUNT", "1234567890123456"),
        ("HSMGATE_SERVICE__REGION", "cn-beijing"),
    ];
    assert!(Config::parse(&faulty).is_err());
    assert!(in_environment(&faulty, &right).is_ok());
}

#[test]
fn a_fault_of_a_variable_names_it_and_not_its_value() {
    let variables = [
        ("HSMGATE_LIMITS__CONNECTIONS", "hunter2"),
        ("HSMGATE_STORE__URI", "hunter2"),
        ("HSMGATE_TOKEN__LABEL", "a"),
        ("HSMGATE_TOKEN__SERIAL", "b"),
    ];
    let told = in_environment(SHORTEST, &variables).unwrap_err().to_string();
    let expected = "HSMGATE_LIMITS__CONNECTIONS: limits.connections: must be an integer from 1 to 65536\n\
                    HSMGATE_STORE__URI: unknown setting (did you mean HSMGATE_STORE__URL?)\n\
                    HSMGATE_TOKEN__LABEL: token.label: conflicts with token.serial: only one may be set";
    assert_eq!(told, expected);
}

#[test]
fn a_providers_file_that_is_no_path_is_told_once() {
    let text = format!("{SHORTEST}\n[identity]\nproviders_file = \"providers.toml\"\n");
    let faults = Config::parse(&text).unwrap_err();
    let told = faults.iter().filter(|fault| fault.subject == "identity.providers_file");
    assert_eq!(told.count(), 1, "{faults}");
}

#[test]
fn a_variable_that_is_not_utf_8_is_a_fault() {
    let variables = [("HSMGATE_TLS__KEY".to_owned(), None)];
    let told = Config::parse_with(SHORTEST, &Environment::of(variables)).unwrap_err().to_string();
    assert!(told.contains("HSMGATE_TLS__KEY: tls.key: must be an absolute path"), "{told}");
}

#[test]
fn every_setting_has_a_variable_of_its_own() {
    let variables: std::collections::HashSet<_> = SETTINGS.iter().map(Setting::variable).collect();
    assert_eq!(variables.len(), SETTINGS.len());
    for (name, _meaning) in settings::ENVIRONMENT {
        assert!(!variables.contains(*name), "{name}");
    }
}

#[test]
fn the_effective_settings_name_their_origin() {
    let variables = [("HSMGATE_LOG__FORMAT".to_owned(), Some("json".to_owned()))];
    let effective = Reader::new(SHORTEST, &Environment::of(variables)).effective();
    let of = |name: &str| {
        let found = effective.iter().find(|one| one.setting.name == name).unwrap();
        (found.value.clone(), found.origin.in_file("f"))
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(of("service.account"), (text("\"1234567890123456\""), "f:3".to_owned()));
    assert_eq!(of("log.format"), (text("\"json\""), "HSMGATE_LOG__FORMAT".to_owned()));
    assert_eq!(of("limits.connections"), (text("1024"), "default".to_owned()));
    assert_eq!(of("tls.key"), (None, "default".to_owned()));
    assert_eq!(effective.len(), SETTINGS.len());
}
