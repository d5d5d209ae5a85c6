//! SoftHSM2 behind the fault token, with encryptions that take longer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fault_token::{Fault, Rule, Settings, write_rules};

use crate::module;

/// What is added to an encryption.
const DELAY: Duration = Duration::from_micros(500);
/// The call that takes it. An encryption makes this one once, and C_Encrypt twice: for the length and for the
/// output.
const DELAYED_CALL: &str = "C_EncryptInit";

/// Puts the module into a directory.
pub(crate) fn install(directory: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    let control = directory.join("control.json");
    write_rules(&control, &[Rule::on(&[DELAYED_CALL], Fault::delay(DELAY))]);
    let settings =
        Settings { module: module::find()?, control: Some(control), ..Settings::default() };
    Ok(settings.install(directory))
}
