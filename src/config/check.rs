//! Builds the configuration from single settings: typed values, and rules between settings.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::operators::{Account, Duty, Operators};
use super::reader::Reader;
use super::{
    AdminConfig, AuditSettings, CertificateFiles, CompatibilityOptions, Config, ForwardSettings,
    KeyExchange, KeyringSettings, Limits, Log, LogFormat, PinSource, ProviderSettings,
    ProxyNetworks, TlsSettings, TokenConfig, TokenGroupConfig, TokenName, TokenTimeouts,
};
use super::{OutageRules, identity_providers, postgresql};
use crate::model::text_form::is_ascii_name;
use crate::model::{ApprovalRules, IvBudget, Quotas, RegionAccount, TagKey};

const PROVIDERS_FILE: &str = "identity.providers_file";

/// The configuration, which counts only if the reader has no faults. Every text is parsed before
/// returning, so that all faults are reported; flags and numbers have been parsed already.
pub(super) fn config(reader: &mut Reader<'_>) -> Option<Config> {
    let tls = tls(reader);
    let listen = listen(reader, tls.is_some());
    let proxy_protocol = reader.list("listen.proxy_protocol_from", parsed);
    let forwarded_for = reader.list("listen.forwarded_for_from", parsed);
    let admin = admin(reader, tls.is_some());
    let region_account = region_account(reader);
    let token = token_group(reader);
    let store_url = store_url(reader);
    let state_directory = reader.text("store.state_directory", absolute);
    let shares_nonces = reader.text("cluster.nonces", |word| Some(word == "cluster"));
    let outage = outage(reader);
    let limits = limits(reader);
    let providers_file = reader.text(PROVIDERS_FILE, absolute);
    let identity_providers = identity_providers(reader, providers_file.as_deref());
    let approvals = approvals(reader);
    let operators = operators(reader, state_directory.as_deref());
    let keyring = keyring(reader);
    let audit = audit(reader, state_directory.as_deref());
    let log = log(reader);
    Some(Config {
        listen: listen?,
        proxies: ProxyNetworks { proxy_protocol: proxy_protocol?, forwarded_for: forwarded_for? },
        drain: milliseconds(reader, "listen.drain_ms")?,
        tls,
        admin: admin?,
        region_account: region_account?,
        token: token?,
        store_url: store_url?,
        shares_nonces: shares_nonces?,
        outage: outage?,
        state_directory: state_directory?,
        seed_file: reader.text("service.seed_file", absolute),
        limits: limits?,
        quotas: Quotas::read(|name| reader.number(name))?,
        identity_providers_file: providers_file,
        identity_providers: identity_providers?,
        approvals: approvals?,
        operators: operators?,
        compatibility: compatibility(reader)?,
        keyring: keyring?,
        destruction_hold: hours(reader, "keys.destruction_hold_hours")?,
        rewraps_secrets: reader.flag("keys.rewrap_secrets")?,
        audit: audit?,
        log: log?,
    })
}

fn listen(reader: &mut Reader<'_>, is_tls: bool) -> Option<SocketAddr> {
    let address: SocketAddr = reader.text("listen.address", parsed)?;
    let allows_insecure_http = reader.flag("listen.allow_insecure_http")?;
    if !address.ip().is_loopback() && !is_tls && !allows_insecure_http {
        reader.fault_of(
            "listen.address",
            "is not a loopback address: set tls.certificate, or allow plain HTTP with \
             listen.allow_insecure_http = true",
        );
        return None;
    }
    Some(address)
}

/// No setting means plain HTTP; only one of the two is a fault.
fn tls(reader: &mut Reader<'_>) -> Option<TlsSettings> {
    let certificate = reader.text("tls.certificate", absolute);
    let key = reader.text("tls.key", absolute);
    match (reader.is_set("tls.certificate"), reader.is_set("tls.key")) {
        (true, false) => reader.fault_of("tls.certificate", "needs tls.key"),
        (false, true) => reader.fault_of("tls.key", "needs tls.certificate"),
        _ => {}
    }
    let key_exchange = reader.text("tls.key_exchange", |word| {
        Some(if word == "hybrid" { KeyExchange::Hybrid } else { KeyExchange::Any })
    });
    let files = CertificateFiles { certificate: certificate?, key: key? };
    Some(TlsSettings { files, key_exchange: key_exchange? })
}

fn admin(reader: &mut Reader<'_>, is_tls: bool) -> Option<AdminConfig> {
    let address = reader.text("admin.address", |text| match text {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    })?;
    let client_ca = reader.text("admin.client_ca", absolute);
    let allows_insecure_http = reader.flag("admin.allow_insecure_http")?;
    let shows_report = reader.flag("admin.report")?;
    if shows_report && !reader.is_set("admin.client_ca") {
        reader.fault_of("admin.report", "needs admin.client_ca");
    }
    if client_ca.is_some() && !is_tls {
        reader.fault_of("admin.client_ca", "needs tls.certificate and tls.key");
    }
    let is_beyond_loopback = address.is_some_and(|address: SocketAddr| !address.ip().is_loopback());
    if is_beyond_loopback && !reader.is_set("admin.client_ca") && !allows_insecure_http {
        reader.fault_of(
            "admin.address",
            "is not a loopback address: set admin.client_ca, or allow plain HTTP with \
             admin.allow_insecure_http = true",
        );
    }
    Some(AdminConfig { address, client_ca, shows_report })
}

fn region_account(reader: &mut Reader<'_>) -> Option<RegionAccount> {
    let region = reader.text("service.region", parsed);
    let account = reader.text("service.account", parsed);
    Some(RegionAccount { region: region?, account: account? })
}

fn token_group(reader: &mut Reader<'_>) -> Option<TokenGroupConfig> {
    let first = token(reader);
    let others = reader.each_other_token(token);
    let group = TokenGroupConfig {
        first: first?,
        others: others?,
        replication: milliseconds(reader, "token.replication_timeout_ms")?,
        hang_timeout: milliseconds(reader, "token.hang_timeout_ms")?,
    };
    if group.others.is_empty() {
        return Some(group);
    }
    let all: Vec<_> = group.iter().collect();
    let names: BTreeSet<_> = all.iter().map(|token| &token.group_name).collect();
    let modules: BTreeSet<_> = all.iter().map(|token| &token.module).collect();
    if names.len() < all.len() {
        reader.fault_of("token.name", "is that of several tokens");
    }
    if modules.len() < all.len() {
        reader.fault_of(
            "token.module",
            "is that of several tokens: a process initializes a module once, so copy the file for each",
        );
    }
    if !all.iter().any(|token| token.is_required) {
        reader.fault_of("token.required", "must be true for one of the tokens");
    }
    Some(group)
}

fn token(reader: &mut Reader<'_>) -> Option<TokenConfig> {
    let group_name = reader.text("token.name", member_name);
    let module = reader.text("token.module", absolute);
    let init_arguments = reader.text("token.init_arguments", without_zero_byte);
    let label = reader.text("token.label", |text| of_bytes(text, 32)).map(TokenName::Label);
    let serial = reader.text("token.serial", |text| of_bytes(text, 16)).map(TokenName::Serial);
    let pin_file = reader.text("token.pin_file", absolute).map(PinSource::File);
    let pin_credential =
        reader.text("token.pin_credential", credential_name).map(PinSource::Credential);
    Some(TokenConfig {
        group_name,
        is_required: reader.flag("token.required")?,
        module: module?,
        init_arguments,
        name: label.or(serial)?,
        pin: pin_file.or(pin_credential)?,
        is_modifiable: reader.flag("token.modifiable")?,
        workers: reader.number("token.workers").and_then(NonZeroUsize::new),
        queue_size: reader.number("token.queue_size").and_then(NonZeroUsize::new)?,
        max_queue_wait: milliseconds(reader, "token.max_queue_wait_ms")?,
    })
}

fn limits(reader: &mut Reader<'_>) -> Option<Limits> {
    let shared_sources = reader.list("limits.shared_sources", parsed);
    let connections: Option<usize> = reader.number("limits.connections");
    let per_source: Option<usize> = reader.number("limits.connections_per_source");
    if per_source > connections {
        reader
            .fault_of("limits.connections_per_source", "must not be more than limits.connections");
    }
    Some(Limits {
        calls_per_second: reader.number("limits.calls_per_second")?,
        calls_per_second_per_principal: reader.number("limits.calls_per_second_per_principal")?,
        request_timeout: milliseconds(reader, "limits.request_timeout_ms")?,
        header_timeout: milliseconds(reader, "limits.header_timeout_ms")?,
        connections: connections?,
        connections_per_source: per_source,
        shared_sources: shared_sources?,
        authentication_failures_per_second: reader
            .number("limits.authentication_failures_per_second")?,
    })
}

fn approvals(reader: &mut Reader<'_>) -> Option<ApprovalRules> {
    const OPERATIONS: [&str; 3] = ["ScheduleKeyDeletion", "SetKeyPolicy", "AccessPoints"];
    let known = |text: &str| OPERATIONS.into_iter().find(|name| *name == text);
    let operations = reader.list("approval.operations", known);
    let key_tag = reader.text("approval.key_tag", parsed::<TagKey>);
    let seconds: u32 = reader.number("approval.seconds")?;
    let operations = operations?;
    let key_tag = key_tag?;
    Some(ApprovalRules {
        key_deletions: operations.contains(&"ScheduleKeyDeletion"),
        key_policies: operations.contains(&"SetKeyPolicy").then_some(key_tag),
        access_points: operations.contains(&"AccessPoints"),
        lifetime_seconds: seconds.into(),
    })
}

fn compatibility(reader: &Reader<'_>) -> Option<CompatibilityOptions> {
    Some(CompatibilityOptions {
        non_base64_plaintext: reader.flag("crypto.accept_non_base64_plaintext")?,
        caller_iv: reader.flag("crypto.accept_caller_iv")?,
    })
}

fn keyring(reader: &mut Reader<'_>) -> Option<KeyringSettings> {
    let verify_encryptions = reader.text("crypto.verify_encryptions", |text| text.parse().ok());
    let iv_budget = iv_budget(reader);
    Some(KeyringSettings {
        timeouts: TokenTimeouts {
            call: milliseconds(reader, "token.timeout_ms")?,
            generate: milliseconds(reader, "token.key_pair_timeout_ms")?,
        },
        iv_budget: iv_budget?,
        verify_data_keys: reader.flag("crypto.verify_data_keys")?,
        verify_encryptions: verify_encryptions?,
    })
}

/// Each threshold must be below the next, and a lease must not exceed the first.
fn iv_budget(reader: &mut Reader<'_>) -> Option<IvBudget> {
    let budget = IvBudget {
        lease: reader.number("crypto.iv_lease")?,
        warn_at: reader.number("crypto.iv_warn_at")?,
        rotate_at: reader.number("crypto.iv_rotate_at")?,
        refuse_at: reader.number("crypto.iv_refuse_at")?,
    };
    if budget.lease > budget.warn_at {
        reader.fault_of("crypto.iv_lease", "must not be more than crypto.iv_warn_at");
    }
    if budget.warn_at > budget.rotate_at {
        reader.fault_of("crypto.iv_warn_at", "must not be more than crypto.iv_rotate_at");
    }
    if budget.rotate_at >= budget.refuse_at {
        reader.fault_of("crypto.iv_rotate_at", "must be less than crypto.iv_refuse_at");
    }
    Some(budget)
}

/// The socket is next to the state by default. The system limits the length of its path.
fn operators(reader: &mut Reader<'_>, state_directory: Option<&Path>) -> Option<Operators> {
    let name = "operators.socket";
    let socket = if reader.is_set(name) {
        reader.text(
            name,
            |text| if text.is_empty() { Some(None) } else { absolute(text).map(Some) },
        )?
    } else {
        Some(Operators::default_socket(state_directory?))
    };
    if let Some(Err(fault)) = socket.as_deref().map(Operators::check_socket) {
        reader.fault_of(name, fault.to_string());
    }
    let mut operators = Operators { socket, ..Operators::default() };
    for duty in Duty::ALL {
        if let Some(accounts) = reader.list(duty.setting(), Account::parse) {
            operators.duties.insert(duty, accounts);
        }
    }
    Some(operators)
}

fn audit(reader: &mut Reader<'_>, state_directory: Option<&Path>) -> Option<AuditSettings> {
    let default = || state_directory.map(|directory| directory.join("audit.jsonl"));
    let file = reader.text("audit.file", absolute).or_else(default);
    let forward = forward(reader, state_directory);
    let seconds: u64 = reader.number("audit.checkpoint_seconds")?;
    let journal_mib: u64 = reader.number("audit.journal_mib")?;
    Some(AuditSettings {
        file: file?,
        journal_bytes: journal_mib * 1024 * 1024,
        required: reader.flag("audit.required")?,
        timeout: milliseconds(reader, "audit.timeout_ms")?,
        checkpoint_records: reader.number("audit.checkpoint_records")?,
        checkpoint_interval: Duration::from_secs(seconds),
        forward,
    })
}

fn forward(reader: &mut Reader<'_>, state_directory: Option<&Path>) -> ForwardSettings {
    ForwardSettings {
        records: reader.text("audit.forward_to", parsed),
        checkpoints: reader.text("audit.checkpoints_to", parsed),
        ca: reader.text("audit.forward_ca", absolute),
        authorization_file: reader.text("audit.forward_authorization_file", absolute),
        directory: state_directory.map(Path::to_owned).unwrap_or_default(),
    }
}

fn identity_providers(
    reader: &mut Reader<'_>,
    file: Option<&Path>,
) -> Option<Vec<ProviderSettings>> {
    let Some(path) = file else { return Some(Vec::new()) };
    match identity_providers::read(path) {
        Ok(providers) => Some(providers),
        Err(fault) => {
            reader.fault_of(PROVIDERS_FILE, fault);
            None
        }
    }
}

fn log(reader: &mut Reader<'_>) -> Option<Log> {
    let format = reader.text("log.format", |word| match word {
        "json" => Some(LogFormat::Json),
        _ => Some(LogFormat::Text),
    });
    let filter =
        reader.text("log.filter", |text| EnvFilter::try_new(text).is_ok().then(|| text.to_owned()));
    Some(Log { format: format?, filter: filter? })
}

fn hours(reader: &Reader<'_>, name: &'static str) -> Option<Duration> {
    let hours: u64 = reader.number(name)?;
    Some(Duration::from_secs(hours.saturating_mul(3600)))
}

fn milliseconds(reader: &Reader<'_>, name: &'static str) -> Option<Duration> {
    reader.number(name).map(Duration::from_millis)
}

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// Refuses relative paths: the working directory of a service is arbitrary.
fn absolute(text: &str) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    path.is_absolute().then_some(path)
}

fn of_bytes(text: &str, most: usize) -> Option<String> {
    (1..=most).contains(&text.len()).then(|| text.to_owned())
}

/// A text that can be given to C as an argument.
fn without_zero_byte(text: &str) -> Option<String> {
    of_bytes(text, 1024).filter(|text| !text.contains('\0'))
}

/// A plain file name, so that the credential is directly in its directory.
fn credential_name(text: &str) -> Option<String> {
    let is_plain = is_ascii_name(text, 255, b".-_") && !matches!(text, "." | "..");
    is_plain.then(|| text.to_owned())
}

/// The name of a gateway in its cluster.
fn member_name(text: &str) -> Option<String> {
    is_ascii_name(text, 64, b".-_").then(|| text.to_owned())
}

/// A gateway of a cluster that shares nonces refuses signed requests meanwhile, so it is not ready.
fn outage(reader: &mut Reader<'_>) -> Option<OutageRules> {
    let seconds = reader.number("store.outage_seconds");
    let refuses_after = reader.text("store.after_outage", |word| Some(word == "refuse"));
    let shares_nonces = reader.is_set("cluster.name")
        && reader.text("cluster.nonces", |word| Some(word == "cluster"))?;
    Some(OutageRules {
        limit: Duration::from_secs(seconds?),
        is_ready_meanwhile: !shares_nonces,
        refuses_after: refuses_after?,
    })
}

/// The URL of the database. That of PostgreSQL gets the source of its password, which the store reads, the
/// name of the gateway in its cluster, and the URL for what needs a session.
fn store_url(reader: &mut Reader<'_>) -> Option<String> {
    const NAME: &str = "store.url";
    const NOTIFY: &str = "store.notify_url";
    let file = reader.text("store.password_file", absolute).map(PinSource::File);
    let credential = reader.text("store.password_credential", credential_name);
    if file.is_some() && credential.is_some() {
        reader.fault_of("store.password_credential", "cannot be set beside store.password_file");
    }
    let password = file.or(credential.map(PinSource::Credential));
    let member = reader.text("cluster.name", member_name);
    let of_server = |text: &str| postgresql::is_url(text).then(|| text.to_owned());
    let notify_url = reader.text(NOTIFY, of_server);
    let is_known = |text: &&str| text.starts_with("sqlite://") || postgresql::is_url(text);
    let text = reader.text(NAME, |text| Some(text).filter(is_known).map(str::to_owned))?;
    if text.starts_with("sqlite://") {
        if password.is_some() {
            reader.fault_of(NAME, "is a SQLite file, which has no password");
        }
        for name in ["cluster.name", NOTIFY] {
            if reader.is_set(name) {
                reader.fault_of(name, "needs a database of PostgreSQL: see store.url");
            }
        }
        return Some(text);
    }
    let mut complete = |name, text: &str, member| {
        let url = postgresql::complete(text, password.as_ref(), member);
        url.map_err(|fault| reader.fault_of(name, fault)).ok()
    };
    let url = complete(NAME, &text, member.as_deref())?;
    let Some(notify_url) = notify_url else { return Some(url) };
    let notify_url = complete(NOTIFY, &notify_url, None)?;
    let both = postgresql::add_notify_url(&url, &notify_url);
    both.map_err(|fault| reader.fault_of(NAME, fault)).ok()
}
