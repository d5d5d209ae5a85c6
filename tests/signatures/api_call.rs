//! What a signed request calls, by its parameters or by its signed headers.

use hsmgate::api::rpc::sign::{ApiCall, SignedRequest, api_call};
use hsmgate::error::ErrorCode;
use http::Method;

use crate::parts::Parts;

#[test]
fn a_request_without_any_signature_is_incomplete() {
    let bare = Parts {
        method: Method::GET,
        query: "Action=ListKeys".to_owned(),
        headers: Vec::new(),
        body: String::new(),
    };
    assert_eq!(bare.refusal(), ErrorCode::IncompleteSignature);
    let mut other = bare.clone();
    other.set("authorization", "Basic YTpi");
    assert_eq!(other.refusal(), ErrorCode::IncompleteSignature);
}

#[test]
fn unsigned_headers_do_not_say_what_is_called() {
    let mut parts = Parts {
        method: Method::POST,
        query: "Action=Encrypt&Version=2016-01-20&Signature=x".to_owned(),
        headers: vec![("x-acs-action", "Decrypt".to_owned())],
        body: String::new(),
    };
    let action = parts.receive(|signed_request| Ok(api_call(signed_request)?.action.to_owned()));
    assert_eq!(action.unwrap(), "Encrypt");
    parts.query = "Version=2016-01-20&Signature=x".to_owned();
    let error =
        parts.receive(|signed_request| api_call(signed_request).map(|_api_call| ())).unwrap_err();
    assert_eq!(error.code(), ErrorCode::MissingAction);
}

#[test]
fn signed_headers_say_what_is_called_where_no_parameter_does() {
    let mut parts = Parts {
        method: Method::POST,
        query: String::new(),
        headers: vec![
            ("authorization", "ACS3-HMAC-SHA256 x".to_owned()),
            ("x-acs-action", "Encrypt".to_owned()),
            ("x-acs-version", "2016-01-20".to_owned()),
        ],
        body: String::new(),
    };
    let spelled = |signed_request: &SignedRequest<'_>| {
        let ApiCall { action, version } = api_call(signed_request)?;
        Ok(format!("{action} {version}"))
    };
    assert_eq!(parts.receive(spelled).unwrap(), "Encrypt 2016-01-20");
    for (query, outcome) in [
        ("Action=Encrypt", Ok("Encrypt 2016-01-20".to_owned())),
        ("Action=Decrypt", Err(ErrorCode::InvalidParameter)),
        ("Version=2016-01-21", Err(ErrorCode::InvalidParameter)),
    ] {
        parts.query = query.to_owned();
        assert_eq!(parts.receive(spelled).map_err(|error| error.code()), outcome, "{query}");
    }
    parts.query.clear();
    parts.headers.push(("x-acs-action", "Decrypt".to_owned()));
    assert_eq!(parts.receive(spelled).unwrap_err().code(), ErrorCode::InvalidParameter);
}
