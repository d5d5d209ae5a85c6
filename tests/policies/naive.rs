//! An evaluator that reads the JSON of the documents and follows the rules literally.

use serde_json::Value;

use crate::{PolicyTexts, Request};

/// The documents as JSON.
pub(crate) struct Documents([Vec<Value>; 3]);

pub(crate) fn documents(texts: &PolicyTexts) -> Documents {
    let parse = |text: &String| serde_json::from_str::<Value>(text).unwrap();
    Documents([
        texts.policies.iter().map(parse).collect(),
        texts.session.iter().map(parse).collect(),
        texts.key_policy.iter().map(parse).collect(),
    ])
}

pub(crate) fn allows(documents: &Documents, request: &Request) -> bool {
    let Documents([principal, session, key]) = documents;
    let says = |documents: &[Value], effect: &str| {
        documents
            .iter()
            .flat_map(|document| document["Statement"].as_array().unwrap())
            .any(|statement| statement["Effect"] == effect && applies(statement, request))
    };
    let denies = [principal, session, key].iter().any(|one| says(one, "Deny"));
    let identity_allows = says(principal, "Allow") || request.principal == "root";
    let session_allows = session.is_empty() || says(session, "Allow");
    let key_allows = says(key, "Allow");
    let sides = if request.account == request.owner {
        identity_allows || key_allows
    } else {
        identity_allows && key_allows
    };
    !denies && session_allows && sides
}

fn applies(statement: &Value, request: &Request) -> bool {
    let arn = format!("acs:kms:r1:{}:{}", request.owner, request.resource);
    let action = request.action.to_lowercase();
    let any_action = |member: &str| {
        list(&statement[member]).iter().any(|one| like(&one.to_lowercase(), &action))
    };
    let any_resource = |member: &str| list(&statement[member]).iter().any(|one| like(one, &arn));
    let is_there = |member: &str| statement.get(member).is_some();
    let action_fits = (is_there("Action") && any_action("Action"))
        || (is_there("NotAction") && !any_action("NotAction"));
    let resource_fits = (is_there("Resource") && any_resource("Resource"))
        || (is_there("NotResource") && !any_resource("NotResource"));
    action_fits
        && resource_fits
        && principal_fits(statement, request)
        && conditions(statement, request)
}

fn principal_fits(statement: &Value, request: &Request) -> bool {
    let Some(principal) = statement.get("Principal") else { return true };
    let is_default = statement["Effect"] == "Allow"
        && list(&principal["RAM"]).contains(&format!("acs:ram::{}:*", request.owner))
        && list(&statement["Action"]).contains(&"kms:*".to_owned())
        && statement.get("Condition").is_none();
    let names = [
        format!("acs:ram::{}:*", request.account),
        format!("acs:ram::{}:{}", request.account, request.principal),
    ];
    !is_default && list(&principal["RAM"]).iter().any(|one| names.contains(one))
}

fn conditions(statement: &Value, request: &Request) -> bool {
    let Some(operators) = statement.get("Condition") else { return true };
    operators.as_object().unwrap().iter().all(|(operator, keys)| {
        keys.as_object().unwrap().iter().all(|(key, values)| {
            let fact = fact(key, request);
            holds(operator, fact.as_deref(), &list(values))
        })
    })
}

fn fact(key: &str, request: &Request) -> Option<String> {
    match key {
        "acs:SourceIp" => Some(request.source.to_string()),
        "acs:SecureTransport" => Some(request.is_secure.to_string()),
        "acs:CurrentTime" => Some(request.now.to_owned()),
        "kms:tag/t" => request.tags.get("t").map(|text| (*text).to_owned()),
        "kms:tag/u" => request.tags.get("u").map(|text| (*text).to_owned()),
        "kms:EncryptionContext/c" => request.context.get("c").map(|text| (*text).to_owned()),
        _ => None,
    }
}

fn holds(operator: &str, fact: Option<&str>, values: &[String]) -> bool {
    if operator.contains("Not") {
        return !holds(&operator.replace("Not", ""), fact, values);
    }
    let Some(fact) = fact else { return false };
    values.iter().any(|value| one_holds(operator, fact, value))
}

fn one_holds(operator: &str, fact: &str, value: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let compare = |relation: &str, order: Option<std::cmp::Ordering>| {
        order.is_some_and(|order| match relation {
            "Equals" => order.is_eq(),
            "LessThan" => order.is_lt(),
            "LessThanEquals" => order.is_le(),
            "GreaterThan" => order.is_gt(),
            _ => order.is_ge(),
        })
    };
    if let Some(relation) = operator.strip_prefix("Numeric") {
        return number(fact)
            .zip(number(value))
            .is_some_and(|(one, other)| compare(relation, one.partial_cmp(&other)));
    }
    if let Some(relation) = operator.strip_prefix("Date") {
        return time(fact)
            .zip(time(value))
            .is_some_and(|(one, other)| compare(relation, Some(one.cmp(&other))));
    }
    match operator {
        "StringEquals" | "Bool" => fact == value,
        "StringEqualsIgnoreCase" => fact.to_lowercase() == value.to_lowercase(),
        "StringLike" => like(value, fact),
        _ => in_range(fact, value),
    }
}

fn in_range(address: &str, range: &str) -> bool {
    let (start, length) = range.split_once('/').unwrap_or((range, "32"));
    let length: usize = length.parse().unwrap();
    bits(address).take(length).eq(bits(start).take(length))
}

fn bits(address: &str) -> impl Iterator<Item = u8> {
    address.split('.').flat_map(|byte| {
        let byte: u8 = byte.parse().unwrap();
        (0..8).rev().map(move |bit| byte >> bit & 1)
    })
}

/// By definition: a star is nothing, or one character and a star.
fn like(pattern: &str, text: &str) -> bool {
    let (mut pattern_rest, mut text_rest) = (pattern.chars(), text.chars());
    let (first, other) = (pattern_rest.next(), text_rest.next());
    let (pattern_rest, text_rest) = (pattern_rest.as_str(), text_rest.as_str());
    match (first, other) {
        (None, None) => true,
        (Some('*'), None) => like(pattern_rest, text),
        (Some('*'), Some(_)) => like(pattern_rest, text) || like(pattern, text_rest),
        (Some('?'), Some(_)) => like(pattern_rest, text_rest),
        (Some(one), Some(other)) if one == other => like(pattern_rest, text_rest),
        _ => false,
    }
}

fn list(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap().to_owned()).collect(),
        Value::String(text) => vec![text.clone()],
        _ => Vec::new(),
    }
}
