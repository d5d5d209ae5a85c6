//! Reads a seed file. Files that it names are relative to its directory.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use toml::Spanned;

use super::access::{AccessPointEntry, AccessPolicyEntry, NamedResource, NetworkRuleEntry};
use super::client_key::ClientKeyEntry;
use super::key::KeyEntry;
use super::principal::{AccessKeyEntry, PrincipalEntry};
use super::provider::ProviderEntry;
use super::secret::SecretEntry;
use super::values::{Description, NamedKey, Rotates, SentSecret};
use crate::authn::check_key_set;
use crate::cli::client_key::{DEFAULT_DAYS, MAX_DAYS};
use crate::cli::exit::CliError;
use crate::cli::role::trust_policy;
use crate::cli::{alias, policy_arg};
use crate::config::secret::read_private_text;
use crate::model::policy::{AttachedPolicy, SystemPolicy, TrustPolicy};
use crate::model::text_form::{InvalidId, text_forms};
use crate::model::{
    AccessKeyId, AccessName, AccessResource, AddressRange, Alias, DEFAULT_MAX_SESSION_SECONDS,
    DEFAULT_MAX_TOKEN_AGE_SECONDS, IdentityProvider, KeyId, KeySpec, KeyUsage, MAX_SECRET_BYTES,
    MAX_SESSION_SECONDS, MAX_TAGS, OperatorAlias, PermissionTemplate, PrincipalName, ProviderName,
    SecretDataType, SecretName, SecretVersionId, TagKey, TagValue, TokenAlgorithm, clock, random,
};
use crate::store::MAX_ACTIVE_KEYS;

/// The most bytes of the secret of an AccessKey.
const MAX_ACCESS_KEY_SECRET_BYTES: usize = 1024;
/// The most policies of an access point.
const MAX_POLICIES: usize = 3;
/// The prefix of a permission template, which may be omitted.
const TEMPLATE: &str = "RbacPermission/Template/";

/// An entry of a seed file.
pub(super) enum FileEntry {
    Provider(ProviderEntry),
    Key(KeyEntry),
    Principal(PrincipalEntry),
    NetworkRule(NetworkRuleEntry),
    AccessPolicy(AccessPolicyEntry),
    AccessPoint(AccessPointEntry),
    ClientKey(ClientKeyEntry),
    Secret(SecretEntry),
}

impl FileEntry {
    /// The objects that only one entry may make.
    fn objects(&self) -> Vec<String> {
        match self {
            Self::Provider(entry) => vec![format!("identity provider {}", entry.provider.name)],
            Self::Key(entry) => {
                let aliases = std::iter::once(&entry.alias).chain(&entry.aliases);
                let ids = entry.id.map(|id| format!("key {id}"));
                aliases.map(ToString::to_string).chain(ids).collect()
            }
            Self::Principal(entry) => {
                let keys = entry.access_keys.iter().map(|key| format!("AccessKey {}", key.id));
                std::iter::once(entry.name.to_string()).chain(keys).collect()
            }
            Self::NetworkRule(entry) => vec![format!("network rule {}", entry.name)],
            Self::AccessPolicy(entry) => vec![format!("access policy {}", entry.name)],
            Self::AccessPoint(entry) => vec![format!("access point {}", entry.name)],
            Self::ClientKey(entry) => {
                vec![format!("the directory {} of a client key", entry.directory.display())]
            }
            Self::Secret(entry) => vec![format!("secret {}", entry.name)],
        }
    }
}

/// An entry, and where it is.
pub(super) struct Located {
    pub(super) entry: FileEntry,
    /// File and line.
    pub(super) place: String,
}

/// Reads a seed file. Its entries are in an order in which each names only those before it.
///
/// # Errors
/// With all faults, each with its line.
pub(super) fn read(path: &Path) -> Result<Vec<Located>, CliError> {
    let text = fs::read_to_string(path).map_err(|error| {
        CliError::usage(format!("cannot read the seed file {}: {error}", path.display()))
    })?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let reader = Reader { path, text: &text, directory, entries: Vec::new(), faults: Vec::new() };
    reader.read()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedText {
    #[serde(default)]
    identity_provider: Vec<Spanned<ProviderText>>,
    #[serde(default)]
    key: Vec<Spanned<KeyText>>,
    #[serde(default)]
    user: Vec<Spanned<UserText>>,
    #[serde(default)]
    role: Vec<Spanned<RoleText>>,
    #[serde(default)]
    network_rule: Vec<Spanned<NetworkRuleText>>,
    #[serde(default)]
    access_policy: Vec<Spanned<AccessPolicyText>>,
    #[serde(default)]
    access_point: Vec<Spanned<AccessPointText>>,
    #[serde(default)]
    client_key: Vec<Spanned<ClientKeyText>>,
    #[serde(default)]
    secret: Vec<Spanned<SecretText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    alias: AliasText,
    #[serde(default)]
    aliases: Vec<AliasText>,
    spec: Option<KeySpec>,
    usage: Option<KeyUsage>,
    description: Option<Description>,
    #[serde(default)]
    tags: BTreeMap<TagKey, TagValue>,
    rotation: Option<Rotates>,
    id: Option<KeyId>,
    material: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserText {
    name: String,
    #[serde(default)]
    policies: Vec<String>,
    #[serde(default)]
    access_key: Vec<AccessKeyText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessKeyText {
    id: AccessKeyId,
    secret: Option<String>,
    secret_file: Option<PathBuf>,
    secret_env: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleText {
    name: String,
    #[serde(default)]
    policies: Vec<String>,
    trust: Option<PathBuf>,
    max_session_seconds: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderText {
    name: ProviderName,
    issuer: String,
    audiences: Vec<String>,
    jwks: PathBuf,
    algorithms: Option<Vec<TokenAlgorithm>>,
    max_age_seconds: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkRuleText {
    name: AccessName,
    sources: Vec<AddressRange>,
    description: Option<Description>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessPolicyText {
    name: AccessName,
    permissions: Vec<Permission>,
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    secrets: Vec<String>,
    #[serde(default)]
    network_rules: Vec<AccessName>,
    description: Option<Description>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessPointText {
    name: AccessName,
    policies: Vec<AccessName>,
    description: Option<Description>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientKeyText {
    access_point: AccessName,
    directory: PathBuf,
    days: Option<i64>,
    #[serde(default)]
    renew_before_days: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretText {
    name: SecretName,
    version: Option<SecretVersionId>,
    value: Option<String>,
    value_file: Option<PathBuf>,
    value_env: Option<String>,
    #[serde(rename = "type")]
    data_type: Option<SecretDataType>,
    key: Option<NamedKey>,
    description: Option<Description>,
    #[serde(default)]
    tags: BTreeMap<TagKey, TagValue>,
}

/// An alias, with or without `alias/`.
struct AliasText(OperatorAlias);

impl FromStr for AliasText {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        alias::parse(text).map(Self)
    }
}

text_forms!(AliasText: Deserialize);

/// A permission template, with or without its prefix.
struct Permission(PermissionTemplate);

impl FromStr for Permission {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let name = text.strip_prefix(TEMPLATE).unwrap_or(text);
        let wrong = InvalidId("permission: CryptoServiceKeyUser or CryptoServiceSecretUser");
        format!("{TEMPLATE}{name}").parse().map(Self).map_err(|_other| wrong)
    }
}

text_forms!(Permission: Deserialize);

/// Reads the entries, and collects their faults.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    directory: &'a Path,
    entries: Vec<Located>,
    faults: Vec<String>,
}

impl Reader<'_> {
    fn read(mut self) -> Result<Vec<Located>, CliError> {
        let seed: SeedText = toml::from_str(self.text).map_err(|error| {
            let place = self.place(error.span().map_or(0, |span| span.start));
            CliError::usage(format!("{place}: {}", error.message()))
        })?;
        let mut aliases = BTreeSet::new();
        for key in &seed.key {
            let key = key.get_ref();
            let all = std::iter::once(&key.alias).chain(&key.aliases);
            aliases.extend(all.map(|AliasText(alias)| alias.alias().clone()));
        }
        self.add(seed.identity_provider, |one, reader| reader.provider(one));
        self.add(seed.key, |one, _reader| key(one));
        self.add(seed.user, |one, reader| reader.user(one));
        self.add(seed.role, |one, reader| reader.role(&one));
        self.add(seed.network_rule, |one, _reader| Ok(network_rule(one)));
        self.add(seed.access_policy, |one, _reader| access_policy(one, &aliases));
        let points: BTreeSet<_> =
            seed.access_point.iter().map(|one| one.get_ref().name.clone()).collect();
        self.add(seed.access_point, |one, _reader| access_point(one));
        self.add(seed.client_key, |one, reader| reader.client_key(one, &points));
        self.add(seed.secret, |one, reader| reader.secret(one, &aliases));
        self.find_repeated();
        if self.faults.is_empty() {
            Ok(self.entries)
        } else {
            Err(CliError::usage(self.faults.join("\n")))
        }
    }

    fn add<T>(
        &mut self,
        texts: Vec<Spanned<T>>,
        parse: impl Fn(T, &Self) -> Result<FileEntry, String>,
    ) {
        for text in texts {
            let place = self.place(text.span().start);
            match parse(text.into_inner(), self) {
                Ok(entry) => self.entries.push(Located { entry, place }),
                Err(fault) => self.faults.push(format!("{place}: {fault}")),
            }
        }
    }

    fn place(&self, offset: usize) -> String {
        let line = 1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
        format!("{}:{line}", self.path.display())
    }

    /// Two entries for one object would change it at each run.
    fn find_repeated(&mut self) {
        let mut seen = BTreeMap::new();
        for Located { entry, place } in &self.entries {
            for object in entry.objects() {
                if let Some(first) = seen.insert(object.clone(), place) {
                    self.faults.push(format!("{place}: {object} is already in {first}"));
                }
            }
        }
    }

    fn provider(&self, text: ProviderText) -> Result<FileEntry, String> {
        let named = |fault: String| format!("identity provider {}: {fault}", text.name);
        let keys = self.file(&text.jwks).map_err(named)?;
        check_key_set(&keys).map_err(|fault| named(fault.to_string()))?;
        let provider = IdentityProvider {
            name: text.name.clone(),
            id: random::uuid().simple().to_string(),
            issuer: text.issuer,
            audiences: text.audiences,
            algorithms: text.algorithms.unwrap_or_else(|| TokenAlgorithm::ALL.to_vec()),
            keys,
            max_age_seconds: text.max_age_seconds.unwrap_or(DEFAULT_MAX_TOKEN_AGE_SECONDS),
            created: clock::now(),
        };
        provider.check().map_err(|fault| named(fault.to_owned()))?;
        Ok(FileEntry::Provider(ProviderEntry { provider }))
    }

    fn user(&self, text: UserText) -> Result<FileEntry, String> {
        let named = |fault: String| format!("user {}: {fault}", text.name);
        let name = PrincipalName::user(&text.name).map_err(|fault| named(fault.to_string()))?;
        let policies = self.policies(&text.policies).map_err(named)?;
        let access_keys = text.access_key.into_iter().map(|key| {
            let of_key = |fault| format!("AccessKey {}: {fault}", key.id);
            let source = Source {
                clear: key.secret,
                file: key.secret_file,
                variable: key.secret_env,
                names: "secret, secret_file or secret_env",
            };
            let secret = self.secret_of(source, MAX_ACCESS_KEY_SECRET_BYTES).map_err(of_key)?;
            Ok(AccessKeyEntry { id: key.id, secret })
        });
        let access_keys: Vec<_> = access_keys.collect::<Result<_, _>>().map_err(named)?;
        if i64::try_from(access_keys.len()).is_ok_and(|number| number > MAX_ACTIVE_KEYS) {
            return Err(named(format!("it has at most {MAX_ACTIVE_KEYS} AccessKeys")));
        }
        let (trust, max_session_seconds) = (None, None);
        Ok(FileEntry::Principal(PrincipalEntry {
            name,
            policies,
            trust,
            max_session_seconds,
            access_keys,
        }))
    }

    fn role(&self, text: &RoleText) -> Result<FileEntry, String> {
        let named = |fault: String| format!("role {}: {fault}", text.name);
        let name = PrincipalName::role(&text.name).map_err(|fault| named(fault.to_string()))?;
        let policies = self.policies(&text.policies).map_err(named)?;
        let range = DEFAULT_MAX_SESSION_SECONDS..=MAX_SESSION_SECONDS;
        if text.max_session_seconds.is_some_and(|seconds| !range.contains(&seconds)) {
            return Err(named(format!(
                "max_session_seconds must be {} to {}",
                range.start(),
                range.end()
            )));
        }
        let trust =
            text.trust.as_deref().map(|path| self.trust(path)).transpose().map_err(named)?;
        Ok(FileEntry::Principal(PrincipalEntry {
            name,
            policies,
            trust,
            max_session_seconds: text.max_session_seconds,
            access_keys: Vec::new(),
        }))
    }

    fn trust(&self, path: &Path) -> Result<TrustPolicy, String> {
        let text = self.file(path)?;
        trust_policy(&text).map_err(|fault| format!("{}: {fault}", path.display()))
    }

    fn policies(&self, names: &[String]) -> Result<Vec<AttachedPolicy>, String> {
        let read = |name: &String| {
            let file = self.directory.join(name);
            let file = file.to_str().filter(|_file| SystemPolicy::find(name).is_none());
            policy_arg::read(file.unwrap_or(name)).map_err(|error| format!("{error:#}"))
        };
        names.iter().map(read).collect()
    }

    fn client_key(
        &self,
        text: ClientKeyText,
        access_points: &BTreeSet<AccessName>,
    ) -> Result<FileEntry, String> {
        let named = |fault: &str| Err(format!("client key of {}: {fault}", text.access_point));
        if text.days.is_some_and(|days| !(1..=MAX_DAYS).contains(&days)) {
            return named(&format!("days must be 1 to {MAX_DAYS}"));
        }
        if !(0..text.days.unwrap_or(DEFAULT_DAYS)).contains(&text.renew_before_days) {
            return named("renew_before_days must be less than days");
        }
        Ok(FileEntry::ClientKey(ClientKeyEntry {
            is_access_point_in_file: access_points.contains(&text.access_point),
            directory: self.directory.join(text.directory),
            access_point: text.access_point,
            days: text.days,
            renew_before_days: text.renew_before_days,
        }))
    }

    fn secret(&self, text: SecretText, aliases: &BTreeSet<Alias>) -> Result<FileEntry, String> {
        let named = |fault: String| format!("secret {}: {fault}", text.name);
        let source = Source {
            clear: text.value,
            file: text.value_file,
            variable: text.value_env,
            names: "value, value_file or value_env",
        };
        let value = self.secret_of(source, MAX_SECRET_BYTES).map_err(named)?;
        check_tags(&text.tags).map_err(named)?;
        let first = || "v1".parse().map_err(|fault: InvalidId| fault.to_string());
        let version = text.version.map_or_else(first, Ok).map_err(named)?;
        let key = text.key.map(|key| {
            let is_in_file = is_in_file(&key, aliases);
            (key, is_in_file)
        });
        Ok(FileEntry::Secret(SecretEntry {
            name: text.name,
            version,
            value: Some(value),
            data_type: text.data_type.unwrap_or(SecretDataType::Text),
            key,
            description: text.description,
            tags: text.tags,
        }))
    }

    /// A secret from one of its sources.
    fn secret_of(&self, source: Source, most: usize) -> Result<SentSecret, String> {
        let Source { clear, file, variable, names } = source;
        let secret = match (clear, file, variable) {
            (Some(text), None, None) => SentSecret::in_file(SecretString::from(text)),
            (None, Some(file), None) => {
                let secret = read_private_text(&self.directory.join(file), most);
                SentSecret::new(secret.map_err(|error| error.to_string())?)
            }
            (None, None, Some(name)) => {
                let value = env::var(&name);
                let value = value.map_err(|_error| format!("the variable {name} is not set"))?;
                SentSecret::new(SecretString::from(value))
            }
            _ => return Err(format!("exactly one of {names} is necessary")),
        };
        let bytes = secret.value().expose_secret().len();
        if (1..=most).contains(&bytes) {
            Ok(secret)
        } else {
            Err(format!("it has {bytes} bytes, and must have 1 to {most}"))
        }
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        let path = self.directory.join(path);
        let text = fs::read_to_string(&path);
        text.map_err(|error| format!("cannot read {}: {error}", path.display()))
    }
}

/// Where a secret is: one of three.
struct Source {
    clear: Option<String>,
    file: Option<PathBuf>,
    variable: Option<String>,
    /// Their names in the file.
    names: &'static str,
}

fn key(text: KeyText) -> Result<FileEntry, String> {
    let AliasText(alias) = text.alias;
    let named = |fault: &str| format!("key {alias}: {fault}");
    check_tags(&text.tags).map_err(|fault| named(&fault))?;
    let spec = text.spec.unwrap_or(KeySpec::Aes256);
    if text.usage.is_some_and(|usage| !spec.usages().contains(&usage)) {
        return Err(named(&format!("a key {spec} has another usage")));
    }
    let rotates = text.rotation.is_some_and(|rotation| rotation.0.is_some());
    if rotates && (!spec.is_symmetric_cipher() || text.material.is_some()) {
        return Err(named("only symmetric keys with material from the token rotate automatically"));
    }
    if text.material.is_some() && !spec.is_symmetric_cipher() {
        return Err(named("only symmetric keys have material"));
    }
    let material = text.material.map(|text| SentSecret::in_file(SecretString::from(text)));
    Ok(FileEntry::Key(KeyEntry {
        aliases: text.aliases.into_iter().map(|AliasText(alias)| alias).collect(),
        spec: text.spec,
        usage: text.usage,
        description: text.description,
        tags: text.tags,
        rotation: text.rotation,
        id: text.id,
        material,
        alias,
    }))
}

fn check_tags(tags: &BTreeMap<TagKey, TagValue>) -> Result<(), String> {
    if tags.len() > MAX_TAGS {
        return Err(format!("it has at most {MAX_TAGS} tags"));
    }
    Ok(())
}

fn network_rule(text: NetworkRuleText) -> FileEntry {
    FileEntry::NetworkRule(NetworkRuleEntry {
        name: text.name,
        sources: text.sources,
        description: text.description,
    })
}

fn access_policy(text: AccessPolicyText, aliases: &BTreeSet<Alias>) -> Result<FileEntry, String> {
    let keys = text.keys.iter().map(|name| named_resource(name, aliases));
    let secrets = text.secrets.iter().map(|name| {
        let resource = format!("secret/{name}").parse();
        resource.map(NamedResource::Resource).map_err(|fault: InvalidId| (name, fault))
    });
    let resources: Result<Vec<_>, _> = keys.chain(secrets).collect();
    let resources = resources
        .map_err(|(name, fault)| format!("access policy {}: {name:?}: {fault}", text.name))?;
    Ok(FileEntry::AccessPolicy(AccessPolicyEntry {
        name: text.name,
        permissions: text.permissions.into_iter().map(|Permission(one)| one).collect(),
        resources,
        network_rules: text.network_rules,
        description: text.description,
    }))
}

/// A key by its alias or id, or all with a prefix of their id, such as `*`.
fn named_resource<'a>(
    name: &'a String,
    aliases: &BTreeSet<Alias>,
) -> Result<NamedResource, (&'a String, InvalidId)> {
    let of_api = |name: &str| format!("key/{name}").parse::<AccessResource>();
    let resource = if name.ends_with('*') {
        of_api(name).map(NamedResource::Resource)
    } else {
        name.parse().and_then(|key: NamedKey| match &key {
            NamedKey::Id(id) => of_api(id.as_str()).map(NamedResource::Resource),
            NamedKey::Alias(_) => {
                let is_in_file = is_in_file(&key, aliases);
                Ok(NamedResource::Alias(key, is_in_file))
            }
        })
    };
    resource.map_err(|fault| (name, fault))
}

/// Whether the file makes a key with this name.
fn is_in_file(key: &NamedKey, aliases: &BTreeSet<Alias>) -> bool {
    matches!(key, NamedKey::Alias(alias) if aliases.contains(alias))
}

fn access_point(text: AccessPointText) -> Result<FileEntry, String> {
    if text.policies.len() > MAX_POLICIES {
        let what = format!("access point {}: it has at most {MAX_POLICIES} policies", text.name);
        return Err(what);
    }
    Ok(FileEntry::AccessPoint(AccessPointEntry {
        name: text.name,
        policies: text.policies,
        description: text.description,
    }))
}
