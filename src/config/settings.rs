//! The table of settings: name, type, default and meaning of each.
//!
//! The check for unknown settings, the defaults and `docs/configuration.md` use this table.

use std::fmt;

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
}

/// The sections of the file in order, and their documentation.
pub static SECTIONS: &[(&str, &str)] = &[
    ("listen", "The listener of the API."),
    ("tls", "The certificate of the gateway. Without it the gateway speaks plain HTTP."),
    ("admin", "The listener for health and metrics, separate from the API."),
    ("service", "The region and account of the gateway. Both are part of every ARN."),
    ("token", "The PKCS#11 token that holds the keys."),
    ("store", "The database of keys, aliases and policies."),
    ("limits", "Limits of rates, times and connections."),
    ("crypto", "Options of the cryptographic operations."),
    ("keys", "Scheduled changes of keys."),
    ("audit", "The record of every operation (docs/reference/audit-record.md)."),
    ("log", "The log, written to standard error."),
];

const MAX_MILLISECONDS: u64 = 600_000;

/// Every setting, in the order of the documentation.
pub static SETTINGS: &[Setting] = &[
    Setting {
        name: "listen.address",
        kind: SettingKind::Text("an IP address and a port, such as \"127.0.0.1:8200\""),
        default: WhenAbsent::Value("127.0.0.1:8200"),
        doc: "The address and port to listen on. Port 0 selects a free port.",
    },
    Setting {
        name: "listen.allow_insecure_http",
        kind: SettingKind::Flag,
        default: WhenAbsent::Value("false"),
        doc: "Allows an address that is not loopback without `[tls]`. Plaintexts and ciphertexts \
              then cross the network unencrypted, so set this only behind a proxy that speaks TLS.",
    },
    Setting {
        name: "listen.drain_ms",
        kind: SettingKind::Number(0, MAX_MILLISECONDS),
        default: WhenAbsent::Value("3000"),
        doc: "Milliseconds for which a stopping gateway still accepts connections and requests, \
              while `/readyz` returns 503. Each response then closes its connection. Set it longer \
              than a load balancer needs to notice; 0 stops immediately (docs/restart.md).",
    },
    Setting {
        name: "tls.certificate",
        kind: SettingKind::Text("an absolute path"),
        default: WhenAbsent::Unset("none: plain HTTP"),
        doc: "A PEM file with the server certificate, then the intermediate certificates. The \
              gateway then speaks TLS 1.3 and 1.2. Certificate and key are reloaded when they \
              change and on SIGHUP; if the new files are unusable, the old ones stay in use.",
    },
    Setting {
        name: "tls.key",
        kind: SettingKind::Text("an absolute path"),
        default: WhenAbsent::Unset("none: plain HTTP"),
        doc: "A PEM file with the certificate's private key. Only its owner may read it.",
    },
    Setting {
        name: "admin.address",
        kind: SettingKind::Text("an IP address and a port, or \"\" to disable the listener"),
        default: WhenAbsent::Value("127.0.0.1:8201"),
        doc: "The address and port of `/livez`, `/readyz` and `/metrics`. Empty disables the \
              listener.",
    },
    Setting {
        name: "admin.client_ca",
        kind: SettingKind::Text("an absolute path"),
        default: WhenAbsent::Unset("none: plain HTTP"),
        doc: "A PEM file with a CA. The admin listener then speaks TLS with the certificate of \
              `[tls]`, and accepts only clients with a certificate of this CA.",
    },
    Setting {
        name: "admin.allow_insecure_http",
        kind: SettingKind::Flag,
        default: WhenAbsent::Value("false"),
        doc: "Allows an admin address that is not loopback without `admin.client_ca`. Every client \
              that reaches it can then read the metrics.",
    },
    Setting {
        name: "service.region",
        kind: SettingKind::Text("a region id, such as \"cn-hangzhou\""),
        default: WhenAbsent::Value("cn-hangzhou"),
        doc: "The region id. Do not change it once clients store ARNs.",
    },
    Setting {
        name: "service.account",
        kind: SettingKind::Text("an account id of 16 digits"),
        default: WhenAbsent::Required,
        doc: "The account id. Do not change it once clients store ARNs.",
    },
    Setting {
        name: "token.module",
        kind: SettingKind::Text("an absolute path"),
        default: WhenAbsent::Required,
        doc: "The PKCS#11 module, a shared library.",
    },
    Setting {
        name: "token.label",
        kind: SettingKind::Text("a token label of 1 to 32 bytes"),
        default: WhenAbsent::OrElse("token.serial"),
        doc: "The label of the token. A slot number is not supported, because slot numbers change.",
    },
    Setting {
        name: "token.serial",
        kind: SettingKind::Text("a token serial number of 1 to 16 bytes"),
        default: WhenAbsent::OrElse("token.label"),
        doc: "The serial number of the token.",
    },
    Setting {
        name: "token.pin_file",
        kind: SettingKind::Text("an absolute path"),
        default: WhenAbsent::OrElse("token.pin_credential"),
        doc: "A file with the user PIN. Only its owner may read it. One line end, LF or CR LF, is \
              removed. Control characters and leading or trailing blanks are refused before the \
              token counts them as a failed attempt.",
    },
    Setting {
        name: "token.pin_credential",
        kind: SettingKind::Text("a file name of letters, digits, dots, dashes and underscores"),
        default: WhenAbsent::OrElse("token.pin_file"),
        doc: "The name of a file with the user PIN in `$CREDENTIALS_DIRECTORY`, as systemd \
              provides it with `LoadCredential=`.",
    },
    Setting {
        name: "token.workers",
        kind: SettingKind::Number(1, 256),
        default: WhenAbsent::Unset("chosen by token type and number of processors"),
        doc: "Threads that use the token, each with its own session.",
    },
    Setting {
        name: "token.queue_size",
        kind: SettingKind::Number(1, 65_536),
        default: WhenAbsent::Value("1024"),
        doc: "Maximum number of calls that wait for a worker. Further calls are refused with \
              `Rejected.Throttling`.",
    },
    Setting {
        name: "token.max_queue_wait_ms",
        kind: SettingKind::Number(1, MAX_MILLISECONDS),
        default: WhenAbsent::Value("50"),
        doc: "Milliseconds that a call may have to wait for a worker, estimated from the duration \
              of recent calls. A call that would wait longer is refused immediately with \
              `Rejected.Throttling`, so that an overloaded gateway completes the calls that it \
              accepts.",
    },
    Setting {
        name: "token.timeout_ms",
        kind: SettingKind::Number(1, MAX_MILLISECONDS),
        default: WhenAbsent::Value("5000"),
        doc: "Milliseconds that a call to the token may take, including its wait.",
    },
    Setting {
        name: "token.key_pair_timeout_ms",
        kind: SettingKind::Number(1, MAX_MILLISECONDS),
        default: WhenAbsent::Value("30000"),
        doc: "Milliseconds that generating a key pair may take, including its wait.",
    },
    Setting {
        name: "token.hang_timeout_ms",
        kind: SettingKind::Number(1, MAX_MILLISECONDS),
        default: WhenAbsent::Value("10000"),
        doc: "Milliseconds that the module may block every thread, or fail to recover. After that \
              the gateway exits as soon as a new process can open the token, so that its \
              supervisor restarts it.",
    },
    Setting {
        name: "store.url",
        kind: SettingKind::Text("a database URL, such as \"sqlite:///var/lib/hsmgate/hsmgate.db\""),
        default: WhenAbsent::Required,
        doc: "The database. A missing SQLite file is created.",
    },
    Setting {
        name: "store.state_directory",
        kind: SettingKind::Text("an absolute path"),
        default: WhenAbsent::Required,
        doc: "A directory for the small files that must survive a restart, such as the journal \
              of used signature nonces.",
    },
    Setting {
        name: "limits.calls_per_second",
        kind: SettingKind::Number(0, 1_000_000),
        default: WhenAbsent::Value("0"),
        doc: "Calls per second for an account and a cryptographic operation. Calls above it are \
              refused with `Rejected.Throttling`; 0 means no limit. Only authorized calls count: a \
              caller without permission does not use up the limit of others. `hsmgate dev` allows \
              750 by default, as the public service does.",
    },
    Setting {
        name: "limits.calls_per_second_per_principal",
        kind: SettingKind::Number(0, 1_000_000),
        default: WhenAbsent::Value("0"),
        doc: "The same for a user, a role or an access point; refused calls count too. 0 means no \
              limit.",
    },
    Setting {
        name: "limits.request_timeout_ms",
        kind: SettingKind::Number(1, MAX_MILLISECONDS),
        default: WhenAbsent::Value("15000"),
        doc: "Milliseconds that a request may take in total, but never less than the sum of \
              `token.key_pair_timeout_ms` and `token.timeout_ms`.",
    },
    Setting {
        name: "limits.header_timeout_ms",
        kind: SettingKind::Number(1, MAX_MILLISECONDS),
        default: WhenAbsent::Value("10000"),
        doc: "Milliseconds to receive the head of a request, including a TLS handshake before it; \
              then the same for its body, and to send its response.",
    },
    Setting {
        name: "limits.connections",
        kind: SettingKind::Number(1, 65_536),
        default: WhenAbsent::Value("1024"),
        doc: "Maximum number of open connections. A new connection replaces an unused one: the \
              oldest that never authenticated, or else one that was idle for more than 90 s. If \
              none can be replaced, the new connection is closed immediately. The gateway raises \
              its limit of open files to the hard limit and reserves 192 for token, database, \
              audit and the admin listener. If the rest is too small, the number of connections is \
              reduced, which the log and `hsmgate doctor` report.",
    },
    Setting {
        name: "limits.connections_per_source",
        kind: SettingKind::Number(1, 65_536),
        default: WhenAbsent::Unset("half of `limits.connections`"),
        doc: "Maximum number of open connections from one source, which is an IPv4 address or an \
              IPv6 /64 network. Above it, a new connection must replace one of the same source.",
    },
    Setting {
        name: "limits.shared_sources",
        kind: SettingKind::List(
            "IP addresses or CIDR ranges, such as [\"192.0.2.7\", \"10.0.0.0/8\"]",
        ),
        default: WhenAbsent::Value("[]"),
        doc: "Sources that many clients share, such as proxies and networks behind one address. \
              `limits.connections_per_source` does not apply to them.",
    },
    Setting {
        name: "limits.authentication_failures_per_second",
        kind: SettingKind::Number(0, 1_000_000),
        default: WhenAbsent::Value("10"),
        doc: "Failed authentications per second from one source, over both protocols. Further \
              requests of the source are refused with `Rejected.Throttling` without \
              authentication; 0 means no limit. AccessKeys and client keys that authenticated from \
              the source within the last hour are still accepted, each with a limit of the same \
              rate for failures in its name. A source is an IPv4 address or an IPv6 /64 network.",
    },
    Setting {
        name: "crypto.accept_non_base64_plaintext",
        kind: SettingKind::Flag,
        default: WhenAbsent::Value("false"),
        doc: "Lets Encrypt accept a Plaintext that is not Base64: any UTF-8 text of at most 6,144 \
              bytes is encrypted unchanged, and Decrypt returns it. Terraform's provider, Nacos \
              and bank-vaults send such text.",
    },
    Setting {
        name: "crypto.accept_caller_iv",
        kind: SettingKind::Flag,
        default: WhenAbsent::Value("false"),
        doc: "Lets a caller of the KMS instance protocol choose the IV of an encryption. An IV \
              that is used twice with a key breaks AES-GCM for that key: anyone who sees both \
              ciphertexts can forge others. Set it only for programs that need it and never repeat \
              an IV.",
    },
    Setting {
        name: "crypto.verify_data_keys",
        kind: SettingKind::Flag,
        default: WhenAbsent::Value("true"),
        doc: "Decrypts the encrypted form of a new data key before the key is returned, so that no \
              data key is ever used that cannot be recovered. It costs one decryption per data key \
              (docs/performance.md).",
    },
    Setting {
        name: "crypto.verify_encryptions",
        kind: SettingKind::Text("\"off\", \"all\", or a rate such as \"1/100\""),
        default: WhenAbsent::Value("off"),
        doc: "Decrypts the ciphertext of an encryption on the token before it is returned: for \
              none, for all, or for one of every N, counted by each gateway. A ciphertext that \
              fails is discarded and the encryption is repeated. It costs one decryption each \
              (docs/performance.md). Encryptions with RSA keys, which do not use the token, are \
              excluded. Data keys have the setting above.",
    },
    Setting {
        name: "crypto.iv_lease",
        kind: SettingKind::Number(4, 1 << 30),
        default: WhenAbsent::Value("1048576"),
        doc: "Number of encryptions of a key version that are counted in advance in the database. \
              After a crash the count may be too high by this number, but never too low.",
    },
    Setting {
        name: "crypto.iv_warn_at",
        kind: SettingKind::Number(2, MAX_INVOCATIONS),
        default: WhenAbsent::Value("1073741824"),
        doc: "Number of encryptions of a key version from which the log and a metric warn.",
    },
    Setting {
        name: "crypto.iv_rotate_at",
        kind: SettingKind::Number(2, MAX_INVOCATIONS),
        default: WhenAbsent::Value("2147483648"),
        doc: "Number of encryptions of a key's primary version from which the key is rotated \
              within seconds, if it is enabled and its material is generated on the token.",
    },
    Setting {
        name: "crypto.iv_refuse_at",
        kind: SettingKind::Number(4, MAX_INVOCATIONS),
        default: WhenAbsent::Value("4293918720"),
        doc: "Number of encryptions after which a key version refuses to encrypt, with \
              `Rejected.LimitExceeded`. It still decrypts. A random IV of 96 bits allows 2^32 \
              encryptions (NIST SP 800-38D); 2^20 of them are reserved for the gateway's tests of \
              a key.",
    },
    Setting {
        name: "keys.destruction_hold_hours",
        kind: SettingKind::Number(0, 8760),
        default: WhenAbsent::Value("24"),
        doc: "Hours of running time, added up over restarts, that due destructions wait after a \
              jump of the clock: more than an hour while the gateway runs, or more than 7 days \
              between the last time in the store and a start. Meanwhile they can be canceled. 0 \
              means no wait.",
    },
    Setting {
        name: "audit.file",
        kind: SettingKind::Text("an absolute path"),
        default: WhenAbsent::Unset("`audit.jsonl` in `store.state_directory`"),
        doc: "The record file. After it is renamed, SIGHUP begins a new one.",
    },
    Setting {
        name: "audit.journal_mib",
        kind: SettingKind::Number(0, 1024),
        default: WhenAbsent::Value("16"),
        doc: "Size in MiB of the journal `.<name>.journal` beside the file, through which records \
              reach the disk sooner; 0 disables it.",
    },
    Setting {
        name: "audit.required",
        kind: SettingKind::Flag,
        default: WhenAbsent::Value("true"),
        doc: "Refuses an operation with a retryable 503 if its record is not on disk in time. With \
              `false` the operation succeeds, and the log reports the missing record.",
    },
    Setting {
        name: "audit.timeout_ms",
        kind: SettingKind::Number(1, MAX_MILLISECONDS),
        default: WhenAbsent::Value("1000"),
        doc: "Milliseconds that an operation waits for its record to be on disk.",
    },
    Setting {
        name: "audit.checkpoint_records",
        kind: SettingKind::Number(1, 10_000_000),
        default: WhenAbsent::Value("10000"),
        doc: "Number of records after which the token signs a checkpoint.",
    },
    Setting {
        name: "audit.checkpoint_seconds",
        kind: SettingKind::Number(1, 86_400),
        default: WhenAbsent::Value("60"),
        doc: "Maximum age in seconds of records that no signed checkpoint covers.",
    },
    Setting {
        name: "audit.forward_to",
        kind: SettingKind::Text("an absolute path"),
        default: WhenAbsent::Unset("none"),
        doc: "Where records are forwarded to, with some delay: a file, or a datagram socket such \
              as `/dev/log` that accepts syslog messages.",
    },
    Setting {
        name: "log.format",
        kind: SettingKind::Word(&["text", "json"]),
        default: WhenAbsent::Value("text"),
        doc: "The line format: `text` for people, `json` for one JSON object per line.",
    },
    Setting {
        name: "log.filter",
        kind: SettingKind::Text("a log filter, such as \"info\" or \"info,hsmgate::token=debug\""),
        default: WhenAbsent::Value("info"),
        doc: "What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`), or several \
              directives with targets. `HSMGATE_LOG` takes precedence.",
    },
];

/// The environment variables that `hsmgate serve` reads, and their meaning.
pub static ENVIRONMENT: &[(&str, &str)] = &[
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
            if let WhenAbsent::OrElse(other) = setting.default {
                let other = Setting::named(other).unwrap();
                assert_eq!(other.default, WhenAbsent::OrElse(setting.name));
            }
        }
    }
}
