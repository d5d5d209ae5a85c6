//! The table of settings: name, type, default and meaning of each.
//!
//! The check for unknown settings, the defaults and `docs/configuration.md` use this table.

use std::fmt;

use self::SettingKind::{Flag, List, Number, Text, Word};
use self::WhenAbsent::{OrElse, Required, Unset, Value};
use crate::model::MAX_INVOCATIONS;

/// One setting of the configuration file.
#[derive(Debug)]
pub struct Setting {
    /// The section and the name in it, joined by a dot.
    pub name: &'static str,
    /// The type of its value.
    pub kind: SettingKind,
    /// The behavior if it is not set.
    pub default: WhenAbsent,
    /// Its documentation.
    pub doc: &'static str,
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// A string of the described form.
    Text(&'static str),
    /// Any number of strings of the described form.
    List(&'static str),
    /// One of these strings.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// An integer in this range, both ends included.
    Number(u64, u64),
}

/// Describes the allowed values.
impl fmt::Display for SettingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(form) => f.write_str(form),
            Self::List(form) => write!(f, "a list of {form}"),
            Self::Word(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                f.write_str(&quoted.join(" or "))
            }
            Self::Flag => f.write_str("true or false"),
            Self::Number(least, most) => write!(f, "an integer from {least} to {most}"),
        }
    }
}

/// The behavior if a setting is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenAbsent {
    /// The configuration is refused.
    Required,
    /// Exactly one of this setting and that one must be set.
    OrElse(&'static str),
    /// No value; the text explains the effect.
    Unset(&'static str),
    /// This value, as text without quotes.
    Value(&'static str),
}

impl Setting {
    /// The setting with this dotted name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// The section and the name.
    pub fn parts(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').unwrap_or(("", self.name))
    }

    /// The environment variable that replaces its value: `HSMGATE_STORE__URL` for `store.url`. Variables that
    /// Kubernetes derives from the names of services have one underscore.
    pub fn variable(&self) -> String {
        format!("HSMGATE_{}", self.name.replace('.', "__").to_ascii_uppercase())
    }
}

/// The sections of the file in order, and their documentation.
pub static SECTIONS: &[(&str, &str)] = &[
    ("listen", "The listener of the API."),
    ("tls", "The certificate of the gateway. Without it the gateway speaks plain HTTP."),
    ("admin", "The listener for health and metrics, separate from the API."),
    ("service", "The region and account of the gateway. Both are part of every ARN."),
    ("token", "The PKCS#11 token that holds the keys."),
    ("store", "The database of keys, aliases and policies."),
    (
        "cluster",
        "Several gateways on one database of PostgreSQL (docs/cluster.md). All have the same configuration, \
         except their name, their addresses and their files.",
    ),
    ("limits", "Limits of rates, times and connections."),
    (
        "quotas",
        "Maximum numbers of objects that callers can create. Above it the response is \
         `Rejected.LimitExceeded`; operators on the command line are not limited.",
    ),
    (
        "approval",
        "Dangerous operations that need a second person: a call is refused until an operator \
         releases it with `hsmgate approval release` (docs/access-control.md).",
    ),
    (
        "operators",
        "The accounts of the host that may run commands on the running gateway, by duty. An account is a \
         user name or a uid. If no duty is set, the account of the gateway and root have all of them. \
         Lists can be shown with any duty (docs/access-control.md).",
    ),
    ("identity", "Identity providers, whose tokens are exchanged for sessions (docs/identity.md)."),
    ("crypto", "Options of the cryptographic operations."),
    ("keys", "Scheduled changes of keys."),
    ("audit", "The record of every operation (docs/reference/audit-record.md)."),
    ("log", "The log, written to standard error."),
];

const PATH: SettingKind = Text("an absolute path");
const TARGET: SettingKind =
    Text("an absolute path, or a URL with syslog+tcp, syslog+tls, http or https");
const MAX_MILLISECONDS: u64 = 600_000;
const MILLISECONDS: SettingKind = Number(1, MAX_MILLISECONDS);
/// The maximum of a rate, in calls per second.
pub const MAX_RATE: u64 = 1_000_000;
const RATE: SettingKind = Number(0, MAX_RATE);
const ACCOUNTS: SettingKind = List("user names and uids, such as [\"alice\", \"1001\"]");
const NO_DUTY: &str = "no account, if another duty is set";
const QUOTA: SettingKind = Number(1, 10_000_000);

/// Declares [`SETTINGS`]: the documentation of each setting, its name, type and default.
macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $name:literal: $kind:expr, $default:expr;)+) => {
        /// Every setting, in the order of the documentation.
        pub static SETTINGS: &[Setting] = &[$(Setting {
            name: $name,
            kind: $kind,
            default: $default,
            doc: concat!($($doc),+).trim_ascii_start(),
        }),+];
    };
}

settings! {
    /// The address and port to listen on. Port 0 selects a free port.
    "listen.address":
        Text("an IP address and a port, such as \"127.0.0.1:8200\""),
        Value("127.0.0.1:8200");

    /// Allows an address that is not loopback without `[tls]`. Plaintexts and ciphertexts then
    /// cross the network unencrypted, so set this only behind a proxy that speaks TLS.
    "listen.allow_insecure_http": Flag, Value("false");

    /// Milliseconds for which a stopping gateway still accepts connections and requests, while
    /// `/readyz` returns 503. Each response then closes its connection. Set it longer than a load
    /// balancer needs to notice; 0 stops immediately (docs/restart.md).
    "listen.drain_ms": Number(0, MAX_MILLISECONDS), Value("3000");

    /// Networks of proxies whose connections begin with a header of the PROXY protocol, version 2.
    /// The header names the source of the connection, for policies, network rules, limits and the
    /// audit. A connection of such a proxy without the header, or with a malformed one, is closed.
    "listen.proxy_protocol_from":
        List("IP addresses or CIDR ranges, such as [\"192.0.2.7\", \"10.0.0.0/8\"]"),
        Value("[]");

    /// Networks of HTTP proxies that add the address of their client to X-Forwarded-For. The source
    /// of a request is the last address in it that is not in these networks; the header of other
    /// clients is ignored. A malformed header is refused, and the connection is closed.
    /// `limits.connections_per_source` does not apply to these proxies.
    "listen.forwarded_for_from":
        List("IP addresses or CIDR ranges, such as [\"192.0.2.7\", \"10.0.0.0/8\"]"),
        Value("[]");

    /// A PEM file with the server certificate, then the intermediate certificates. The gateway then
    /// speaks TLS 1.3 and 1.2. Certificate and key are reloaded when they change and on SIGHUP; if
    /// the new files are unusable, the old ones stay in use.
    "tls.certificate": PATH, Unset("none: plain HTTP");

    /// A PEM file with the certificate's private key. Only its owner may read it.
    "tls.key": PATH, Unset("none: plain HTTP");

    /// The key exchanges that clients may choose. The gateway prefers X25519MLKEM768, which resists quantum
    /// computers. `hybrid` accepts it alone, over TLS 1.3: clients without it are refused
    /// (`hsmgate_tls_handshakes_total` counts what they choose).
    "tls.key_exchange": Word(&["any", "hybrid"]), Value("any");

    /// The address and port of `/livez`, `/readyz` and `/metrics`. Empty disables the listener.
    "admin.address":
        Text("an IP address and a port, or \"\" to disable the listener"),
        Value("127.0.0.1:8201");

    /// A PEM file with a CA. The admin listener then speaks TLS with the certificate of `[tls]`,
    /// and accepts only clients with a certificate of this CA.
    "admin.client_ca": PATH, Unset("none: plain HTTP");

    /// Allows an admin address that is not loopback without `admin.client_ca`. Every client that
    /// reaches it can then read the metrics.
    "admin.allow_insecure_http": Flag, Value("false");

    /// Shows the page of `hsmgate report` at `/report` of the admin listener: every key, who may use it, users,
    /// roles and client keys. Every client with a certificate of `admin.client_ca` can read it. Each creation is
    /// in the audit; a page is returned again for 30 s.
    "admin.report": Flag, Value("false");

    /// The region id. Do not change it once clients store ARNs.
    "service.region": Text("a region id, such as \"cn-hangzhou\""), Value("cn-hangzhou");

    /// The account id. Do not change it once clients store ARNs.
    "service.account": Text("an account id of 16 digits"), Required;

    /// A file with keys, users, access points and secrets (docs/seed.md), applied at each start before the
    /// gateway serves. If it cannot be applied, the gateway does not start. Only its owner may change it.
    "service.seed_file": PATH, Unset("none");

    /// The name of a token in logs, metrics and the audit, if there are several. Several tokens hold the same
    /// keys: those of an HSM vendor that replicates them, or clones. Each has a section `[[token]]` with its own
    /// name, module, label or serial number, and PIN; settings that have one value for all are in the first
    /// (docs/tokens.md).
    "token.name":
        Text("a name of letters, digits, dots, dashes and underscores"),
        Unset("none: there is one token");

    /// Of several tokens: a new key is used only after this token has it, and a key counts as destroyed only
    /// after this token has destroyed it. While it is away, keys cannot be created or destroyed.
    "token.required": Flag, Value("true");

    /// Of several tokens: milliseconds in which a new key must appear in every required token. It is in the
    /// first section.
    "token.replication_timeout_ms": MILLISECONDS, Value("10000");

    /// The PKCS#11 module, a shared library. Each of several tokens has another one: a process initializes a
    /// module once. A copy of the file is another module.
    "token.module": PATH, Required;

    /// The argument of C_Initialize (`pReserved`), for a module that requires one. NSS does, with the
    /// directory of its database; other modules may refuse any. It must not contain a secret.
    "token.init_arguments":
        Text("a text of 1 to 1024 bytes, such as \"configdir='sql:/var/lib/hsmgate/nss' flags=\""),
        Unset("none");

    /// The label of the token. A slot number is not supported, because slot numbers change.
    "token.label": Text("a token label of 1 to 32 bytes"), OrElse("token.serial");

    /// The serial number of the token.
    "token.serial": Text("a token serial number of 1 to 16 bytes"), OrElse("token.label");

    /// A file with the user PIN. Only its owner may read it. One line end, LF or CR LF, is removed.
    /// Control characters and leading or trailing blanks are refused before the token counts them
    /// as a failed attempt.
    "token.pin_file": PATH, OrElse("token.pin_credential");

    /// The name of a file with the user PIN in `$CREDENTIALS_DIRECTORY`, as systemd provides it
    /// with `LoadCredential=`.
    "token.pin_credential":
        Text("a file name of letters, digits, dots, dashes and underscores"),
        OrElse("token.pin_file");

    /// Generates keys with CKA_MODIFIABLE true. IBM's HSMs (CCA, EP11) need it: they encrypt their
    /// keys again when their master key changes, and a key that is not modifiable is lost then.
    /// A modifiable key stays sensitive and not extractable.
    "token.modifiable": Flag, Value("false");

    /// Threads that use the token, each with its own session. By default their number follows the
    /// time of calls, measured at the start and while calls are made, and their rate with other
    /// numbers, which are tried while calls wait: one for a software token, more for a token behind
    /// a network. If the token grants fewer sessions, fewer threads use it.
    "token.workers": Number(1, 256), Unset("measured, from 1 to 64");

    /// Maximum number of calls that wait for a worker. Further calls are refused with
    /// `Rejected.Throttling`.
    "token.queue_size": Number(1, 65_536), Value("1024");

    /// Milliseconds that a call may have to wait for a worker, estimated from the duration of
    /// recent calls. A call that would wait longer is refused immediately with
    /// `Rejected.Throttling`, so that an overloaded gateway completes the calls that it accepts.
    "token.max_queue_wait_ms": MILLISECONDS, Value("50");

    /// Milliseconds that a call to the token may take, including its wait.
    "token.timeout_ms": MILLISECONDS, Value("5000");

    /// Milliseconds that generating a key pair may take, including its wait.
    "token.key_pair_timeout_ms": MILLISECONDS, Value("30000");

    /// Milliseconds that the module may block every thread, or fail to recover. After that the
    /// gateway exits as soon as a new process can open the token, so that its supervisor restarts
    /// it.
    "token.hang_timeout_ms": MILLISECONDS, Value("10000");

    /// The database. A missing SQLite file is created. A database of PostgreSQL must exist:
    /// `postgres://ROLE@HOST/DATABASE`, with `?sslrootcert=/FILE` for the CA of a server on another host, or
    /// `?host=/DIRECTORY` for a Unix socket. Several hosts are separated by commas, and the one that accepts changes
    /// is used: `postgres://ROLE@HOST1:5432,HOST2:5432/DATABASE`.
    "store.url": Text("a database URL, such as \"sqlite:///var/lib/hsmgate/hsmgate.db\""), Required;

    /// The direct address of the same database, if that of `store.url` is a pooler that gives each transaction
    /// another connection to the server (PgBouncer with `pool_mode = transaction`): locks, notifications and the
    /// nonces of a cluster need a session. Same role, and same password. It may have several hosts too.
    "store.notify_url": Text("a database URL, such as \"postgres://hsmgate@db.example.com/hsmgate\""),
        Unset("none: `store.url` leads to the server, or to a pooler that keeps sessions");

    /// A file with the password of the role at PostgreSQL. Only its owner may read it. The URL must
    /// not contain it.
    "store.password_file": PATH, Unset("none: the server does not ask for one");

    /// The name of a file with this password in `$CREDENTIALS_DIRECTORY`, instead of
    /// `store.password_file`.
    "store.password_credential":
        Text("a file name of letters, digits, dots, dashes and underscores"),
        Unset("none");

    /// Seconds for which a gateway is ready while its PostgreSQL database does not respond: what needs no
    /// change is served from memory, and changes are refused with 503. After that `/readyz` returns 503.
    /// A gateway with `cluster.nonces = "cluster"` is not ready as soon as the database does not respond.
    "store.outage_seconds": Number(0, 86_400), Value("60");

    /// What happens to requests after `store.outage_seconds`: what needs no change is served further, or
    /// every request is refused with 503, because rights may have been taken away meanwhile.
    "store.after_outage": Word(&["serve", "refuse"]), Value("serve");

    /// A directory for the small files that must survive a restart, such as the journal of used
    /// signature nonces.
    "store.state_directory": PATH, Required;

    /// The name of this gateway in its cluster. Gateways with different names serve one database at the same
    /// time; two with the same name do not. Needs PostgreSQL. Do not change it: the audit of this
    /// gateway continues under its name.
    "cluster.name":
        Text("a name of letters, digits, dots, dashes and underscores"),
        Unset("none: the database has one gateway");

    /// Where a signature nonce is accepted once: in the whole cluster, or at each gateway. In the cluster
    /// it is written to the database while the token works, and requests are refused with 503 while the
    /// database does not respond.
    "cluster.nonces": Word(&["cluster", "gateway"]), Value("cluster");

    /// Calls per second for an account and a cryptographic operation. Calls above it are refused
    /// with `Rejected.Throttling`; 0 means no limit. Only authorized calls count: a caller without
    /// permission does not use up the limit of others. The gateways of a cluster divide the limit.
    /// `hsmgate dev` allows 750 by default, as the public service does.
    "limits.calls_per_second": RATE, Value("0");

    /// The same for a user, a role or an access point; refused calls count too. 0 means no limit.
    "limits.calls_per_second_per_principal": RATE, Value("0");

    /// Milliseconds that a request may take in total, but never less than the sum of
    /// `token.key_pair_timeout_ms` and `token.timeout_ms`.
    "limits.request_timeout_ms": MILLISECONDS, Value("15000");

    /// Milliseconds to receive the head of a request, including a TLS handshake before it; then the
    /// same for its body, and to send its response.
    "limits.header_timeout_ms": MILLISECONDS, Value("10000");

    /// Maximum number of open connections. A new connection replaces an unused one: the oldest that
    /// never authenticated, or else one that was idle for more than 90 s. If none can be replaced,
    /// the new connection is closed immediately. The gateway raises its limit of open files to the
    /// hard limit and reserves 192 for token, database, audit and the admin listener. If the rest
    /// is too small, the number of connections is reduced, which the log and `hsmgate doctor`
    /// report.
    "limits.connections": Number(1, 65_536), Value("1024");

    /// Maximum number of open connections from one source, which is an IPv4 address or an IPv6 /64
    /// network. Above it, a new connection must replace one of the same source.
    "limits.connections_per_source": Number(1, 65_536), Unset("half of `limits.connections`");

    /// Sources that many clients share, such as proxies and networks behind one address.
    /// `limits.connections_per_source` does not apply to them.
    "limits.shared_sources":
        List("IP addresses or CIDR ranges, such as [\"192.0.2.7\", \"10.0.0.0/8\"]"),
        Value("[]");

    /// Failed authentications per second from one source, over both protocols. Further requests of
    /// the source are refused with `Rejected.Throttling` without authentication; 0 means no limit.
    /// AccessKeys and client keys that authenticated from the source within the last hour are still
    /// accepted, each with a limit of the same rate for failures in its name. A source is an IPv4
    /// address or an IPv6 /64 network.
    "limits.authentication_failures_per_second": RATE, Value("10");

    /// Keys, in any state. Each has at least one object in the token. If the token has room for
    /// fewer, it refuses them itself.
    "quotas.keys": QUOTA, Value("20000");

    /// Versions of one key. Automatic rotations are not limited.
    "quotas.key_versions": QUOTA, Value("1000");

    /// Aliases.
    "quotas.aliases": QUOTA, Value("20000");

    /// Import tokens. Each has a key pair in the token for 24 hours. There is one for a key and an
    /// algorithm: a new one replaces it.
    "quotas.import_tokens": QUOTA, Value("500");

    /// Network rules.
    "quotas.network_rules": QUOTA, Value("1000");

    /// Policies of access points.
    "quotas.policies": QUOTA, Value("1000");

    /// Access points.
    "quotas.access_points": QUOTA, Value("1000");

    /// Client keys of all access points, including expired ones.
    "quotas.client_keys": QUOTA, Value("5000");

    /// Secrets, also those whose deletion is scheduled. Each has up to 10 versions of 30 KiB in the
    /// database.
    "quotas.secrets": QUOTA, Value("10000");

    /// The operations: `ScheduleKeyDeletion`; `SetKeyPolicy`, for keys with the tag
    /// `approval.key_tag`, and the removal of this tag; `AccessPoints`, for changes with which client
    /// keys can use keys by a pattern such as `key/*`.
    "approval.operations":
        List("ScheduleKeyDeletion, SetKeyPolicy and AccessPoints"),
        Value("[]");

    /// The tag of the keys whose policy can only be set with an approval.
    "approval.key_tag": Text("a tag key"), Value("approval");

    /// Seconds that a request waits for the decision, and a released one for the repeated call.
    "approval.seconds": Number(1, 604_800), Value("3600");

    /// The Unix socket for commands of operators. Accounts other than that of the gateway and root can
    /// use it only if they may enter its directory and are in the group of the directory. Empty opens no
    /// socket: commands that give rights are then refused.
    "operators.socket":
        Text("an absolute path of at most 107 bytes, or \"\" for no socket"),
        Unset("`operator.sock` in `store.state_directory`");

    /// Take rights away: disable and delete AccessKeys, delete users, roles and client keys, detach
    /// policies.
    "operators.revoke": ACCOUNTS, Unset(NO_DUTY);

    /// Give rights: users, roles, policies, AccessKeys, temporary credentials.
    "operators.principals": ACCOUNTS, Unset(NO_DUTY);

    /// Create, change and delete aliases, apply the keys and secrets of seed files, and encrypt data keys of
    /// secrets again.
    "operators.keys": ACCOUNTS, Unset(NO_DUTY);

    /// Release and refuse requests for approvals.
    "operators.approvals": ACCOUNTS, Unset(NO_DUTY);

    /// Back the database up, restore, recover and sign it, and replace keys of the gateway.
    "operators.restore": ACCOUNTS, Unset(NO_DUTY);

    /// Export the audit, and create reports.
    "operators.audit": ACCOUNTS, Unset(NO_DUTY);

    /// A TOML file with identity providers, each a section `[[provider]]`
    /// (docs/identity.md#providers-in-the-configuration). Only its owner may change it.
    "identity.providers_file": PATH, Unset("only those of `hsmgate identity-provider create`");

    /// Lets Encrypt accept a Plaintext that is not Base64: any UTF-8 text of at most 6,144 bytes is
    /// encrypted unchanged, and Decrypt returns it. Terraform's provider, Nacos and bank-vaults
    /// send such text.
    "crypto.accept_non_base64_plaintext": Flag, Value("false");

    /// Lets a caller of the KMS instance protocol choose the IV of an encryption. An IV that is
    /// used twice with a key breaks AES-GCM for that key: anyone who sees both ciphertexts can
    /// forge others. Set it only for programs that need it and never repeat an IV.
    "crypto.accept_caller_iv": Flag, Value("false");

    /// Decrypts the encrypted form of a new data key before the key is returned, so that no data
    /// key is ever used that cannot be recovered. It costs one decryption per data key
    /// (docs/performance.md).
    "crypto.verify_data_keys": Flag, Value("true");

    /// Decrypts the ciphertext of an encryption on the token before it is returned: for none, for
    /// all, or for one of every N, counted by each gateway. A ciphertext that fails is discarded
    /// and the encryption is repeated. It costs one decryption each (docs/performance.md).
    /// Encryptions with RSA keys, which do not use the token, are excluded. Data keys have the
    /// setting above.
    "crypto.verify_encryptions":
        Text("\"off\", \"all\", or a rate such as \"1/100\""),
        Value("off");

    /// Number of encryptions of a key version that are counted in advance in the database. After a
    /// crash the count may be too high by this number, but never too low.
    "crypto.iv_lease": Number(4, 1 << 30), Value("1048576");

    /// Number of encryptions of a key version from which the log and a metric warn.
    "crypto.iv_warn_at": Number(2, MAX_INVOCATIONS), Value("1073741824");

    /// Number of encryptions of a key's primary version from which the key is rotated within
    /// seconds, if it is enabled and its material is generated on the token.
    "crypto.iv_rotate_at": Number(2, MAX_INVOCATIONS), Value("2147483648");

    /// Number of encryptions after which a key version refuses to encrypt, with
    /// `Rejected.LimitExceeded`. It still decrypts. A random IV of 96 bits allows 2^32 encryptions
    /// (NIST SP 800-38D); 2^20 of them are reserved for the gateway's tests of a key.
    "crypto.iv_refuse_at": Number(4, MAX_INVOCATIONS), Value("4293918720");

    /// Hours of running time, added up over restarts, that due destructions wait after a jump of
    /// the clock: more than an hour while the gateway runs, or more than 7 days between the last
    /// time in the store and a start. Meanwhile they can be canceled. 0 means no wait.
    "keys.destruction_hold_hours": Number(0, 8760), Value("24");

    /// After a rotation of a key, encrypts the data keys of its secrets again by the new version, at most
    /// 50 secrets in 10 seconds. Otherwise `hsmgate secret rewrap` does it. The values stay as they are.
    "keys.rewrap_secrets": Flag, Value("false");

    /// The record file. After it is renamed, SIGHUP begins a new one.
    "audit.file": PATH, Unset("`audit.jsonl` in `store.state_directory`");

    /// Size in MiB of the journal `.<name>.journal` next to the file, through which records reach
    /// the disk sooner; 0 disables it.
    "audit.journal_mib": Number(0, 1024), Value("16");

    /// Refuses an operation with a retryable 503 if its record is not on disk in time. With `false`
    /// the operation succeeds, and the log reports the missing record.
    "audit.required": Flag, Value("true");

    /// Milliseconds that an operation waits for its record to be on disk.
    "audit.timeout_ms": MILLISECONDS, Value("1000");

    /// Number of records after which the token signs a checkpoint.
    "audit.checkpoint_records": Number(1, 10_000_000), Value("10000");

    /// Maximum age in seconds of records that no signed checkpoint covers.
    "audit.checkpoint_seconds": Number(1, 86_400), Value("60");

    /// Where records are also sent, with some delay: a file; a datagram socket such as `/dev/log`
    /// that accepts syslog messages; a syslog server, as `syslog+tcp://HOST:PORT` or
    /// `syslog+tls://HOST:PORT` (RFC 5424); or an HTTP server that accepts lines of JSON by POST. It
    /// never delays a request, and continues after the last received record when the target was
    /// unavailable.
    "audit.forward_to": TARGET, Unset("none");

    /// Where checkpoints are also sent when they are made, as `audit.forward_to`. `audit verify
    /// --heads` compares the audit with what was received there.
    "audit.checkpoints_to": TARGET, Unset("none");

    /// A PEM file with the CAs that are trusted by `syslog+tls` and `https` targets.
    "audit.forward_ca": PATH, Unset("those of the system");

    /// A file, mode 600, with the value of the header `Authorization` for `http` and `https` targets.
    "audit.forward_authorization_file": PATH, Unset("none");

    /// The line format: `text` for people, `json` for one JSON object per line.
    "log.format": Word(&["text", "json"]), Value("text");

    /// What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`), or several directives
    /// with targets. `HSMGATE_LOG` takes precedence.
    "log.filter":
        Text("a log filter, such as \"info\" or \"info,hsmgate::token=debug\""),
        Value("info");
}

/// The environment variables that `hsmgate serve` reads in addition to those of settings.
pub static ENVIRONMENT: &[(&str, &str)] = &[
    ("HSMGATE_CONFIG", "The configuration file, if `--config` does not name one."),
    ("HSMGATE_LOG", "Overrides `log.filter`."),
    (
        "CREDENTIALS_DIRECTORY",
        "The directory of `token.pin_credential`. systemd sets it for a unit with credentials.",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_setting_is_listed_once_in_a_known_section() {
        let mut seen = HashSet::new();
        for setting in SETTINGS {
            assert!(seen.insert(setting.name), "{}", setting.name);
            let section = setting.parts().0;
            assert!(SECTIONS.iter().any(|(name, _)| *name == section), "{}", setting.name);
        }
    }

    #[test]
    fn alternatives_name_each_other() {
        for setting in SETTINGS {
            if let OrElse(other) = setting.default {
                let other = Setting::named(other).unwrap();
                assert_eq!(other.default, OrElse(setting.name));
            }
        }
    }
}
