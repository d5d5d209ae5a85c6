//! AssumeRoleWithOIDC, as the libraries call it.

use serde_json::json;

use crate::support::audit_file::events;
use crate::support::calls::code;
use crate::support::gateway::{refusal, text};
use crate::support::identity::{AUDIENCE, Federation, ISSUER, Issuer, PROVIDER, ROLE, SUBJECT};
use crate::support::installation::{ACCOUNT, AccessKey, run};
use crate::support::raw_http;

#[tokio::test]
async fn a_token_is_exchanged_for_a_session_whose_records_name_its_subject() {
    let federation = Federation::open("").await;
    let token = federation.issuer.token(&Issuer::claims());
    let answer = federation.exchange(&token).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    let info = &answer["OIDCTokenInfo"];
    assert_eq!((&info["Subject"], &info["Issuer"]), (&json!(SUBJECT), &json!(ISSUER)));
    assert_eq!(
        (&info["ClientIds"], &info["VerificationInfo"]),
        (&json!(AUDIENCE), &json!("Success"))
    );
    let arn = format!("acs:ram::{ACCOUNT}:role/shop/api-1");
    assert_eq!(answer["AssumedRoleUser"]["Arn"], arn);
    let client = federation.client(&answer);
    let encrypt = [("KeyId", federation.key.as_str()), ("Plaintext", "SGVsbG8=")];
    assert_eq!(code(&client, "Encrypt", &encrypt).await, "");
    assert_eq!(code(&client, "CreateKey", &[]).await, "Forbidden.NoPermission");
    let record = events(&federation.installation.audit_file(), "Encrypt", 1).await.remove(0);
    let identity = &record["userIdentity"];
    assert_eq!(identity["userName"], "shop:api-1");
    let context = json!({"provider": "k8s", "issuer": ISSUER, "subject": SUBJECT});
    assert_eq!(identity["sessionContext"], context);
    assert_eq!(identity["accessKeyId"], answer["Credentials"]["AccessKeyId"]);

    let file = federation.installation.audit_file();
    let record = events(&file, "AssumeRoleWithOIDC", 1).await.remove(0);
    let made = json!({"Credentials": {"AccessKeyId": answer["Credentials"]["AccessKeyId"]}});
    assert_eq!(record["responseElements"], made);
    assert_eq!(record["userIdentity"]["sessionContext"], context);

    // The same token is accepted until it expires: libraries renew before it is replaced.
    let again = federation.exchange(&token).await.json();
    assert_ne!(again["Credentials"]["AccessKeyId"], answer["Credentials"]["AccessKeyId"]);
}

/// Python and PHP send everything in the query; a signature that is there proves nothing and is ignored.
#[tokio::test]
async fn the_parameters_may_be_in_the_query_and_the_answer_in_xml() {
    let federation = Federation::open("").await;
    let token = federation.issuer.token(&Issuer::claims());
    for (method, format) in [("GET", "JSON"), ("POST", "JSON"), ("GET", "XML")] {
        let head = format!(
            "{method} /?Action=AssumeRoleWithOIDC&Format={format}&Version=2015-04-01\
             &DurationSeconds=3600&RoleArn={ROLE}&OIDCProviderArn={PROVIDER}&OIDCToken={token}%0A\
             &RoleSessionName=credentials-python-1764321000&Timestamp=x&AccessKeyId=LTAInone\
             &Signature=none HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"
        );
        let answer = raw_http::exchange(federation.server.address(), head.as_bytes()).await;
        assert_eq!(answer.status, 200, "{method} {format}: {}", answer.body);
        let is_xml = answer.body.starts_with("<AssumeRoleWithOIDCResponse><RequestId>");
        assert_eq!(is_xml, format == "XML", "{}", answer.body);
    }
    let log = federation.server.log();
    assert!(!log.contains(&token[..60]) && !log.contains("OIDCToken"), "{log}");
}

#[tokio::test]
async fn a_command_exchanges_the_token_of_a_file_for_a_library() {
    let federation = Federation::open("").await;
    let file = federation.installation.path("token");
    let exchange = |token: &str| {
        std::fs::write(&file, token).unwrap();
        let endpoint = format!("http://{}", federation.server.address());
        let arguments = [
            "sts",
            "token",
            "--endpoint",
            &endpoint,
            "--role-arn",
            ROLE,
            "--oidc-provider-arn",
            PROVIDER,
            "--oidc-token-file",
            file.to_str().unwrap(),
        ];
        run(federation.installation.command(&arguments), b"")
    };
    let token = federation.issuer.token(&Issuer::claims());
    let printed = exchange(&format!("{token}\n")).json();
    assert_eq!(printed["mode"], "StsToken");
    let key = AccessKey::of(&printed);
    let client =
        federation.server.client(&key).with_security_token(text(&printed["sts_token"]).into());
    let encrypt = [("KeyId", federation.key.as_str()), ("Plaintext", "SGVsbG8=")];
    assert_eq!(code(&client, "Encrypt", &encrypt).await, "");
    assert!(text(&printed["expiration"]).ends_with('Z'));
    let other = Issuer::new().token(&Issuer::claims());
    let told = exchange(&other).failed(4);
    assert!(told.contains("InvalidSignature") && !told.contains(&other[..40]), "{told}");
}

#[tokio::test]
async fn parameters_are_checked_and_the_provider_before_the_role() {
    let federation = Federation::open("").await;
    let token = federation.issuer.token(&Issuer::claims());
    let token = ("OIDCToken", token.as_str());
    let policy = json!({"Version": "1", "Statement":
        [{"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"}]})
    .to_string();
    let no_permission = "AuthenticationFail.NoPermission";
    for (name, value, status, code) in [
        ("OIDCProviderArn", "", 400, "MissingOIDCProviderArn"),
        ("OIDCProviderArn", "k8s", 401, no_permission),
        ("OIDCProviderArn", "acs:ram::1234567890123456:oidc-provider/x", 401, no_permission),
        ("OIDCProviderArn", "acs:ram::6543210987654321:oidc-provider/k8s", 401, no_permission),
        ("RoleArn", "", 400, "MissingRoleArn"),
        ("RoleArn", "acs:ram::1234567890123456:role/none", 404, "EntityNotExist.Role"),
        ("RoleArn", "acs:ram::6543210987654321:role/shop", 404, "EntityNotExist.Role"),
        ("RoleSessionName", "a b", 400, "InvalidParameter.RoleSessionName"),
        ("DurationSeconds", "3601", 400, "InvalidParameter.DurationSeconds"),
        ("DurationSeconds", "899", 400, "InvalidParameter.DurationSeconds"),
        ("Policy", "{}", 400, "InvalidParameter.PolicyGrammar"),
    ] {
        let answer = federation.exchange_with(&[token, (name, value)]).await;
        assert_eq!(answer.refusal(), refusal(status, code), "{name}={value}");
    }
    let narrowed = federation.exchange_with(&[token, ("Policy", &policy)]).await.json();
    let encrypt = [("KeyId", federation.key.as_str()), ("Plaintext", "SGVsbG8=")];
    let client = federation.client(&narrowed);
    assert_eq!(code(&client, "Encrypt", &encrypt).await, "Forbidden.NoPermission");
    let short = federation.exchange_with(&[token, ("DurationSeconds", "900")]).await.json();
    let expires: hsmgate::model::Time = text(&short["Credentials"]["Expiration"]).parse().unwrap();
    let left = expires.unix() - hsmgate::model::clock::now().unix();
    assert!((840..=900).contains(&left), "{left}");
    let listed = federation.installation.configured(&["identity-provider", "list", "--json"]);
    let listed = listed.json();
    assert_eq!((&listed[0]["name"], &listed[0]["issuer"]), (&json!("k8s"), &json!(ISSUER)));
}
