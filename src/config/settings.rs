//! Every setting, once: name, form, default and meaning.
//!
//! The check for unknown settings, the defaults and `docs/configuration.md` come from this table.

use std::fmt;

use crate::model::MAX_INVOCATIONS;

/// One setting of the configuration file.
#[derive(Debug)]
pub struct Setting {
    /// The section and the name in it, joined by a dot.
    pub name: &'static str,
    /// The form of its value.
    pub kind: SettingKind,
    /// What holds when it is not there.
    pub default: WhenAbsent,
    /// What it means, in sentences.
    pub doc: &'static str,
}

/// The form of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// A string of the named form.
    Text(&'static str),
    /// Any number of strings of the named form.
    List(&'static str),
    /// One of these strings.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number within these bounds, both included.
    Number(u64, u64),
}

/// What a value must be, in words.
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
            Self::Number(least, most) => write!(f, "a whole number from {least} to {most}"),
        }
    }
}

/// What holds when a setting is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenAbsent {
    /// The configuration is refused.
    Required,
    /// Exactly one of this setting and that one must be there.
    OrElse(&'static str),
    /// Nothing is set, which the text explains.
    Unset(&'static str),
    /// This value, written as its text without quotes.
    Value(&'static str),
}

impl Setting {
    /// The setting with this dotted name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// Section and name.
    pub fn parts(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').unwrap_or(("", self.name))
    }
}

/// The sections of the file in their order, and what each is about.
pub static SECTIONS: &[(&str, &str)] = &[
    ("listen", "Where the gateway listens."),
    ("tls", "The certificate of the gateway. Without it the gateway speaks plain HTTP."),
    ("admin", "The listener for health and metrics, apart from the API."),
    ("service", "What the gateway is to its callers. Both values are part of every ARN."),
    ("token", "The PKCS#11 token that holds the keys."),
    ("store", "Where the catalogue of keys and aliases lives."),
    ("limits", "What bounds the work."),
    ("crypto", "Switches of the cryptographic operations."),
    ("keys", "What becomes of keys without a request."),
    ("audit", "The record of every operation (docs/reference/audit-record.md)."),
    ("log", "How the log is written. It goes to standard error."),
];

const MAX_MILLISECONDS: u64 = 600_000;

/// Every setting, in the order of the documentation.
pub static SETTINGS: &[Setting] = &[
    Setting {
        name: "listen.address",
        kind: SettingKind::Text("an IP address and a port, such as \"127.0.0.1:8200\""),
        default: WhenAbsent::Value("127.0.0.1:8200"),
        doc: "The address and port to listen on. Port 0 takes a free port.",
    },
    Setting {
        name: "listen.allow_insecure_http",
        kind: SettingKind::Flag,
        default: WhenAbsent::Value("false"),
        doc: "Allows an address beyond loopback without `[tls]`. Plaintexts and ciphertexts then \
              cross the network as they are, so set this only behind a proxy that speaks TLS.",
    },
    Setting {
        name: "listen.drain_ms",
        kind: SettingKind::Number(0, MAX_MILLISECONDS),
        default: WhenAbsent::Value("3000"),
        doc: "Milliseconds for which a gateway that is asked to stop still takes connections and \
              requests, while `/readyz` says 503. Each answer then closes its connection. More than \
              a load balancer needs to notice; 0 stops at once (docs/restart.md).",
    },
    Setting {
        name: "tls.certificate",
        kind: SettingKind::Text("an absolute path"),
        default: WhenAbsent::Unset("none: plain HTTP"),
        doc: "A PEM file with the server's certificate, then those that lead to its CA. The \
              gateway then speaks TLS 1.3 and 1.2. Certificate and key are read anew when they \
              change and on SIGHUP; what cannot be used leaves the old ones in region_account.",
    },
    Setting {
        name: "tls.key",
        kind: SettingKind::Text("an absolute path"),
        default: WhenAbsent::Unset("none: plain HTTP"),
        doc: "A PEM file with the certificate's private key, which only its owner may read.",
    },
    Setting {
        name: "admin.address",
        kind: SettingKind::Text("an IP address and a port, or \"\" for no such listener"),
        default: WhenAbsent::Value("127.0.0.1:8201"),
        doc: "The address and port of `/livez`, `/readyz` and `/metrics`. Empty is off.",
    },
    Setting {
        name: "admin.client_ca",
        kind: SettingKind::Text("an absolute path"),
        default: WhenAbsent::Unset("none: plain HTTP"),
        doc: "A PEM file with a CA. The admin listener then speaks TLS with the certificate of \
              `[tls]`, and lets in only who has a client certificate of this CA.",
    },
    Setting {
        name: "admin.allow_insecure_http",
        kind: SettingKind::Flag,
        default: WhenAbsent::Value("false"),
        doc: "Allows an admin address beyond loopback without `admin.client_ca`. Everybody who \
              reaches it can then read the metrics.",
    },
    Setting {
        name: "service.region",
        kind: SettingKind::Text("a region id, such as \"cn-hangzhou\""),
        default: WhenAbsent::Value("cn-hangzhou"),
        doc: "The region id. Never change it once clients keep ARNs.",
    },
    Setting {
        name: "service.account",
        kind: SettingKind::Text("an account id of 16 digits"),
        default: WhenAbsent::Required,
        doc: "The account id. Never change it once clients keep ARNs.",
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
        doc: "The label of the token. A slot number cannot be given, because slots move.",
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
        doc: "A file with the user PIN, which only its owner may read. One line end, LF or CR LF, \
              is no part of the PIN. Control characters, and blanks at an end, are refused before \
              the token counts them as a wrong try.",
    },
    Setting {
        name: "token.pin_credential",
        kind: SettingKind::Text("a file name of letters, digits, dots, dashes and underscores"),
        default: WhenAbsent::OrElse("token.pin_file"),
        doc: "The name of a file with the user PIN in `$CREDENTIALS_DIRECTORY`, as systemd hands \
              it over with `LoadCredential=`.",
    },
    Setting {
        name: "token.workers",
        kind: SettingKind::Number(1, 256),
        default: WhenAbsent::Unset("chosen by the token's kind and the processors"),
        doc: "Threads that work on the token, each with a session of its own.",
    },
    Setting {
        name: "token.queue_size",
        kind: SettingKind::Number(1, 65_536),
        default: WhenAbsent::Value("1024"),
        doc: "Calls that may wait for a worker. One more is refused with `Rejected.Throttling`.",
    },
    Setting {
        name: "token.max_queue_wait_ms",
        kind: SettingKind::Number(1, MAX_MILLISECONDS),
        default: WhenAbsent::Value("50"),
        doc: "Milliseconds that a call may have to wait for a worker, reckoned from how long calls \
              took lately. A call that would wait longer is refused with `Rejected.Throttling` at \
              once, so that an overloaded gateway serves what it takes in.",
    },
    Setting {
        name: "token.timeout_ms",
        kind: SettingKind::Number(1, MAX_MILLISECONDS),
        default: WhenAbsent::Value("5000"),
        doc: "Milliseconds that a call to the token may take, its wait included.",
    },
    Setting {
        name: "token.key_pair_timeout_ms",
        kind: SettingKind::Number(1, MAX_MILLISECONDS),
        default: WhenAbsent::Value("30000"),
        doc: "Milliseconds that the making of a key pair may take, its wait included.",
    },
    Setting {
        name: "token.hang_timeout_ms",
        kind: SettingKind::Number(1, MAX_MILLISECONDS),
        default: WhenAbsent::Value("10000"),
        doc: "Milliseconds that the module may hold every thread, or refuse to be brought back. After \
              that the gateway ends as soon as the token opens in a new process, so that its \
              supervisor starts it anew.",
    },
    Setting {
        name: "store.url",
        kind: SettingKind::Text("a database URL, such as \"sqlite:///var/lib/hsmgate/hsmgate.db\""),
        default: WhenAbsent::Required,
        doc: "The database. A SQLite file is made when it is not there.",
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
        doc: "Calls a second for an account and a cryptographic operation, beyond which \
              `Rejected.Throttling` is answered; 0 is no limit. Only calls that are allowed count: \
              a caller without the right takes nothing from those who have it. `hsmgate dev` allows \
              750 unless told otherwise, as the public service does.",
    },
    Setting {
        name: "limits.calls_per_second_per_principal",
        kind: SettingKind::Number(0, 1_000_000),
        default: WhenAbsent::Value("0"),
        doc: "The same for a user, a role or an access point; here refused calls count too. 0 is no \
              limit.",
    },
    Setting {
        name: "limits.request_timeout_ms",
        kind: SettingKind::Number(1, MAX_MILLISECONDS),
        default: WhenAbsent::Value("15000"),
        doc: "Milliseconds that a request may take as a whole, but never less than \
              `token.key_pair_timeout_ms` and `token.timeout_ms` together.",
    },
    Setting {
        name: "limits.header_timeout_ms",
        kind: SettingKind::Number(1, MAX_MILLISECONDS),
        default: WhenAbsent::Value("10000"),
        doc: "Milliseconds that the head of a request may take to arrive, the TLS handshake \
              before it included; then as many for its body, and for its answer to be taken.",
    },
    Setting {
        name: "limits.connections",
        kind: SettingKind::Number(1, 65_536),
        default: WhenAbsent::Value("1024"),
        doc: "Connections at a time. A new one takes the place of one that nobody uses: of one that \
              has proved nothing, the oldest first, then of one that has rested for more than 90 s. \
              If there is none, it is closed at once. The gateway raises its limit of open files to \
              the hard one; connections that do not fit beside the 192 that it keeps for token, \
              database, audit and the admin listener are cut, which the log and `hsmgate doctor` \
              tell.",
    },
    Setting {
        name: "limits.connections_per_source",
        kind: SettingKind::Number(1, 65_536),
        default: WhenAbsent::Unset("half of `limits.connections`"),
        doc: "Connections at a time from one source, which is an IPv4 address or a /64 network of \
              IPv6, beyond which it has to spare its own.",
    },
    Setting {
        name: "limits.shared_sources",
        kind: SettingKind::List(
            "IP addresses or CIDR ranges, such as [\"192.0.2.7\", \"10.0.0.0/8\"]",
        ),
        default: WhenAbsent::Value("[]"),
        doc: "Sources that many clients share, as proxies and networks behind one address are: for \
              them `limits.connections_per_source` does not hold.",
    },
    Setting {
        name: "limits.authentication_failures_per_second",
        kind: SettingKind::Number(0, 1_000_000),
        default: WhenAbsent::Value("10"),
        doc: "Requests a second from one source, over either protocol, that do not prove who sent \
              them, beyond which that source is answered `Rejected.Throttling` unheard; 0 is no \
              limit. AccessKeys and client keys that were proven from there within the last hour are \
              still heard, and have each a limit of the same rate for failures in their name. A \
              source is an IPv4 address or a /64 network of IPv6.",
    },
    Setting {
        name: "crypto.accept_non_base64_plaintext",
        kind: SettingKind::Flag,
        default: WhenAbsent::Value("false"),
        doc: "Lets Encrypt take a Plaintext that is not Base64: any UTF-8 text of at most 6,144 bytes is \
              encrypted as it stands, and Decrypt gives it back. Terraform's provider, Nacos and \
              bank-vaults send such text.",
    },
    Setting {
        name: "crypto.accept_caller_iv",
        kind: SettingKind::Flag,
        default: WhenAbsent::Value("false"),
        doc: "Lets a caller of the KMS instance protocol choose the IV of an encryption. An IV that \
              is used twice with a key breaks AES-GCM for that key: whoever sees both ciphertexts \
              can forge others. Set it only for programs that cannot do without, and that never \
              repeat one.",
    },
    Setting {
        name: "crypto.verify_data_keys",
        kind: SettingKind::Flag,
        default: WhenAbsent::Value("true"),
        doc: "Opens the encrypted form of a new data key again before anybody gets the key, so that none \
              is ever used that cannot be recovered. It costs a decryption for each \
              (docs/performance.md).",
    },
    Setting {
        name: "crypto.verify_encryptions",
        kind: SettingKind::Text("\"off\", \"all\", or one in so many, such as \"1/100\""),
        default: WhenAbsent::Value("off"),
        doc: "Opens the ciphertext of an encryption again in the token before anybody gets it: of \
              none, of all, or of one in so many, each gateway counting for itself. One that does not \
              open is thrown away and made again. It costs a decryption for each \
              (docs/performance.md). Encryptions with RSA pairs, which need no token, are never among \
              them. Data keys have the setting above.",
    },
    Setting {
        name: "crypto.iv_lease",
        kind: SettingKind::Number(4, 1 << 30),
        default: WhenAbsent::Value("1048576"),
        doc: "Encryptions of a key version that are written down at a time, before they happen. A \
              crash may count as many too many, never one too few.",
    },
    Setting {
        name: "crypto.iv_warn_at",
        kind: SettingKind::Number(2, MAX_INVOCATIONS),
        default: WhenAbsent::Value("1073741824"),
        doc: "Encryptions of a key version from which on the log and a metric warn.",
    },
    Setting {
        name: "crypto.iv_rotate_at",
        kind: SettingKind::Number(2, MAX_INVOCATIONS),
        default: WhenAbsent::Value("2147483648"),
        doc: "Encryptions of a key's primary version from which on the key gets a new one within \
              seconds, if it is enabled and its material is made here.",
    },
    Setting {
        name: "crypto.iv_refuse_at",
        kind: SettingKind::Number(4, MAX_INVOCATIONS),
        default: WhenAbsent::Value("4293918720"),
        doc: "Encryptions after which a key version encrypts no more: `Rejected.LimitExceeded`. It \
              decrypts for ever. A random IV of 96 bits allows 2^32 (NIST SP 800-38D); 2^20 of \
              them are the gateway's own, for its tests of a key.",
    },
    Setting {
        name: "keys.destruction_hold_hours",
        kind: SettingKind::Number(0, 8760),
        default: WhenAbsent::Value("24"),
        doc: "Hours of running time, added up over starts, that destructions whose date has come \
              wait after a jump of the clock: more than an hour while the gateway runs, or more \
              than 7 days between the last time that the store recorded and a start. Meanwhile \
              they can be cancelled. 0 is no wait.",
    },
    Setting {
        name: "audit.file",
        kind: SettingKind::Text("an absolute path"),
        default: WhenAbsent::Unset("`audit.jsonl` in `store.state_directory`"),
        doc: "The file of the records. After it was renamed, SIGHUP begins a new one.",
    },
    Setting {
        name: "audit.journal_mib",
        kind: SettingKind::Number(0, 1024),
        default: WhenAbsent::Value("16"),
        doc: "Size, in MiB, of the journal `.<name>.journal` beside the file, through which records \
              reach the disk sooner; 0 is none.",
    },
    Setting {
        name: "audit.required",
        kind: SettingKind::Flag,
        default: WhenAbsent::Value("true"),
        doc: "Refuses an operation with a retryable 503 when its record is not on disk in time. \
              With `false` it is answered all the same, and the log tells of the missing record.",
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
        doc: "Records after which a checkpoint is signed by the token.",
    },
    Setting {
        name: "audit.checkpoint_seconds",
        kind: SettingKind::Number(1, 86_400),
        default: WhenAbsent::Value("60"),
        doc: "Seconds after which new records are covered by a signed checkpoint.",
    },
    Setting {
        name: "audit.forward_to",
        kind: SettingKind::Text("an absolute path"),
        default: WhenAbsent::Unset("none"),
        doc: "Where the records are forwarded to, with some lag: a file, or a datagram socket such \
              as `/dev/log` that takes syslog messages.",
    },
    Setting {
        name: "log.format",
        kind: SettingKind::Word(&["text", "json"]),
        default: WhenAbsent::Value("text"),
        doc: "The form of a line: `text` for people, `json` for one JSON object a line.",
    },
    Setting {
        name: "log.filter",
        kind: SettingKind::Text("a log filter, such as \"info\" or \"info,hsmgate::token=debug\""),
        default: WhenAbsent::Value("info"),
        doc: "What is written: a level (`error`, `warn`, `info`, `debug`, `trace`), or several \
              directives with targets. `HSMGATE_LOG` takes precedence.",
    },
];

/// The environment variables that `hsmgate serve` reads, and what they mean.
pub static ENVIRONMENT: &[(&str, &str)] = &[
    ("HSMGATE_LOG", "Takes the place of `log.filter`."),
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
    fn every_setting_stands_once_in_a_known_section() {
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
