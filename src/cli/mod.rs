//! The command line: one file per command.
//!
//! Defines arguments, exit codes and output. Must not use SQL or PKCS#11, or sign requests: commands
//! drive the gateway through `app`, or call it through the client.

/// Declares a group of commands. Each command is a struct of its arguments with a method `run`, which
/// takes the value after `with`, if there is one.
macro_rules! commands {
    (
        $(#[$meta:meta])*
        $visibility:vis enum $Group:ident {
            $($(#[$command_meta:meta])* $Command:ident($Arguments:ty) $(with $value:expr)?;)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, clap::Subcommand)]
        $visibility enum $Group {
            $($(#[$command_meta])* $Command($Arguments),)+
        }

        impl $Group {
            pub(super) fn run(self) -> anyhow::Result<()> {
                match self {
                    $(Self::$Command(command) => command.run($($value)?),)+
                }
            }
        }
    };
}

mod access_document;
mod access_key;
mod access_point;
mod access_policy;
mod alias;
mod apply;
mod approval;
mod audit;
mod backup;
mod bench;
mod change_pin;
mod changed_settings;
pub mod client;
mod client_file;
mod client_key;
mod cluster;
mod completions;
mod config;
mod confirm;
mod connection;
mod data;
mod decrypt;
mod dev;
mod doctor;
mod encrypt;
mod exchange;
mod exit;
mod handover;
mod hardening;
mod identity_provider;
mod init;
mod key;
pub mod load;
mod network_rule;
mod open_files;
mod operator;
mod output;
mod paths;
mod policy;
mod policy_arg;
mod principal;
mod private_files;
mod ready;
mod reason;
mod recover;
mod reencrypt;
mod report;
mod response;
mod restart_on_hang;
mod restore;
mod rewrap;
mod role;
mod secret;
mod serve;
mod service_status;
mod settings;
mod shutdown_timeout;
mod signals;
mod store;
mod store_copy;
mod sts;
mod sts_token;
mod supervise;
mod tls;
mod token;

use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory as _, Parser};

use crate::model::PrincipalKind;
use crate::telemetry;
use exit::Exit;

/// A self-hosted, HSM-backed encryption gateway that speaks the Alibaba Cloud KMS API.
#[derive(Debug, Parser)]
#[command(name = "hsmgate", version, long_version = LONG_VERSION, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// `--version`, while `-V` shows the number alone.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("HSMGATE_COMMIT"),
    "\nlicense: ",
    env!("CARGO_PKG_LICENSE"),
    "\ndatabases: SQLite, PostgreSQL",
);

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not found, \
                          4 refused, 5 wrong state, 6 unreachable, 7 the doctor found failed checks, \
                          8 the plan has changes";

commands! {
    enum Command {
        /// Start a gateway for development on loopback, with its own SoftHSM2 token
        Dev(dev::Dev);
        /// Start the gateway
        Serve(serve::Serve);
        /// Wait until a gateway is ready
        Ready(ready::Ready);
        /// Prepare token and database, and create the first AccessKey
        Init(init::Init);
        /// Make keys, users, secrets and the rest as a seed file says, in a running gateway
        Apply(apply::Apply);
        /// Show and check the configuration
        #[command(subcommand)]
        Config(config::Config);
        /// Show token information
        #[command(subcommand)]
        Token(token::Token);
        /// Manage AccessKeys; only list, disable and delete work without a running gateway
        #[command(subcommand)]
        AccessKey(access_key::AccessKey);
        /// Create certificates for development
        #[command(subcommand)]
        Tls(tls::Tls);
        /// Check token, keys, database, files and clock
        Doctor(doctor::Doctor);
        /// Report keys, who may use them, secrets, sessions, and the state of token, database and audit
        Report(report::Report);
        /// Copy the database while it is in use
        Backup(backup::Backup);
        /// Replace the database with a backup
        Restore(restore::Restore);
        /// Sign the rows of the database as they are
        #[command(subcommand)]
        Store(store::Store);
        /// Show the gateways that serve one database
        #[command(subcommand)]
        Cluster(cluster::Cluster);
        /// Import keys found on the token into the database
        Recover(recover::Recover);
        /// Verify and export the audit
        #[command(subcommand)]
        Audit(audit::Audit);
        /// Manage users and their policies; only list, detach and delete work without a running gateway
        #[command(subcommand)]
        User(principal::Principal) with PrincipalKind::User;
        /// Manage roles; only list, detach, end-sessions, update --no-trust and delete work without a running gateway
        #[command(subcommand)]
        Role(role::Role);
        /// Manage the issuers whose tokens a role may trust; only list and delete work without a running
        /// gateway
        #[command(subcommand)]
        IdentityProvider(identity_provider::IdentityProvider);
        /// Create temporary credentials; needs a running gateway
        #[command(subcommand)]
        Sts(sts::Sts);
        /// List the system policies, validate and simulate policy documents of users, roles and keys
        #[command(subcommand)]
        Policy(policy::Policy);
        /// Decide requests for the approval of dangerous operations; works while the gateway runs
        #[command(subcommand)]
        Approval(approval::Approval);
        /// Manage keys through the API
        #[command(subcommand)]
        Key(key::Key);
        /// Manage aliases, including reserved ones; only list works without a running gateway
        #[command(subcommand)]
        Alias(alias::Alias);
        /// Manage the addresses from which client keys may be used, through the API
        #[command(subcommand)]
        NetworkRule(network_rule::NetworkRule);
        /// Manage the policies of access points: what client keys may do, through the API
        #[command(subcommand)]
        AccessPolicy(access_policy::AccessPolicy);
        /// Manage access points, to which client keys belong, through the API
        #[command(subcommand)]
        AccessPoint(access_point::AccessPoint);
        /// Create, list and delete client keys for programs that use a KMS instance SDK
        #[command(subcommand)]
        ClientKey(client_key::ClientKey);
        /// Store, read and manage secrets
        #[command(subcommand)]
        Secret(secret::Secret);
        /// Encrypt up to 6 KiB through the API
        Encrypt(encrypt::Encrypt);
        /// Decrypt through the API
        Decrypt(decrypt::Decrypt);
        /// Encrypt a list of ciphertexts with the primary version of a key, through the API
        Reencrypt(reencrypt::Reencrypt);
        /// Measure a gateway under a fixed rate of calls
        Bench(bench::Bench);
        /// Print a script that completes the command line in a shell
        Completions(completions::Completions) with Cli::command();
        /// Write the manual pages
        Man(completions::Man) with Cli::command();
    }
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let outcome = run_command(Cli::parse().command);
    telemetry::flush();
    let exit = match outcome {
        Ok(()) => Exit::Done,
        Err(error) => {
            output::print_error(&error);
            Exit::of(&error)
        }
    };
    exit.into()
}

fn run_command(command: Command) -> anyhow::Result<()> {
    hardening::protect_memory().context("cannot protect the memory of this process")?;
    command.run()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use clap::CommandFactory;
    use clap::error::ErrorKind;
    use yaml_rust2::{Yaml, YamlLoader};

    use super::*;

    fn refusal(line: &str) -> ErrorKind {
        Cli::try_parse_from(line.split(' ')).expect_err(line).kind()
    }

    #[test]
    fn the_command_line_is_free_of_conflicts() {
        Cli::command().debug_assert();
    }

    /// Command lines with each command and its options.
    const LINES: &[&str] = &[
        "hsmgate dev",
        "hsmgate dev --dir d --listen 127.0.0.1:0 --module m --calls-per-second 0 --json",
        "hsmgate dev --access-key-id a --access-key-secret s",
        "hsmgate dev --listen 0.0.0.0:0 --listen-beyond-loopback --env --quiet",
        "hsmgate dev --account 1234567890123456 --region cn-beijing",
        "hsmgate dev --access-key-id a --access-key-secret-file f",
        "hsmgate ready --url http://127.0.0.1:9464 --timeout 5 --json",
        "hsmgate serve --config c --supervise",
        "hsmgate serve",
        "hsmgate config print --config c --json",
        "hsmgate config check --json",
        "hsmgate audit export --out o",
        "hsmgate init --config c --so-pin-file p --json",
        "hsmgate tls self-signed --out d --name kms.example --name 10.0.0.1 --days 30 --force --json",
        "hsmgate token info --config c",
        "hsmgate token info --dir d --module m --json",
        "hsmgate access-key create --config c --user u",
        "hsmgate access-key list --config c --json",
        "hsmgate access-key create --config c --root --policy a --policy b --json",
        "hsmgate access-key disable --config c LTAIx",
        "hsmgate access-key enable --config c LTAIx",
        "hsmgate access-key rotate --config c LTAIx --json",
        "hsmgate access-key delete --config c LTAIx",
        "hsmgate apply --config c seed.toml --reason r --json",
        "hsmgate apply --plan seed.toml",
        "hsmgate doctor --config c --deep --json",
        "hsmgate report --config c --json --out o",
        "hsmgate report --html",
        "hsmgate report --cbom --out o",
        "hsmgate report verify f --public-key p --public-key q --json",
        "hsmgate backup --config c --out o --force --json",
        "hsmgate restore --config c --from f --force --reason r --json",
        "hsmgate recover --config c --dry-run --json",
        "hsmgate recover --config c --reason r --json",
        "hsmgate audit verify a b --public-key k --from 1 --to 2024-03-01T08:30:00Z --json",
        "hsmgate audit verify --expect-sequence 7 bundle",
        "hsmgate audit export --config c --out o",
        "hsmgate audit export --dev-dir d --out o --json",
        "hsmgate user create --config c alice --policy AliyunKMSFullAccess",
        "hsmgate user list --config c --json",
        "hsmgate user attach --config c alice p.json",
        "hsmgate user detach --config c alice p",
        "hsmgate user delete --config c alice",
        "hsmgate role create --config c ci",
        "hsmgate role update --config c ci --trust t.json --max-session 7200",
        "hsmgate role update --config c ci --no-trust",
        "hsmgate role end-sessions --config c ci",
        "hsmgate policy validate t.json --trust --json",
        "hsmgate sts token --role-arn r --oidc-provider-arn p --oidc-token-file f --json",
        "hsmgate identity-provider create --config c k8s --issuer i --audience a --jwks f",
        "hsmgate identity-provider replace-keys --config c k8s --jwks f",
        "hsmgate identity-provider list --config c --json",
        "hsmgate identity-provider delete --config c k8s",
        "hsmgate sts assume --config c --role-name ci --duration 900 --policy f --json",
        "hsmgate sts assume --config c --user-name alice --session-name s",
        "hsmgate policy validate f",
        "hsmgate policy list --json",
        "hsmgate policy describe AliyunKMSFullAccess --json",
        "hsmgate policy validate f --key-policy-for 1234567890123456",
        "hsmgate policy simulate --config c --principal user/a --action kms:Encrypt --resource key/k --condition acs:SourceIp=::1 --json",
        "hsmgate key create --description d --alias a --spec Aliyun_AES_256 --usage ENCRYPT/DECRYPT",
        "hsmgate key list --endpoint http://127.0.0.1:8200 --access-key-id a --json",
        "hsmgate key describe alias/a --access-key-secret-file f",
        "hsmgate key create --origin EXTERNAL",
        "hsmgate key enable k --json",
        "hsmgate key disable alias/a",
        "hsmgate key rotate k --json",
        "hsmgate key rotation k --every 30d",
        "hsmgate key rotation k --off",
        "hsmgate key tag k a=1 b=2 --json",
        "hsmgate key untag k a b",
        "hsmgate key schedule-deletion k --days 7 --yes",
        "hsmgate key cancel-deletion k",
        "hsmgate key import k --material f --expires 2027-01-31T00:00:00Z",
        "hsmgate key import k --wrapped f --token g",
        "hsmgate key import-parameters k --out d",
        "hsmgate alias create --config c alias/acs/mse key-hzz630494463ejqjx1234",
        "hsmgate alias update --config c acs/acm alias/orders",
        "hsmgate approval list --config c --json",
        "hsmgate approval release --config c 46a9efd9-3d16-4894-bd4f-1fc43f3f2abf",
        "hsmgate approval refuse --config c 46a9efd9-3d16-4894-bd4f-1fc43f3f2abf --json",
        "hsmgate alias list --config c --json",
        "hsmgate alias delete --config c alias/a.b",
        "hsmgate dev --alias alias/acs/mse --alias acs/acm",
        "hsmgate network-rule create office --source 10.0.0.0/8 --source ::1 --description d --json",
        "hsmgate network-rule update office --source 10.0.0.1",
        "hsmgate network-rule delete office --yes --json",
        "hsmgate access-policy create shop --key alias/a --key * --secret db/* --network-rule n --json",
        "hsmgate access-policy create shop --secret db --permission CryptoServiceSecretUser",
        "hsmgate access-policy update shop --any-address --description d",
        "hsmgate access-policy describe shop --endpoint http://127.0.0.1:8200",
        "hsmgate access-point create shop --policy p --policy q --description d --json",
        "hsmgate access-point update shop --policy p",
        "hsmgate access-point list --json",
        "hsmgate client-key create --name shop --policy p --policy q --days 365 --out d --json",
        "hsmgate client-key delete --config c KAAP.46a9efd9-3d16-4894-bd4f-1fc43f3f2abf",
        "hsmgate encrypt alias/a --context a=1 --context b=2 --in f --out g",
        "hsmgate encrypt --context a=1 --context b= alias/a",
        "hsmgate decrypt --in - --json",
        "hsmgate reencrypt --key alias/a --in f --out g --context a=1 --rate 10 --json",
        "hsmgate secret create db/orders --in f --key alias/a --version v1 --type binary --description d",
        "hsmgate secret put db --stage ACSCurrent --stage blue --in f --json",
        "hsmgate secret get db --stage blue --out f",
        "hsmgate secret get db --version v1 --show",
        "hsmgate secret get db --json",
        "hsmgate secret list --json",
        "hsmgate secret versions db",
        "hsmgate secret describe acs:kms:cn-hangzhou:1234567890123456:secret/db --json",
        "hsmgate secret tag db team=orders env= --json",
        "hsmgate secret move-stage db ACSCurrent --to v1 --from v2 --json",
        "hsmgate secret delete db --days 7",
        "hsmgate secret delete db --force",
        "hsmgate secret restore db --json",
        "hsmgate completions bash",
        "hsmgate man --out d",
        "hsmgate store copy --config c --from sqlite:///f --to postgres://r@localhost/d --to-password-file p --dry-run --json",
        "hsmgate bench --key k --operation Decrypt --rate 100 --seconds 5 --connections 8 --json",
    ];

    /// The commands that change something for operators, each with `--json`.
    const CHANGES: &[&str] = &[
        "access-key disable LTAIx",
        "access-key enable LTAIx",
        "access-key delete LTAIx",
        "user create alice",
        "user attach alice p.json",
        "user detach alice p",
        "user delete alice",
        "role create ci",
        "role attach ci p.json",
        "role detach ci p",
        "role delete ci",
        "role update ci --no-trust",
        "role end-sessions ci",
        "identity-provider create k8s --issuer i --audience a --jwks f",
        "identity-provider replace-keys k8s --jwks f",
        "identity-provider delete k8s",
        "alias create acs/mse key-hzz630494463ejqjx1234",
        "alias update acs/mse alias/orders",
        "alias delete a.b",
        "client-key delete KAAP.46a9efd9-3d16-4894-bd4f-1fc43f3f2abf",
    ];

    #[test]
    fn every_command_takes_its_arguments() {
        for line in CHANGES {
            let line = format!("hsmgate {line} --config c --reason r --json");
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in LINES {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }

    /// The commands without `--json`, and why: a server, or output that is a file format itself.
    const WITHOUT_JSON: &[(&str, &str)] = &[
        ("serve", "it runs until it is stopped, and writes a log (`log.format` for JSON)"),
        ("completions", "it prints the script of a shell"),
        ("man", "it writes manual pages"),
    ];

    /// The commands without subcommands.
    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, bool)>) {
        let mut is_leaf = true;
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            is_leaf = false;
            leaves(inner, format!("{path} {}", inner.get_name()).trim_start(), found);
        }
        let has_json = command.get_arguments().any(|one| one.get_long() == Some("json"));
        if is_leaf || has_json {
            found.push((path.to_owned(), has_json));
        }
    }

    #[test]
    fn every_command_prints_json() {
        let mut found = Vec::new();
        leaves(&Cli::command(), "", &mut found);
        assert!(found.len() > 70, "{}", found.len());
        let mut without: Vec<_> =
            found.iter().filter(|(_, has_json)| !has_json).map(|(path, _)| path.as_str()).collect();
        let mut stated: Vec<_> = WITHOUT_JSON.iter().map(|(path, _why)| *path).collect();
        without.sort_unstable();
        stated.sort_unstable();
        assert_eq!(without, stated, "state a new command without --json, and why");
    }

    /// An option that is declared after those of the connection gets their heading.
    #[test]
    fn the_heading_of_the_connection_has_no_other_option() {
        fn check(command: &clap::Command) {
            let headed = command.get_arguments().filter(|one| one.get_help_heading().is_some());
            let own = ["endpoint", "access_key_id", "access_key_secret_file", "ca_file"];
            let ids: Vec<_> = headed.map(|one| one.get_id().as_str()).collect();
            assert!(ids.is_empty() || ids == own, "{}: {ids:?}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    /// The examples for CI.
    const COMPOSE: &str = include_str!("../../examples/compose/compose.yaml");
    const WORKFLOW: &str = include_str!("../../examples/github/test.yml");

    fn yaml(text: &str) -> Yaml {
        YamlLoader::load_from_str(text).unwrap().remove(0)
    }

    fn words(list: &Yaml) -> Vec<String> {
        list.as_vec().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_commands_of_the_examples_for_ci_exist() {
        let compose = yaml(COMPOSE);
        let kms = &compose["services"]["kms"];
        let check = words(&kms["healthcheck"]["test"]);
        assert_eq!(check[0], "CMD");
        let entry = "hsmgate".to_owned();
        let mut commands =
            vec![check[1..].to_vec(), [vec![entry], words(&kms["command"])].concat()];
        let workflow = yaml(WORKFLOW);
        for step in workflow["jobs"]["test"]["steps"].as_vec().unwrap() {
            let lines = step["run"].as_str().unwrap_or_default().lines();
            let own = lines.filter(|line| line.starts_with("hsmgate "));
            let split = |line: &str| {
                line.trim_end_matches('&').split_whitespace().map(str::to_owned).collect()
            };
            commands.extend(own.map(split));
        }
        assert_eq!(commands.len(), 5, "{commands:?}");
        for command in commands {
            assert!(Cli::try_parse_from(&command).is_ok(), "{command:?}");
        }
        let dev = Cli::command().find_subcommand("dev").cloned().unwrap();
        let known: Vec<_> = dev.get_arguments().filter_map(|one| one.get_env()).collect();
        for variables in [&kms["environment"], &workflow["jobs"]["test"]["env"]] {
            for name in variables.as_hash().unwrap().keys() {
                let name = name.as_str().unwrap();
                assert!(known.contains(&OsStr::new(name)), "{name}: {known:?}");
            }
        }
    }

    #[test]
    fn a_wrong_command_line_is_refused() {
        for (line, kind) in [
            ("hsmgate restore --config c --from f", ErrorKind::MissingRequiredArgument),
            ("hsmgate recover --config c", ErrorKind::MissingRequiredArgument),
            ("hsmgate tls self-signed --out d --days 826", ErrorKind::ValueValidation),
            ("hsmgate audit verify", ErrorKind::MissingRequiredArgument),
            ("hsmgate audit verify a --from then", ErrorKind::ValueValidation),
            ("hsmgate config", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("hsmgate key tag k", ErrorKind::MissingRequiredArgument),
            ("hsmgate key rotation k", ErrorKind::MissingRequiredArgument),
            ("hsmgate key schedule-deletion k --days 6", ErrorKind::ValueValidation),
            ("hsmgate key import k --wrapped f", ErrorKind::MissingRequiredArgument),
            ("hsmgate key import k --material f --expires soon", ErrorKind::ValueValidation),
            ("hsmgate encrypt", ErrorKind::MissingRequiredArgument),
            ("hsmgate report", ErrorKind::MissingRequiredArgument),
            ("hsmgate report --json --html", ErrorKind::ArgumentConflict),
            ("hsmgate report verify f", ErrorKind::MissingRequiredArgument),
            ("hsmgate access-key create --config c", ErrorKind::MissingRequiredArgument),
            ("hsmgate access-key create --config c --user u --root", ErrorKind::ArgumentConflict),
            ("hsmgate sts assume --config c", ErrorKind::MissingRequiredArgument),
            (
                "hsmgate sts assume --config c --role-name r --duration 60",
                ErrorKind::ValueValidation,
            ),
            ("hsmgate dev --access-key-id a", ErrorKind::MissingRequiredArgument),
            ("hsmgate dev --json --env", ErrorKind::ArgumentConflict),
            ("hsmgate dev --listen localhost", ErrorKind::ValueValidation),
            ("hsmgate key create --spec AES", ErrorKind::InvalidValue),
            ("hsmgate alias create --config c alias/a.b k", ErrorKind::ValueValidation),
            ("hsmgate alias create --config c alias/acs/mse", ErrorKind::MissingRequiredArgument),
            ("hsmgate dev --alias alias/", ErrorKind::ValueValidation),
            ("hsmgate network-rule create n --source office", ErrorKind::ValueValidation),
            ("hsmgate network-rule update n", ErrorKind::MissingRequiredArgument),
            ("hsmgate access-policy create p --network-rule n", ErrorKind::MissingRequiredArgument),
            ("hsmgate access-policy create p --key k --permission All", ErrorKind::InvalidValue),
            ("hsmgate access-policy create p --secret a*b", ErrorKind::ValueValidation),
            ("hsmgate access-policy update p", ErrorKind::MissingRequiredArgument),
            ("hsmgate access-point create a/b --policy p", ErrorKind::ValueValidation),
            ("hsmgate policy describe Full", ErrorKind::InvalidValue),
            ("hsmgate client-key create --name a/b --out d", ErrorKind::ValueValidation),
            ("hsmgate client-key create --name a --out d --days 0", ErrorKind::ValueValidation),
            ("hsmgate bench --key k --rate 0 --seconds 5", ErrorKind::ValueValidation),
            ("hsmgate secret put db value", ErrorKind::UnknownArgument),
            ("hsmgate secret get a//b", ErrorKind::ValueValidation),
            ("hsmgate secret move-stage db blue", ErrorKind::MissingRequiredArgument),
            ("hsmgate secret delete db --force --days 7", ErrorKind::ArgumentConflict),
            ("hsmgate encrypt k --context a", ErrorKind::ValueValidation),
            ("hsmgate encrypt k --context a=1 b=2", ErrorKind::UnknownArgument),
            ("hsmgate encrypt k --access-key-secret s", ErrorKind::UnknownArgument),
        ] {
            assert_eq!(refusal(line), kind, "{line}");
        }
    }
}
