//! Tells on SIGHUP which settings of the configuration have changed since the start. They are applied by a
//! reload of the whole gateway, or by a restart.

use std::path::{Path, PathBuf};

use crate::config::{ConfigError, EffectiveSetting, SETTINGS, effective_settings};

/// The settings that a gateway runs with.
#[derive(Debug)]
pub(super) struct StartSettings {
    path: PathBuf,
    settings: Vec<EffectiveSetting>,
}

impl StartSettings {
    /// Reads the settings of a start.
    ///
    /// # Errors
    /// When the file cannot be read or has faults.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        Ok(Self { path: path.to_owned(), settings: effective_settings(path)? })
    }

    /// Logs the names of the settings that have changed, or the faults of the configuration.
    pub(super) fn log_changes(&self) {
        match effective_settings(&self.path) {
            Ok(now) => {
                let changed = self.changed(&now);
                if !changed.is_empty() {
                    tracing::warn!(
                        event = "config.changed",
                        settings = changed.join(", "),
                        "settings have changed and are not in effect: reload the gateway \
                         (SIGUSR2 to its supervisor) or restart it"
                    );
                }
            }
            Err(error) => tracing::error!(
                event = "config.invalid",
                %error,
                "the configuration has become invalid: a restart or reload would fail"
            ),
        }
    }

    fn changed(&self, now: &[EffectiveSetting]) -> Vec<&'static str> {
        // A name may occur several times: each token has its own.
        fn values<'a>(settings: &'a [EffectiveSetting], name: &str) -> Vec<Option<&'a str>> {
            let named = settings.iter().filter(|one| one.setting.name == name);
            named.map(|one| one.value.as_deref()).collect()
        }
        let differs = |name| values(&self.settings, name) != values(now, name);
        let names = SETTINGS.iter().map(|setting| setting.name);
        names.filter(|name| differs(name)).collect()
    }
}
