//! Whether the keys of identity providers can be used, and whether the clocks of their servers agree.

use super::Check;
use super::system::chain;
use crate::authn::{CheckedKeySource, TOKEN_LEEWAY_SECONDS, check_key_set};
use crate::config::{Config, KeySource, ProviderSettings};
use crate::model::IdentityProvider;
use crate::store::Store;

/// The difference of clocks that is reported, in seconds. The times of HTTP have whole seconds, and an
/// answer takes time.
const NOTED_SECONDS: i64 = 5;

/// One check for each identity provider, of the configuration and of the database.
pub(super) async fn providers(config: &Config, store: Option<&Store>) -> Vec<Check> {
    let mut checks = Vec::new();
    for settings in &config.identity_providers {
        checks.push(configured(settings).await);
    }
    let stored = store.map(Store::documents::<IdentityProvider>).unwrap_or_default();
    checks.extend(stored.iter().map(|provider| of_database(provider)));
    checks
}

fn name_of(provider: &IdentityProvider) -> String {
    format!("identity provider {}", provider.name)
}

async fn configured(settings: &ProviderSettings) -> Check {
    let name = name_of(&settings.provider);
    let remedy = match &settings.keys {
        KeySource::File(_) => "Correct keys_file in identity.providers_file, or the file.",
        KeySource::Url { .. } => {
            "Correct keys_url or keys_ca in identity.providers_file, or its server. A running gateway \
             uses the keys that it has read last."
        }
    };
    match CheckedKeySource::read(settings).await {
        Ok(source) => judged(&name, source),
        Err(error) => Check::failed(&name, chain(&error), remedy),
    }
}

fn judged(name: &str, source: CheckedKeySource) -> Check {
    let Some(ahead) = source.ahead_seconds else { return Check::ok(name, keys(source.keys)) };
    let (distance, direction) = (ahead.abs(), if ahead < 0 { "behind" } else { "ahead of" });
    if distance < NOTED_SECONDS {
        return Check::ok(name, format!("{}; its clock agrees", keys(source.keys)));
    }
    let found = format!(
        "{}; the clock of its server is {distance} s {direction} that of this machine",
        keys(source.keys)
    );
    let remedy = format!(
        "Set both clocks, for instance by NTP: a difference of more than {TOKEN_LEEWAY_SECONDS} s makes \
         the gateway refuse new tokens, or accept them after their end."
    );
    if distance > TOKEN_LEEWAY_SECONDS {
        Check::failed(name, found, remedy)
    } else {
        Check::warning(name, found, remedy)
    }
}

fn of_database(provider: &IdentityProvider) -> Check {
    let name = name_of(provider);
    match check_key_set(&provider.keys) {
        Ok(count) => Check::ok(&name, keys(count)),
        Err(fault) => {
            let remedy = "Replace its keys with hsmgate identity-provider replace-keys.";
            Check::failed(&name, chain(&fault), remedy)
        }
    }
}

fn keys(count: usize) -> String {
    format!("{count} {}", if count == 1 { "key" } else { "keys" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::CheckStatus;

    #[test]
    fn a_clock_beyond_the_tolerance_of_tokens_is_a_fault() {
        for (ahead_seconds, verdict) in [
            (None, CheckStatus::Ok),
            (Some(4), CheckStatus::Ok),
            (Some(-5), CheckStatus::Warning),
            (Some(60), CheckStatus::Warning),
            (Some(61), CheckStatus::Failed),
            (Some(-61), CheckStatus::Failed),
        ] {
            let check = judged("p", CheckedKeySource { keys: 2, ahead_seconds });
            assert_eq!(check.verdict, verdict, "{ahead_seconds:?}");
        }
        let check = judged("p", CheckedKeySource { keys: 1, ahead_seconds: Some(-90) });
        let told = "1 key; the clock of its server is 90 s behind that of this machine";
        assert_eq!(check.found, told);
    }
}
