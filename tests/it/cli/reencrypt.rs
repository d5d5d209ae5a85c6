//! `hsmgate reencrypt`.

use std::fs;

use crate::support::installation::Installation;

#[test]
fn a_list_is_encrypted_by_the_primary_version_and_continued_after_a_stop() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let endpoint = server.endpoint.clone();
    let call =
        |arguments: &[&str], input: &[u8]| installation.client(&endpoint, &user, arguments, input);
    let path = |name: &str| installation.path(name).display().to_string();
    let key = call(&["key", "create", "--alias", "orders"], b"").done().trim().to_owned();
    let encrypt = |context: &[&str], data: &[u8]| {
        let arguments = [&["encrypt", "alias/orders"][..], context].concat();
        call(&arguments, data).done().trim().to_owned()
    };
    let plain = encrypt(&[], b"one");
    let with_context = format!("{}\t{{\"a\":\"1\"}}", encrypt(&["--context", "a=1"], b"two"));
    call(&["key", "rotate", "alias/orders"], b"").done();
    let current = encrypt(&[], b"three");
    let wrong_context = format!("{plain}\t{{\"a\":\"2\"}}");
    let lines = [&*plain, &*with_context, &*current, "no ciphertext", &*wrong_context, &*plain];
    fs::write(path("old"), lines.join("\n") + "\n").unwrap();

    let reencrypt = |more: &[&str]| {
        let (old, new) = (path("old"), path("new"));
        let arguments = ["reencrypt", "--key", "alias/orders", "--in", &old, "--out", &new];
        call(&[&arguments[..], &["--rate", "1000"], more].concat(), b"")
    };
    let told = reencrypt(&[]);
    assert_eq!(told.code, Some(1), "{told:?}");
    let shown = String::from_utf8(told.stdout).unwrap();
    assert!(
        shown.contains("line 4 failed: not a valid ciphertext blob\nline 5 failed: "),
        "{shown}"
    );
    assert!(
        shown.ends_with("3 ciphertexts were encrypted again, 1 were current, 2 failed\n"),
        "{shown}"
    );
    let written = || fs::read_to_string(path("new")).unwrap();
    let new = written();
    let new: Vec<_> = new.lines().collect();
    assert_eq!((new.len(), new[2], new[3], new[4]), (6, &*current, lines[3], lines[4]));
    let version = |line: &str| line[..40].to_owned();
    for at in [0, 1, 5] {
        assert_eq!(version(new[at]), version(&current), "{at}");
        let (blob, context) = new[at].split_once('\t').unwrap_or((new[at], ""));
        let context: &[&str] = if context.is_empty() { &[] } else { &["--context", "a=1"] };
        let decrypted = call(&[&["decrypt"][..], context].concat(), blob.as_bytes());
        assert_eq!(decrypted.done(), ["one", "two", "", "", "", "one"][at]);
    }

    // As after a stop in the middle of the second line.
    let kept = format!("{}\nhalf a li", new[0]);
    fs::write(path("new"), &kept).unwrap();
    let told = reencrypt(&["--json"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    let result: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let counts = ["before", "reencrypted", "current"].map(|name| result[name].as_u64().unwrap());
    assert_eq!((counts, result["failed"][0]["line"].as_u64()), ([1, 2, 1], Some(4)));
    assert!(written().starts_with(&format!("{}\n", new[0])) && written().lines().count() == 6);
    let told = reencrypt(&["--json"]);
    assert_eq!(told.json()["before"], 6, "nothing is left");

    call(&["key", "disable", &key], b"").done();
    fs::write(path("old"), format!("{plain}\n")).unwrap();
    fs::remove_file(path("new")).unwrap();
    let told = reencrypt(&["--json"]);
    assert_eq!((told.code, written()), (Some(1), format!("{plain}\n")), "{told:?}");
    assert_eq!(server.stop(), Some(0));
    fs::remove_file(path("new")).unwrap();
    reencrypt(&[]).failed(6);
}
