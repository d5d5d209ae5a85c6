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
    let exchange = |token: &str, more: &[&str]| {
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
        run(federation.installation.command(&[&arguments, more].concat()), b"")
    };
    let token = federation.issuer.token(&Issuer::claims());
    let printed = exchange(&format!("{token}\n"), &[]).json();
    assert_eq!(printed["mode"], "StsToken");
    let of_the_api = exchange(&token, &["--json"]).json();
    assert!(text(&of_the_api["Credentials"]["AccessKeyId"]).starts_with("STS."), "{of_the_api}");
    let key = AccessKey::of(&printed);
    let client =
        federation.server.client(&key).with_security_token(text(&printed["sts_token"]).into());
    let encrypt = [("KeyId", federation.key.as_str()), ("Plaintext", "SGVsbG8=")];
    assert_eq!(code(&client, "Encrypt", &encrypt).await, "");
    assert!(text(&printed["expiration"]).ends_with('Z'));
    let other = Issuer::new().token(&Issuer::claims());
    let told = exchange(&other, &[]).failed(4);
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

/// A simulation and an exchange by the same token have the same result.
#[tokio::test]
async fn a_simulation_tells_which_subjects_may_assume_a_role() {
    let federation = Federation::open("authentication_failures_per_second = 0\n").await;
    let installation = &federation.installation;
    let trust = json!({"Version": "1", "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Federated": [PROVIDER]},
         "Condition": {"StringLike": {"oidc:sub": "system:serviceaccount:shop:*"}}},
        {"Sid": "not the builder", "Effect": "Deny", "Action": "sts:AssumeRole",
         "Principal": {"Federated": [PROVIDER]},
         "Condition": {"StringEquals": {"oidc:sub": "system:serviceaccount:shop:builder"}}}]});
    let trust = federation.file("trust.json", &trust);
    installation.configured(&["role", "update", "shop", "--trust", &trust]).done();
    let simulate = |role: &str, conditions: &[(&str, &str)]| {
        let conditions = conditions.iter().map(|(key, value)| format!("--condition={key}={value}"));
        let conditions: Vec<_> = conditions.collect();
        let mut arguments =
            vec!["policy", "simulate", "--principal", "oidc-provider/k8s", "--resource", role];
        arguments.extend(["--action", "sts:AssumeRole"]);
        arguments.extend(conditions.iter().map(String::as_str));
        installation.configured(&arguments)
    };
    let with = |subject: &str, audience: &str| {
        let mut claims = Issuer::claims();
        claims["sub"] = subject.into();
        claims["aud"] = audience.into();
        federation.issuer.token(&claims)
    };
    let builder = "system:serviceaccount:shop:builder";
    let denied = "deny: a statement denies it: trust policy, Statement[1] (not the builder)\n";
    for (subject, audience, status, told) in [
        (SUBJECT, AUDIENCE, 200, "allow: a statement allows it: trust policy, Statement[0]\n"),
        (builder, AUDIENCE, 401, denied),
        ("elsewhere", AUDIENCE, 401, "deny: no statement of the trust policy allows it\n"),
        (SUBJECT, "third", 401, "deny: the provider accepts none of the audiences\n"),
    ] {
        let answer = federation.exchange(&with(subject, audience)).await;
        assert_eq!(answer.status, status, "{subject} {audience}: {}", answer.body);
        let run = simulate(ROLE, &[("oidc:sub", subject), ("oidc:aud", audience)]);
        assert_eq!(run.code, Some(if status == 200 { 0 } else { 4 }), "{subject} {audience}");
        assert_eq!(String::from_utf8_lossy(&run.stdout), told);
    }
    let of_subject = [("oidc:sub", SUBJECT), ("oidc:aud", AUDIENCE)];
    let unknown = simulate("role/unknown", &of_subject);
    assert_eq!(unknown.stdout, b"deny: the role does not exist\n");
    let issuer =
        simulate("role/shop", &[&of_subject[..], &[("oidc:iss", "https://other")]].concat());
    assert_eq!(issuer.stdout, b"deny: the issuer is not that of the provider\n");
    let told = simulate("role/shop", &[("oidc:aud", AUDIENCE)]).failed(2);
    assert!(told.contains("a token has a subject"), "{told}");
    let told = simulate("role/shop", &of_subject[..1]).failed(2);
    assert!(told.contains("several audiences"), "{told}");
    let key = simulate("key/key-hsm00000000000000000z", &of_subject);
    assert_eq!(key.stdout, b"deny: a token permits only sts:AssumeRole for a role\n");
}
