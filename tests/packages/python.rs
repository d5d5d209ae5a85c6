//! The Python wheel with its pytest plugin.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::built::Built;
use crate::{code_after, output_of};

/// The SDK and pytest of the tests of the SDKs.
const SDK: &str = "target/sdk/python";

#[test]
fn the_wheel_gives_pytest_a_gateway_and_a_client() {
    let wheel = Built::get().with_suffix(".whl");
    let directory = TempDir::new_in("/dev/shm").unwrap();
    let environment = directory.path().join("environment");
    let python = environment.join("bin/python");
    let sdk = fs::canonicalize(SDK).expect("make setup-sdk");
    let packages = output_of(
        Command::new(sdk.join("bin/python"))
            .args(["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]),
    );
    output_of(Command::new(sdk.join("bin/python")).args(["-m", "venv"]).arg(&environment));
    output_of(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check"])
            .arg(wheel),
    );
    let tests = directory.path().join("pytest");
    output_of(Command::new("cp").args(["-r", "examples/pytest"]).arg(&tests));
    let example = fs::read_to_string(tests.join("test_orders.py")).unwrap();
    let shown = code_after("packaging/python/README.md", "SoftHSM2 is a package");
    assert!(example.contains(&shown), "{shown}");
    let told = output_of(
        Command::new(&python)
            .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
            .current_dir(&tests)
            .env("PYTHONPATH", packages.trim())
            .env("PATH", "/usr/bin:/bin"),
    );
    assert!(told.contains("3 passed"), "{told}");
}
