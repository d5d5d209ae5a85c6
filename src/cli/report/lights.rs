//! The state of each part of the gateway in one word.

use super::document::{Document, Light, LightState};
use crate::audit::FaultKind;
use crate::cli::doctor::{Check, CheckStatus};

const TOKEN: &str = "token";
const STORE: &str = "store";
const AUDIT: &str = "audit";
const CERTIFICATE: &str = "certificate";
const CLOCK: &str = "clock";
/// What is in no other part: files, limits, accounts of operators.
const HOST: &str = "host";

/// The part that a check is about. `None` if it finds no fault: what a token does not support.
fn part(check: &str) -> Option<&'static str> {
    Some(match check {
        CERTIFICATE => CERTIFICATE,
        CLOCK => CLOCK,
        "audit file" | "audit key" | "disk of the audit" => AUDIT,
        "token"
        | "PIN file"
        | "key objects"
        | "optional attributes"
        | "incomplete objects"
        | "objects without a row"
        | "rows without an object"
        | "destroyed keys"
        | "import-wrapping pairs"
        | "rows over another key"
        | "unreadable objects"
        | "incomplete keys"
        | "AccessKey encryption key" => TOKEN,
        "exposed files" | "open files" | "operators" | "disk of the state" => HOST,
        name if name.starts_with("capability ") => return None,
        _ => STORE,
    })
}

/// The lights, from the checks of `doctor` and the verification of the audit.
pub(super) fn of(checks: &[Check], document: &Document) -> Vec<Light> {
    let mut lights = [TOKEN, STORE, AUDIT, CERTIFICATE, CLOCK, HOST].map(|name| Light {
        name,
        state: LightState::Unknown,
        found: Vec::new(),
    });
    for check in checks {
        let Some(part) = part(&check.name) else { continue };
        let state = match check.verdict {
            CheckStatus::Ok => LightState::Good,
            CheckStatus::Warning => LightState::Warning,
            CheckStatus::Failed => LightState::Bad,
            CheckStatus::NotChecked => LightState::Unknown,
        };
        note(&mut lights, part, state, || format!("{}: {}", check.name, check.found));
    }
    note(&mut lights, AUDIT, LightState::Good, String::new);
    for fault in &document.audit.faults {
        // The first checkpoint of a new gateway comes a minute after its start.
        let is_unsigned = fault.kind == FaultKind::Unsigned;
        let state = if is_unsigned { LightState::Warning } else { LightState::Bad };
        note(&mut lights, AUDIT, state, || format!("record {}: {}", fault.sequence, fault.text));
    }
    let open = document.keys.iter().filter(|key| !key.is_closed).count();
    let closed = if open == 0 { LightState::Good } else { LightState::Bad };
    note(&mut lights, TOKEN, closed, || format!("keys whose objects are not as created: {open}"));
    lights.into()
}

fn note(lights: &mut [Light], part: &str, state: LightState, found: impl FnOnce() -> String) {
    let Some(light) = lights.iter_mut().find(|light| light.name == part) else { return };
    light.state = light.state.max(state);
    if matches!(state, LightState::Warning | LightState::Bad) {
        light.found.push(found());
    }
}
