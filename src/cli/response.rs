//! Reads responses of the API.

use anyhow::Context;
use serde_json::Value;

/// The text at a path of names in a response.
///
/// # Errors
/// When there is no such text.
pub(super) fn text<'a>(answer: &'a Value, path: &[&str]) -> anyhow::Result<&'a str> {
    path.iter()
        .try_fold(answer, |value, name| value.get(name))
        .and_then(Value::as_str)
        .with_context(|| format!("the response has no {}", path.join(".")))
}

/// The rows of a list, which the API wraps twice (`Keys.Key`), and the number of rows on all pages.
///
/// # Errors
/// When the response is not a list.
pub(super) fn rows<'a>(
    answer: &'a Value,
    outer: &str,
    inner: &str,
) -> anyhow::Result<(&'a [Value], u64)> {
    let rows = answer.get(outer).and_then(|list| list.get(inner)).and_then(Value::as_array);
    let total = answer.get("TotalCount").and_then(Value::as_u64);
    rows.map(Vec::as_slice)
        .zip(total)
        .with_context(|| format!("the response has no {outer}.{inner} or no TotalCount"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_answer_lacks_is_named() {
        let answer = json!({"KeyMetadata": {"KeyId": "k"}});
        assert_eq!(text(&answer, &["KeyMetadata", "KeyId"]).unwrap(), "k");
        let error = text(&answer, &["KeyMetadata", "Arn"]).unwrap_err();
        assert_eq!(error.to_string(), "the response has no KeyMetadata.Arn");
        assert!(rows(&answer, "Keys", "Key").is_err());
    }
}
