//! A store and a state directory are used by one gateway at a time.

use std::fs;

use crate::support::gateway::Gateway;
use crate::support::installation::{Installation, Outcome, run};

/// What a gateway says that has to end by itself; one that serves is ended with exit code 124.
fn ended(installation: &Installation, arguments: &[&str]) -> Outcome {
    run(installation.command_under(&["timeout", "30"], arguments), b"")
}

/// Writes another configuration beside the first one, with some parts of it replaced.
fn other_configuration(installation: &Installation, replacements: &[(&str, &str)]) -> String {
    let mut text = fs::read_to_string(installation.path("hsmgate.toml")).unwrap();
    for (from, to) in replacements {
        assert!(text.contains(from), "{text}");
        text = text.replace(from, to);
    }
    let path = installation.path("other.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_second_gateway_on_the_same_store_or_state_directory_is_refused_with_the_pid_of_the_first() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let holder = format!("another gateway (process {})", server.process_id());

    // What works beside a gateway still does.
    installation.configured(&["doctor"]).done();
    let copy = installation.path("copy.db");
    installation.configured(&["backup", "--out", copy.to_str().unwrap()]).done();
    installation.configured(&["user", "create", "alice"]).done();
    let described = ["key", "list"];
    installation.client(&server.endpoint, &user, &described, b"").done();

    // With the address of the first.
    let address = format!("address = \"{}\"", server.address());
    let replaced = [("address = \"127.0.0.1:0\"", &*address)];
    let same = other_configuration(&installation, &replaced);
    for supervise in [&[][..], &["--supervise"]] {
        let serve = [&["serve", "--config", &same], supervise].concat();
        let told = ended(&installation, &serve).failed(1);
        assert!(told.contains(&holder), "{told}");
    }

    // The audit file is another one with the state directory.
    for replaced in [("/state\"", "/state-2\""), ("/hsmgate.db\"", "/hsmgate-2.db\"")] {
        let other = other_configuration(&installation, &[replaced]);
        let told = ended(&installation, &["serve", "--config", &other]).failed(1);
        assert!(told.contains(&holder), "{told}");
    }
    // The database under another name.
    let link = installation.path("link.db");
    std::os::unix::fs::symlink(installation.path("hsmgate.db"), &link).unwrap();
    let replaced = [("/state\"", "/state-3\""), ("/hsmgate.db\"", "/link.db\"")];
    let other = other_configuration(&installation, &replaced);
    let told = ended(&installation, &["serve", "--config", &other]).failed(1);
    assert!(told.contains(&holder), "{told}");

    assert_eq!(server.stop(), Some(0));
    let other = other_configuration(&installation, &[("/state\"", "/state-2\"")]);
    fs::rename(&other, installation.path("hsmgate.toml")).unwrap();
    installation.serve().stop();
}

#[test]
fn a_second_dev_or_serve_in_the_directory_of_a_dev_is_refused_with_its_pid() {
    let gateway = Gateway::start();
    let (installation, _user) = Installation::prepared();
    let state = gateway.state();
    let (directory, config) = (state.to_str().unwrap(), state.join("hsmgate.toml"));
    let dev = ["dev", "--listen", "127.0.0.1:0", "--dir", directory];
    let told = ended(&installation, &dev).failed(1);
    let holder = format!("(process {})", gateway.process_id());
    assert!(told.contains(&holder), "{told}");

    // On another port, as the first one has its own.
    let text = fs::read_to_string(&config).unwrap();
    let text: Vec<String> = text
        .lines()
        .map(|line| match line.strip_prefix("address = ") {
            Some(_address) => "address = \"127.0.0.1:0\"".to_owned(),
            None => line.to_owned(),
        })
        .collect();
    let other = state.join("other.toml");
    fs::write(&other, text.join("\n")).unwrap();
    let serve = ["serve", "--config", other.to_str().unwrap()];
    let mut command = installation.command_under(&["timeout", "30"], &serve);
    command.env("SOFTHSM2_CONF", state.join("softhsm2.conf"));
    let told = run(command, b"").failed(1);
    assert!(told.contains(&holder), "{told}");
}
