//! The transcripts of docs/transcripts are what the program prints. `TRYCMD=overwrite` writes them anew; the
//! parts that differ from run to run then have to be replaced with `[..]`.

use std::path::PathBuf;

use trycmd::TestCases;

use crate::support::installation::{AccessKey, Installation};

/// The transcript of this name, whose commands run in the directory of the repository.
fn transcript(name: &str) -> TestCases {
    let cases = TestCases::new();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_hsmgate"));
    cases.register_bin("hsmgate", trycmd::schema::Bin::Path(program));
    cases.env("NO_COLOR", "1");
    cases.case(format!("{}/docs/transcripts/{name}.md", env!("CARGO_MANIFEST_DIR")));
    cases
}

#[test]
fn help_and_configuration_are_those_of_the_transcripts() {
    transcript("help").run();
    transcript("configuration").run();
}

#[test]
fn commands_with_a_running_gateway_are_those_of_the_transcripts() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    let reader = installation.create_access_key("reader", &["AliyunKMSReadOnlyAccess"]);
    let run = |name: &str, user: &AccessKey| {
        let cases = transcript(name);
        for (name, value) in [
            ("HSMGATE_CONFIG", installation.path("hsmgate.toml").to_str().unwrap()),
            ("HSMGATE_ENDPOINT", &server.endpoint),
            ("HSMGATE_ACCESS_KEY_ID", &user.id),
            ("HSMGATE_ACCESS_KEY_SECRET", &user.secret),
            ("HSMGATE_ALLOW_ROOT", "1"),
        ] {
            cases.env(name, value);
        }
        for (name, value) in installation.token.environment() {
            cases.env(name, value.to_str().unwrap());
        }
        cases.run();
    };
    // One after another: a list has everything that was made before.
    run("keys", &admin);
    run("access", &admin);
    run("exit-codes", &reader);
    run("seed", &admin);
    assert_eq!(server.stop(), Some(0));
}
