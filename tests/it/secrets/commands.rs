//! `hsmgate secret`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::gateway::text;
use crate::support::installation::Installation;

#[test]
fn a_secret_lives_by_commands_and_its_value_is_never_an_argument() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let call = |arguments: &[&str], input: &[u8]| {
        let arguments = [&["secret"], arguments].concat();
        installation.client(&server.endpoint, &user, &arguments, input)
    };
    let file = installation.path("value");
    fs::write(&file, "from a file\n").unwrap();
    let create = ["create", "db/orders", "--version", "v1", "--description", "d", "--in"];
    let create = [&create[..], &[file.to_str().unwrap()]].concat();
    assert_eq!(call(&create, b"").done(), "v1\n");
    // Bytes as they are, with the line feed at the end.
    assert_eq!(call(&["get", "db/orders"], b"").stdout, b"from a file\n");
    let put = ["put", "db/orders", "--stage", "ACSCurrent", "--stage", "blue", "--type", "binary"];
    let version = call(&put, "ключ\0".as_bytes()).done();
    assert_eq!(version.trim().len(), 36, "a UUID");
    assert_eq!(call(&["get", "db/orders"], b"").stdout, "ключ\0".as_bytes());
    assert_eq!(call(&["get", "db/orders", "--stage", "ACSPrevious"], b"").done(), "from a file\n");
    let got = call(&["get", "db/orders", "--version", "v1", "--json"], b"").json();
    assert_eq!((text(&got["SecretData"]), text(&got["SecretDataType"])), ("from a file\n", "text"));
    let out = installation.path("out");
    call(&["get", "db/orders", "--out", out.to_str().unwrap()], b"").done();
    assert_eq!(fs::read(&out).unwrap(), "ключ\0".as_bytes());
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);

    let versions = call(&["versions", "db/orders"], b"").done();
    let lines: Vec<_> =
        versions.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines, [vec![version.trim(), "ACSCurrent", "blue"], vec!["v1", "ACSPrevious"]]);
    let to_v1 = ["move-stage", "db/orders", "ACSCurrent", "--to", "v1", "--from", version.trim()];
    assert_eq!(call(&to_v1, b"").done(), "ACSCurrent of db/orders is version v1 now\n");
    let from_put = ["move-stage", "db/orders", "blue", "--from", version.trim(), "--json"];
    assert_eq!(call(&from_put, b"").json()["SecretName"], "db/orders");
    assert_eq!(call(&["get", "db/orders"], b"").done(), "from a file\n");
    assert_eq!(call(&["tag", "db/orders", "env="], b"").done(), "db/orders was tagged\n");
    let tagged = call(&["tag", "db/orders", "team=orders", "--json"], b"").json();
    let tag = json!({"TagKey": "team", "TagValue": "orders"});
    assert_eq!(tagged, json!({"SecretName": "db/orders", "Tags": {"Tag": [tag]}}));
    let described = call(&["describe", "db/orders", "--json"], b"").json();
    assert_eq!(described["Description"], "d");
    assert_eq!(described["Tags"]["Tag"][1], tag);
    assert!(call(&["describe", "db/orders"], b"").done().contains("Generic"));
    call(&["delete", "db/orders", "--days", "7"], b"").done();
    assert!(call(&["list"], b"").done().contains("db/orders  deletion at "));
    assert_eq!(call(&["restore", "db/orders", "--json"], b"").json()["SecretName"], "db/orders");
    let listed = call(&["list", "--json"], b"").json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    call(&["delete", "db/orders", "--force"], b"").done();
    assert_eq!(call(&["list"], b"").done(), "");
}

#[test]
fn values_that_cannot_be_stored_are_refused_before_a_request() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let put = |input: &[u8]| {
        let arguments = ["secret", "create", "db", "--version", "v1"];
        installation.client(&server.endpoint, &user, &arguments, input)
    };
    let longest = vec![b'x'; 30_720];
    let longer = [&longest[..], b"x"].concat();
    for (input, word) in [(&b""[..], "empty"), (&longer, "30720"), (b"\xff", "UTF-8")] {
        let refused = put(input).failed(2);
        assert!(refused.contains(word), "{refused}");
    }
    put(&longest).done();
    let again = ["secret", "put", "db", "--version", "v2", "--json"];
    let told = installation.client(&server.endpoint, &user, &again, b"new").json();
    assert_eq!(told["VersionId"], "v2", "{told}");
    let missing = installation.client(&server.endpoint, &user, &["secret", "get", "none"], b"");
    assert!(missing.failed(3).contains("Forbidden.ResourceNotFound"));
}
