//! The changes that audit files record as done since a time.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::continuity::lines_from_end;
use super::line::Kind;
use crate::model::Time;

/// Records are in the order in which they were written, and have the time at which their requests arrived:
/// how many seconds before another record a record behind it may be.
const DISORDER_SECONDS: i64 = 600;
/// Actions that change something, although the API calls them reads.
const CHANGES_AS_READS: &[&str] = &["GetParametersForImport"];
/// Parameters that name what an action is about, if the record names no resource.
const NAMES: &[&str] =
    &["AliasName", "SecretName", "KeyId", "UserAccessKeyId", "Principal", "ClientKeyId", "Name"];

/// A change that an audit records as done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordedChange {
    /// When its request arrived.
    pub time: String,
    /// The number of the record.
    pub sequence: u64,
    /// The action.
    pub action: String,
    /// What it was about; empty if the record names nothing.
    pub resource: String,
    /// Who called.
    pub principal: String,
    /// The request.
    pub request_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    sequence: u64,
    #[serde(rename = "record")]
    kind: Kind,
    #[serde(default)]
    event_name: String,
    #[serde(default, rename = "eventRW")]
    access: Option<String>,
    #[serde(default)]
    event_time: Option<Time>,
    #[serde(default)]
    request_id: String,
    #[serde(default)]
    resource_name: Option<String>,
    #[serde(default)]
    request_parameters: BTreeMap<String, Value>,
    #[serde(default)]
    user_identity: UserIdentity,
    #[serde(default)]
    response_elements: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserIdentity {
    #[serde(default)]
    user_name: String,
}

impl Record {
    fn is_done_change(&self) -> bool {
        let is_change = self.access.as_deref() == Some("Write")
            || CHANGES_AS_READS.contains(&self.event_name.as_str());
        self.kind == Kind::Event
            && is_change
            && self.response_elements.as_ref().is_some_and(|elements| !elements.is_null())
    }

    fn resource(&self) -> String {
        let named = || {
            let mut values = NAMES.iter().filter_map(|name| self.request_parameters.get(*name));
            values.find_map(Value::as_str).map(str::to_owned)
        };
        let new_key = || self.response_elements.as_ref()?.get("KeyId")?.as_str().map(str::to_owned);
        self.resource_name.clone().or_else(new_key).or_else(named).unwrap_or_default()
    }
}

/// The changes that these files of one gateway record as done from one time to another, in their order.
///
/// # Errors
/// When one cannot be read.
pub fn recorded_changes(
    files: &[PathBuf],
    from: Time,
    to: Time,
) -> Result<Vec<RecordedChange>, (PathBuf, io::Error)> {
    let mut found = BTreeMap::new();
    for path in files {
        let see = |_offset: u64, line: &[u8]| {
            let Ok(record) = serde_json::from_slice::<Record>(line) else {
                return ControlFlow::Continue(());
            };
            let Some(time) = record.event_time else { return ControlFlow::Continue(()) };
            if time < from.plus_seconds(-DISORDER_SECONDS) {
                return ControlFlow::Break(());
            }
            if time >= from && time <= to && record.is_done_change() {
                let change = RecordedChange {
                    time: time.to_string(),
                    sequence: record.sequence,
                    resource: record.resource(),
                    action: record.event_name,
                    principal: record.user_identity.user_name,
                    request_id: record.request_id,
                };
                found.insert(change.sequence, change);
            }
            ControlFlow::Continue(())
        };
        lines_from_end(path, see).map_err(|error| (path.clone(), error))?;
    }
    Ok(found.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn done_changes_of_the_time_are_shown_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let line = |sequence: u32, time: &str, rest: &str| {
            format!(
                "{{\"sequence\":{sequence},\"record\":\"event\",\"eventTime\":\"{time}\",\
                 \"requestId\":\"r\",\"userIdentity\":{{\"userName\":\"alice\"}},{rest}}}\n"
            )
        };
        let write = "\"eventName\":\"CreateKey\",\"eventRW\":\"Write\"";
        let lines = [
            line(1, "2026-11-29T09:59:59Z", &format!("{write},\"responseElements\":{{}}")),
            line(2, "2026-11-29T10:00:00Z", &format!("{write},\"responseElements\":null")),
            line(3, "2026-11-29T10:00:00Z", "\"eventName\":\"Encrypt\",\"eventRW\":\"Read\""),
            line(
                4,
                "2026-11-29T10:00:01Z",
                &format!("{write},\"responseElements\":{{\"KeyId\":\"key-1\"}}"),
            ),
            line(
                5,
                "2026-11-29T10:00:00Z",
                "\"eventName\":\"GetParametersForImport\",\"eventRW\":\"Read\",\
                 \"requestParameters\":{\"KeyId\":\"key-2\"},\"responseElements\":{}",
            ),
            line(6, "2026-11-29T10:00:09Z", &format!("{write},\"responseElements\":{{}}")),
            "no record\n".to_owned(),
        ];
        std::fs::write(&path, lines.concat()).unwrap();
        let time = |text: &str| text.parse::<Time>().unwrap();
        let (from, to) = (time("2026-11-29T10:00:00Z"), time("2026-11-29T10:00:05Z"));
        let changes = recorded_changes(&[path], from, to).unwrap();
        let shown: Vec<_> = changes.iter().map(|one| (one.sequence, &*one.resource)).collect();
        assert_eq!(shown, [(4, "key-1"), (5, "key-2")]);
        assert_eq!(changes[0].principal, "alice");
    }
}
